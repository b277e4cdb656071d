"""The watch over behaviour: what the view found odd becomes an event, and what configuration says is done about it.

    the view has moved ─► read what it found ─► suspend the grants, if that is the response ─► append AnomalyDetected

Rules of this file:

1. An anomaly is told once. Its stream is named by the event that showed it, so of any number of processes one appends.
2. What is done comes before it is told. A crash between the two does it again, which is harmless: a grant is suspended
   at most once for each anomaly, and never against what a person has said since it was found.
3. What was found longer ago than BEHAVIOUR_FRESH_SECONDS is history, and told to nobody.
4. A response of which nothing came asks people instead: the first grant cannot be suspended.

Which anomalies stand is kept in memory for verdicts, as the view shows it; verdicts name those that they saw.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

import structlog

import sql
from authority.authority import Authority
from gateway.behaviour_settings import BehaviourSettings
from ledger import bounds
from ledger.background import Background
from ledger.behaviour_events import anomaly_stream
from ledger.database import connection
from ledger.events import AnomalyDetected, GrantIssued, StandingAnomaly
from ledger.store import Append, Appended, Store, Unknown
from projections.behaviour.anomalies import standing_anomalies
from projections.behaviour.odd_words import words
from projections.behaviour.page import FoundRow, found_after
from projections.follower import Follower

if TYPE_CHECKING:
    from ledger.database import Connection, Pool

log = structlog.get_logger(__name__)

_TOLD: Final = sql.query("behaviour.told")
_HABITS: Final = 1_000  # with findings, looked at in one go
_LOOK_SECONDS: Final = 5.0  # between looks while nothing moves: what stands ends by itself
_HANDLED: Final = 100_000  # ids kept; beyond them the streams say what was told


class Watch:
    """One process's watch over the behaviour of one ledger."""

    def __init__(
        self,
        pool: "Pool",
        store: Store,
        authority: Authority,
        follower: Follower,
        settings: BehaviourSettings,
        *,
        notify: bool = False,
    ) -> None:
        """`notify`: there is a receiver of webhooks."""
        self._pool = pool
        self._store = store
        self._authority = authority
        self._follower = follower
        self._settings = settings
        self._notify = notify and settings.webhook
        self._after = 0  # the findings shown up to this position were handled
        self._handled: set[str] = set()
        self._standing: tuple[tuple[str, StandingAnomaly], ...] = ()
        self._seen, self._looked = -1, float("-inf")  # where the views were at the last look, and when that was
        self._part = Background("watch over behaviour", self._turn, retry_seconds=bounds.BEHAVIOUR_WATCH_SECONDS)

    @property
    def standing(self) -> int:
        """Return how many anomalies stand, as far as this process knows."""
        return len(self._standing)

    def of(self, chain: Sequence[GrantIssued]) -> tuple[StandingAnomaly, ...]:
        """Return what is odd about whoever acts under a chain, and about the agents above that delegated."""
        if not self._standing or not chain:
            return ()
        acting = [chain[-1].subject, *(one.subject for one in chain[:-1] if one.subject.kind == "agent")]
        whose = {(one.kind, one.name) for one in acting}
        found = [anomaly for kind, anomaly in self._standing if (kind, anomaly.name) in whose]
        return tuple(found[: bounds.DECISION_REASONS])

    def start(self) -> None:
        """Begin to watch."""
        self._part.start()

    async def stop(self) -> None:
        """Let go; what was found and not told is told by the next start."""
        await self._part.stop()

    async def look(self) -> None:
        """Tell what was found and not told yet, and learn what stands. Raises `Unavailable`."""
        async with connection(self._pool) as reader:
            found = await found_after(reader, self._store.ledger, self._after, _HABITS)
            fresh = await self._untold(reader, found)
        for one in fresh:
            if await self._tell(one):
                self._handled.add(one.finding.id)
        async with connection(self._pool) as reader:
            now = self._store.now()
            self._standing = tuple(await standing_anomalies(reader, self._store.ledger, now))
        if found and all(one.finding.id in self._handled for one in fresh):
            self._after = max(one.found for one in found)
        if len(self._handled) > _HANDLED:
            self._handled.clear()

    async def _untold(self, reader: "Connection", found: Sequence[FoundRow]) -> list[FoundRow]:
        oldest = self._store.now() - timedelta(seconds=bounds.BEHAVIOUR_FRESH_SECONDS)
        fresh = [one for one in found if one.finding.at > oldest and one.finding.id not in self._handled]
        told = {row["anomaly"] for row in await reader.fetch(_TOLD, self._store.ledger, [f.finding.id for f in fresh])}
        return [one for one in fresh if one.finding.id not in told]

    async def _tell(self, found: FoundRow) -> bool:
        """Do what configuration says and record it; False if it is not known whether it was."""
        finding = found.finding
        sentence = words(found.whose, found.name, found.operation, finding)
        response, suspended = await self._respond(found, sentence)
        event = AnomalyDetected(
            anomaly=finding.id,
            kind=finding.kind,
            whose=found.whose,
            name=found.name,
            operation=found.operation,
            position=found.shown_at,
            found_at=finding.at,
            intent=finding.intent,
            grants=finding.grants,
            evidence=finding.evidence,
            sentence=sentence,
            response=response,
            stands_until=self._store.now() + timedelta(hours=self._settings.stands_hours),
            suspended=suspended,
        )
        append = Append(
            stream=anomaly_stream(finding.id),
            expected_version=0,
            events=(event,),
            notify=0 if self._notify else None,
        )
        verdict = await self._store.append(append)
        if isinstance(verdict, Appended):
            log.warning("anomaly_detected", anomaly=finding.id, kind=finding.kind, response=response)
        return not isinstance(verdict, Unknown)

    async def _respond(
        self, found: FoundRow, sentence: str
    ) -> tuple[Literal["note", "escalate", "suspend"], tuple[str, ...]]:
        finding = found.finding
        response = self._settings.response(finding.kind, found.name, found.operation)
        if response == "suspend":
            suspended = tuple(
                [
                    grant
                    for grant in finding.grants
                    if await self._authority.suspend_for(grant, finding.id, sentence, since=finding.at)
                ]
            )
            if suspended:
                return "suspend", suspended
            response = "escalate"
        return ("note" if found.whose == "approver" else response), ()

    async def _turn(self) -> float:
        """Look if there may be something new to see."""
        position, now = self._follower.position, asyncio.get_running_loop().time()
        if position != self._seen or now - self._looked > _LOOK_SECONDS:
            await self.look()
            self._seen, self._looked = position, now
        return bounds.BEHAVIOUR_WATCH_SECONDS
