"""The command that undoes what agents did: see it, approve exactly that, watch it happen. Rules as in `cli.py`."""

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from gateway.command import FOUND_WRONG, NO_REACH, OK, Json, Reach, Yes, answer, ask, confirmed, progress, table
from ledger.errors import DigestMismatch, Misconfigured, Unavailable

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.undo_sheet import UndoAsked

_POLL_SECONDS: Final = 0.5
_LOOKED: Final = "Only looked at"


@Parameter(name="*")
@dataclass(frozen=True)
class Selected:
    """Whose deeds, in flags: intents to which all that is given applies."""

    agent: Annotated[str | None, Parameter(help="Submitted by an agent of this name.")] = None
    grant: Annotated[str | None, Parameter(help="Submitted under this grant or one below it.")] = None
    task: Annotated[str | None, Parameter(help="Under this task.")] = None
    operation: Annotated[str | None, Parameter(help="With an action of this operation.")] = None
    since: Annotated[str | None, Parameter(help="Decided since then: 14:00, 2h, 2026-01-31T12:00:00Z.")] = None
    until: Annotated[str | None, Parameter(help="Decided before then.")] = None


_EVERYTHING: Final = Selected()


def undo(
    *,
    selected: Selected = _EVERYTHING,
    plan: str | None = None,
    reason: str | None = None,
    partial: Yes = False,
    dry_run: Yes = False,
    approve: str | None = None,
    halt: Yes = False,
    full: Yes = False,
    reach: Reach = NO_REACH,
    json: Json = False,
) -> int:
    """See what undoing many intents would do, computed here from its events; then undo exactly that, each intent once.

    Exit code 1 if anything that was to be undone was not.

    Parameters
    ----------
    plan
        A plan that was made before, instead of a selection.
    reason
        For whoever reads the audit; needed unless it is a dry run.
    partial
        Undo what can be undone, also of intents of which not everything can be.
    dry_run
        Only look; nothing is undone.
    approve
        Undo without being asked, if the digest of what is found now is this one; needed where there is no terminal.
    halt
        Let nothing more of a plan be begun; it can be approved again.
    full
        Show every intent.
    """
    if halt:
        return _halt(plan, reason, reach, json)
    if (plan is None) == (selected == _EVERYTHING):
        raise Misconfigured("A selection is needed, such as --agent or --since, or --plan; not both. Nothing was done.")
    if plan is None and reason is None and not dry_run:
        raise Misconfigured("A --reason is needed to undo anything; --dry-run only looks. Nothing was done.")
    body = _body(selected, reason or _LOOKED, partial)
    question = ask(reach, lambda client: _look(client, plan, body))
    if not json or not dry_run:
        _show(question, full=full, to_stderr=json)
    if dry_run:
        if json:
            answer(_shown(reach, question), "", as_json=True)
        return OK
    if approve is not None and approve != question.digest:
        raise DigestMismatch(
            f"What would be undone now has the digest {question.digest}, which is not the one given. Nothing was "
            "undone; look again."
        )
    if approve is None and not confirmed(
        f"Undo exactly these, {question.short}? [y/N] ", f"use --approve {question.digest}"
    ):
        sys.stderr.write("Nothing was undone.\n")
        return FOUND_WRONG
    return _carry_out(reach, question, json)


def _halt(plan: str | None, reason: str | None, reach: Reach, as_json: bool) -> int:
    from gateway.client import part  # noqa: PLC0415

    if plan is None or reason is None:
        raise Misconfigured("To halt a plan, --plan names it and --reason says why. Nothing was done.")
    halted = ask(reach, lambda client: client.post(f"/v1/undo-plans/{part(plan)}/halt", {"reason": reason}))
    answer(halted, f"Halted. Undone so far: {halted['progress']['undone']}; what was begun goes on.", as_json)
    return OK


async def _look(client: "Client", plan: str | None, body: dict[str, Any]) -> "UndoAsked":
    """Make a plan, or read one, and check it. Raises `Corrupt`."""
    from gateway.client import decoded, part  # noqa: PLC0415
    from gateway.undo_sheet import undo_asked  # noqa: PLC0415

    if plan is None:
        shown = await client.post("/v1/undo-plans", body)
    else:
        shown = decoded(await client.get(f"/v1/undo-plans/{part(plan)}"))
    return undo_asked("", shown, await client.get(f"/v1/undo-plans/{part(str(shown.get('id')))}/events"))


def _show(question: "UndoAsked", *, full: bool, to_stderr: bool) -> None:
    from gateway.undo_sheet import HEADINGS, ROWS, rows, summary  # noqa: PLC0415

    items = question.state.items
    if items:
        table(HEADINGS, list(rows(items, whole=full)), to_stderr=to_stderr)
    words = [f"… and {len(items) - ROWS:,} more; --full shows them."] if len(items) > ROWS and not full else []
    (sys.stderr if to_stderr else sys.stdout).write("\n".join([*words, summary(question)]) + "\n")


def _shown(reach: Reach, question: "UndoAsked") -> Any:
    from gateway.client import Client, decoded  # noqa: PLC0415

    async def read(client: Client) -> bytes:
        return await client.get(f"/v1/undo-plans/{question.state.id}")

    return decoded(ask(reach, read))


def _carry_out(reach: Reach, question: "UndoAsked", as_json: bool) -> int:
    """Approve the plan, and watch it until it has ended."""
    path = f"/v1/undo-plans/{question.state.id}"

    async def watch(client: "Client") -> Any:
        from gateway.client import decoded  # noqa: PLC0415

        await client.post(f"{path}/approve", {"digest": question.digest})
        with progress(quiet=as_json, what="intents") as show:
            while True:
                try:
                    plan = decoded(await client.get(path))
                except Unavailable:  # it goes on without us, and so do we
                    await asyncio.sleep(_POLL_SECONDS)
                    continue
                all_of_them = sum(plan["progress"].values())
                show(all_of_them - plan["progress"]["waiting"], all_of_them)
                if plan["phase"] != "undoing":
                    return plan
                await asyncio.sleep(_POLL_SECONDS)

    ended = ask(reach, watch)
    answer(ended, _ending(ended), as_json)
    come = ended["progress"]
    return OK if ended["phase"] == "done" and come["undone"] == sum(come.values()) else FOUND_WRONG


def _ending(plan: dict[str, Any]) -> str:
    from ledger.visible_text import visible  # noqa: PLC0415

    counts = [f"{number} {name.replace('_', ' ')}" for name, number in plan["progress"].items() if number]
    lines = [f"{'Halted' if plan['phase'] == 'halted' else 'Done'}: {', '.join(counts)}."]
    if plan["halted"]:
        lines.append(f"{visible(plan['halted'])} Approve the rest: intentledger undo --plan {plan['id']}")
    lines += [
        f"{one['intent']} {one['outcome'].replace('_', ' ')}: {visible(one['outcome_reason'] or '')}"
        for one in plan["intents"]
        if one["outcome"] not in {None, "undone"}
    ]
    return "\n".join(lines)


def _body(selected: Selected, reason: str, partial: bool) -> dict[str, Any]:
    """Write the body of POST /v1/undo-plans. Raises `Misconfigured`."""
    from dataclasses import asdict  # noqa: PLC0415
    from datetime import datetime  # noqa: PLC0415

    from gateway.undo_sheet import moment  # noqa: PLC0415

    now = datetime.now().astimezone()
    named: dict[str, Any] = {name: value for name, value in asdict(selected).items() if value is not None}
    times: dict[str, Any] = {name: moment(named[name], now).isoformat() for name in ("since", "until") if name in named}
    return {**named, **times, "reason": reason, "partial": partial}
