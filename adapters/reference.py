"""The smallest correct participant: accounts with balances, in memory. Read it before you write an adapter of your own.

It offers one operation, `<name>.post`: add an amount to an account, whose balance may not fall below zero. The outside
system is a `World` that the adapter is given; another adapter with the same world plays the part of a second process.
Everything that must survive a crash of the adapter is in the world, nothing in the adapter itself.

Each key has one `Entry` in the world: the *fence*. It is what makes the laws of `adapters/contract.py` hold, so
follow it through the six verbs. The same adapter plays all four guarantees: only an `atomic` one takes holds, only
`atomic` and `idempotent` ones recognise a repeated key, and a `blind` one cannot be asked.

The world remembers its last KEYS_REMEMBERED settled keys: this participant is for documents, tests and benchmarks.
"""

from collections import OrderedDict
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from adapters.contract import (
    Absent,
    Applied,
    Call,
    Held,
    Operation,
    Prepared,
    Preview,
    Refused,
    Result,
    Standing,
    Unknown,
    Vote,
)
from adapters.credentials import Reveal
from adapters.kinds import Kind
from adapters.tables import Table
from ledger.errors import Permanent
from ledger.intents import JSON, Guarantee, Undo

KEYS_REMEMBERED: Final = 50_000

_PARAMS: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["account", "amount"],
    "properties": {
        "account": {"type": "string", "minLength": 1, "maxLength": 64},
        "amount": {"type": "integer", "minimum": -(10**12), "maximum": 10**12},
    },
}

_MONEY: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["account", "amount", "currency"],
    "properties": {
        "account": {"type": "string", "minLength": 1, "maxLength": 64},
        "amount": {"type": "integer", "minimum": 0, "maximum": 10**12},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    },
}


class ReferenceTable(Table):
    """`[adapters.<name>]` with `type = "reference"`."""

    type: Literal["reference"]
    guarantee: Guarantee = Guarantee.ATOMIC
    facts: bool = True
    """Whether policy is shown the balance before its verdict, at the price of a preview."""
    money: bool = False
    """Whether what is posted is money: an amount that is not negative, with its currency, which limits can count."""


class Fate(StrEnum):
    """What has become of a key."""

    HELD = "held"  # prepared: the amount is set aside
    APPLIED = "applied"  # the effect is in the balance
    ABORTED = "aborted"  # a tombstone: whatever comes late under this key is refused


class Entry(msgspec.Struct):
    """The fence of one key. `effects` counts how often it changed a balance: the laws allow one."""

    fate: Fate
    epoch: int
    account: str
    amount: int
    effects: int = 0


class World:
    """The outside system. What it shows to others is `balances`."""

    def __init__(self) -> None:
        """Begin empty."""
        self.balances: dict[str, int] = {}
        self.held: dict[str, Entry] = {}  # by key: set aside, not yet visible
        self.settled: OrderedDict[str, Entry] = OrderedDict()  # by key, the oldest first

    def entry(self, key: str) -> Entry | None:
        """Return what is known of a key."""
        return self.held.get(key) or self.settled.get(key)

    def available(self, account: str) -> int:
        """Return what may still be taken from an account: its balance without what others have set aside."""
        return self.balances.get(account, 0) + sum(
            min(0, entry.amount) for entry in self.held.values() if entry.account == account
        )

    def settle(self, key: str, entry: Entry) -> None:
        """Remember the final fate of a key; forget the oldest one beyond the bound."""
        self.held.pop(key, None)
        self.settled[key] = entry
        if len(self.settled) > KEYS_REMEMBERED:
            self.settled.popitem(last=False)

    def apply(self, key: str, entry: Entry) -> None:
        """Let an effect happen."""
        entry.fate = Fate.APPLIED
        entry.effects += 1
        self.balances[entry.account] = self.balances.get(entry.account, 0) + entry.amount
        self.settle(key, entry)


class ReferenceAdapter:
    """A participant over a `World`."""

    def __init__(
        self,
        name: str,
        world: World,
        guarantee: Guarantee = Guarantee.ATOMIC,
        *,
        facts: bool = True,
        money: bool = False,
    ) -> None:
        """Offer `<name>.post` with this guarantee, the balance as a fact for policy or not, of money or of anything."""
        self.name = name
        self.world = world
        self._guarantee = guarantee
        self._recognises = guarantee in {Guarantee.ATOMIC, Guarantee.IDEMPOTENT}
        post = Operation(
            name=f"{name}.post",
            params=_MONEY if money else _PARAMS,
            guarantee=guarantee,
            undo=Undo.EXACT,
            facts=("balance",) if facts else (),
            fact_types={"balance": "integer"} if facts else {},
            summary="post {amount} to account {account}",
            shown_by=("account",),
        )
        self.operations: Mapping[str, Operation] = {post.name: post}

    async def open(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """There is nothing to let go of; the world, and the holds in it, stay."""

    async def preview(self, call: Call) -> Preview:
        """Look, and change nothing (law 11)."""
        return self._look(call)

    async def prepare(self, call: Call) -> Vote:
        """Vote; an atomic one takes its hold in the same breath (laws 1 to 4, 7)."""
        known = self.world.entry(call.key)
        if known is not None and known.fate is Fate.ABORTED:
            return Refused("This action was aborted before it was prepared.")
        if known is not None and call.epoch < known.epoch:
            return Refused("A newer process has taken this action over.")
        if known is not None:  # repeated: the same hold, seen from now on under the newer epoch
            known.epoch = call.epoch
        else:
            account, amount = call.params["account"], call.params["amount"]
            if amount < 0 and self.world.available(account) + amount < 0:
                return Refused(f"Account {account} has only {self.world.available(account)} to take from.")
            if self._guarantee is Guarantee.ATOMIC:
                self.world.held[call.key] = Entry(Fate.HELD, call.epoch, account, amount)
        receipt = {"hold": call.key} if self._guarantee is Guarantee.ATOMIC else None
        return Prepared(receipt, self._look(call))

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Make it happen; a key that is recognised happens once (law 5)."""
        del receipt  # the key says it all here; elsewhere the receipt is the outside system's own handle
        entry = self.world.entry(call.key)
        if entry is None and self._guarantee is Guarantee.ATOMIC:
            raise Permanent("There is no hold for this action, and there was no effect.")
        if entry is not None and entry.fate is Fate.ABORTED:
            raise Permanent("This action was aborted.")
        if entry is None:
            entry = Entry(Fate.HELD, call.epoch, call.params["account"], call.params["amount"])
        if entry.fate is Fate.HELD or not self._recognises:
            self.world.apply(call.key, entry)
        return _result(entry)

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """Release the hold if there is one, and leave a tombstone either way (law 6)."""
        del receipt
        entry = self.world.entry(call.key)
        if entry is not None and entry.fate is Fate.APPLIED:
            raise Permanent("This action has happened and can no longer be aborted.")
        epoch = max(call.epoch, entry.epoch if entry else 0)
        self.world.settle(call.key, Entry(Fate.ABORTED, epoch, call.params["account"], call.params["amount"]))

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Undo exactly what `result` says was done, once for each compensation's key (law 8)."""
        del receipt
        entry = self.world.entry(call.key)
        if entry is None or not self._recognises:
            entry = entry or Entry(Fate.HELD, call.epoch, result["account"], -result["amount"])
            self.world.apply(call.key, entry)
        return _result(entry)

    async def inquire(self, call: Call) -> Standing:
        """Tell what the fence of the key says (law 9)."""
        entry = self.world.entry(call.key)
        if self._guarantee is Guarantee.BLIND:
            return Unknown("This participant cannot be asked.")
        if entry is None or entry.fate is Fate.ABORTED:
            return Absent()
        if entry.fate is Fate.HELD:
            return Held({"hold": call.key})
        return Applied(_result(entry))

    def _look(self, call: Call) -> Preview:
        account = call.params["account"]
        balance = self.world.balances.get(account, 0)
        return Preview({"balance": balance}, {"balance": balance}, {"balance": balance + call.params["amount"]})


def _result(entry: Entry) -> Result:
    return Result({"account": entry.account, "amount": entry.amount})


def _build(name: str, table: ReferenceTable, reveal: Reveal) -> ReferenceAdapter:
    del reveal  # it has no secrets
    return ReferenceAdapter(name, World(), table.guarantee, facts=table.facts, money=table.money)


KIND: Final = Kind(ReferenceTable, _build)
