"""The view of behaviour: what each agent habitually does with each operation, and what was found odd.

An event touches the habits of whoever did it and those of their role, so this view is folded across subjects, in the
order of the ledger (`projections/across.py`). A finding stands in the row of the habit that it is about; the watch
(`gateway/watch.py`) tells of each exactly once, as an `AnomalyDetected`. Findings are what the events say by the rules
of this release, whoever watches; what is done about them is configuration, and no part of this.

Subjects are `agent/<name>` and `person/<name>` for those who submit, `role/<role>`, and `approver/<name>`. Only intents
that are to be executed count; dry runs change nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from ledger import events as e
from ledger.bounds import BEHAVIOUR_FINDINGS, BEHAVIOUR_GRANTS
from ledger.errors import IllegalTransition
from ledger.intents import ActionPlan, Mode, Subject
from ledger.sealing import MARK
from projections.audit.entry import plain
from projections.behaviour.habits import (
    ANSWERS,
    DENIED,
    Answers,
    Finding,
    Habit,
    Kind,
    begin,
    count,
    first_use,
    move,
    reach,
)
from projections.projection import Across, Projection, Row

Habits: TypeAlias = dict[str, Habit | Answers]  # of one subject, by operation
Known: TypeAlias = Mapping[str, Habits]  # by subject


class BehaviourRow(Row, frozen=True):
    """A habit."""

    subject: str
    operation: str
    state: str  # JSON
    found: int  # the position of the event that showed the last finding; 0: none


def touches(recorded: e.Recorded, past: Sequence[e.Recorded]) -> tuple[str, ...]:
    """Name the subjects of an event, given the earlier ones of its stream."""
    match recorded.event:
        case e.IntentSubmitted(agent=agent, mode=Mode.EXECUTE):
            return _actors(agent)
        case e.PolicyEvaluated(effect="deny"):
            return _actors(_submitted(past).agent)
        case e.ApprovalGiven(by=by) | e.AbortDecided(cause="rejected", by=str(by)):
            return (f"approver/{by}",)
        case e.GrantResumed():
            issued = past[0].event
            return _actors(issued.subject)[:1] if isinstance(issued, e.GrantIssued) else ()
        case e.AnomalyCleared(whose=whose, name=name):
            return (f"{whose}/{name}",)
        case _:
            return ()


def needs_past(event: e.Event) -> bool:
    """Tell whether an event is understood only with the earlier ones of its stream."""
    match event:
        case e.PolicyEvaluated(effect=effect):
            return effect == "deny"
        case e.AbortDecided(cause=cause):
            return cause == "rejected"
        case e.ApprovalGiven() | e.GrantResumed():
            return True
        case _:
            return False


def apply(known: Known, recorded: e.Recorded, past: Sequence[e.Recorded]) -> None:
    """Fold an event into the habits of the subjects that it touches."""
    subjects = touches(recorded, past)
    if not subjects:
        return
    own, *above = (known[subject] for subject in subjects)
    role = above[0] if above else None
    at = _Fold(recorded, own, role)
    match recorded.event:
        case e.IntentSubmitted() as submitted:
            for plan in submitted.actions:
                at.act(plan, submitted)
        case e.PolicyEvaluated(reasons=reasons):
            at.deny(_submitted(past), reasons)
        case e.ApprovalGiven():
            at.answer(past, approves=True)
        case e.AbortDecided():
            at.answer(past, approves=False)
        case _:
            for habit in own.values():
                if isinstance(habit, Habit):
                    habit.forget()


class _Fold:
    """One event on its way into the habits it touches."""

    def __init__(self, recorded: e.Recorded, own: Habits, role: Habits | None) -> None:
        self.recorded = recorded
        self.minute = int(recorded.at.timestamp()) // 60
        self.own = own
        self.role = role
        self.found = 0

    def act(self, plan: ActionPlan, submitted: e.IntentSubmitted) -> None:
        role = _habit(self.role, plan.operation, self.minute) if self.role is not None else None
        if plan.operation not in self.own:
            others = {name: habit for name, habit in self.own.items() if isinstance(habit, Habit)}
            odd = first_use(others, role, self.minute)
            habit = self._own(plan.operation, submitted.grant)
            self._find(habit, "operation", odd, submitted)
        habit = self._own(plan.operation, submitted.grant)
        self._find(habit, "count", count(habit, role, plan.operation, self.minute), submitted)
        if plan.amount_minor is not None and plan.amount_minor > 0 and plan.currency is not None:
            odd = move(habit, role, (plan.amount_minor, plan.currency), self.minute)
            self._find(habit, "amount", odd, submitted)
        target = _target(plan)
        if target is not None:
            self._find(habit, "target", reach(habit, target), submitted)
        if role is not None:
            role.uses += 1

    def deny(self, submitted: e.IntentSubmitted, reasons: Sequence[str]) -> None:
        habit = self._own(DENIED, submitted.grant)
        role = _habit(self.role, DENIED, self.minute) if self.role is not None else None
        odd = count(habit, role, DENIED, self.minute)
        if odd is not None:
            odd |= {"reason": plain("; ".join(reasons))}
        self._find(habit, "denied", odd, submitted)

    def answer(self, past: Sequence[e.Recorded], *, approves: bool) -> None:
        submitted = _submitted(past)
        asked = next((one for one in reversed(past) if isinstance(one.event, e.ApprovalRequested)), None)
        if asked is None:
            return
        answers = self.own.setdefault(ANSWERS, Answers())
        if not isinstance(answers, Answers):
            return
        seconds = int((self.recorded.at - asked.at).total_seconds())
        odd = answers.answer(approves=approves, seconds=seconds, actions=len(submitted.actions))
        grant = getattr(self.recorded.event, "grant", None)
        self._find(answers, "approver", odd, submitted, grants=(grant,) if grant else ())

    def _own(self, operation: str, grant: str) -> Habit:
        habit = _habit(self.own, operation, self.minute)
        if grant in habit.grants:
            habit.grants.remove(grant)
        habit.grants = [*habit.grants, grant][-BEHAVIOUR_GRANTS:]
        return habit

    def _find(
        self,
        where: Habit | Answers,
        kind: Kind,
        evidence: dict[str, Any] | None,
        submitted: e.IntentSubmitted,
        grants: tuple[str, ...] | None = None,
    ) -> None:
        if evidence is None:
            return
        finding = Finding(
            id=f"{self.recorded.position}-{self.found}",
            kind=kind,
            at=self.recorded.at,
            intent=submitted.intent,
            grants=tuple(where.grants) if grants is None and isinstance(where, Habit) else grants or (),
            evidence=evidence,
        )
        self.found += 1
        where.findings = [*where.findings, finding][-BEHAVIOUR_FINDINGS:]


def opened(rows: Sequence[BehaviourRow]) -> Habits:
    """Return the habits of one subject as its rows hold them."""
    return {row.operation: _decode(Answers if row.operation == ANSWERS else Habit, row.state) for row in rows}


def closed(subject: str, habits: Habits) -> tuple[BehaviourRow, ...]:
    """Return the rows of one subject, in key order."""
    return tuple(
        BehaviourRow(subject, operation, msgspec.json.encode(habit).decode(), _last(habit.findings))
        for operation, habit in sorted(habits.items())
    )


def _last(findings: Sequence[Finding]) -> int:
    return int(findings[-1].id.partition("-")[0]) if findings else 0


def _decode(kind: type[Any], state: str) -> Any:
    return msgspec.json.decode(state, type=kind)


def _habit(habits: Habits, operation: str, minute: int) -> Habit:
    habit = habits.get(operation)
    if not isinstance(habit, Habit):
        habit = habits[operation] = begin(minute)
    return habit


def _actors(agent: Subject) -> tuple[str, ...]:
    own = f"{agent.kind}/{agent.name}"
    return (own,) if agent.role is None else (own, f"role/{agent.role}")


def _submitted(past: Sequence[e.Recorded]) -> e.IntentSubmitted:
    if past and isinstance(past[0].event, e.IntentSubmitted):
        return past[0].event
    raise IllegalTransition("A stream of an intent does not begin with IntentSubmitted.")


def _target(plan: ActionPlan) -> str | None:
    """Return whom an action reaches, in the words of its summary; None where it does not say, or it is personal."""
    _, to, target = plan.summary.rpartition(" to ")
    return target if to and MARK not in target else None


BEHAVIOUR: Final = Projection(
    name="behaviour",
    row=BehaviourRow,
    key=("subject", "operation"),
    revision=2,  # 1 knew no thirds of days
    reads=frozenset(
        {
            e.IntentSubmitted,
            e.PolicyEvaluated,
            e.ApprovalRequested,
            e.ApprovalGiven,
            e.AbortDecided,
            e.GrantResumed,
            e.AnomalyCleared,
        }
    ),
    across=Across(
        needs_past=needs_past,
        past_types=frozenset({"IntentSubmitted", "ApprovalRequested", "GrantIssued"}),
        touches=touches,
        opened=opened,
        apply=apply,
        closed=closed,
    ),
)
