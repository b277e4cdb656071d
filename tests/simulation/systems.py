"""Adapters to the simulated outside: four systems, one for each guarantee, behind a network that loses things.

The adapters keep nothing: everything lasting is in `Outside`. Each call draws a `Luck` first, so that a seed decides
what goes wrong and the rest of the code only carries it out.
"""

import asyncio
import itertools
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

from simulation.network import SMOOTH, Fate, Network
from simulation.outside import HOLD_SECONDS, KEY_LIFETIME_SECONDS, SETTLE_SECONDS, Outside

from adapters.contract import Call, Operation, Preview, Result, Standing, Unknown, Vote
from adapters.registry import Registry
from adapters.tables import CallLimits
from ledger.errors import InDoubt, Transient
from ledger.intents import JSON, Guarantee, Undo, Verb

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


PAYMENT = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "amount": {"type": "integer", "minimum": 1},
        "currency": {"type": "string"},
    },
    "required": ["n", "amount", "currency"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
RISK = ("risk",)


class Luck(NamedTuple):
    """What goes wrong with one call."""

    fate: Fate = SMOOTH
    transient: bool = False  # it fails before anything happens, and says so
    doubtful: bool = False  # it arrives and its answer makes no sense
    rubbish: bool = False  # likewise, and the adapter raises something that is not of the contract
    refuses: bool = False  # a lasting no: a vote, a permanent error
    nonsense: bool = False  # it arrives, and the adapter answers another question: a bug of the adapter
    clueless: bool = False  # an inquiry that the outside cannot answer


LUCKY = Luck()


def _operations(name: str, guarantee: Guarantee) -> dict[str, Operation]:
    """Offer one operation for each way of undoing, with facts and without; payments; and what only some can offer."""
    found = {
        f"{undo.value}{suffix}": {"undo": undo, "facts": RISK if suffix else ()}
        for undo, suffix in itertools.product(Undo, ("", "_facts"))
    }
    found["pay"] = {"undo": Undo.SEMANTIC, "params": PAYMENT}
    if guarantee is Guarantee.ATOMIC:
        found["brief"] = {"undo": Undo.EXACT, "facts": RISK, "hold_seconds": HOLD_SECONDS}
    if guarantee is Guarantee.IDEMPOTENT:
        found["look"] = {"undo": Undo.EXACT, "reads": True, "money": False, "params": NOTHING, "facts": ("all_there",)}
    return {f"{name}.{verb}": _operation(f"{name}.{verb}", guarantee, **more) for verb, more in found.items()}


def _operation(name: str, guarantee: Guarantee, undo: Undo, **more: Any) -> Operation:
    fields: dict[str, Any] = {"params": SCHEMA, **more}
    return Operation(
        name=name,
        guarantee=guarantee,
        undo=undo,
        undo_window_seconds=None if undo is Undo.NONE else 3600,
        settle_seconds=SETTLE_SECONDS if guarantee is Guarantee.VERIFIABLE else 0,
        key_lifetime_seconds=KEY_LIFETIME_SECONDS if guarantee is Guarantee.IDEMPOTENT else None,
        **fields,
    )


class SimulatedAdapter:
    """One outside system as the coordinator sees it. `wire` is what it is connected to now."""

    def __init__(self, name: str, guarantee: Guarantee) -> None:
        self.name = name
        self.guarantee = guarantee
        self.operations = MappingProxyType(_operations(name, guarantee))
        self.outside: Outside
        self.network: Network
        self.luck: Callable[[str, Call], Luck]

    async def open(self) -> None:
        """Be ready: there is nothing to do."""

    async def close(self) -> None:
        """Let go: there is nothing to do."""

    async def preview(self, call: Call) -> Preview:
        return await self._send(Verb.PREVIEW, call, lambda luck: self.outside.preview(call))

    async def prepare(self, call: Call) -> Vote:
        return await self._send(
            Verb.PREPARE, call, lambda luck: self.outside.prepare(call, self.guarantee, refuses=luck.refuses)
        )

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        return await self._send(
            Verb.COMMIT, call, lambda luck: self.outside.commit(call, self.guarantee, refuses=luck.refuses)
        )

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        await self._send(Verb.ABORT, call, lambda luck: self.outside.abort(call, refuses=luck.refuses))

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        return await self._send(
            Verb.COMPENSATE,
            call,
            lambda luck: self.outside.compensate(call, self.guarantee, refuses=luck.refuses),
        )

    async def inquire(self, call: Call) -> Standing:
        return await self._send(
            Verb.INQUIRE, call, lambda luck: Unknown() if luck.clueless else self.outside.inquire(call)
        )

    async def _send(self, verb: Verb, call: Call, arrives: Callable[[Luck], Any]) -> Any:
        luck = self.luck(verb, call)
        self.outside.asked[call.key] += 1
        if luck.transient:
            await asyncio.sleep(luck.fate.request_delay)
            raise Transient("The outside system is away; nothing was sent.", silent=True)
        number = self.outside.next_request()

        def apply() -> Any:
            if number < self.outside.sealed.get(call.key, 0):
                self.outside.counters["late call dropped"] += 1
                raise Transient("This request is too old.")
            answer = arrives(luck)
            if luck.doubtful:
                raise InDoubt("502 Bad Gateway")
            if luck.rubbish:
                raise ValueError("<html>")
            return Preview() if luck.nonsense else answer

        return await self.network.call(apply, luck.fate)


def connected(adapters: list[SimulatedAdapter], outside: Outside, network: Network, luck: Any) -> None:
    """Plug the adapters into one simulation's world."""
    for adapter in adapters:
        adapter.outside, adapter.network, adapter.luck = outside, network, luck


ADAPTERS = [SimulatedAdapter(guarantee.value, guarantee) for guarantee in Guarantee]
SOON_SILENT = CallLimits(silences=2)  # so that circuits open often
REGISTRY = Registry(ADAPTERS, {adapter.name: SOON_SILENT for adapter in ADAPTERS})
