"""What must hold at the end of every simulated run, judged from the outside's own records and the log."""

from collections import Counter
from itertools import pairwise

from simulation.authority_checker import AuthorityChecker
from simulation.world import World

from ledger import bounds
from ledger import events as e
from ledger.ids import intent_of
from ledger.intents import ActionPlan, Undo
from ledger.phases import TERMINAL, Phase, Step
from ledger.state import IntentState, fold

EFFECT_STANDS = {Step.DONE, Step.UNDO_ATTEMPTED, Step.UNDO_IN_DOUBT, Step.UNDO_STUCK, Step.UNDO_FAILED}
BY_PEOPLE = (e.IntentSubmitted, e.AttentionResolved, e.ApprovalGiven, e.GrantIssued, e.TokenRefused)

SETTLES = (e.ActionDone, e.ActionFailed, e.CommitFoundAbsent, e.AttentionResolved)


def check(world: World) -> list[str]:
    """Return every law that was broken, by its number."""
    states = world.states()
    broken = list(world.crimes)
    if len(states) < sum(intent_of(stream) is not None for stream in world.database.streams):
        return broken  # a stream that cannot be folded
    broken += _log(world)
    broken += _submissions(world)
    for state in states.values():
        recorded = world.database.streams[f"intent/{state.id}"]
        broken += _decisions(state, [one.event for one in recorded])
        broken += _at_rest(world, state)
        broken += _compensations(world, state)
        broken += _attempts(world, state)
    broken += _epochs(world)
    return broken + AuthorityChecker(world).check()


def _log(world: World) -> list[str]:
    log = world.database.log
    broken = []
    if [one.position for one in log] != list(range(1, len(log) + 1)):
        broken.append("I15: positions are not 1, 2, 3 …")
    if any(later.at < earlier.at for earlier, later in pairwise(log)):
        broken.append("I15: a later event has an earlier time")
    for stream, recorded in world.database.streams.items():
        if [one.version for one in recorded] != list(range(1, len(recorded) + 1)):
            broken.append(f"I15: versions of {stream} are not 1, 2, 3 …")
        if any(e.decode(one.type, one.body) != one.event for one in recorded):
            broken.append(f"I17: {stream} does not read back as it was written")
        if intent_of(stream) is None:
            continue
        halves = fold(recorded[len(recorded) // 2 :], fold(recorded[: len(recorded) // 2]))
        if halves != fold(recorded):
            broken.append(f"I17: {stream} folds differently in two parts")
    return broken


def _submissions(world: World) -> list[str]:
    submitted = [one.event for one in world.database.log if isinstance(one.event, e.IntentSubmitted)]
    counts = Counter(event.idempotency_key for event in submitted)
    ids = {event.idempotency_key: event.intent for event in submitted}
    broken = [f"I13: {key} was recorded {count} times" for key, count in counts.items() if count > 1]
    for key, told in world.acknowledged.items():
        if told != {ids.get(key)}:
            broken.append(f"I13, I14: clients were told {told} for {key}, the log has {ids.get(key)}")
    broken += [f"I13: the refused {key} is in the log" for key in world.refused if key in counts]
    return broken


def _decisions(state: IntentState, events: list[e.Event]) -> list[str]:
    broken = []
    decisions = [event for event in events if isinstance(event, e.CommitDecided | e.AbortDecided)]
    if len(decisions) > 1:
        broken.append(f"I2: {state.id} was decided {len(decisions)} times")
    for place, event in enumerate(events):
        if isinstance(event, e.CompensateDecided):
            doubted = set()
            for earlier in events[:place]:
                if isinstance(earlier, e.CommitAttempted | e.CommitInDoubt):
                    doubted.add(earlier.action)
                elif isinstance(earlier, SETTLES) or (isinstance(earlier, e.CallDeferred) and earlier.verb == "commit"):
                    doubted.discard(earlier.action)
            if doubted:
                broken.append(f"I9: {state.id} is compensated while {doubted} is in doubt")
    return broken


def _at_rest(world: World, state: IntentState) -> list[str]:
    outside, broken = world.outside, []
    name = f"{state.id} ({state.phase})"
    for action in state.actions:
        plan = action.plan
        keys = keys_of(world, state, plan)
        effects, undone = sum(len(outside.effects[key]) for key in keys), len(outside.undone[plan.undo_key])
        here = f"{plan.operation} {plan.id} ({action.step}) of {name}"
        if effects > 1:
            broken.append(f"I4: {here} happened {effects} times")
        if undone > 1:
            broken.append(f"I10: {here} was undone {undone} times")
        if state.phase not in TERMINAL:
            continue
        if any(key in outside.holds for key in keys):
            broken.append(f"I8: {here} is still held")
        stands = effects - undone
        if bool(stands) != (action.step in EFFECT_STANDS):
            broken.append(f"I3, I9: {here} stands {stands} times in the world")
        if state.phase is Phase.COMMITTED and stands != 1:
            broken.append(f"I3: {here} is missing")
        if state.phase not in {Phase.COMMITTED, Phase.MIXED} and stands:
            broken.append(f"I3: {here} should not be in the world")
    return broken


def keys_of(world: World, state: IntentState, plan: ActionPlan) -> list[str]:
    """Return every key under which an adapter was ever to know an action: each time a hold is taken again, another."""
    stream = world.database.streams[f"intent/{state.id}"]
    released = [one.event for one in stream if isinstance(one.event, e.HoldReleased)]
    return [plan.key, *(event.key for event in released if event.action == plan.id)]


def _compensations(world: World, state: IntentState) -> list[str]:
    """I10: undone in the reverse of the order in which the effects became known."""
    keys = {a.plan.undo_key: a.plan.id for a in state.actions}
    undone = [keys[effect.key] for effect in world.outside.history if effect.key in keys]
    undoable = {a.plan.id for a in state.actions if a.plan.undo is not Undo.NONE}
    expected = [name for name in reversed(state.done_order) if name in undone and name in undoable]
    return [] if undone == expected else [f"I10: {state.id} was undone in the order {undone}, not {expected}"]


def _attempts(world: World, state: IntentState) -> list[str]:
    """Decision 5: only what has left is an attempt, so nothing is given up before it was tried often enough."""
    broken = []
    for one in world.database.streams[f"intent/{state.id}"]:
        if isinstance(one.event, e.ActionFailed) and one.event.reason.startswith("Given up"):
            times = world.outside.asked[state.action(one.event.action).key]
            if times < bounds.ONE_SHOT_ATTEMPTS:
                broken.append(f"given up: {one.event.action} of {state.id} was tried only {times} times")
    return broken


def _epochs(world: World) -> list[str]:
    """I12: every append is either a person's word or made under the epoch that was current."""
    broken = []
    for written in world.database.written:
        event = world.database.log[written.first_position - 1].event
        if written.epoch is None:
            people = isinstance(event, BY_PEOPLE) or getattr(event, "by", None) is not None
            if not people:
                broken.append(f"I12: {written.process} appended {type(event).__name__} under no epoch")
        elif written.epoch != written.current:
            broken.append(f"I12: {written.process} appended under epoch {written.epoch}, not {written.current}")
    return broken


def count(world: World) -> Counter[str]:
    """Count the rare things that happened, from the log and from what the simulated parts counted."""
    found = Counter(world.counters)
    found["faults fired"] += world.chance.fired
    found["effects"] += sum(len(effects) for effects in world.outside.effects.values())
    found.update(f"event {one.type}" for one in world.database.log if intent_of(one.stream))
    found["call held back"] += sum(getattr(one.event, "sent", True) is False for one in world.database.log)
    found.update(f"ended {state.phase}" for state in world.states().values())
    return found
