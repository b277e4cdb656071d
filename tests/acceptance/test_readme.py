"""The README's first steps, run as they are written; only where things lie is another place here."""

import json
import re
import shlex
import urllib.request
from pathlib import Path

from test_cli import running

ROOT = Path(__file__).parents[2]
DATA = "/tmp/intentledger"
URL = "localhost:8700"


def steps() -> list[str]:
    """Return the code blocks of "Use it"."""
    section = re.search(r"^## Use it\n(.*?)^## ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert section
    return re.findall(r"^```\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)


def flags() -> list[str]:
    """Return how the README starts the service."""
    (line,) = (line for line in steps()[0].splitlines() if line.startswith("intentledger serve"))
    return shlex.split(line, comments=True)[1:]


def request(url: str, data: Path) -> urllib.request.Request:
    """Return what the README's `curl` sends."""
    curl = steps()[1]
    found = re.search(rf"\$\(cat {DATA}/(\S+)\)", curl)
    assert found
    token = (data / found[1]).read_text().strip()
    command = shlex.split(curl.replace(found[0], token).replace("\\\n", " "))
    assert command[:3] == ["curl", "-s", f"{URL}/v1/intents"]
    given = list(zip(command[3::2], command[4::2], strict=True))
    headers = dict(value.split(": ", 1) for flag, value in given if flag == "-H")
    (body,) = (value for flag, value in given if flag == "-d")
    assert {flag for flag, _ in given} == {"-H", "-d"}
    return urllib.request.Request(f"{url}/v1/intents", body.encode(), headers)


def test_the_first_request_of_the_readme_is_committed(open_directory):
    data = open_directory / "data"
    arguments = [str(data) if flag == DATA else flag for flag in flags()]
    arguments = [str(ROOT / flag) if flag.startswith("examples/") else flag for flag in arguments]
    assert str(data) in arguments
    with running(*arguments, "--port", "0", "--json") as service:
        url = json.loads(service.stdout.readline())["url"]
        shown = []
        for _ in range(2):  # sent again it tells the truth
            with urllib.request.urlopen(request(url, data), timeout=20) as answer:
                shown.append((answer.status, json.load(answer)))
    (status, first), (_, again) = shown
    assert (status, first["phase"]) == (200, "committed")
    assert [action["step"] for action in first["actions"]] == ["done", "done"]
    assert again["id"] == first["id"]


def test_every_decision_is_listed():
    directory = ROOT / "docs" / "decisions"
    pages = {path.name: path.read_text().splitlines()[0] for path in directory.glob("0*.md")}
    index = (directory / "README.md").read_text()
    listed = {file: title for title, file in re.findall(r"^- \[(.+)\]\((.+)\)$", index, re.MULTILINE)}
    assert {name: title.removeprefix("# ") for name, title in pages.items()} == listed
