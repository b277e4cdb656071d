"""The guide to writing an adapter, followed as it is written: from an empty directory to an adapter that is proved."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "writing-an-adapter.md").read_text("utf-8")
PORT = "8701"
LINES = 100


def files() -> dict[str, str]:
    """Return the files that the guide has one write, by name."""
    return dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL))


def commands() -> list[list[str]]:
    """Return the commands that the guide has one run."""
    return [shlex.split(block) for block in re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)]


class Follower:
    """Somebody who follows the guide in a directory, with Intent Ledger installed, on another port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.site = directory / "site"
        self.port = ""
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(self.site), str(ROOT)])}

    def write(self) -> None:
        for name, text in files().items():
            (self.directory / name).write_text(text.replace(PORT, self.port))

    def install(self) -> None:
        """`pip install .`, into a directory beside instead of the environment of these tests."""
        there = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(self.site)]
        self.run([sys.executable, "-m", "pip", "install", "--quiet", *there, "."], check=True)

    def run(self, command: list[str], *, check: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, check=check, timeout=120
        )


@pytest.fixture(scope="module")
def follower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Follower]:
    serve, _ = commands()
    assert serve[:3] == ["python", "-m", "examples.notes"]
    one = Follower(tmp_path_factory.mktemp("acme"))
    elsewhere = ["0" if word == PORT else word for word in serve[1:]]
    service = subprocess.Popen(
        [sys.executable, *elsewhere],
        cwd=one.directory,
        env=one.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        one.port = str(json.loads(service.stdout.readline())["port"])
        one.write()
        one.install()
        yield one
    finally:
        service.stdin.close()
        service.wait(timeout=10)
        service.stdout.close()


def test_the_guide_is_shorter_than_a_hundred_lines():
    written = [line for text in files().values() for line in text.splitlines() if line.strip()]
    assert set(files()) == {"acme_notes.py", "pyproject.toml", "intentledger.toml"}
    assert len(written) + len(commands()) < LINES


def test_the_adapter_of_the_guide_earns_what_it_declares(follower):
    _, verify = commands()
    assert verify[0] == "intentledger"
    ran = follower.run([str(Path(sys.executable).with_name("intentledger")), *verify[1:]])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    promised = re.search(r"^notes\.add has earned .*$", GUIDE, re.MULTILINE)[0]
    assert ran.stdout.splitlines()[-1] == promised
    for law, outcome in re.findall(r"^ (\d+) .*?  (kept|not asked)", GUIDE, re.MULTILINE):
        assert re.search(rf"^ {law} +\S.* {outcome}", ran.stdout, re.MULTILINE), ran.stdout


def test_the_mistake_that_the_guide_proposes_is_found(follower):
    adapter = files()["acme_notes.py"]
    mistaken = adapter.replace('raise InDoubt("The request was sent', 'raise Transient("The request was sent')
    assert mistaken != adapter
    (follower.site / "acme_notes.py").write_text(mistaken)
    try:
        _, verify = commands()
        ran = follower.run([str(Path(sys.executable).with_name("intentledger")), *verify[1:], "--law", "10"])
    finally:
        (follower.site / "acme_notes.py").write_text(adapter)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "law 10: A commit lost its connection when the answer was there" in ran.stdout


def test_each_law_is_a_test_of_pytest(follower):
    plugins = ["-p", "no:cacheprovider", "-q", "-rA", "--rootdir", str(follower.directory)]
    ran = follower.run([sys.executable, "-m", "pytest", *plugins, "intentledger.toml"])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "notes.add: 5. Commit has one effect, repeated or not" in ran.stdout
    assert "notes.add earns idempotent, undo exact" in ran.stdout


def test_the_fixture_says_what_is_wrong(follower):
    (follower.directory / "test_it.py").write_text(
        'from pathlib import Path\ndef test_it(adapter_laws):\n    adapter_laws(Path("intentledger.toml"), "record")\n'
    )
    ran = follower.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_it.py"])
    assert ran.returncode != 0
    assert "no adapter 'record' with an operation that has an effect" in ran.stdout + ran.stderr


def test_the_file_of_the_guide_stays_toml():
    assert tomllib.loads(files()["intentledger.toml"])["verify"]["notes"]["add"]["refused"] == {"text": " "}
