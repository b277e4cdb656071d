"""The sender of webhooks: what lies in the outbox goes to one receiver, at least once, signed, until it is taken.

    claim what is due (a lease) ─► read the event and its intent ─► post ─► 2xx: done
                                                                     └──► else: again, later and later

Rules of this file:

1. The outbox row was written in the transaction of its event; nothing is sent that is not durable, and nothing durable
   is forgotten. A crash between the post and `done` sends the same message again, under the same id.
2. Any number of processes may send beside each other. The lease is an optimisation: two that send the same message
   send the same id.
3. A receiver is only listened to for its status. Nothing is followed, remembered or read beyond the headers.
4. Neither the address nor what was said enters a log: an address may be a secret of its own.
"""

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, Protocol

import aiohttp
import structlog
from yarl import URL

from coordinator.backoff import spread
from gateway import webhook_message as message
from gateway.webhook_receiver import Receiver
from ledger import bounds
from ledger.background import Background
from ledger.errors import Corrupt, LedgerError, Unavailable
from ledger.outbox import Waiting
from ledger.store import Store

log = structlog.get_logger(__name__)

_GONE: Final = 410


class Sent(StrEnum):
    """What came of one attempt."""

    DELIVERED = "delivered"
    FAILED = "failed"  # and it is tried again
    GIVEN_UP = "given_up"


class Outbox(Protocol):
    """What waits to be told, as `ledger/outbox.py` keeps it."""

    async def claim_due(self, limit: int, lease_seconds: float) -> Sequence[Waiting]:
        """Take at most `limit` messages that are due, and keep others off them for `lease_seconds`."""

    async def done(self, position: int, attempts: int) -> bool:
        """Forget a message; False if another sender has claimed it since."""

    async def again(self, position: int, attempts: int, delay_seconds: float) -> bool:
        """Make a message due later; False if another sender has claimed it since."""


class Sender:
    """One process's sender for one ledger."""

    def __init__(
        self, outbox: Outbox, store: Store, receiver: Receiver, told: Callable[[str], None] = lambda _: None
    ) -> None:
        """`told` hears what came of each attempt, to be counted."""
        self._outbox = outbox
        self._store = store
        self._receiver = receiver
        self._told = told
        self._session: aiohttp.ClientSession | None = None
        self._part: Background | None = None

    def start(self) -> None:
        """Begin to send what is due, left behind or not."""
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=bounds.WEBHOOKS_AT_ONCE, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # one clock, below
            auto_decompress=False,
            trust_env=False,
        )
        self._session = session
        self._part = Background(
            f"webhooks of {self._store.ledger}",
            lambda: self._round(session),
            retry_seconds=bounds.WEBHOOK_POLL_SECONDS,
            drain_seconds=bounds.WEBHOOK_DRAIN_SECONDS,
        )
        self._part.start()

    async def stop(self) -> None:
        """Claim nothing more, give what is under way WEBHOOK_DRAIN_SECONDS, and close."""
        if self._part is not None:
            await self._part.stop()
        if self._session is not None:
            await self._session.close()

    async def _round(self, session: aiohttp.ClientSession) -> float:
        """Send what is due now, at most WEBHOOKS_AT_ONCE messages; return how long to rest then."""
        due = await self._outbox.claim_due(bounds.WEBHOOKS_AT_ONCE, bounds.WEBHOOK_LEASE_SECONDS)
        answers = await asyncio.gather(*(self._tell(session, one) for one in due), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return bounds.WEBHOOK_POLL_SECONDS if len(due) < bounds.WEBHOOKS_AT_ONCE else 0.0

    async def _tell(self, session: aiohttp.ClientSession, waiting: Waiting) -> None:
        status, why = await self._attempt(session, waiting)
        came_of_it = _judge(status, waiting.age_seconds)
        if came_of_it is Sent.FAILED:
            delay = spread(
                bounds.WEBHOOK_RETRY_BASE_SECONDS,
                bounds.WEBHOOK_RETRY_CAP_SECONDS,
                waiting.attempts - 1,
                f"{self._store.ledger}-{waiting.position}",
            )
            await self._outbox.again(waiting.position, waiting.attempts, delay)
            log.info("webhook_failed", position=waiting.position, attempts=waiting.attempts, why=why, again_in=delay)
        else:
            await self._outbox.done(waiting.position, waiting.attempts)
        if came_of_it is Sent.GIVEN_UP:
            log.warning("webhook_given_up", position=waiting.position, attempts=waiting.attempts, why=why)
        self._told(came_of_it)

    async def _attempt(self, session: aiohttp.ClientSession, waiting: Waiting) -> tuple[int | None, str]:
        """Post one message; return the status, None without one, and why it may have failed in a few words."""
        try:
            content = await self._content(waiting.position)
        except Unavailable:
            raise
        except LedgerError as error:
            return None, error.message
        signed = message.headers(
            f"{self._store.ledger}-{waiting.position}", self._store.now(), content, self._receiver.keys
        )
        try:
            async with (
                asyncio.timeout(bounds.WEBHOOK_SECONDS),
                session.post(
                    URL(self._receiver.url, encoded=True),
                    data=content,
                    headers={**signed, "Content-Type": "application/json", "User-Agent": "intentledger"},
                    allow_redirects=False,
                ) as answer,
            ):
                return answer.status, f"it answered {answer.status}"
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a TimeoutError is an OSError
            return None, type(error).__name__

    async def _content(self, position: int) -> bytes:
        """Read the event and what it belongs to. Raises `Unavailable`, `Corrupt`."""
        found = await self._store.read_all(position - 1, 1)
        if not found or found[0].position != position:
            raise Corrupt(f"The outbox names position {position}, where there is no event.")
        told = found[0]
        if message.kind(told.event) is None:
            raise Corrupt(f"The outbox names position {position}, and nothing is said about a {told.type}.")
        return message.body(await self._store.read(told.stream), told)


def _judge(status: int | None, age_seconds: float) -> Sent:
    if status is not None and 200 <= status < 300:
        return Sent.DELIVERED
    return Sent.GIVEN_UP if status == _GONE or age_seconds > bounds.WEBHOOK_AGE_SECONDS else Sent.FAILED
