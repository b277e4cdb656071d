"""What a person is asked to approve, on one sheet, computed here from the intent's events, byte for byte as stored.

The sheet does not believe what a service says about an intent. It folds the events themselves, computes the digest of
their content, and refuses to go on if the service asks for another one. What it shows is what that digest covers, and
beside it who asks, by whose authority, and why a person is asked. Nothing on it can hide or pose as something else
(`ledger/visible_text.py`), and whatever is cut says how long it was. Pure.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import starmap
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ledger.bounds import SHEET_VALUE_LENGTH
from ledger.errors import Corrupt, NotWaiting
from ledger.events import Recorded, decode
from ledger.intents import JSON, Subject
from ledger.money import money
from ledger.phases import Phase
from ledger.sealing import MARK
from ledger.state import ActionState, IntentState, content_digest, fold
from ledger.visible_text import cut, visible, visible_json

_LABEL: Final = 13  # columns
_TIME: Final = "%Y-%m-%d %H:%M:%S UTC"
_SHORT: Final = 8  # of a digest's hexadecimal digits


class _Line(msgspec.Struct, frozen=True):
    """One event as the service sends it; the body stays the bytes that were stored."""

    position: int
    version: int
    type: str
    at: datetime
    stream: str
    body: msgspec.Raw


class _Page(msgspec.Struct, frozen=True):
    items: tuple[_Line, ...]


class Asked(msgspec.Struct, frozen=True):
    """An intent that waits for people, and the digest of what they would approve, computed here."""

    state: IntentState
    digest: str

    @property
    def short(self) -> str:
        """Return the beginning of the digest, for a person to compare."""
        return self.digest.partition(":")[2][:_SHORT]


def asked(ledger: str, intent: str, events: bytes, digest: str | None) -> Asked:
    """Fold an intent's events and check that the service asks for what they hold; `digest` is what it shows.

    Raises `NotWaiting` if no answer is asked for, and `Corrupt` if the events and the service do not agree.
    """
    state = fold(events_of(ledger, events))
    if state is None or state.phase is not Phase.AWAITING_APPROVAL or state.approval_requested is None:
        phase = "unknown" if state is None else state.phase
        raise NotWaiting(f"The intent is {phase} and waits for nobody's approval. Nothing was changed.")
    if state.id != intent:
        raise Corrupt(f"The service answered with the events of another intent, {state.id}. Nothing was approved.")
    computed = content_digest(state)
    requested = state.approval_requested.digest
    if not computed == requested == digest:
        raise Corrupt(
            f"What the events hold has the digest {computed}, the events ask people to approve {requested}, and the "
            f"service shows {digest}. They must be one. Nothing was approved; tell whoever runs the service."
        )
    return Asked(state, computed)


def opened(question: Asked, said: Mapping[str, Any]) -> Asked:
    """Return what is asked with personal data as the service `said` it opens them; the digest is of what is sealed.

    Without the keys nobody can check that; whatever is not sealed stays as the events have it.
    """
    state = question.state
    shown = {one["id"]: one for one in said["actions"]}

    def action(one: ActionState) -> ActionState:
        plan, what = one.plan, shown[one.plan.id]
        plan = replace(
            plan, params=_opened(plan.params, what["params"]), summary=_opened(plan.summary, what["summary"])
        )
        return replace(one, plan=plan, preview=_opened(one.preview, what["preview"]))

    submitted = replace(
        state.submitted,
        reason=_opened(state.submitted.reason, said["reason"]),
        context=_opened(state.submitted.context, said["context"]),
    )
    return Asked(replace(state, submitted=submitted, actions=tuple(map(action, state.actions))), question.digest)


def _opened(stored: Any, said: Any) -> Any:
    """Return a value with each text that has anything sealed in it as somebody else says that it reads."""
    if isinstance(stored, str):
        return said if MARK in stored else stored
    if isinstance(stored, Mapping) and isinstance(said, Mapping) and len(stored) == len(said):
        pairs = zip(stored.items(), said.items(), strict=True)  # in one order
        return {_opened(name, known): _opened(member, told) for (name, member), (known, told) in pairs}
    if isinstance(stored, list) and isinstance(said, list):
        return list(starmap(_opened, zip(stored, said, strict=True)))
    return stored


def events_of(ledger: str, events: bytes) -> list[Recorded]:
    """Read the events of a stream as the service sends them. Raises `Corrupt`."""
    try:
        lines = msgspec.json.decode(events, type=_Page).items
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"The events cannot be read: {error}. Nothing was approved.") from error
    return [
        Recorded(
            ledger=ledger,
            position=line.position,
            stream=line.stream,
            version=line.version,
            at=line.at,
            event=decode(line.type, bytes(line.body)),
            body=bytes(line.body),
        )
        for line in lines
    ]


def sheet(question: Asked, now: datetime, *, whole: bool = False) -> str:
    """Write the sheet; `whole` shows long values in full."""
    length = 10**9 if whole else SHEET_VALUE_LENGTH
    lines = [*_about(question.state, now, length), ""]
    for number, action in enumerate(question.state.actions, 1):
        lines += [*_action(number, action, length), ""]
    if any(one.plan.personal is not None for one in question.state.actions):
        lines.append(
            _field("Sealed", "personal data are shown as the service opens them; the digest is of their seals")
        )
    return "\n".join([*lines, _field("Digest", question.digest)])


def _about(state: IntentState, now: datetime, length: int) -> Iterator[str]:
    submitted, policy, request = state.submitted, state.policy, state.approval_requested
    yield _field("Intent", f"{visible(state.id)} in the ledger {visible(state.ledger)}")
    yield _field("Submitted", state.submitted_at.strftime(_TIME))
    yield _field("Agent", who(submitted.agent))
    yield _field("Custody", " > ".join(map(visible, submitted.custody)))
    yield _field("For", visible(submitted.commissioned_by) if submitted.commissioned_by else "nobody who is named")
    yield _field("Task", visible(submitted.task) if submitted.task else "none")
    yield _field("Reason", cut(visible(submitted.reason), length))
    yield _field("Confidence", "not stated" if submitted.confidence is None else str(submitted.confidence))
    if submitted.context:
        yield _field("Context", cut(visible_json(submitted.context), length))
    if policy is not None:
        yield _field("Policy", f"{', '.join(map(visible, policy.policies)) or 'none'} of {visible(policy.policy_set)}")
        for reason in policy.reasons:
            yield _field("", cut(visible(reason), length))
    if request is not None:
        given = ", ".join(visible(answer.by) for answer in state.approvals) or "nobody yet"
        yield _field("Approvals", f"{len(state.approvals)} of {request.quorum} ({given})")
        yield _field(
            "May approve", ", ".join(map(visible, request.approvers)) or "any person outside its custody chain"
        )
        left = remaining((request.expires_at - now).total_seconds())
        yield _field("Expires", f"{request.expires_at.strftime(_TIME)}, {left}")


def _action(number: int, action: ActionState, length: int) -> Iterator[str]:
    plan = action.plan
    after = f", after {', '.join(map(visible, plan.after))}" if plan.after else ""
    yield f"{number}. {visible(plan.summary)}"
    yield f"   {visible(plan.operation)} as {visible(plan.id)} ({plan.guarantee}, undo {plan.undo}{after})"
    if plan.amount_minor is not None and plan.currency is not None:
        yield f"   moves {visible(money(plan.amount_minor, plan.currency))}"
    yield from _values("parameters", plan.params, length)
    preview = action.preview or {}
    if preview.get("facts"):
        yield from _values("facts", preview["facts"], length)
    before, after_it = preview.get("before"), preview.get("after")
    if isinstance(before, Mapping) and isinstance(after_it, Mapping):
        yield from _changes(before, after_it, length)
    else:
        yield from _values("before", before, length)
        yield from _values("after", after_it, length)


def _values(title: str, values: Any, length: int) -> Iterator[str]:
    if values is None:
        return
    yield f"   {title}"
    if not isinstance(values, Mapping):
        yield f"     {cut(visible_json(values), length)}"
        return
    for name, value in sorted(values.items()):
        yield f"     {_name(name)}  {cut(visible_json(value), length)}"


def _changes(before: Mapping[str, Any], after: JSON | Mapping[str, Any], length: int) -> Iterator[str]:
    """Show before and after side by side, what changes marked with a star."""
    yield "   before -> after"
    for name in sorted({*before, *after}):
        old, new = (visible_json(side[name]) if name in side else "nothing" for side in (before, after))
        if old == new:
            yield f"     {_name(name)}  {cut(new, length)}"
        else:
            yield f"   * {_name(name)}  {cut(old, length)} -> {cut(new, length)}"


def who(subject: Subject) -> str:
    """Name a subject with its version and role."""
    version = f" {visible(subject.version)}" if subject.version else ""
    role = f", {visible(subject.role)}" if subject.role else ""
    return f"{visible(subject.name)}{version} ({subject.kind}{role})"


def remaining(seconds: float) -> str:
    """Say how much time there is, roughly."""
    if seconds <= 0:
        return "which is past"
    minutes = int(seconds // 60)
    days, hours = minutes // 1_440, minutes // 60 % 24
    if days:
        return f"in {days} d {hours} h"
    return f"in {hours} h {minutes % 60} min" if hours else f"in {minutes} min" if minutes else "in less than a minute"


def _field(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}{text}"


def _name(name: str) -> str:
    return f"{cut(visible(name), 60):<16}"
