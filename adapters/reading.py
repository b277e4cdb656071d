"""Operations that only read: an adapter offers their `preview`, and everything else follows from it here.

Such an operation is one shot without an effect. So it is `idempotent` (looking twice is looking), and its undo is
`exact` (there is nothing to restore). Its commit looks once more and answers what is there. No other verb of the
adapter is ever called for it, so what is declared to read cannot do anything else.
"""

from collections.abc import Mapping
from typing import Any

from adapters.contract import Absent, Adapter, Call, Operation, Prepared, Preview, Refused, Result, Standing, Vote
from adapters.facts import FactType
from ledger.errors import Permanent
from ledger.intents import JSON, Guarantee, Undo


def reading(
    name: str,
    params: Mapping[str, Any],
    *,
    facts: tuple[str, ...] = (),
    fact_types: Mapping[str, FactType] | None = None,
    summary: str | None = None,
    data_subject: str | None = None,
    personal_fields: tuple[str, ...] = (),
) -> Operation:
    """Declare an operation that only reads."""
    return Operation(
        name=name,
        params=params,
        guarantee=Guarantee.IDEMPOTENT,
        undo=Undo.EXACT,
        facts=facts,
        fact_types=fact_types or {},
        money=False,
        reads=True,
        summary=summary,
        data_subject=data_subject,
        personal_fields=personal_fields,
    )


class Reader:
    """Another adapter, as far as one may read there. Opening and closing stay with that one."""

    def __init__(self, adapter: Adapter) -> None:
        """Offer those operations of `adapter` that only read."""
        self._adapter = adapter
        self.name = adapter.name
        self.operations: Mapping[str, Operation] = {
            name: operation for name, operation in adapter.operations.items() if operation.reads
        }

    async def open(self) -> None:
        """There is nothing of its own to open."""

    async def close(self) -> None:
        """There is nothing of its own to close."""

    async def preview(self, call: Call) -> Preview:
        """Look (law 11)."""
        return await self._adapter.preview(call)

    async def prepare(self, call: Call) -> Vote:
        """Look whether there is anything to see."""
        try:
            return Prepared(None, await self.preview(call))
        except Permanent as error:
            return Refused(error.message)

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Look, and answer what is there now."""
        del receipt
        seen = await self.preview(call)
        return Result({**(seen.before or {}), **seen.facts})

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """There is no hold."""

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """There is no effect to undo."""
        del call, receipt, result
        return Result()

    async def inquire(self, call: Call) -> Standing:
        """Say that there is no effect, and never one."""
        del call
        return Absent()
