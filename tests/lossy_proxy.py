"""A TCP proxy that can be told to lose an answer: a request passes, takes effect, and its answer never arrives."""

import asyncio
import socket
import struct
from contextlib import suppress


class Proxy:
    """Stands between a client and `target`; cuts both ways when the answer to what carries `lose_after` arrives."""

    def __init__(self, target: str | tuple[str, int]) -> None:
        """Pass on to a socket's path or to a host and port."""
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.lose_after: bytes | None = None
        self.cut_at = b""  # what stands in the part of the answer that says that it is done
        self.resets = False  # ends the lost connection with a reset, not with an orderly end: clients tell them apart
        self.lost = 0
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and cut the present ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, str):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await self._connect()
        losing = asyncio.Event()
        back = asyncio.create_task(_answers(far_reader, writer, losing, self.cut_at))
        try:
            while data := await reader.read(65536):
                if self.lose_after is not None and self.lose_after in data:
                    self.lose_after = None
                    self.lost += 1
                    if self.resets:
                        near = writer.transport.get_extra_info("socket")
                        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    losing.set()
                far_writer.write(data)
                await far_writer.drain()
        finally:
            far_writer.transport.abort()
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)


async def _answers(far: asyncio.StreamReader, near: asyncio.StreamWriter, losing: asyncio.Event, cut_at: bytes) -> None:
    try:
        while data := await far.read(65536):
            if losing.is_set() and cut_at in data:  # it has answered, so the effect is there; nobody will hear of it
                return
            near.write(data)
            await near.drain()
    except OSError:  # a reset is passed on as one
        return
    finally:
        near.transport.abort()
