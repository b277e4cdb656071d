"""The README's first steps, run as they are written; only where things lie is another place here.

`curl` is played by a few lines of Python, and where a person is asked at a terminal the command is told the answer.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import COMMAND, environment, running

ROOT = Path(__file__).parents[2]
DATA = "/tmp/intentledger"
CURL = """#!{python}
import sys, urllib.request
words = sys.argv[1:]
assert words[0] == "-s" and words[1].startswith("localhost:8700/")
given = list(zip(words[2::2], words[3::2], strict=True))
assert {{flag for flag, _ in given}} == {{"-H", "-d"}}
headers = dict(value.split(": ", 1) for flag, value in given if flag == "-H")
(body,) = (value for flag, value in given if flag == "-d")
request = urllib.request.Request(words[1].replace("localhost:8700", "{url}"), body.encode(), headers)
sys.stdout.write(urllib.request.urlopen(request, timeout=20).read().decode())
"""


def steps() -> list[str]:
    """Return the commands of "First steps", block by block; what they answer stands in blocks of another kind."""
    section = re.search(r"^## First steps\n(.*?)^## ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert section
    blocks = re.findall(r"^```([a-z]*)\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)
    return [text for kind, text in blocks if not kind]


class Visitor:
    """Somebody who pastes what the README says into a shell."""

    def __init__(self, home: Path, data: Path, url: str) -> None:
        self.home, self.data = home, data
        (home / "examples").symlink_to(ROOT / "examples")
        (home / "bin").mkdir()
        (home / "bin" / "curl").write_text(CURL.format(python=sys.executable, url=url))
        (home / "bin" / "curl").chmod(0o755)
        path = f"{home / 'bin'}:{COMMAND.parent}:{os.defpath}"
        self.environment = environment(PATH=path, INTENTLEDGER_URL=url, INTENTLEDGER_DATA=str(data))

    def pastes(self, text: str) -> str:
        """Run commands as written; return what they answer."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text.replace(DATA, str(self.data))],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
def visitor(open_directory):
    data, (install, serve, *_) = open_directory / "data", steps()[0].splitlines()
    assert install == "pip install ."
    flags = serve.replace(DATA, str(data)).replace("examples/", f"{ROOT}/examples/").split()[1:]
    with running(*flags, "--port", "0", "--json") as service:
        home = open_directory / "home"
        home.mkdir()
        yield Visitor(home, data, json.loads(service.stdout.readline())["url"])


def test_the_first_steps_of_the_readme_go_as_they_are_written(visitor):
    _, prepare, submit, approve, undo, ask = steps()
    granted = visitor.pastes(prepare)
    first, second = map(json.loads, visitor.pastes(submit).splitlines())
    assert (first["phase"], second["phase"]) == ("committed", "awaiting_approval")
    assert [action["step"] for action in first["actions"]] == ["done", "done"]
    assert second["decision"]["reasons"] == [
        "money: small-amounts: context.params.amount <= 5000 does not hold (it is 12000)"
    ]
    again = visitor.pastes(submit).splitlines()[0]
    assert json.loads(again)["id"] == first["id"]
    seen = visitor.pastes(approve.replace("INTENT", second["id"]).rstrip() + " --yes")
    assert "balance           4200 -> 16200" in seen
    assert "1 of 1 have; it goes on." in seen
    (grant,) = re.findall(r"Issued (\S+): refunder", granted)
    stop, look, act = undo.replace("GRANT", grant).splitlines()
    visitor.pastes(stop)
    digest = json.loads(visitor.pastes(look + " --json"))["digest"]
    assert "Done: 2 undone." in visitor.pastes(f"{act} --approve {digest}")
    said = visitor.pastes(ask)
    assert "post 12000 to account 88 and post 100 to account 88, compensated: it acted oddly" in said, (
        "the sentence that the README shows"
    )
    assert re.search(r"^All \d+ events up to position \d+ of the ledger 'main' are those", said, re.MULTILINE)


def test_every_decision_is_listed():
    directory = ROOT / "docs" / "decisions"
    pages = {path.name: path.read_text().splitlines()[0] for path in directory.glob("0*.md")}
    index = (directory / "README.md").read_text()
    listed = {file: title for title, file in re.findall(r"^- \[(.+)\]\((.+)\)$", index, re.MULTILINE)}
    assert {name: title.removeprefix("# ") for name, title in pages.items()} == listed
