"""The witness: a small service of its own, without a database, that remembers one checkpoint for each log.

    POST /add-checkpoint              cosign a checkpoint that goes on from the last one (C2SP tlog-witness)
    GET  /<sha256 of origin>/checkpoint   the last one, with the log's signature and the cosignature

Run by somebody else than the log, elsewhere, it makes it impossible to show different histories to different people:
a checkpoint that it has cosigned goes on from every other that it has. It decides in `ledger/log/witnessing.py`.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.witness_shelf import Shelf, origin_hash
from ledger.bounds import WITNESS_BODY_BYTES, WITNESS_BODY_SECONDS
from ledger.errors import LedgerError, Misconfigured
from ledger.log.signed_note import PLAIN, Note, VerifierKey
from ledger.log.witnessing import BAD, Asked, Logs, Refused, judge, read

log = structlog.get_logger(__name__)

_TEXT: Final = "text/plain"
_SIZE: Final = "text/x.tlog.size"


def logs_of(keys: Sequence[VerifierKey]) -> Logs:
    """Arrange the keys of logs by origin, which is their name. Raises `Misconfigured` for what is no log's key."""
    if not keys:
        raise Misconfigured("No log was named whose checkpoints are to be witnessed. Nothing was started; use --log.")
    wrong = [key.name for key in keys if key.algorithm != PLAIN]
    if wrong:
        raise Misconfigured(f"The key of {wrong[0]!r} is a witness's, not a log's. Nothing was started.")
    return {name: tuple(key for key in keys if key.name == name) for name in sorted({key.name for key in keys})}


class Witness:
    """One witness."""

    def __init__(self, shelf: Shelf, logs: Logs) -> None:
        """Begin with what is on the shelf. Raises `Corrupt` if that cannot be believed."""
        self._shelf = shelf
        self._logs = logs
        self._locks = {origin: threading.Lock() for origin in logs}
        self._origins: Mapping[str, str] = {origin_hash(origin): origin for origin in logs}
        for origin in logs:
            shelf.last(origin)

    async def add_checkpoint(self, request: web.Request) -> web.Response:
        """Cosign the checkpoint in the body, or say why not."""
        try:
            async with asyncio.timeout(WITNESS_BODY_SECONDS):
                body = (await request.read()).decode()
        except UnicodeDecodeError:
            return _refuse(Refused(BAD, "The body is not UTF-8."))
        except TimeoutError:
            return _refuse(Refused(BAD, "The body did not come in time."))
        asked = read(body, self._logs)
        if isinstance(asked, Refused):
            return _refuse(asked)
        return await asyncio.to_thread(self._cosign, asked)  # to its end, even if the client leaves

    async def checkpoint(self, request: web.Request) -> web.Response:
        """Show what was cosigned last for a log."""
        origin = self._origins.get(request.match_info["origin"])
        found = await asyncio.to_thread(self._shelf.last, origin) if origin is not None else None
        if found is None:
            return web.Response(status=404, text="No checkpoint of such a log was cosigned here.\n")
        return web.Response(text=str(found[1]), content_type=_TEXT)

    def _cosign(self, asked: Asked) -> web.Response:
        origin = asked.checkpoint.origin
        with self._locks[origin]:  # from the look at the last one until this one is on the disk
            last = self._shelf.last(origin)
            refused = judge(asked, last[0] if last else None)
            if refused is not None:
                log.warning("checkpoint_refused", origin=origin, size=asked.checkpoint.size, status=refused.status)
                return _refuse(refused)
            cosignature = self._shelf.key.cosign(asked.note.text, int(time.time()))
            self._shelf.keep(origin, Note(asked.note.text, (*asked.note.signatures, cosignature)))
        return web.Response(text=f"{cosignature.line}\n", content_type=_TEXT)


@web.middleware
async def _in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say to whoever runs the witness what is wrong with its directory, and to others only that something is."""
    try:
        return await handler(request)
    except (LedgerError, OSError) as error:
        log.error("witness_cannot_use_its_directory", reason=str(error))  # noqa: TRY400 - the sentence is enough
        return web.Response(status=500, text="This witness cannot use its directory. Nothing was cosigned.\n")


def _refuse(refused: Refused) -> web.Response:
    if refused.cosigned_size is not None:
        body = f"{refused.cosigned_size}\n".encode()  # as text it would get a charset, and logs look for just this type
        return web.Response(status=refused.status, body=body, headers={"Content-Type": _SIZE})
    return web.Response(status=refused.status, text=f"{refused.reason}\n", content_type=_TEXT)


@asynccontextmanager
async def witnessing(witness: Witness, host: str, port: int) -> AsyncGenerator[str]:
    """Serve at an address (port 0: any free one) and yield its URL. Raises `Misconfigured` if it cannot be had."""
    application = web.Application(client_max_size=WITNESS_BODY_BYTES, middlewares=[_in_words])
    application.add_routes(
        [
            web.post("/add-checkpoint", witness.add_checkpoint),
            web.get("/{origin:[0-9a-f]{64}}/checkpoint", witness.checkpoint),
        ]
    )
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=2.0, auto_decompress=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise Misconfigured(
                f"{host} port {port} cannot be listened on: {error.strerror}. Nothing was started."
            ) from error
        yield f"http://{'[' + host + ']' if ':' in host else host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
