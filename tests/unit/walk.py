"""An exhaustive walk of the state machine: every state that the real `decide`, `event_of` and `evolve` can reach.

A node of the walk is what the ledger says (an `IntentState`), what is true outside (`Truth`, one for each action) and
one of three moments. From each node it goes every way that the world can take: each answer the contract allows to
each call, an answer that is lost, a crash after any call, a person's word, time that passes. What the contract
forbids to the *coordinator* (a blind commit sent twice, an abort after a commit, a wrong order) is reported as a
`Violation` the moment it is done.

Abstractions: retries are always due at once, bounds on attempts are small, and what a hold was asked is not counted.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from unit.answers import MOMENTS, Asked, Truth, Violation, answers
from unit.given import T0, recorded, submitted, verdict

from adapters.contract import Preview
from coordinator import people
from coordinator.decide import decide as the_decide
from coordinator.decide import forbidden
from coordinator.moves import Evaluate, Invoke, Record, Rest, Verify, Wait
from coordinator.outcome import event_of as the_event_of
from coordinator.outcome import verified
from coordinator.runner import Runner
from ledger import bounds
from ledger import events as e
from ledger.errors import InDoubt, NotUndoable, Permanent, Transient
from ledger.grants import Charge
from ledger.intents import ActionPlan, Undo, Verb, has_hold
from ledger.phases import TERMINAL, UNDECIDED, Phase, Step
from ledger.state import ActionState, IntentState, content_digest, evolve
from ledger.store import GrantAlive, GuardFailed, PolicyActive, WithinLimits
from ledger.transitions import SWEEPS, symbol

ATTEMPTS = 2  # what the walk sets the bounds on attempts to; that on answers in vain where there is one action


class Node(NamedTuple):
    state: IntentState
    truths: tuple[Truth, ...]
    moment: int

    @property
    def key(self):
        """Name the node; without an explicit order, two actions of one kind may change places."""
        s = self.state
        asked = s.attention.action if s.attention else None
        actions = [
            (
                a.plan.guarantee,
                a.plan.undo,
                a.step,
                a.attempts,
                a.answers,
                _place(a.plan.id, s.done_order),
                a.plan.id == asked,
                a.key != a.plan.key,
                _facts(a.preview),
                truth,
            )
            for a, truth in zip(s.actions, self.truths, strict=True)
        ]
        if not any(a.plan.after for a in s.actions):
            actions.sort()
        return (
            s.phase,
            tuple(actions),
            s.policy.effect if s.policy else None,
            repr(s.policy.facts) if s.policy else None,
            s.approval_requested.digest if s.approval_requested else None,
            len(s.approvals),
            s.approved_at,
            type(s.outcome).__name__,
            s.outcome_attempts,
            s.compensate.cause if s.compensate else None,
            s.decided_at,
            self.moment,
        )


class Report(NamedTuple):
    nodes: int
    ends: set[Phase]
    phases: set[tuple[Phase, str]]
    steps: set[tuple[Step, str]]
    sweeps: set[tuple[Step, str]]


def walk(
    *plans: ActionPlan,
    effects: tuple[str, ...] = ("allow",),
    breaks_promises: bool = True,
    quorum: int = 1,
    **how: Any,
) -> Report:
    """Visit every reachable node; raise `Violation` with the way that led there."""
    return _Walk(plans, effects, breaks_promises, quorum, how).go()


class _Walk:
    def __init__(self, plans, effects, breaks_promises, quorum, how):
        self.effects = effects
        self.breaks_promises = breaks_promises
        self.quorum = quorum
        self.late = len(plans) < 3  # late prepares meet nothing in three actions that they do not meet in two
        first = evolve(None, recorded(submitted(*plans, **how), 1, T0))
        self.first = Node(first, tuple(Truth() for _ in plans), 0)
        self.phases, self.steps, self.sweeps = set(), set(), set()

    def go(self) -> Report:
        came_from = {self.first.key: None}
        leads_to = {}
        terminal = set()
        ends = set()
        todo = [(self.first.key, self.first)]
        while todo:
            key, node = todo.pop()
            try:
                self.check(node)
                next_nodes = {one.key: one for one in self.next_nodes(node)}
            except Violation as violation:
                raise Violation(f"{violation}\n{self.way(came_from, key, node)}") from None
            if node.state.phase in TERMINAL:
                terminal.add(key)
                ends.add(node.state.phase)
            leads_to[key] = tuple(next_nodes)
            for next_key, one in next_nodes.items():
                if next_key not in came_from:
                    came_from[next_key] = (key, node)
                    todo.append((next_key, one))
        self.every_way_ends(leads_to, terminal)
        return Report(len(leads_to), ends, self.phases, self.steps, self.sweeps)

    @staticmethod
    def way(came_from, key, node):
        lines = []
        while True:
            s = node.state
            steps = " ".join(f"{a.plan.id}:{a.step}" for a in s.actions)
            lines.append(f"  {s.phase} [{steps}] {[tuple(map(int, t)) for t in node.truths]} at {node.moment}")
            if came_from[key] is None:
                return "\n".join(reversed(lines))
            key, node = came_from[key]

    @staticmethod
    def every_way_ends(leads_to, terminal):
        leads_from = {}
        for key, targets in leads_to.items():
            for target in targets:
                leads_from.setdefault(target, []).append(key)
        can_end, todo = set(terminal), list(terminal)
        while todo:
            for key in leads_from.get(todo.pop(), ()):
                if key not in can_end:
                    can_end.add(key)
                    todo.append(key)
        for key in leads_to:
            if key not in can_end:
                raise Violation(f"From here no way leads to an end: {key}")

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────

    def check(self, node):
        s, truths = node.state, node.truths
        if s.abort is not None and s.decision_position is not None:
            raise Violation("I2: both decided to commit and to abort")
        self.check_authority(s)
        for action, truth in zip(s.actions, truths, strict=True):
            if truth.effects and s.decision_position is None:
                raise Violation("I1: an effect before the decision")
            if s.phase in {Phase.COMPENSATING, Phase.COMPENSATED, Phase.MIXED} or s.phase is Phase.COMMITTED:
                known = action.step in _EFFECT_KNOWN
                if known != bool(truth.effects):
                    raise Violation(f"I9: {action.plan.id} is {action.step} and has {truth.effects} effects")
            if s.phase in TERMINAL and truth.hold:
                raise Violation(f"I8: {s.phase} but {action.plan.id} is held")
            if s.phase in TERMINAL:
                self.check_end(s, action, truth)
        if s.phase is Phase.MIXED and all(t.effects == t.undos for t in truths):
            raise Violation("I3: mixed although everything is undone")

    @staticmethod
    def check_authority(s):
        if s.phase is not Phase.COMMITTING or s.policy is None:
            return
        if s.policy.effect == "deny":
            raise Violation("a commit was decided that policy denies")
        seen = [(a.plan.id, a.preview["facts"]) for a in s.actions if a.plan.facts]
        if any(facts != s.policy.facts.get(name) for name, facts in seen):
            raise Violation("I6: the votes saw other facts than policy")
        if s.policy.effect == "escalate":
            approved = {given.by for given in s.approvals if given.digest == content_digest(s)}
            if len(approved) < s.policy.quorum:
                raise Violation(f"I7: a commit was decided that {len(approved)} of {s.policy.quorum} approved")

    @staticmethod
    def check_end(s, action, truth):
        whole = {
            Phase.COMMITTED: truth.effects == 1 and truth.undos == 0,
            Phase.COMPENSATED: truth.effects == truth.undos,
            Phase.MIXED: True,
        }.get(s.phase, truth.effects == 0)
        if not whole:
            raise Violation(f"I3: {s.phase} but {action.plan.id} has {truth.effects} effects, {truth.undos} undone")

    # ── what can happen next ─────────────────────────────────────────────────────────────────────────────────────

    def next_nodes(self, node) -> Iterator[Node]:
        s = node.state
        now = MOMENTS[node.moment]
        move = the_decide(s, now)
        yield from self.people(node)
        yield from self.arrived(node)
        if node.moment + 1 < len(MOMENTS) and s.phase not in TERMINAL:
            yield node._replace(moment=node.moment + 1)
        match move:
            case Rest():
                if s.attention is None and s.phase not in TERMINAL:
                    raise Violation(f"{s.phase} rests and nobody is asked")
            case Wait():
                if s.phase is not Phase.AWAITING_APPROVAL:
                    raise Violation(f"{s.phase} waits although everything is due")
            case Record(events):
                yield self.then(node, events)
                if any(isinstance(event, e.CommitDecided) for event in events):
                    yield from self.forbidden(node)
            case Evaluate(actions, facts):
                yield from self.evaluated(node, actions, facts)
            case Verify(criteria, last):
                yield from self.verified(node, criteria, last)
            case Invoke(calls):
                yield from self.called(node, calls)

    @staticmethod
    def arrived(node):
        """A prepare that was sent long ago arrives now; a tombstone refuses it."""
        for place, truth in enumerate(node.truths):
            if truth.late:
                held = truth.hold or not (truth.tombstone or truth.effects)
                after = truth._replace(late=False, hold=held)
                yield node._replace(truths=(*node.truths[:place], after, *node.truths[place + 1 :]))

    def then(self, node, events, truths=None) -> Node:
        state = node.state
        for event in events:
            name = symbol(event)
            before = state
            state = evolve(state, recorded(event, state.version + 1, MOMENTS[node.moment]))
            self.phases.add((before.phase, name))
            action = getattr(event, "action", None)
            if action is not None and name != "AttentionRaised":
                self.steps.add((before.action(action).step, name))
            self.sweeps.update((a.step, name) for a in before.actions if (a.step, name) in SWEEPS)
        return Node(_forget_times(state), truths or node.truths, node.moment)

    def forbidden(self, node):
        """A guard of authority does not hold when the decision is to become durable."""
        charge = Charge("grant-7/0", "day", 1, 1)
        for guard in (GrantAlive("grant-7"), PolicyActive("sha256:p"), WithinLimits((charge,))):
            yield self.then(node, [forbidden(node.state, GuardFailed(guard, limit=charge.limit, used=1))])

    def evaluated(self, node, actions, facts):
        seen = Preview(facts={"v": 1})
        looked = {name: [seen, Permanent("no"), Transient("later"), InDoubt("later")] for name in actions}
        now = MOMENTS[node.moment]
        for effect in self.effects:
            runner = Runner(_Clock(now), None, _Authority(effect, self.quorum))  # type: ignore[arg-type]
            for given in itertools.product(*looked.values()):
                answered = dict(zip(looked, given, strict=True))
                yield self.then(node, asyncio.run(runner._verdict(node.state, answered, dict(facts))))

    def verified(self, node, criteria, last):
        shown = [Preview(facts={"v": 1}), Preview(facts={"v": 2}), InDoubt("?")]
        for answered in itertools.product(shown, repeat=len(criteria)):
            now = MOMENTS[node.moment]
            yield self.then(node, [verified(node.state, criteria, answered, now, last=last)])

    def called(self, node, calls):
        announced = self.then(node, [c.announce for c in calls if c.announce])
        yield announced  # and then a crash
        places = {a.plan.id: i for i, a in enumerate(node.state.actions)}
        ways = []
        for call in calls:
            place = places[call.action]
            self.check_call(node, call, calls)
            asked = Asked(call, node.state.actions[place].plan, node.truths[place], node.state, node.moment)
            outcomes = answers(asked, late=self.late, breaks_promises=self.breaks_promises)
            if len(ways) == 2:  # whatever doubt does to the third of three was seen with the first and the second
                outcomes = [(truth, answer) for truth, answer in outcomes if not isinstance(answer, InDoubt)]
            action, now = announced.state.action(call.action), MOMENTS[node.moment]
            ways.append((place, [(truth, the_event_of(call, action, answer, now)) for truth, answer in outcomes]))
        crashed = set()
        for happened, after in self.answered(announced, node.truths, ways):
            if happened not in crashed:
                yield announced._replace(truths=happened)  # a crash before the answers are recorded
            crashed.add(happened)
            yield after

    def answered(self, node, happened, ways):
        """Record one answer to each call; yield what is true outside then, and what the ledger says of it."""
        if not ways:
            yield happened, node
            return
        place, outcomes = ways[0]
        for truth, event in outcomes:
            # where a hold is let go the old key stays refused, and nothing is known of the new one
            known = Truth() if isinstance(event, e.HoldReleased) else truth
            after = self.then(node, [event], (*node.truths[:place], known, *node.truths[place + 1 :]))
            yield from self.answered(after, (*happened[:place], truth, *happened[place + 1 :]), ways[1:])

    def people(self, node):
        s = node.state
        if s.phase in UNDECIDED:
            yield self.then(node, [people.cancel(s, "a test", "operator")])
            yield self.then(node, the_decide(s, MOMENTS[node.moment], alive=False).events)
        if s.phase is Phase.COMMITTED:
            with contextlib.suppress(NotUndoable):
                yield self.then(node, [people.undo(s, "a test", "operator", partial=True, now=MOMENTS[node.moment])])
        if s.phase is Phase.AWAITING_APPROVAL:
            asked = s.approval_requested.digest
            yield self.then(node, [e.ApprovalGiven(digest="sha256:other", by="mallory")])
            for by in ("dana", "erin")[: self.quorum]:
                yield self.then(node, [e.ApprovalGiven(digest=asked, by=by)])
        if s.attention is not None:
            yield from self.resolved(node, s.attention.action)

    def resolved(self, node, name):
        """A person looks at the world and says what is true there, or puts a stuck thing right by hand."""
        place = next(i for i, a in enumerate(node.state.actions) if a.plan.id == name)
        step, truth = node.state.actions[place].step, node.truths[place]
        said = {
            Step.COMMIT_IN_DOUBT: [(truth, truth.effects > 0)],
            Step.UNDO_IN_DOUBT: [(truth, truth.undos > 0)],
            Step.UNDO_STUCK: [(truth._replace(undos=1), True), (truth, truth.undos > 0)],
            Step.ABORT_STUCK: [(truth._replace(hold=False, tombstone=True), True), (truth, False)],
        }
        for after, applied in said[step]:
            outcome = "applied" if applied else "not_applied"
            word = people.resolve(node.state, name, outcome, "", "operator")
            truths = (*node.truths[:place], after, *node.truths[place + 1 :])
            yield self.then(node, [word], truths)

    def check_call(self, node, call, calls):
        actions = {a.plan.id: a for a in node.state.actions}
        plan = actions[call.action].plan
        if call.verb is Verb.COMMIT:
            if any(actions[earlier].step is not Step.DONE for earlier in plan.after):
                raise Violation(f"{plan.id} is committed before what it comes after")
            waited_for = any(plan.id in a.plan.after for a in actions.values())
            one_shots = [a for a in actions.values() if not has_hold(a.plan) and not a.plan.after]
            broken = any(a.step is Step.FAILED and has_hold(a.plan) for a in actions.values())
            early = has_hold(plan) and not waited_for and any(a.step is not Step.DONE for a in one_shots)
            if early and not broken:
                raise Violation(f"the hold {plan.id} is committed before a one-shot that may still fail")
        if call.verb is Verb.COMPENSATE:
            order = node.state.done_order
            later = [actions[i] for i in order[order.index(plan.id) + 1 :]]
            if any(a.step in _TO_UNDO and a.plan.undo is not Undo.NONE for a in later) or len(calls) > 1:
                raise Violation(f"I10: {plan.id} is undone before what was done after it")


_TO_UNDO = {Step.DONE, Step.UNDO_ATTEMPTED, Step.UNDO_IN_DOUBT, Step.UNDO_STUCK}
_EFFECT_KNOWN = _TO_UNDO | {Step.UNDONE, Step.UNDO_FAILED}


def _facts(preview) -> str:
    if not preview or not preview.get("facts"):
        return "not looked" if preview is None else "none"
    return repr(preview["facts"])


def _place(name: str, order: tuple[str, ...]) -> int:
    return order.index(name) if name in order else -1


def _forget_times(state: IntentState) -> IntentState:
    actions = tuple(map(_forget_time, state.actions))
    return msgspec.structs.replace(state, actions=actions, outcome_retry_at=None)


def _forget_time(action: ActionState) -> ActionState:
    uncounted = has_hold(action.plan) or action.step is Step.PLANNED
    attempts = 0 if uncounted else min(action.attempts, ATTEMPTS)
    answers = 0 if uncounted or bounds.ANSWERS_IN_VAIN > ATTEMPTS else min(action.answers, ATTEMPTS)
    if (action.retry_at, action.attempts, action.answers) == (None, attempts, answers):
        return action
    return msgspec.structs.replace(action, retry_at=None, attempts=attempts, answers=answers)


class _Authority:
    def __init__(self, effect, quorum):
        self.effect, self.quorum = effect, quorum

    async def verdict(self, _submitted, facts, _at):
        return msgspec.structs.replace(verdict(self.effect), facts=dict(facts), quorum=self.quorum)


class _Clock(NamedTuple):
    moment: datetime

    def now(self):
        return self.moment
