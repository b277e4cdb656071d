"""Standard input and output: an MCP server as a child process of ours, started when it is needed and when it has died.

Rules of this file:

1. The child gets the environment that the file names, and nothing else of ours: no variable, no credential of another
   adapter. It is told when we die (the kernel kills it), and it runs in a session of its own.
2. What was written to it may have been read. So a call whose child ends, or whose reply does not come, is in doubt; a
   call for which no child could be started or greeted never left.
3. A child that has said nothing for QUIET_SECONDS, although it was asked, is stuck: it is killed and another started.
4. A secret that was rotated needs another child. The old one finishes what it was asked, and goes.

A line that is no message (some servers greet people on their standard output) is passed over; one longer than
MCP_MESSAGE_BYTES is no message.
"""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Final

from adapters.answers import Senseless, secrets_in
from adapters.credentials import Credential
from adapters.mcp.conversation import Conversation
from adapters.mcp.messages import Question, Reply, Request, answer, notification, read
from adapters.parent_death import signal_at_parent_death
from ledger.bounds import MCP_MESSAGE_BYTES
from ledger.errors import InDoubt, Transient

QUIET_SECONDS: Final = 60.0  # far above any call's time: a slow tool is left to finish
_GOODBYE_SECONDS: Final = 2.0  # for a child to end by itself when its standard input has closed
_CHUNK: Final = 64 * 1024
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "PATH": os.defpath}


class StdioServer:
    """An MCP server that is a program on this machine."""

    def __init__(
        self,
        protocol: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        secrets: Mapping[str, Credential],
        directory: Path,
        log: Path | None,
    ) -> None:
        """Start nothing yet; `secrets` are variables of its environment too."""
        self._protocol = protocol
        self._command = command
        self._environment = environment
        self._secrets = secrets
        self._directory = directory
        self._log = log
        self._one_at_a_time = asyncio.Lock()
        self._current: _Begun | None = None
        self._beginning: asyncio.Task[_Begun] | None = None
        self._leaving: set[_Child] = set()  # retired, and not gone yet

    async def open(self) -> None:
        """Start nothing: the first call does."""

    async def close(self) -> None:
        """End the child, as it wants to be ended: by the end of its input."""
        async with self._one_at_a_time:
            if self._beginning is not None:
                self._beginning.cancel()
                await asyncio.wait({self._beginning})
                self._beginning = None
            current, self._current = self._current, None
            leaving = self._leaving | ({current[0]} if current else set())
            self._leaving = set()
            await asyncio.gather(*(child.end() for child in leaving))

    @asynccontextmanager
    async def conversation(self) -> AsyncIterator[Conversation]:
        """Speak with the living child, or with a new one. Raises `Transient` if there can be none now."""
        secrets = {name: reveal() for name, reveal in self._secrets.items()}
        async with self._one_at_a_time:
            if self._current is not None and not await self._fit(*self._current, secrets):
                self._current = None
            if self._current is None:
                self._current = await self._begun(secrets)
            talk = self._current[1]
        yield talk

    async def _begun(self, secrets: Mapping[str, str]) -> "_Begun":
        """Return a new child; one that takes longer to start than a call may wait is there for a later call."""
        if self._beginning is None:
            self._beginning = asyncio.create_task(self._begin(secrets))
        try:
            begun = await asyncio.shield(self._beginning)
        finally:
            if self._beginning.done():
                self._beginning = None
        return begun

    async def _fit(self, child: "_Child", _: Conversation, had: Mapping[str, str], secrets: Mapping[str, str]) -> bool:
        self._leaving = {one for one in self._leaving if not one.gone}
        if child.ended or child.stuck():  # one that has closed its output may live on, and can answer nobody
            await child.kill()
            return False
        if had != secrets:
            child.retire()
            self._leaving.add(child)
            return False
        return True

    async def _begin(self, secrets: Mapping[str, str]) -> "_Begun":
        async with AsyncExitStack() as undo:
            child = _Child(await self._start(secrets), secrets_in(secrets.values()))
            undo.push_async_callback(child.kill)
            talk = Conversation(child, self._protocol)
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    await talk.greet()
            except TimeoutError:
                sentence = f"The MCP server was not there after {QUIET_SECONDS:g} seconds. Nothing was called."
                raise Transient(sentence, silent=True) from None
            undo.pop_all()
            return child, talk, secrets

    async def _start(self, secrets: Mapping[str, str]) -> Process:
        try:
            with self._opened_log() as log:
                return await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=log,
                    cwd=self._directory,
                    env={**_ENVIRONMENT, **self._environment, **secrets},
                    start_new_session=True,
                    preexec_fn=signal_at_parent_death(signal.SIGKILL),
                )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            sentence = f"{self._command[0]} could not be started: {reason}. Nothing was called."
            raise Transient(sentence, silent=True) from error

    def _opened_log(self) -> AbstractContextManager[IO[bytes] | int]:
        return nullcontext(DEVNULL) if self._log is None else self._log.open("ab")


class _Child:
    """A living child, and who waits for which reply of it."""

    def __init__(self, process: Process, secrets: Sequence[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            raise Transient("The MCP server was started without pipes. Nothing was called.")
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        self._secrets = secrets
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._given_up: float | None = None  # when the oldest request was sent that nothing was heard after
        self._retired = False
        self.ended = False
        self._listener = asyncio.create_task(self._listen())

    async def ask(self, request: Request) -> Reply:
        if self.ended:
            raise Transient("The MCP server has ended. Nothing was called.", silent=True)
        sent = asyncio.get_running_loop().time()
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[request.number] = reply
        try:
            await self._write(request.encoded())
            return await reply
        except (OSError, RuntimeError) as error:  # an event loop may say the second of a pipe that has just closed
            raise InDoubt("The MCP server stopped listening before it answered.", silent=True) from error
        finally:
            del self._waiting[request.number]
            if (reply.cancelled() or not reply.done()) and self._given_up is None:
                self._given_up = sent
            self._leave_if_nobody_waits()

    async def tell(self, method: str) -> None:
        try:
            await self._write(notification(method))
        except (OSError, RuntimeError) as error:
            raise InDoubt("The MCP server stopped listening.", silent=True) from error

    def agreed(self, version: str) -> None:
        """Nothing here depends on it."""

    @property
    def gone(self) -> bool:
        """Tell whether the process has ended."""
        return self._process.returncode is not None

    def stuck(self) -> bool:
        """Tell whether it has been quiet for too long since it was asked."""
        quiet = 0.0 if self._given_up is None else asyncio.get_running_loop().time() - self._given_up
        return quiet > QUIET_SECONDS

    def retire(self) -> None:
        """Let it go once nobody waits for it any more."""
        self._retired = True
        self._leave_if_nobody_waits()

    async def end(self) -> None:
        """End it by the end of its input; kill it if that does not help."""
        self._stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """Kill it and whatever it started, and wait until it is gone."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it leads the session it was started in
        await self._process.wait()
        self._listener.cancel()  # what it started may hold its standard output open
        await asyncio.wait({self._listener})

    def _leave_if_nobody_waits(self) -> None:
        if self._retired and not self._waiting:
            self._stdin.close()

    async def _write(self, line: bytes) -> None:
        self._stdin.write(line + b"\n")
        await self._stdin.drain()

    async def _listen(self) -> None:
        """Read until it ends; then nobody waits any more."""
        line, too_long = bytearray(), False
        try:
            while chunk := await self._stdout.read(_CHUNK):
                *ended, rest = chunk.split(b"\n")
                for part in ended:
                    if not too_long and len(line) + len(part) <= MCP_MESSAGE_BYTES:
                        self._heard(bytes(line + part))
                    line, too_long = bytearray(), False
                line += rest
                if len(line) > MCP_MESSAGE_BYTES:
                    line, too_long = bytearray(), True
        finally:
            self.ended = True
            self._stdin.close()
            for reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(InDoubt("The MCP server ended before it answered.", silent=True))

    def _heard(self, line: bytes) -> None:
        self._given_up = None
        try:
            message = read(line, self._secrets)
        except Senseless:
            return
        match message:
            case Reply(number=number) if number in self._waiting and not self._waiting[number].done():
                self._waiting[number].set_result(message)
            case Question() if self._stdin.transport.get_write_buffer_size() < MCP_MESSAGE_BYTES:
                self._stdin.write(answer(message) + b"\n")  # who asks without listening is not answered for ever


_Begun = tuple[_Child, Conversation, Mapping[str, str]]  # with the secrets that it was given
