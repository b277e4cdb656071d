"""A pytest plugin for people who write adapters: the laws of the contract as tests of their own.

    pytest intentledger.toml                     each law of each operation under [verify] is a test
    def test_notes(adapter_laws): …              the fixture, for an outside system that the test starts itself

Both run `intentledger adapters verify` in a process of its own: what it forks and stops there is not the test's.
The plugin is loaded in every run of pytest beside Intent Ledger, so it imports nothing until it is asked.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

Report = dict[str, Any]
Check = Callable[..., list[Report]]

_ENTRY: Final = "from gateway.cli import main; main()"
_PROVED: Final = {0, 1}  # the exit codes with which a verification has come to its end


@pytest.fixture
def adapter_laws() -> Check:
    """Return `check(config, name, environment={}, thorough=False)`: it fails the test unless every law is kept.

    It answers the reports, one for each operation, as `intentledger adapters verify --json` shows them.
    """

    def check(
        config: Path, name: str, environment: Mapping[str, str] | None = None, *, thorough: bool = False
    ) -> list[Report]:
        reports = _verified(config, name, environment or {}, thorough=thorough)
        broken = [_words(report) for report in reports if not report["kept"]]
        if broken:
            pytest.fail("\n\n".join(broken), pytrace=False)
        return reports

    return check


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "LawFile | None":
    """Take a file of adapters that was named on the command line."""
    if file_path.suffix == ".toml" and parent.session.isinitpath(file_path):
        file: LawFile = LawFile.from_parent(parent, path=file_path)
        return file
    return None


class LawFile(pytest.File):
    """The adapters of one file; each is verified once, when the first of its laws is asked for."""

    def collect(self) -> Iterable[pytest.Item]:
        """Yield a test for each law that is asked of each operation, and one for what it has earned."""
        from adapters.configuration import load, read  # noqa: PLC0415
        from adapters.laws.verdict import LAWS, asked  # noqa: PLC0415

        self._reports: dict[str, list[Report]] = {}
        operations = load(self.path, os.environ).operations
        for adapter, verbs in read(self.path).get("verify", {}).items():
            for verb in verbs:
                operation = operations.get(f"{adapter}.{verb}")
                if operation is not None:
                    for number, name in LAWS.items():
                        if asked(number, operation.guarantee, operation.undo):
                            title = f"{operation.name}: {number}. {name}"
                            yield LawItem.from_parent(self, name=title, operation=operation.name, law=number)
                    title = f"{operation.name} earns {operation.guarantee}, undo {operation.undo}"
                    yield LawItem.from_parent(self, name=title, operation=operation.name, law=None)

    def report(self, operation: str) -> Report:
        """Return what was found out about an operation."""
        adapter = operation.partition(".")[0]
        if adapter not in self._reports:
            self._reports[adapter] = _verified(self.path, adapter, {})
        return next(one for one in self._reports[adapter] if one["operation"] == operation)


class BrokenLawError(Exception):
    """A law is not kept, or not everything that was declared is earned; the words say how."""


class LawItem(pytest.Item):
    """One law of one operation, or, without a law, what it has earned."""

    def __init__(self, *, operation: str, law: int | None, **more: Any) -> None:
        """Be the test of this law."""
        super().__init__(**more)
        self._operation = operation
        self._law = law

    def runtest(self) -> None:
        """Fail unless the law is kept."""
        parent = self.parent
        if not isinstance(parent, LawFile):
            raise TypeError("A law stands in a file of adapters.")
        report = parent.report(self._operation)
        if self._law is None:
            promised = (report["declared"], report["declared_undo"])
            if (report["earned"], report["earned_undo"]) != promised:
                raise BrokenLawError(_words(report))
            return
        law = next(one for one in report["laws"] if one["number"] == self._law)
        if law["outcome"] != "kept":
            raise BrokenLawError("\n".join([f"{law['name']}: {law['outcome']}", *law["findings"]]))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        """Say what was found, without a trace of Python."""
        if isinstance(excinfo.value, BrokenLawError):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo, style))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Say where it stands."""
        return self.path, None, self.name


def _verified(config: Path, name: str, environment: Mapping[str, str], *, thorough: bool = False) -> list[Report]:
    """Run the verification; raises `UsageError` if it could not come to an end."""
    flags = ["--thorough"] if thorough else []
    command = [sys.executable, "-c", _ENTRY, "adapters", "verify", name, "--config", str(config), "--json", *flags]
    ran = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False)  # noqa: S603
    if ran.returncode not in _PROVED or not ran.stdout:
        raise pytest.UsageError(ran.stderr.decode(errors="replace").strip() or f"It ended with {ran.returncode}.")
    reports: list[Report] = json.loads(ran.stdout)
    return reports


def _words(report: Report) -> str:
    earned = report["earned"] or "no guarantee"
    promised = f"{report['operation']} declares {report['declared']}, undo {report['declared_undo']}"
    said = [f"{promised}; it has earned {earned}, undo {report['earned_undo']}."]
    for law in report["laws"]:
        if law["outcome"] not in {"kept", "not asked"}:
            said.append(f"  law {law['number']}, {law['name']}: {law['outcome']}")
            said.extend(f"    {sentence}" for sentence in law["findings"][:3])
    return "\n".join(said)
