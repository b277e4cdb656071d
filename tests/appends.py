"""Appends of authority in a few words: issue, revoke, activate, submit, decide."""

from collections.abc import Sequence
from itertools import count
from typing import Any
from uuid import UUID

from ledger import events as e
from ledger.grants import Charge
from ledger.ids import intent_stream
from ledger.intents import Subject
from ledger.store import (
    Activate,
    Append,
    Appended,
    GrantAlive,
    Guard,
    Issue,
    KeyUnused,
    Resume,
    Revoke,
    Store,
    Suspend,
    Take,
    Unlike,
    Verdict,
    WithinLimits,
)

LONG = 3600.0  # seconds of lease
TAKE = Take("w1", LONG)
_numbers = count(1)


def new_intent() -> str:
    return str(UUID(int=next(_numbers) << 64))


def issued(grant: str, parent: str | None = None, **fields: Any) -> e.GrantIssued:
    return e.GrantIssued(
        grant=grant,
        parent=parent,
        subject=Subject(kind="agent", name=grant),
        token_sha256=f"sha256 of {grant}",
        operations=("*",),
        **fields,
    )


def issuing(event: e.GrantIssued, *, guarded: bool = True) -> Append:
    return Append(
        stream=f"grant/{event.grant}",
        expected_version=0,
        events=(event,),
        guards=(GrantAlive(event.parent),) if event.parent and guarded else (),
        change=Issue(event),
    )


async def issue(store: Store, grant: str, parent: str | None = None, **fields: Any) -> Verdict:
    return await store.append(issuing(issued(grant, parent, **fields)))


async def tree(store: Store, *edges: tuple[str, str | None]) -> None:
    for grant, parent in edges:
        assert isinstance(await issue(store, grant, parent), Appended)


def revoking(grant: str) -> Append:
    return Append(
        stream=f"grant/{grant}",
        expected_version=1,
        events=(e.GrantRevoked(grant=grant, reason="it is time", by="dana"),),
        change=Revoke(grant),
    )


async def revoke(store: Store, grant: str) -> Verdict:
    return await store.append(revoking(grant))


def suspending(grant: str) -> Append:
    event = e.GrantSuspended(grant=grant, reason="it is odd", by="dana")
    return Append(stream=f"grant/{grant}", expected_version=1, events=(event,), change=Suspend(grant))


def resuming(grant: str) -> Append:
    event = e.GrantResumed(grant=grant, reason="it was not", by="dana")
    return Append(stream=f"grant/{grant}", expected_version=2, events=(event,), change=Resume(grant))


async def activate(store: Store, policy_set: str | None, version: int) -> Verdict:
    event = e.PolicySetActivated(policy_set=policy_set or "built in", by="dana")
    return await store.append(
        Append(stream="policies", expected_version=version, events=(event,), change=Activate(policy_set))
    )


def submitting(intent: str, *guards: Guard, work: Any = None, key: str | None = None) -> Append:
    return Append(
        stream=intent_stream(intent),
        expected_version=0,
        events=(e.ActionPrepared(action="a", receipt=None, preview={}),),  # any event: stores do not read them
        guards=(KeyUnused("agent/a", key or intent, f"sha256:{intent}"), *guards),
        work=work,
    )


async def submit(store: Store, grant: str | None = None, work: Any = TAKE) -> tuple[str, int | None]:
    """Put an intent in flight under a grant; returns it and its epoch."""
    intent = new_intent()
    guards = () if grant is None else (GrantAlive(grant),)
    verdict = await store.append(submitting(intent, *guards, work=work))
    assert isinstance(verdict, Appended), verdict
    return intent, verdict.epoch


async def submit_like(store: Store, likeness: str, window: int, *besides: str) -> tuple[str, Verdict]:
    intent = new_intent()
    return intent, await store.append(submitting(intent, Unlike(likeness, window, besides)))


def deciding(*guards: Guard, intent: str | None = None, version: int = 0, **fields: Any) -> Append:
    event = e.CommitDecided(grant="g", policies=(), policy_set="p")
    return Append(
        stream=intent_stream(intent or new_intent()), expected_version=version, events=(event,), guards=guards, **fields
    )


async def decide(store: Store, *guards: Guard, **fields: Any) -> Verdict:
    return await store.append(deciding(*guards, **fields))


def charging(*charges: Charge) -> Append:
    return deciding(WithinLimits(charges))


async def charge(store: Store, *charges: Charge) -> Verdict:
    return await store.append(charging(*charges))


def positions(verdicts: Sequence[Verdict]) -> list[int]:
    return [one.position for verdict in verdicts if isinstance(verdict, Appended) for one in verdict.recorded]
