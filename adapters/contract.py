"""The contract between the coordinator and the outside world.

An adapter stands for one outside system and offers *operations*, `adapter.verb`. It speaks the six verbs below. The
coordinator promises how it will call them; the adapter promises what their answers mean. Each promise is a law, each
law has a number, and `intentledger adapters verify` (`adapters/laws/`) drives every one of them against an adapter.

What the coordinator promises

  * Every call carries a key. (key) names one action of one intent at this adapter for ever: prepare, commit, abort and
    inquire use the same one; compensate uses a second one, its own. Keys are never derived again and never reused.
  * `commit` is called only after the decision is durable, and `abort` only after the opposite one is. Both only where a
    commit was answered `Permanent`: the abort then makes sure that nothing stays held.
  * A `one-shot` operation (idempotent, verifiable, blind) is validated by `prepare` and happens in `commit`.
    A `verifiable` or `blind` commit is announced in the ledger first, and is sent again only after `inquire` answered
    ABSENT (verifiable) or after the adapter itself raised `Transient` (both).
  * Of an operation that only `reads` nothing but its preview is ever called (`adapters/reading.py`).
  * Several processes may make the same call at the same time, and an old call may arrive long after a newer one.
    `Call.epoch` grows with every process that takes the intent over.

The laws that an adapter keeps

  1. **Prepare votes.** It answers `Prepared` or `Refused`; refusing is a value, not an error. This is the last chance
     to say no: an `atomic` operation that has answered `Prepared` has given its word that commit will succeed.
  2. **A hold survives.** What an `atomic` prepare reserved outlives crashes of us, of the adapter and of the outside
     system, for `hold_seconds`.
  3. **Prepare can be repeated.** The same key gives an equivalent receipt and not a second hold.
  4. **Nothing happens before commit.** Neither preview nor prepare has an effect that others can see.
  5. **Commit can be repeated** for `atomic` and `idempotent`: the same key gives the same result and one effect. Hence
     `Permanent` from any commit of that key means that no commit of that key ever took effect.
  6. **Abort always ends.** It succeeds with a receipt, without one, twice, and before its prepare; it leaves no trace
     of the action, and a later prepare of that key is refused.
  7. **A stale epoch changes nothing.** Where the adapter keeps a fence (`adapters/fence.py`), a prepare whose epoch is
     older than the newest seen for its key is refused.
  8. **Compensate undoes once.** Repeated under its key it gives the same result; it is called only for effects known
     to exist. After an `exact` undo the outside shows what it showed before.
  9. **Inquire tells the truth and changes nothing.** APPLIED only for a visible effect, ABSENT only if this key will
     have none unless it is sent again, HELD for a living hold; everything else is UNKNOWN.
     It is asked no sooner than `settle_seconds` after the call in question has ended.
 10. **Errors mean what they say.** `Transient` and `Permanent` promise that *nothing happened*. Whenever that is not
     certain (a time-out, a reset after sending, a 5xx, an answer that makes no sense) the error is `InDoubt`. Any
     other exception counts as `InDoubt` too. There are no retries inside an adapter: attempts belong to the ledger.
     Where nothing was heard of the system itself, no connection and no answer in time, the error says `silent=True`;
     a few of those in a row, and calls are held back until it is heard again (`coordinator/circuit.py`).
 11. **Preview only looks.** Facts come from the system of record, never from the agent's parameters, and have the types
     that are declared. The vote carries them as they are while the hold stands (a one-shot's: when it is validated), so
     that what has changed since policy saw it is noticed. Where they can no longer be seen then, it carries none.
 12. **Nothing leaks.** Receipts, results, previews and messages hold no credentials, are JSON, and stay within
     `ledger/bounds.py`.

What is not asked of an adapter: waiting, retrying, ordering, knowing other actions, or knowing why.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from adapters.facts import FactType
from adapters.money import MoneyParameter
from ledger.intents import JSON, Guarantee, Undo, Verb


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter offers, and what it promises about it. Shown as it is in `GET /v1/operations`."""

    name: str  # "adapter.verb"
    params: Mapping[str, Any]  # JSON Schema 2020-12 of the parameters; an object without additional properties
    guarantee: Guarantee
    undo: Undo
    undo_window_seconds: int | None = None  # None: no limit; counted from the moment the effect was recorded
    settle_seconds: int = 0  # verifiable only: how long after a call has ended it may still take effect; see law 9
    hold_seconds: int | None = None  # atomic only: the shortest time a hold lives; None: until told
    key_lifetime_seconds: int | None = None  # how long a repeated key is recognised; None: for ever
    facts: tuple[str, ...] = ()  # names of the facts that preview reports for policy
    fact_types: Mapping[str, FactType] = {}  # of those that policy may compare; by name
    reads: bool = False  # it has no effect, and only ever its preview is called; see `reading.py`
    money: MoneyParameter | None = None  # the integer parameter that moves money; None: by convention; see `money.py`
    summary: str | None = None  # "refund {amount|money} to customer {customer}"; None: the name and parameters
    shown_by: tuple[str, ...] = ()  # parameters that name the thing whose state its preview shows; (): none is compared
    secret_fields: tuple[str, ...] = ()  # top-level fields of answers that are never stored
    data_subject: str | None = None  # JSON pointer to the parameter that names the person whose data these are
    personal_fields: tuple[str, ...] = ()  # members of answers that are personal too; parameters: see `personal.py`


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a verb. Credentials are not in it: they belong to the adapter's configuration."""

    verb: Verb  # for inquire: the verb whose outcome is asked, COMMIT or COMPENSATE
    ledger: str
    intent: str
    action: str
    operation: str
    params: JSON  # valid against the operation's schema
    key: str
    epoch: int
    deadline: datetime  # an answer after this moment is not waited for
    decision_position: int | None = None  # of CommitDecided; set for commit and compensate
    traceparent: str | None = None


class Preview(msgspec.Struct, frozen=True):
    """What the outside system shows now, for policy (`facts`) and for people (`before`, `after`)."""

    facts: JSON = {}
    before: JSON | None = None
    after: JSON | None = None


class Prepared(msgspec.Struct, frozen=True):
    """The vote yes. `receipt` is the handle of the hold; None for a one-shot."""

    receipt: JSON | None = None
    preview: Preview = Preview()


class Refused(msgspec.Struct, frozen=True):
    """The vote no, with a sentence for the agent. Nothing is held."""

    reason: str


Vote = Prepared | Refused


class Result(msgspec.Struct, frozen=True):
    """What the outside system said about an effect: its reference, the new state, as data."""

    data: JSON = {}


class Applied(msgspec.Struct, frozen=True):
    """Standing: the effect is in the world."""

    result: Result


class Held(msgspec.Struct, frozen=True):
    """Standing: prepared, not committed."""

    receipt: JSON


class Absent(msgspec.Struct, frozen=True):
    """Standing: there is no effect, and there will be none unless the call is sent again."""


class Unknown(msgspec.Struct, frozen=True):
    """Standing: the outside system cannot tell."""

    reason: str = "The outside system cannot tell."


Standing = Applied | Held | Absent | Unknown


class Adapter(Protocol):
    """One outside system. All verbs raise only `Transient`, `Permanent` or `InDoubt` (law 10)."""

    name: str
    operations: Mapping[str, Operation]  # by full name, "adapter.verb"

    async def open(self) -> None:
        """Get ready to be called. A system that is down is no reason to fail: calls will say so."""

    async def close(self) -> None:
        """Let go of connections. Holds stay."""

    async def preview(self, call: Call) -> Preview:
        """Look, and change nothing (law 11)."""

    async def prepare(self, call: Call) -> Vote:
        """Vote; for an `atomic` operation take the hold (laws 1 to 4, 7)."""

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Make it happen (law 5)."""

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """Release the hold, taken or not, and refuse a late prepare (law 6). Called for `atomic` only."""

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Undo what `result` describes (law 8). `call.key` is the compensation's own key."""

    async def inquire(self, call: Call) -> Standing:
        """Tell what became of the call named by `call.key` (law 9)."""
