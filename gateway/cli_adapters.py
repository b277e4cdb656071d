"""The command line's `adapters`: what the configured ones offer, and whether they keep what they promise.

`verify` forks the processes that it hurts, so it runs on no event loop and starts no thread of its own.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App

from gateway.cli_tools import tools
from gateway.command import (
    BAD_USAGE,
    FOUND_WRONG,
    NO_FLAGS,
    OK,
    Flags,
    Json,
    Yes,
    adapters_for,
    config_of,
    settings_of,
    table,
)
from ledger.errors import Misconfigured

if TYPE_CHECKING:
    from adapters.contract import Operation
    from adapters.laws.sampling import Setup
    from adapters.laws.verdict import Report
    from adapters.registry import Registry

_FINDINGS_SHOWN: Final = 5  # of one law; they tend to be one fault seen many times

adapters = App(name="adapters", help="What the configured adapters offer, and whether they keep it.")
adapters.command(tools)


@adapters.default
def listed(flags: Flags = NO_FLAGS, *, json: Json = False) -> int:
    """List the operations that the configured adapters offer, and what each one guarantees.

    What is wrong with an adapter that cannot be used follows on standard error; then the exit code is 2.
    """
    from adapters.configuration import load_sound  # noqa: PLC0415
    from adapters.registry import Registry  # noqa: PLC0415
    from gateway.render import encode, show_operation  # noqa: PLC0415

    settings = settings_of(flags)
    registry = load_sound(settings.config, os.environ) if settings.config else Registry([])
    offered = list(registry.operations.values())
    if json:
        sys.stdout.write(encode([show_operation(one) for one in offered]).decode() + "\n")
    elif offered:
        table(("operation", "guarantee", "undo", "hold", "does"), [_row(one) for one in offered])
    elif not registry.faults:
        sys.stdout.write("No adapters are configured; INTENTLEDGER_CONFIG names their file.\n")
    sys.stdout.flush()
    for fault in _faults(registry):
        sys.stderr.write(f"{fault}\n")
    return BAD_USAGE if registry.faults else OK


@adapters.command
def verify(
    name: str, flags: Flags = NO_FLAGS, *, thorough: Yes = False, law: Sequence[int] = (), json: Json = False
) -> int:
    """Drive every law of the contract against an adapter, and show the guarantee that it has earned.

    It acts on the outside system for real, some hundred times: point it at one that is made for this. Exit 0 if
    everything that is declared was earned, 1 if not, 2 if it is misconfigured or [verify] in the file does not say how
    to try it. What is wrong with other adapters does not matter, unless it is tried with them.

    Parameters
    ----------
    name
        The adapter, as in [adapters.<name>].
    thorough
        Try each fault at every step of every call, and not at some of them.
    law
        A law to try, by its number; may be repeated. All of them by default, and only then is anything earned.
    """
    import secrets  # noqa: PLC0415

    from adapters.laws.verification import Watched  # noqa: PLC0415
    from adapters.laws.verification import verify as verify_now  # noqa: PLC0415

    environment = Watched(os.environ)
    reports = []
    for setup in _setups(name, config_of(flags), environment, secrets.token_hex(4)):
        report = verify_now(
            setup,
            now=lambda: datetime.now(UTC),
            secrets=environment.used,
            thorough=thorough,
            only=law,
            progress=_progress(setup.operation),
        )
        reports.append(report)
        if not json:
            _show(report)
    if json:
        sys.stdout.write(_encoded(reports) + "\n")
    return OK if all(one.kept for one in reports) else FOUND_WRONG


def _setups(name: str, config: Path, environment: Mapping[str, str], run: str) -> "Sequence[Setup]":
    from adapters.configuration import read  # noqa: PLC0415
    from adapters.laws.sampling import setups  # noqa: PLC0415

    registry = adapters_for(name, config, environment)
    try:
        return setups(str(config), read(config), registry, name, run)
    except Misconfigured as error:  # what it was to be tried with may be of an adapter that cannot be used
        raise Misconfigured(error.message, errors=_faults(registry)) from None


def _faults(registry: "Registry") -> Sequence[str]:
    return [sentence for sentences in registry.faults.values() for sentence in sentences]


def _row(one: "Operation") -> Sequence[str]:
    undo = str(one.undo) + (f" within {one.undo_window_seconds} s" if one.undo_window_seconds else "")
    return (
        one.name,
        "reads" if one.reads else str(one.guarantee),
        "" if one.reads else undo,
        f"{one.hold_seconds} s" if one.hold_seconds else "",
        one.summary or "",
    )


def _progress(operation: str) -> Callable[[str], None]:
    """Return what tells a person at a terminal how far it has come. It starts no thread, as prettier ones do."""
    if not sys.stderr.isatty():
        return lambda _: None

    def show(part: str) -> None:
        sys.stderr.write(f"\r{operation}: {part:<20}\r")
        sys.stderr.flush()

    return show


def _show(report: "Report") -> None:
    undo = "" if report.declared_undo == "none" else f", undo {report.declared_undo}"
    sys.stdout.write(f"\n{report.operation} declares {report.declared}{undo}\n\n")
    sys.stdout.flush()
    laws = [law for law in report.laws if not report.only or law.number in report.only]
    table(
        ("law", "", "result", "trials"),
        [(str(law.number), law.name, str(law.outcome), str(law.trials or "")) for law in laws],
    )
    for law in laws:
        for sentence in law.findings[:_FINDINGS_SHOWN]:
            sys.stdout.write(f"\nlaw {law.number}: {sentence}\n")
        if len(law.findings) > _FINDINGS_SHOWN:
            sys.stdout.write(
                f"law {law.number}: and {len(law.findings) - _FINDINGS_SHOWN} more; --json has them all.\n"
            )
    for note in report.notes:
        sys.stdout.write(f"\nnote: {note}\n")
    faults = ", ".join(f"{count} {kind}" for kind, count in report.faults.items() if count)
    sys.stdout.write(f"\nfaults: {faults or 'none'}\n{report.operation} {_verdict(report)}\n")
    sys.stdout.flush()


def _verdict(report: "Report") -> str:
    if report.only:
        return "keeps the laws that were tried." if report.kept else "does not keep the laws that were tried."
    earned = "has earned no guarantee" if report.earned is None else f"has earned {report.earned}"
    if report.declared_undo != "none":
        earned += f", undo {report.earned_undo}"
    if report.kept:
        return f"{earned}, and keeps every law."
    if (report.earned, report.earned_undo) == (report.declared, report.declared_undo):
        return f"{earned}, and does not keep every law."
    return f"{earned}: it promises more than it keeps."


def _encoded(reports: Sequence["Report"]) -> str:
    import msgspec  # noqa: PLC0415

    shown: list[dict[str, Any]] = [{**msgspec.to_builtins(one), "kept": one.kept} for one in reports]
    return msgspec.json.encode(shown).decode()
