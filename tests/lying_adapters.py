"""An honest adapter over `servers/accounts.py`, and liars: each breaks one promise, in one method.

A liar's docstring says what it does wrong. Which law finds it, and what is left of its promise, stands in
`contract/test_liars.py`.
"""

import asyncio
import json
import os
from contextlib import suppress
from typing import Any, ClassVar

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
    Unknown,
)
from adapters.reading import reading
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import Guarantee, Undo, Verb

PARAMS = {
    "type": "object",
    "additionalProperties": False,
    "required": ["account", "amount"],
    "properties": {"account": {"type": "string"}, "amount": {"type": "integer"}},
}
ACCOUNT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["account"],
    "properties": {"account": {"type": "string"}},
}
_ERRORS = {one.__name__: one for one in (Transient, Permanent, InDoubt)}
_ANSWERS = {one.__name__: one for one in (Prepared, Refused, Result, Applied, Held, Absent, Unknown, Preview)}


class Lines:
    """A connection to the accounts, one for each request."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def request(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as error:
            raise Transient("There is no connection; nothing was sent.") from error
        try:
            writer.write(json.dumps(asked).encode() + b"\n")
            async with asyncio.timeout(2):
                line = await reader.readline()
        except (OSError, TimeoutError) as error:
            raise InDoubt("No answer came.") from error
        finally:
            writer.close()
        if not line:
            raise InDoubt("The connection broke.")
        return json.loads(line)


class Witness:
    """Tells what the accounts hold, and does nothing else."""

    def __init__(self, port: int) -> None:
        self.name = "witness"
        self._lines = Lines(port)
        self.operations = {
            f"witness.{what}": reading(f"witness.{what}", ACCOUNT, facts=(what,))
            for what in ("balance", "effects", "held", "touched")
        }

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def preview(self, call: Call) -> Preview:
        what = call.operation.partition(".")[2]
        return Preview({what: (await self._lines.request({"look": call.params["account"]}))[what]})


class Honest:
    """Passes each verb on, and answers what was answered."""

    facts: ClassVar = {"balance": "integer"}

    def __init__(self, port: int, guarantee: Guarantee, undo: Undo = Undo.EXACT) -> None:
        self.name = "accounts"
        self._lines = Lines(port)
        self._guarantee = guarantee
        post = Operation(
            name="accounts.post",
            params=PARAMS,
            guarantee=guarantee,
            undo=undo,
            facts=tuple(self.facts),
            fact_types=self.facts,
        )
        self.operations = {post.name: post}

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def preview(self, call: Call) -> Any:
        return await self.send("preview", call)

    async def prepare(self, call: Call) -> Any:
        return await self.send("prepare", call)

    async def commit(self, call: Call, receipt: Any) -> Any:
        return await self.send("commit", call, receipt=receipt)

    async def abort(self, call: Call, receipt: Any) -> Any:
        await self.send("abort", call, receipt=receipt)

    async def compensate(self, call: Call, receipt: Any, result: Any) -> Any:
        return await self.send("compensate", call, receipt=receipt, result=result)

    async def inquire(self, call: Call) -> Any:
        try:
            return await self.send("inquire", call)
        except InDoubt as error:
            raise Transient("The inquiry changed nothing.") from error

    async def send(self, verb: str, call: Call, **more: Any) -> Any:
        asked = {"verb": verb, "guarantee": self._guarantee, "call": msgspec.to_builtins(call), **more}
        answered = await self._lines.request(asked)
        kind, value = answered["kind"], answered["value"]
        if kind in _ERRORS:
            raise _ERRORS[kind](value)
        return None if kind == "NoneType" else msgspec.convert(value, _ANSWERS[kind])


class Flatters(Honest):
    """Says that its system recognises a repeated key, which it does not; it can be asked."""

    async def send(self, verb: str, call: Call, **more: Any) -> Any:
        self._guarantee = Guarantee.VERIFIABLE
        return await super().send(verb, call, **more)


class ActsAgain(Honest):
    """Says that it recognises a repeated key, and uses one of its own each time."""

    async def commit(self, call: Call, receipt: Any) -> Any:
        self.count = getattr(self, "count", 0) + 1
        mine = f"{call.key}-{call.epoch}-{id(self)}-{os.getpid()}-{self.count}"
        return await super().commit(msgspec.structs.replace(call, key=mine), receipt)


class Retries(Honest):
    """Sends a commit again by itself when the answer is lost."""

    async def commit(self, call: Call, receipt: Any) -> Any:
        with suppress(InDoubt):
            return await super().commit(call, receipt)
        return await super().commit(call, receipt)


class CallsDoubtTransient(Honest):
    """Takes a lost answer to a commit for a request that never left."""

    async def commit(self, call: Call, receipt: Any) -> Any:
        try:
            return await super().commit(call, receipt)
        except InDoubt as error:
            raise Transient("The accounts are away.") from error


class HopesForTheBest(Honest):
    """Takes a request that never arrived for done."""

    async def commit(self, call: Call, receipt: Any) -> Any:
        try:
            return await super().commit(call, receipt)
        except (InDoubt, Transient):
            return Result({"account": call.params["account"], "amount": call.params["amount"]})


class DoesNothing(Honest):
    """Answers that it is done."""

    async def commit(self, call: Call, receipt: Any) -> Any:
        return Result({})


class RefusesARepetition(Honest):
    """Answers a repeated commit that it cannot be, although it was."""

    async def commit(self, call: Call, receipt: Any) -> Any:
        if isinstance(await super().inquire(call), Applied):
            raise Permanent("This key was used before.")
        return await super().commit(call, receipt)


class ActsInPrepare(Honest):
    """Does it while it should only look."""

    async def prepare(self, call: Call) -> Any:
        vote = await super().prepare(call)
        if isinstance(vote, Prepared):
            await super().commit(call, vote.receipt)
        return vote


class KeepsTheHold(Honest):
    """Says that it has aborted, and has not."""

    async def abort(self, call: Call, receipt: Any) -> Any: ...


class NeedsTheReceipt(Honest):
    """Aborts only what it is shown the receipt of."""

    async def abort(self, call: Call, receipt: Any) -> Any:
        if receipt is not None:
            await super().abort(call, receipt)


class ForgetsTheAbort(Honest):
    """Lets a hold go and leaves no tombstone: what is aborted is another key, and that one is used up."""

    async def abort(self, call: Call, receipt: Any) -> Any:
        if isinstance(await super().inquire(call), Held):
            await super().abort(call, receipt)


class HoldsInMemory(Honest):
    """Keeps its holds in its own process, which may be killed."""

    async def prepare(self, call: Call) -> Any:
        self.held = getattr(self, "held", set()) | {call.key}
        return await super().prepare(call)

    async def commit(self, call: Call, receipt: Any) -> Any:
        if call.key not in getattr(self, "held", set()):
            raise Permanent("There is no such hold.")
        return await super().commit(call, receipt)


class HoldsTwice(Honest):
    """Takes another hold whenever a prepare is repeated by a newer process."""

    async def prepare(self, call: Call) -> Any:
        mine = call.key if call.epoch == 1 else f"{call.key}-{call.epoch}"
        return await super().prepare(msgspec.structs.replace(call, key=mine))


class GivesNewReceipts(Honest):
    """Answers a repeated prepare with a receipt of its own."""

    async def prepare(self, call: Call) -> Any:
        vote = await super().prepare(call)
        if isinstance(vote, Prepared) and call.epoch > 1:
            return msgspec.structs.replace(vote, receipt={"hold": f"{call.key}-{call.epoch}"})
        return vote


class SaysNothingIsHeld(Honest):
    """Takes a lost answer to a prepare for a request that never left."""

    async def prepare(self, call: Call) -> Any:
        try:
            return await super().prepare(call)
        except InDoubt as error:
            raise Transient("The accounts are away.") from error


class LetsOldOnesHold(Honest):
    """Answers an older process by taking a hold of its own for it."""

    async def prepare(self, call: Call) -> Any:
        vote = await super().prepare(call)
        if isinstance(vote, Refused) and "newer" in vote.reason:
            return await super().prepare(msgspec.structs.replace(call, key=f"{call.key}-old"))
        return vote


class UndoesNothing(Honest):
    """Says that it has undone what it has not."""

    async def compensate(self, call: Call, receipt: Any, result: Any) -> Any:
        return Result(result)


class UndoesHalf(Honest):
    """Gives back half of it."""

    async def compensate(self, call: Call, receipt: Any, result: Any) -> Any:
        return await super().compensate(call, receipt, result | {"amount": result["amount"] // 2})


class UndoesAgain(Honest):
    """Undoes once more whenever it is asked by another process."""

    async def compensate(self, call: Call, receipt: Any, result: Any) -> Any:
        return await super().compensate(msgspec.structs.replace(call, key=f"{call.key}-{call.epoch}"), receipt, result)


class UndoneAtOnce(Honest):
    """Takes a lost answer to a compensation for one."""

    async def compensate(self, call: Call, receipt: Any, result: Any) -> Any:
        with suppress(InDoubt, Transient):
            return await super().compensate(call, receipt, result)
        return Result(result)


class SaysAbsent(Honest):
    """Answers every inquiry with Absent."""

    async def inquire(self, call: Call) -> Any:
        return Absent()


class SaysAbsentWhenItCannotAsk(Honest):
    """Takes an inquiry without an answer for the answer that there is nothing."""

    async def inquire(self, call: Call) -> Any:
        try:
            return await super().inquire(call)
        except Transient:
            return Absent()


class SaysApplied(Honest):
    """Answers every inquiry with Applied."""

    async def inquire(self, call: Call) -> Any:
        return Applied(Result({}))


class CannotSay(Honest):
    """Is declared to be askable, and never knows."""

    async def inquire(self, call: Call) -> Any:
        return Unknown()


class AsksByDoing(Honest):
    """Finds out whether it has happened by making it happen."""

    async def inquire(self, call: Call) -> Any:
        standing = await super().inquire(call)
        if isinstance(standing, Absent) and call.verb is Verb.COMMIT:
            return Applied(await super().commit(call, None))
        return standing


class LooksHard(Honest):
    """Has an effect when it looks."""

    async def preview(self, call: Call) -> Any:
        one = msgspec.structs.replace(call, key=f"look-{id(call)}-{call.deadline.timestamp()}")
        await super().commit(one, None)
        return await super().preview(call)


class DeclaresOtherFacts(Honest):
    """Reports other facts than it declares."""

    facts: ClassVar = {"balance": "integer", "owner": "string"}


class RaisesItsRefusal(Honest):
    """Refuses by an error instead of a vote."""

    async def prepare(self, call: Call) -> Any:
        vote = await super().prepare(call)
        if isinstance(vote, Refused):
            raise Permanent(vote.reason)
        return vote


class RefusesNothing(Honest):
    """Says yes to what it cannot do."""

    async def prepare(self, call: Call) -> Any:
        vote = await super().prepare(call)
        return Prepared(None) if isinstance(vote, Refused) else vote


class Babbles(Honest):
    """Puts its password into what is kept."""

    async def commit(self, call: Call, receipt: Any) -> Any:
        result = await super().commit(call, receipt)
        return Result({**result.data, "sent_with": "pass-of-the-operator"})
