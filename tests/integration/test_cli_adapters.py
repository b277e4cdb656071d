"""`intentledger adapters`: an adapter that cannot be used is named, and keeps no command from the others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway import cli

SOUND = '[adapters.example]\ntype = "reference"\nguarantee = "idempotent"\n'
BROKEN = '[adapters.broken]\ntype = "reference"\nguarantee = "sure"\n'
TRIED = '[verify.example.post]\nparams = { account = "{run}-{n}", amount = 5 }\n'


class Answer(NamedTuple):
    code: int
    out: str
    err: list[str]


Ask = Callable[..., Answer]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "intentledger.toml"


@pytest.fixture
def ask(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.setattr("gateway.logs.configure", lambda *_: None)  # that of this process is not ours to change

    def asked(*arguments: str) -> Answer:
        code = cli._code(["adapters", *arguments, "--config", str(file)])
        said = capsys.readouterr()
        return Answer(code, said.out, said.err.splitlines())

    return asked


def test_what_can_be_used_is_shown_and_then_each_fault_once(file: Path, ask: Ask) -> None:
    file.write_text(SOUND + BROKEN)
    words = ask()
    assert words.code == 2
    assert "example.post" in words.out
    assert "broken" not in words.out
    (fault,) = words.err
    assert fault.startswith(f"{file}, line 6, [adapters.broken]: guarantee: must be ")
    data = ask("--json")
    assert (data.code, data.err) == (2, words.err)
    assert [one["operation"] for one in json.loads(data.out)] == ["example.post"]


def test_a_file_with_nothing_but_faults_is_not_one_without_adapters(file: Path, ask: Ask) -> None:
    file.write_text(BROKEN)
    answer = ask()
    assert (answer.code, answer.out, len(answer.err)) == (2, "", 1)


def test_an_adapter_is_verified_though_another_cannot_be_used(file: Path, ask: Ask) -> None:
    file.write_text(SOUND + BROKEN + TRIED)
    answer = ask("verify", "example", "--law", "4")
    assert (answer.code, answer.err) == (0, [])
    assert answer.out.endswith("example.post keeps the laws that were tried.\n")


@pytest.mark.parametrize("command", ["verify", "tools"])
def test_an_adapter_that_cannot_be_used_is_not_tried_and_its_fault_is_said(command: str, file: Path, ask: Ask) -> None:
    file.write_text(SOUND + BROKEN + TRIED)
    answer = ask(command, "broken")
    assert (answer.code, answer.out) == (2, "")
    said, fault = answer.err
    assert said == "The adapter broken is misconfigured. Nothing was tried."
    assert fault.startswith(f"  {file}, line 6, [adapters.broken]: guarantee: must be ")


def test_a_witness_that_cannot_be_used_is_named(file: Path, ask: Ask) -> None:
    file.write_text(SOUND + BROKEN + TRIED + 'counts = { read = "broken.post" }\n')
    answer = ask("verify", "example")
    assert (answer.code, answer.out) == (2, "")
    said, fault = answer.err
    assert "counts reads broken.post" in said
    assert "[adapters.broken]: guarantee: must be " in fault
