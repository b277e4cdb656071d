"""What a call under a key may do, and in which order: no database, no network, no waiting.

Each verb is a generator. It yields what it wants done, a statement of `Sql` or the service's own `Effect`, is sent what
came of it, and returns the `Outcome`. Who drives it (`fence.py`) has nothing to decide.

    verb      first call of the key            held              applied            aborted
    once      effect → applied                 -                 recorded answer    recorded refusal
    hold      effect → held                    recorded receipt  recorded receipt   refused
    confirm   tombstone, refused               effect → applied  recorded answer    refused
    release   tombstone                        effect → aborted  refused            done already

Rules of this file:

1. The row is claimed before anything else. Whoever comes second under a key waits at its primary key until the first
   has committed or rolled back, and then sees what became of it.
2. What is answered is recorded in the transaction that does it, a refusal as well: a repetition that comes late can
   neither act again nor succeed where an earlier one was refused.
3. An abort that overtakes its hold leaves a tombstone, and the late hold is refused. A hold from a process that was
   overtaken (a smaller epoch) is refused. Nothing is left hanging.
"""

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from intentledger_fence.call import Call

JSON: TypeAlias = dict[str, Any]


class State(StrEnum):
    """What has become of a key."""

    HELD = "held"
    APPLIED = "applied"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Refused:
    """What an effect returns instead of an answer when it cannot be. What it did until then is rolled back."""

    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to answer, now and whenever the call is repeated."""

    done: bool
    answer: JSON

    @property
    def status(self) -> int:
        """Return the HTTP status that says so: 422 is a certain no to the `http` adapter, whatever the verb."""
        return 200 if self.done else 422


@dataclass(frozen=True, slots=True)
class Found:
    """What `look` finds under a key."""

    state: State
    answer: JSON


class BrokenPromise(RuntimeError):
    """A hold could not be confirmed or released. Nothing was done; the row still says held."""


class NoTransaction(RuntimeError):
    """No transaction is open on the connection, so nothing would hold the fence and the effect together."""


class Sql(StrEnum):
    """The statements that a database must know."""

    IN_TRANSACTION = "is a transaction open?"  # → one row, true or false
    CLAIM = "write the row of a key, or lock it"  # key, epoch, answer → calls so far, state, epoch, receipt, answer
    WRITE = "change the row"  # state, epoch, receipt, answer, key
    SAVE = "set a savepoint"
    BACK = "go back to it"


@dataclass(frozen=True, slots=True)
class Do:
    """A statement to run. What came of it is sent back as a list of rows."""

    sql: Sql
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Effect:
    """The service's own effect is to happen now, given the receipt if there is a hold. Its answer is sent back."""

    receipt: JSON | None


@dataclass(frozen=True, slots=True)
class _Row:
    state: State
    epoch: int
    receipt: JSON | None
    answer: JSON | None


Steps: TypeAlias = Generator[Do | Effect, Any, Outcome]
Verb: TypeAlias = Callable[[Call], Steps]

_TOMBSTONE: Final = {"error": "This action was aborted."}
_OTHER_USE: Final = Outcome(False, {"error": "This key was used for something else."})
_OVERTAKEN: Final = Outcome(False, {"error": "A newer process has taken this action over."})
_CONFIRMED: Final = Outcome(False, {"error": "This was confirmed and can no longer be released."})
_RELEASED: Final = Outcome(True, {"status": "released"})


def once(call: Call) -> Steps:
    """Let the effect happen at the first call of its key; repeat its answer, or its refusal, from then on."""
    row = yield from _claim(call)
    if row is None:
        return (yield from _first(call, State.APPLIED))
    if row.state is State.HELD or row.answer is None:
        return _OTHER_USE
    return Outcome(row.state is State.APPLIED, row.answer)


def hold(call: Call) -> Steps:
    """Let the effect reserve what a confirm will need; its answer is the receipt."""
    row = yield from _claim(call)
    if row is None:
        return (yield from _first(call, State.HELD))
    if row.state is State.ABORTED:
        return Outcome(False, row.answer or _TOMBSTONE)
    if row.receipt is None:
        return _OTHER_USE
    if call.epoch < row.epoch:
        return _OVERTAKEN
    yield _write(call, row.state, row.epoch, row.receipt, row.answer)  # the newest epoch seen counts
    return Outcome(True, row.receipt)


def confirm(call: Call) -> Steps:
    """Let the effect make the hold final. Without a hold there will be none any more."""
    row = yield from _claim(call)
    if row is None or row.state is State.ABORTED:
        return Outcome(False, _TOMBSTONE)
    if row.state is State.HELD:
        return Outcome(True, (yield from _follow(call, row, State.APPLIED)))
    return Outcome(True, row.answer or {}) if row.receipt is not None else _OTHER_USE


def release(call: Call) -> Steps:
    """Let the effect give back what was reserved. Without a hold leave a tombstone, so that a late one is refused."""
    row = yield from _claim(call)
    if row is not None and row.state is State.APPLIED:
        return _CONFIRMED
    if row is not None and row.state is State.HELD:
        yield from _follow(call, row, State.ABORTED)
    return _RELEASED


def look(call: Call) -> Generator[Do | Effect, Any, Found | None]:
    """Tell what became of a key. Whoever is just acting under it is waited for, so that nothing is still to come."""
    yield from _within_a_transaction()
    yield Do(Sql.SAVE)
    row = yield from _row(call)
    yield Do(Sql.BACK)
    if row is None:
        return None
    return Found(row.state, (row.receipt if row.state is State.HELD else row.answer) or {})


def _claim(call: Call) -> Generator[Do | Effect, Any, _Row | None]:
    yield from _within_a_transaction()
    return (yield from _row(call))


def _within_a_transaction() -> Generator[Do | Effect, Any, None]:
    ((is_open,),) = yield Do(Sql.IN_TRANSACTION)
    if not is_open:
        raise NoTransaction("Open a transaction on the connection first; nothing was done.")


def _row(call: Call) -> Generator[Do | Effect, Any, _Row | None]:
    """Return the row of a key, locked. None if there was none: now there is, a tombstone until it says otherwise."""
    ((calls, state, epoch, receipt, answer),) = yield Do(Sql.CLAIM, (call.key, call.epoch, _text(_TOMBSTONE)))
    return None if calls == 1 else _Row(State(state), int(epoch), _json(receipt), _json(answer))


def _first(call: Call, state: State) -> Steps:
    yield Do(Sql.SAVE)
    answer = yield Effect(None)
    if isinstance(answer, Refused):
        yield Do(Sql.BACK)
        refusal = {"error": answer.reason}
        yield _write(call, State.ABORTED, call.epoch, None, refusal)
        return Outcome(False, refusal)
    held = state is State.HELD
    yield _write(call, state, call.epoch, answer if held else None, None if held else answer)
    return Outcome(True, answer)


def _follow(call: Call, row: _Row, state: State) -> Generator[Do | Effect, Any, JSON]:
    answer = yield Effect(row.receipt)
    if isinstance(answer, Refused):
        raise BrokenPromise(f"What was held cannot be {state}: {answer.reason}")
    recorded = answer if state is State.APPLIED else _TOMBSTONE
    yield _write(call, state, row.epoch, row.receipt, recorded)
    return answer or {}


def _write(call: Call, state: State, epoch: int, receipt: JSON | None, answer: JSON | None) -> Do:
    return Do(Sql.WRITE, (state.value, max(epoch, call.epoch), _text(receipt), _text(answer), call.key))


def _text(value: JSON | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _json(text: str | None) -> JSON | None:
    return None if text is None else json.loads(text)
