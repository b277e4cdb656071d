"""What was refused, for the audit: dead tokens, and living ones that asked for what is not theirs to do.

It is told in the background, seldom, and without forgetting how often. To the caller every dead token is the same; here
the causes are distinct. One event a minute for each kind of refusal and grant, over all processes: the minute is part
of the stream's name, and whoever comes second counts on and tells as the next one begins, so that the processes take
turns. What is counted and not yet told when a process ends is lost.
"""

import asyncio
from typing import Literal

import msgspec
import structlog

from authority.grants import Principal
from ledger import bounds
from ledger.errors import LedgerError
from ledger.events import ActRefused, TokenRefused
from ledger.store import Append, Appended, Store

log = structlog.get_logger(__name__)

Cause = Literal["expired", "revoked", "unknown", "suspended"]
Refusal = TokenRefused | ActRefused
_Place = tuple[str, str | None]  # kind and grant


class Refusals:
    """Counts what was refused, and records it."""

    def __init__(self, store: Store) -> None:
        """Begin with none."""
        self._store = store
        self._untold: dict[_Place, Refusal | None] = {}  # the first that is not told, and how often; None: all is told
        self._telling: set[asyncio.Task[None]] = set()

    def token(self, cause: Cause, custody: tuple[str, ...]) -> None:
        """Count a token that is not alive, of the last grant of a chain; empty if it is not known. Never waits."""
        if not self._room(cause, custody[-1] if custody else None):
            custody = ()  # counted all the same, without the grant
        self._count(cause, TokenRefused(cause=cause, grant=custody[-1] if custody else None, times=1, custody=custody))

    def act(self, principal: Principal, act: str, of: str | None) -> None:
        """Count an act that was not theirs to do. Never waits. Beyond the bound of kinds it is only answered."""
        if self._room(act, principal.grant):
            by, custody = principal.subject, principal.custody
            self._count(act, ActRefused(act=act, by=by, grant=principal.grant, times=1, of=of, custody=custody))

    async def close(self) -> None:
        """Stop telling."""
        tasks = list(self._telling)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _room(self, kind: str, grant: str | None) -> bool:
        return (kind, grant) in self._untold or len(self._untold) < bounds.TOKEN_REFUSALS_KEPT

    def _count(self, kind: str, refusal: Refusal) -> None:
        """Count a refusal, and begin to tell of its kind unless somebody is at it."""
        place = (kind, refusal.grant)
        if place in self._untold:
            self._untold[place] = _both(self._untold[place], refusal)
            return
        self._untold[place] = refusal
        task = asyncio.get_running_loop().create_task(self._tell(place))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, place: _Place) -> None:
        """Record what was counted, then once a minute what has been counted since, until a minute was quiet."""
        minute = bounds.TOKEN_REFUSAL_SECONDS
        try:
            while (refusal := self._untold[place]) is not None:
                self._untold[place] = None
                if await self._recorded(place, refusal):
                    await asyncio.sleep(minute)
                else:
                    self._untold[place] = _both(refusal, self._untold[place])
                    await asyncio.sleep(minute - self._store.now().timestamp() % minute)
        finally:
            del self._untold[place]

    async def _recorded(self, place: _Place, refusal: Refusal) -> bool:
        kind, grant = place
        minute = int(self._store.now().timestamp() // bounds.TOKEN_REFUSAL_SECONDS)
        stream = f"refusal/{kind}/{grant or ''}/{minute}"
        try:
            verdict = await self._store.append(Append(stream=stream, expected_version=0, events=(refusal,)))
        except LedgerError as error:
            log.debug("refusal_not_recorded", kind=kind, grant=grant, reason=error.message)
            return False
        return isinstance(verdict, Appended)


def _both(first: Refusal | None, later: Refusal | None) -> Refusal | None:
    """Count two of a kind together: what is told is about the first."""
    if first is None or later is None:
        return first or later
    return msgspec.structs.replace(first, times=first.times + later.times)
