"""Tokens that were refused, for the audit: told in the background, seldom, and without forgetting how many.

To the caller every dead token is the same; here the causes are distinct. One event a minute for each cause and grant,
over all processes: the minute is part of the stream's name, and whoever comes second counts on and tells later. What is
counted and not yet told when a process ends is lost, at most a minute of it.
"""

import asyncio
from typing import Literal

import structlog

from ledger import bounds
from ledger.errors import LedgerError
from ledger.events import TokenRefused
from ledger.store import Append, Appended, Store

log = structlog.get_logger(__name__)

Cause = Literal["expired", "revoked", "unknown", "suspended"]
_Kind = tuple[Cause, tuple[str, ...]]  # the cause, and the custody chain of the grant; empty if it is not known


class Refusals:
    """Counts refused tokens and records them."""

    def __init__(self, store: Store) -> None:
        """Begin with none."""
        self._store = store
        self._untold: dict[_Kind, int] = {}
        self._telling: set[asyncio.Task[None]] = set()

    def note(self, cause: Cause, custody: tuple[str, ...]) -> None:
        """Count a refusal, and begin to tell of its kind unless somebody is at it. Never waits."""
        kind: _Kind = (cause, custody)
        if kind not in self._untold and len(self._untold) >= bounds.TOKEN_REFUSALS_KEPT:
            kind = (cause, ())  # counted all the same, without the grant
        if kind in self._untold:
            self._untold[kind] += 1
            return
        self._untold[kind] = 1
        task = asyncio.get_running_loop().create_task(self._tell(kind))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def close(self) -> None:
        """Stop telling."""
        tasks = list(self._telling)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, kind: _Kind) -> None:
        """Record what was counted, then once a minute what has been counted since, until a minute was quiet."""
        while times := self._untold[kind]:
            if await self._recorded(kind, times):
                self._untold[kind] -= times
            await asyncio.sleep(bounds.TOKEN_REFUSAL_SECONDS)
        del self._untold[kind]

    async def _recorded(self, kind: _Kind, times: int) -> bool:
        cause, custody = kind
        grant = custody[-1] if custody else None
        minute = int(self._store.now().timestamp() // bounds.TOKEN_REFUSAL_SECONDS)
        event = TokenRefused(cause=cause, grant=grant, times=times, custody=custody)
        stream = f"refusal/{cause}/{grant or ''}/{minute}"
        try:
            verdict = await self._store.append(Append(stream=stream, expected_version=0, events=(event,)))
        except LedgerError as error:
            log.debug("token_refusal_not_recorded", cause=cause, grant=grant, reason=error.message)
            return False
        return isinstance(verdict, Appended)
