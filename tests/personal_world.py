"""An outside system with personal data, for tests of erasure: customers with a name, a mail address and a phone.

It repeats what it is told wherever an outside system could: in facts, previews, receipts, results, refusals and errors.
"""

from collections.abc import Mapping
from typing import Any

from adapters.contract import Absent, Applied, Call, Operation, Prepared, Preview, Refused, Result, Standing, Vote
from ledger.errors import InDoubt, Permanent
from ledger.intents import JSON, Guarantee, Undo

NAME = "Ann Example"
MAIL = "ann+88@example.com"
PHONE = "+49 30 901820"
CUSTOMER = "customer-88"
PLAIN = (NAME, MAIL, PHONE, CUSTOMER)
"""What must be found nowhere, spelled in any way."""

PARAMS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["customer", "mail"],
    "properties": {
        "customer": {"type": "string", "maxLength": 64, "personal": True},
        "mail": {"type": "string", "personal": True},
        "set": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"phone": {"type": "string", "personal": True}, "level": {"type": "integer"}},
        },
        "note": {"type": "string"},
    },
}


class Customers:
    """An adapter, and the outside system behind it."""

    name = "crm"

    def __init__(self, guarantee: Guarantee = Guarantee.ATOMIC, *, facts: bool = True) -> None:
        update = Operation(
            name="crm.update",
            params=PARAMS,
            guarantee=guarantee,
            undo=Undo.EXACT,
            summary="write {note} to {mail} of {customer}",
            facts=("name", "level") if facts else (),
            fact_types={"level": "integer"} if facts else {},
            data_subject="/customer",
            personal_fields=("name",),
        )
        self.operations: Mapping[str, Operation] = {update.name: update}
        self.seen: list[tuple[str, JSON, JSON | None]] = []  # verb, params, receipt
        self.done: dict[str, JSON] = {}
        self.held: set[str] = set()
        self.refuses = self.fails = self.doubts = False

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def preview(self, call: Call) -> Preview:
        self.seen.append(("preview", call.params, None))
        return Preview({"name": NAME, "level": 3}, {"address": f"{NAME} <{MAIL}>"}, {"mail": MAIL, "name": NAME})

    async def prepare(self, call: Call) -> Vote:
        self.seen.append(("prepare", call.params, None))
        if self.refuses:
            return Refused(f"{call.params['mail'].upper()} of {call.params['customer']} is blocked.")
        self.held.add(call.key)
        return Prepared({"hold": f"for {MAIL}"}, await self.preview(call))

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        self.seen.append(("commit", call.params, receipt))
        if self.doubts:
            raise InDoubt(f"PUT /customers/ann%2B88%40example.com: no answer about {NAME}.")
        if self.fails:
            raise Permanent(f"There is no {MAIL}.")
        self.held.discard(call.key)
        self.done[call.key] = call.params
        return Result({"name": NAME, "said": f"Dear {call.params['mail']}, it is done.", "row": {"customer": CUSTOMER}})

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        self.seen.append(("abort", call.params, receipt))
        self.held.discard(call.key)

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        self.seen.append(("compensate", call.params, result))
        self.done = {key: params for key, params in self.done.items() if params != call.params}
        return Result({"undone": MAIL})

    async def inquire(self, call: Call) -> Standing:
        self.seen.append(("inquire", call.params, None))
        return Applied(Result()) if call.key in self.done else Absent()


def update(**more: Any) -> dict[str, Any]:
    """Write an intent about the customer, whose reason and context name them too."""
    note = f"for {CUSTOMER} at {MAIL}"
    params = {"customer": CUSTOMER, "mail": MAIL, "set": {"phone": PHONE, "level": 4}, "note": note}
    return {
        "task": "12A",
        "reason": f"{MAIL} asked for it, as {CUSTOMER}",
        "context": {"ticket": "T-1", "from": MAIL, CUSTOMER: ["phoned from", PHONE]},
        "again": True,
        "actions": [{"id": "crm", "operation": "crm.update", "params": params | more.pop("params", {})}],
        **more,
    }
