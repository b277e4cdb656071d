"""Suspending a grant, and lifting that: a revocation that a person can take back.

A grant is suspended or not; what its own stream said last tells. It counts for everything below it, and lifting one
suspension leaves others above or below in force (`intent_ledger.grants.suspensions`). A person suspends what is below
their own grant, and the watch over behaviour suspends because of an anomaly, each anomaly at most once: what a person
has lifted since is not suspended again for the same reason. The first grant is never suspended, because nobody above
it could lift that.
"""

from collections.abc import Sequence
from datetime import datetime

from authority.grants import Principal, grant_stream
from authority.record import record
from ledger.errors import Conflict, Forbidden, InvariantViolation, NotFound
from ledger.events import GrantResumed, GrantSuspended, Recorded
from ledger.store import Append, Appended, GrantAlive, Resume, StandingGrant, Store, Suspend


async def suspend_for(store: Store, grant: str, anomaly: str, reason: str, since: datetime) -> bool:
    """Suspend a grant because of an anomaly; tell whether it was suspended for it, now or before.

    False for a grant that is dead, suspended for something else, resumed by a person `since` it was found, or the first
    one. Doing it again is harmless, whoever did it before. Raises `Unavailable` if it is not known whether it was
    recorded.
    """
    event = GrantSuspended(grant=grant, reason=reason, by=None, anomaly=anomaly)
    while True:
        standing = await store.chain(grant=grant)
        if not standing or len(standing) == 1 or standing[-1].revoked:
            return False
        past = await store.read(grant_stream(standing[-1].issued))
        if any(isinstance(one.event, GrantSuspended) and one.event.anomaly == anomaly for one in past):
            return True
        if is_suspended(past) or any(isinstance(one.event, GrantResumed) and one.at >= since for one in past):
            return False
        append = Append(stream=past[-1].stream, expected_version=len(past), events=(event,), change=Suspend(grant))
        if isinstance(await record(store, append, f"grant {grant} was suspended"), Appended):
            return True


async def change(store: Store, principal: Principal, event: GrantSuspended | GrantResumed) -> None:
    """Record that a person suspends or resumes a grant below their own. Doing it again is harmless.

    Raises `NotFound`, `Forbidden`, and `Conflict` for a grant that was revoked for good; `Unavailable` if it is not
    known whether it was recorded.
    """
    standing = await store.chain(grant=event.grant)
    _may(principal, standing, event.grant)
    suspends = isinstance(event, GrantSuspended)
    wanted = Suspend(event.grant) if suspends else Resume(event.grant)
    while True:
        past = await store.read(grant_stream(standing[-1].issued))
        if is_suspended(past) == suspends:
            return
        append = Append(
            stream=past[-1].stream,
            expected_version=len(past),
            events=(event,),
            guards=(GrantAlive(principal.grant),),
            change=wanted,
        )
        what = f"grant {event.grant} was {'suspended' if suspends else 'resumed'}"
        if isinstance(await record(store, append, what), Appended):
            return
        standing = await store.chain(grant=event.grant)
        _may(principal, standing, event.grant)


def suspended(standing: Sequence[StandingGrant]) -> str | None:
    """Return which grant of a chain is suspended itself, the first one; None if none is."""
    return next((one.issued.grant for one in standing if one.suspended), None)


def is_suspended(past: Sequence[Recorded]) -> bool:
    """Tell whether the stream of a grant says that this grant itself is suspended."""
    last = next((one.event for one in reversed(past) if isinstance(one.event, GrantSuspended | GrantResumed)), None)
    return isinstance(last, GrantSuspended)


def _may(principal: Principal, standing: Sequence[StandingGrant], grant: str) -> None:
    """Raise unless the principal is a person above the grant, and the grant is not revoked."""
    if principal.subject.kind != "person":
        raise Forbidden("Only a person may do this. Nothing was done.")
    if not standing:
        raise NotFound(f"There is no grant {grant} here.")
    if principal.grant not in {one.issued.grant for one in standing[:-1]}:
        raise Forbidden(f"Grant {grant} is not below yours. Nothing was done; somebody above it can do this.")
    if standing[-1].issued.grant != grant:
        raise InvariantViolation(f"The chain of grant {grant} does not end with it.")
    if standing[-1].revoked:
        raise Conflict(f"Grant {grant} was revoked for good. Nothing was recorded; issue another one.")
