"""Bringing the newest checkpoint to a place outside the database, as often as it changes and as fast as the place goes.

Each place has a publisher of its own, so that one that is away delays neither the log nor another place. Only the
newest checkpoint counts: those that came while a place was busy or away are left out. What a witness gives back is
added to the checkpoint in the database.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from ledger import bounds
from ledger.errors import Corrupt, LedgerError
from ledger.log.checkpoint import parse_checkpoint
from ledger.log.signed_note import Note, Signature
from ledger.log.tree import Log, Signed

_log = structlog.get_logger(__name__)


class Place(Protocol):
    """Somewhere outside the database, where the newest checkpoint stands or is known."""

    name: str  # for people; no secret
    cosigns: bool  # what it gives back are cosignatures, and they change nothing for it
    pause_seconds: float  # between two checkpoints

    async def known(self) -> Note | None:
        """Return the checkpoint that stands there; None: none does.

        Raises `Unavailable` if it does not answer, `Corrupt` if what stands there is no checkpoint.
        """

    async def publish(self, signed: Signed) -> Sequence[Signature]:
        """Put a checkpoint there, and return what the place signed.

        Raises `Unavailable` if it does not answer, `Corrupt` if it knows a log that this one does not go on from.
        """


async def precedes(standing: Note, signed: Signed, log: Log, where: str) -> bool:
    """Tell whether what stands at a place may be replaced: another process of ours may have gone on meanwhile.

    Raises `Corrupt` if our log does not go on from it.
    """
    found = parse_checkpoint(standing.text)
    newest = await log.newest() or signed
    if newest.size < found.size or await log.root(found.size) != found.root:
        raise Corrupt(
            f"What stands in {where} covers {found.size} events, and this log, of {newest.size}, does not go on from "
            "it. It was left there; a person must look."
        )
    return found.size <= signed.size


class Publisher:
    """Keeps one place at the newest checkpoint."""

    def __init__(self, place: Place, log: Log, cosigned: Callable[[Signed], None]) -> None:
        """`cosigned` hears of a checkpoint that has got another cosignature."""
        self.place = place
        self.failure: str | None = None  # why the last attempt came to nothing
        self._log = log
        self._cosigned = cosigned
        self._offered: Signed | None = None
        self._news = asyncio.Event()
        self._idle = asyncio.Event()  # there is nothing to publish
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to publish what is offered."""
        self._task = asyncio.create_task(self._publish_on(), name=f"publisher at {self.place.name}")

    async def stop(self) -> None:
        """Publish what is offered if the place answers, and let go; what is left is published after the next start."""
        if self._task is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(bounds.LOG_STOP_SECONDS if self.failure is None else 0):
                    await self._idle.wait()
            self._task.cancel()
            await asyncio.wait([self._task])

    def offer(self, signed: Signed) -> None:
        """Say that this checkpoint is the newest now."""
        before, self._offered = self._offered, signed
        same = before is not None and before.size == signed.size and (self.place.cosigns or before.note == signed.note)
        if not same:
            self._idle.clear()
            self._news.set()

    async def _publish_on(self) -> None:
        delay = bounds.LOG_RETRY_SECONDS
        while True:
            await self._news.wait()
            self._news.clear()
            if await self._attempt():
                delay = bounds.LOG_RETRY_SECONDS
                if not self._news.is_set():
                    self._idle.set()
                await asyncio.sleep(self.place.pause_seconds)
            else:
                self._news.set()
                await asyncio.sleep(delay)
                delay = min(2 * delay, bounds.LOG_RETRY_CAP_SECONDS)

    async def _attempt(self) -> bool:
        signed = self._offered
        if signed is None:
            return True
        try:
            async with asyncio.timeout(bounds.LOG_PLACE_SECONDS):
                for cosignature in await self.place.publish(signed):
                    stored = await self._log.cosigned(signed.size, cosignature)
                    if stored is not None:
                        self._cosigned(stored)
        except (LedgerError, TimeoutError) as error:
            why = error.message if isinstance(error, LedgerError) else "It did not answer in time."
        except Exception as error:  # noqa: BLE001 - a defect of ours or a library's, which must not end all publishing
            _log.exception("log_publisher_failed", place=self.place.name)
            why = f"{type(error).__name__}."
        else:
            if self.failure is not None:
                _log.info("log_published_again", place=self.place.name, size=signed.size)
            self.failure = None
            return True
        if why != self.failure:
            _log.warning("log_not_published", place=self.place.name, size=signed.size, reason=why)
        self.failure = why
        return False
