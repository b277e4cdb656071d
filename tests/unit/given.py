"""Words for tests of the pure core: build a plan, tell what has happened, get the state.

    state = given(plan("refund"), allowed(), prepared("refund"))
    assert decide(state, soon()) == ...

Each event is recorded one second after the one before it, beginning at `T0`; `at(seconds)` moves on to a moment.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from ledger import events as e
from ledger.intents import ActionPlan, Guarantee, Mode, Subject, Undo
from ledger.state import IntentState, evolve
from ledger.tasks import TaskContract

T0 = datetime(2030, 1, 1, tzinfo=UTC)


class at:  # noqa: N801  (a word of the tests, read in lower case)
    """From here on events are recorded at this many seconds after T0."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


def moment(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def plan(
    name: str, guarantee: str = "atomic", undo: str = "exact", after: tuple[str, ...] = (), **more: Any
) -> ActionPlan:
    return ActionPlan(
        id=name,
        adapter="sim",
        operation=f"sim.{name}",
        params={"n": 1},
        guarantee=Guarantee(guarantee),
        undo=Undo(undo),
        summary=f"do {name}",
        key=f"key-{name}",
        undo_key=f"undo-key-{name}",
        after=after,
        **more,
    )


def submitted(
    *plans: ActionPlan,
    mode: Mode = Mode.EXECUTE,
    deadline_seconds: int = 30,
    contract: TaskContract | None = None,
) -> e.IntentSubmitted:
    return e.IntentSubmitted(
        intent="01930000-0000-7000-8000-000000000001",
        idempotency_key="k-1",
        request_digest="sha256:0",
        agent=Subject(kind="agent", name="payment-specialist", version="3.1"),
        grant="grant-7",
        custody=("grant-root", "grant-7"),
        commissioned_by="operator",
        task="12A",
        reason="a test",
        confidence=None,
        mode=mode,
        deadline_seconds=deadline_seconds,
        context={},
        actions=plans,
        contract=contract,
    )


def recorded(event: e.Event, version: int, when: datetime) -> e.Recorded:
    return e.Recorded(
        ledger="main",
        position=100 + version,
        stream="intent/1",
        version=version,
        at=when,
        event=event,
        body=b"",
    )


def given(*history: ActionPlan | e.Event | at, **how: Any) -> IntentState:
    """Fold what has happened: first the plans, then the events."""
    plans = tuple(h for h in history if isinstance(h, ActionPlan))
    state = evolve(None, recorded(submitted(*plans, **how), 1, T0))
    seconds = 0.0
    for one in history:
        if isinstance(one, at):
            seconds = one.seconds
        elif isinstance(one, e.Event):
            seconds += 1
            state = evolve(state, recorded(one, state.version + 1, moment(seconds)))
    return state


def verdict(effect: str = "allow") -> e.PolicyEvaluated:
    return e.PolicyEvaluated(effect=effect, policies=("P-1",), policy_set="sha256:p")  # type: ignore[arg-type]


def prepared(name: str) -> e.ActionPrepared:
    return e.ActionPrepared(action=name, receipt={"hold": name}, preview={"facts": {}, "before": None, "after": None})


def decided() -> e.CommitDecided:
    return e.CommitDecided(grant="grant-7", policies=("P-1",), policy_set="sha256:p")


def aborted(cause: str = "cancelled") -> e.AbortDecided:
    return e.AbortDecided(cause=cause, reason="a test")  # type: ignore[arg-type]


def compensate(cause: str = "failed") -> e.CompensateDecided:
    return e.CompensateDecided(cause=cause, reason="a test")  # type: ignore[arg-type]


def done(name: str) -> e.ActionDone:
    return e.ActionDone(action=name, result={"ref": name})


def committing(*plans: ActionPlan) -> tuple[ActionPlan | e.Event, ...]:
    """The usual way to the decision: allowed, everything prepared, decided."""
    return (*plans, verdict(), *(prepared(p.id) for p in plans), decided())


def attention(name: str | None) -> e.AttentionRaised:
    return e.AttentionRaised(action=name, reason="a test")


def resolution(name: str | None, outcome: str) -> e.AttentionResolved:
    return e.AttentionResolved(action=name, outcome=outcome, note="", by="operator")  # type: ignore[arg-type]
