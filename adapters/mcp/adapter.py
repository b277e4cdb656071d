"""A server of the Model Context Protocol, as configured: a tool is called in one shot, its guarantee is the operator's.

What an MCP server says of its tools (`idempotentHint`, `destructiveHint` …) is its opinion of itself and promises
nothing here. What it *describes* is held to: just before a tool is called the server is asked what it offers, and a
tool that has gone, or is no longer the one that was pinned, is not called.

What an answer means (`docs/adapters.md` has the same table, and says it to operators):

    | answer | preview, inquire | prepare | commit, compensate |
    |---|---|---|---|
    | a result | yes | | yes |
    | a result that does not show what `result` wants | | | in doubt |
    | `isError`, or an error, as listed under `refused` | no | | no |
    | any other `isError` or error | no | | in doubt |
    | a question to a person or a model instead of a result | not now | | in doubt |
    | called, but no whole reply | not now | | in doubt |
    | no server, no greeting, no list of tools | not now | not now | not now |
    | the tool is gone, or is not the one that was pinned | not now | no | not now |
    | arguments that the server's own schema does not take | | no | |

*yes* is Result, Preview or Standing. *no* is Refused or Permanent; for an inquiry Unknown. *not now* is Transient: the
tool was not called. *in doubt* is InDoubt.

The commit of a tool that has changed is *not now* rather than *no*, because an earlier commit of the same key may have
been sent to what it was. Prepare looks at every tool that the operation may need, the one that undoes it included.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from adapters.answers import previewed
from adapters.contract import Call, Operation, Prepared, Preview, Refused, Result, Standing, Unknown, Vote
from adapters.credentials import Reveal
from adapters.kinds import Kind
from adapters.mcp.answers import Failed, kept, outcome, standing
from adapters.mcp.conversation import Conversation
from adapters.mcp.http import HttpServer
from adapters.mcp.stdio import StdioServer
from adapters.mcp.tables import ActTable, McpTable, Step, Use, looks, uses
from adapters.mcp.tools import misfit, unusable
from adapters.references import Unrenderable, render_body
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import JSON, Verb


class Server(Protocol):
    """Where conversations with one MCP server come from."""

    async def open(self) -> None:
        """Get ready; the server may be down."""

    async def close(self) -> None:
        """End what runs."""

    def conversation(self) -> AbstractAsyncContextManager[Conversation]:
        """Begin a conversation, greeted. Raises `Transient` if there can be none now."""


class McpAdapter:
    """One MCP server and the operations configured for it."""

    def __init__(self, name: str, table: McpTable, server: Server) -> None:
        """Compile the operator's templates; raises `Misconfigured`. Speaks to nobody."""
        self.name = name
        self._server = server
        self._seconds = table.timeout_seconds
        self._uses = uses(name, table)
        reads = looks(name, table)
        self._looks = {key: use.look for key, use in self._uses.items() if use.look} | reads
        self.operations: Mapping[str, Operation] = {
            key: one.operation for offered in (self._uses, reads) for key, one in offered.items()
        }

    async def open(self) -> None:
        """Get ready; the server may be down, and is not asked."""
        await self._server.open()

    async def close(self) -> None:
        """End the child or the client."""
        await self._server.close()

    async def tools(self, seconds: float | None = None) -> Mapping[str, JSON]:
        """Return what the server offers now, by name. Raises `Transient`; waits as long as a call does, or `seconds`.

        For operators too, who pin what they trust.
        """
        seconds = self._seconds if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds), self._server.conversation() as talk:
                return await talk.tools()
        except TimeoutError:
            raise _too_late(seconds, called=False) from None

    async def preview(self, call: Call) -> Preview:
        """Call the tool that looks, and take from its answer what is configured (law 11)."""
        look = self._looks.get(call.operation)
        if look is None:
            return Preview()
        try:
            answered = outcome(await self._ask(look.step, {**call.params, "params": call.params}, call))
        except InDoubt as error:
            raise Transient(f"The preview failed and changed nothing: {error.message}", silent=error.silent) from error
        if isinstance(answered, Failed):
            raise Permanent(answered.sentence())
        return previewed(look.operation, answered.data, look.table.facts, look.table.before)

    async def prepare(self, call: Call) -> Vote:
        """Look, and make sure that the call can be made and undone as it was configured (laws 1 and 4)."""
        use = self._uses[call.operation]
        tools = await self.tools()
        for step in use.steps():
            if reason := unusable(step.tool, step.pin, tools):
                return Refused(reason)
        try:
            arguments, _ = _rendered(use.commit, _values(call))
            if reason := misfit(use.commit.tool, tools[use.commit.tool], arguments):
                return Refused(reason)
            return Prepared(None, await self.preview(call))
        except Permanent as error:
            return Refused(error.message)

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Call the tool, once (law 10 is the table above)."""
        del receipt
        use = self._uses[call.operation]
        return await self._act(call, use, use.commit, use.table.commit, _values(call))

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """There is no hold."""

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Call the tool that undoes, with the compensation's own key (law 8)."""
        del receipt
        use = self._uses[call.operation]
        if use.compensate is None or use.table.compensate is None:
            raise Permanent(f"{call.operation} cannot be undone. Nothing was called.")
        return await self._act(call, use, use.compensate, use.table.compensate, {**_values(call), "result": result})

    async def inquire(self, call: Call) -> Standing:
        """Call the tool that searches, and read what it found as configured (law 9)."""
        use = self._uses[call.operation]
        inquiry = use.inquire_undo if call.verb is Verb.COMPENSATE else use.inquire
        if inquiry is None:
            return Unknown("No tool is configured that could tell.")
        values = _values(call)
        try:
            answered = outcome(await self._ask(inquiry.step, values, call))
        except InDoubt as error:
            raise Transient(f"The inquiry failed and changed nothing: {error.message}", silent=error.silent) from error
        return standing(inquiry, answered, values, use.operation.secret_fields)

    # ── one call ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _act(self, call: Call, use: Use, step: Step, table: ActTable, values: JSON) -> Result:
        answered = outcome(await self._ask(step, values, call))
        if isinstance(answered, Failed):
            raise (Permanent if answered.is_refusal(table.refused) else InDoubt)(answered.sentence())
        data = kept(answered.data, table.result, use.operation.secret_fields)
        if data is None:
            raise InDoubt(f"The tool {step.tool} answered, and its answer does not show {', '.join(table.result)}.")
        return Result(data)

    async def _ask(self, step: Step, values: JSON, call: Call) -> Any:
        """Call a tool if it is still what was pinned. Raises `Transient` (not called) or `InDoubt` (no reply)."""
        arguments, meta = _rendered(step, values)
        if call.traceparent:
            meta = {"traceparent": call.traceparent, **meta}
        called, reply = False, None
        try:
            async with asyncio.timeout(self._seconds), self._server.conversation() as talk:
                if reason := unusable(step.tool, step.pin, await talk.tools()):
                    raise Transient(f"{reason} It was not called.")
                called = True
                reply = await talk.call(step.tool, arguments, meta)
        except TimeoutError:
            if reply is None:
                raise _too_late(self._seconds, called=called) from None
        return reply


def _too_late(seconds: float, *, called: bool) -> Transient | InDoubt:
    if called:
        return InDoubt(f"The tool was called and no reply came within {seconds:g} seconds.", silent=True)
    return Transient(f"The MCP server did not get ready within {seconds:g} seconds. Nothing was called.", silent=True)


def _values(call: Call) -> JSON:
    return {**call.params, "params": call.params, "key": call.key}


def _rendered(step: Step, values: JSON) -> tuple[JSON, JSON]:
    try:
        return render_body(step.arguments, values), render_body(step.meta, values)
    except Unrenderable as error:
        raise Permanent(f"The call cannot be made: {error}. Nothing was called.") from error


def _server(table: McpTable, reveal: Reveal) -> Server:
    if table.command is not None:
        return StdioServer(
            table.protocol,
            table.command,
            environment=table.environment,
            secrets={name: reveal(f"secrets.{name}", secret) for name, secret in table.secrets.items()},
            directory=table.directory,
            log=table.log,
        )
    return HttpServer(
        table.url or "",
        table.protocol,
        {name: reveal(f"credentials.{name}", secret) for name, secret in table.credentials.items()},
        seconds=table.timeout_seconds,
        connections=table.connections,
        allow_private=table.allow_private,
    )


def _build(name: str, table: McpTable, reveal: Reveal) -> McpAdapter:
    return McpAdapter(name, table, _server(table, reveal))


KIND: Final = Kind(McpTable, _build)
