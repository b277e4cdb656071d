"""Measure the store alone: `python -m bench.append DSN` prints JSON. The database is migrated and gains a ledger.

single        one append of one event at a time: milliseconds
appends       appends of one small event each, from many waiters: events per second
batches       appends of 100 small events each, from a few waiters: events per second
intents       the three appends of an intent (submitted + evaluated, prepared + decided, done + committed) with their
              guards and work, at 1, 32 and 128 in flight: intents per second, and milliseconds
authority     the same at 128 in flight, under a grant, a policy set, a likeness and a limit that each decision charges
reading       the whole ledger, decoded: events per second
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial

import uvloop

from authority.grants import operator_grant
from ledger import events as e
from ledger.database import open_pool
from ledger.grants import Charge
from ledger.ids import intent_id, intent_stream
from ledger.intents import ActionPlan, Guarantee, Mode, Subject, Undo
from ledger.migrations import migrate
from ledger.postgres_store import PostgresStore
from ledger.store import (
    Append,
    Appended,
    EpochCurrent,
    Finished,
    GrantAlive,
    Guard,
    Issue,
    KeyUnused,
    PolicyActive,
    Take,
    Unlike,
    WithinLimits,
)


def _plan(intent: str, action: str) -> ActionPlan:
    return ActionPlan(
        id=action,
        adapter="noop",
        operation="noop.do",
        params={"charge": "ch_88", "amount": 4200, "currency": "USD"},
        guarantee=Guarantee.ATOMIC,
        undo=Undo.EXACT,
        summary="do nothing for customer 88",
        key=f"{intent}-{action}",
        undo_key=f"{intent}-{action}-undo",
    )


def _submitted(intent: str) -> e.IntentSubmitted:
    return e.IntentSubmitted(
        intent=intent,
        idempotency_key=intent,
        request_digest="sha256:" + "0" * 64,
        agent=Subject(kind="agent", name="bench", version="1"),
        grant="grant-operator",
        custody=("grant-operator",),
        commissioned_by=None,
        task="bench",
        reason="measure",
        confidence=None,
        mode=Mode.EXECUTE,
        deadline_seconds=30,
        context={},
        actions=(_plan(intent, "a"), _plan(intent, "b")),
    )


async def _must(store: PostgresStore, append: Append) -> Appended:
    verdict = await store.append(append)
    if not isinstance(verdict, Appended):
        raise TypeError(f"The benchmark's own append was answered by {verdict!r}.")
    return verdict


async def _intent(store: PostgresStore, *, under_authority: bool = False) -> None:
    intent = intent_id(store.now(), os.urandom(10))
    stream = intent_stream(intent)
    submitting: tuple[Guard, ...] = (KeyUnused("agent/bench", intent, "sha256:" + "0" * 64),)
    deciding: tuple[Guard, ...] = ()
    if under_authority:
        alive, active = GrantAlive("grant-operator"), PolicyActive(None)
        submitting += (alive, active, Unlike(f"sha256:{intent}", 3600))
        deciding = (alive, active, WithinLimits((Charge(limit="grant-operator/0", per="day", amount=1, max=2**40),)))
    verdict = e.PolicyEvaluated(effect="allow", policies=("allow-all",), policy_set="sha256:" + "0" * 64)
    opened = await _must(
        store,
        Append(
            stream=stream,
            expected_version=0,
            events=(_submitted(intent), verdict),
            guards=submitting,
            work=Take("bench", 15.0),
        ),
    )
    guards = (EpochCurrent(opened.epoch or 0),)
    prepared = [e.ActionPrepared(action=action, receipt={"hold": "h"}, preview={}) for action in ("a", "b")]
    decided = e.CommitDecided(grant="grant-operator", policies=("allow-all",), policy_set="sha256:" + "0" * 64)
    decision = Append(stream=stream, expected_version=2, events=(*prepared, decided), guards=(*guards, *deciding))
    await _must(store, decision)
    done = [e.ActionDone(action=action, result={"id": "1"}) for action in ("a", "b")]
    await _must(
        store,
        Append(
            stream=stream,
            expected_version=5,
            events=(*done, e.IntentCommitted()),
            guards=guards,
            work=Finished(),
        ),
    )


async def _issue(store: PostgresStore) -> None:
    grant = operator_grant("bench")
    await _must(store, Append(stream="grants", expected_version=0, events=(grant,), change=Issue(grant)))


def _appending(events: int) -> Callable[[PostgresStore], Awaitable[None]]:
    written = tuple(e.ActionDone(action="a", result={"id": str(n)}) for n in range(events))

    async def append(store: PostgresStore) -> None:
        stream = intent_stream(intent_id(store.now(), os.urandom(10)))
        await _must(store, Append(stream=stream, expected_version=0, events=written))

    return append


async def _run(
    store: PostgresStore, waiters: int, seconds: float, work: Callable[[PostgresStore], Awaitable[None]]
) -> tuple[float, list[float]]:
    """Repeat `work` in so many waiters for so long; returns (times per second, sorted milliseconds)."""
    took: list[float] = []
    started = time.perf_counter()
    stop_at = started + seconds

    async def repeat() -> None:
        while (before := time.perf_counter()) < stop_at:
            await work(store)
            took.append((time.perf_counter() - before) * 1000)

    await asyncio.gather(*(repeat() for _ in range(waiters)))
    return len(took) / (time.perf_counter() - started), sorted(took)


def _milliseconds(took: list[float]) -> dict[str, float]:
    return {"p50_ms": round(statistics.median(took), 2), "p99_ms": round(took[int(len(took) * 0.99)], 2)}


async def measure(dsn: str, seconds: float) -> dict[str, object]:
    """Run every measurement once, each for so many seconds, in a fresh ledger."""
    await migrate(dsn)
    pool = await open_pool(dsn, 4)
    store = PostgresStore(pool, f"bench-{os.getpid()}-{time.time_ns()}")
    await store.start()
    report: dict[str, object] = {}
    _, took = await _run(store, 1, seconds, _appending(1))
    report["single"] = _milliseconds(took)
    for name, waiters, events in (("appends", 512, 1), ("batches", 16, 100)):
        rate, took = await _run(store, waiters, seconds, _appending(events))
        report[name] = {"waiters": waiters, "events_per_second": round(rate * events)} | _milliseconds(took)
    for waiters in (1, 32, 128):
        cpu = time.process_time()
        rate, took = await _run(store, waiters, seconds, _intent)
        micros = (time.process_time() - cpu) / max(1, len(took)) * 1e6
        report[f"intents_{waiters}"] = {
            "intents_per_second": round(rate),
            "python_microseconds_per_intent": round(micros),
        } | _milliseconds(took)
    await _issue(store)
    rate, took = await _run(store, 128, seconds, partial(_intent, under_authority=True))
    report["authority_128"] = {"intents_per_second": round(rate)} | _milliseconds(took)
    report["reading"] = await _read(store)
    await store.stop()
    await pool.close()
    return report


async def _read(store: PostgresStore) -> dict[str, int]:
    position, started = 0, time.perf_counter()
    while events := await store.read_all(position, 5_000):
        position = events[-1].position
    return {"events": position, "events_per_second": round(position / (time.perf_counter() - started))}


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dsn")
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    report = uvloop.run(measure(arguments.dsn, arguments.seconds))
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
