"""Judges a run from outside: what the service says over HTTP against what the outside systems recorded themselves.

Independent on purpose: nothing here comes from the product's packages, and the rules are written again from the
design's table of invariants (I1 …), not from the code. `evidence.py` gathers; this file only compares. Each check
yields a sentence for everything that is wrong, and `test_checker.py` plants a lie for each of them.

I5, I6, I7 and I11 are about delegated authority: `authority_checks.py`. I16 is about the signed log, I19 and I20 are
about load: not judged here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

from authority_checks import AUTHORITY_CHECKS
from traces import Attempt, Event, Evidence, Run

TERMINAL = {"committed", "aborted", "compensated", "mixed", "denied", "simulated"}
ENDS = {
    "IntentCommitted": "committed",
    "IntentAborted": "aborted",
    "IntentCompensated": "compensated",
    "IntentMixed": "mixed",
    "IntentSimulated": "simulated",
}
OPENS = {  # events after which the outcome of a call is not known, and of which call
    "PrepareInDoubt": "prepare",
    "CommitAttempted": "commit",
    "CommitInDoubt": "commit",
    "UndoAttempted": "compensate",
    "UndoInDoubt": "compensate",
}
SETTLES = {  # events that establish it
    "prepare": {"ActionPrepared", "ActionRefused", "ActionAborted", "AttentionResolved"},
    "commit": {"ActionDone", "ActionFailed", "CommitFoundAbsent", "AttentionResolved"},
    "compensate": {"ActionUndone", "UndoFailed", "UndoFoundAbsent", "AttentionResolved"},
}
CONCLUDES = {  # events that must not come before that
    "prepare": {"CommitDecided", "IntentAborted"},
    "commit": {"AbortDecided", "CompensateDecided", "IntentCommitted"},
    "compensate": {"IntentCompensated", "IntentMixed"},
}
STANDS = {  # what the outside must hold for an action at this step: (effects, undone)
    "done": (1, 0),
    "undone": (1, 1),
    "planned": (0, 0),
    "prepared": (0, 0),
    "refused": (0, 0),
    "aborted": (0, 0),
    "failed": (0, 0),
}


def at(event: Event) -> datetime:
    return datetime.fromisoformat(event["at"])


# ── the invariants ───────────────────────────────────────────────────────────────────────────────────────────────


def effects_follow_the_decision(run: Run) -> Iterator[str]:
    """I1: no effect before its intent's decision, and none that nobody asked for."""
    for trace in run.evidence.traces:
        if trace.what not in {"apply", "undo"}:
            continue
        action = run.owner.get(trace.key)
        if action is None:
            yield f"{trace.system} has an effect under {trace.key}, which is in no intent."
            continue
        decided = run.first(action.intent, "CommitDecided")
        if decided is None or trace.at < at(decided):
            yield f"{trace.system} applied {action.id} of {action.intent} without or before its CommitDecided."


def one_decision(run: Run) -> Iterator[str]:
    """I2: at most one of CommitDecided and AbortDecided."""
    for intent, stream in run.streams.items():
        decisions = [e["type"] for e in stream if e["type"] in {"CommitDecided", "AbortDecided"}]
        if len(decisions) > 1:
            yield f"{intent} was decided more than once: {decisions}."


def all_or_nothing_or_said(run: Run) -> Iterator[str]:
    """I3: all effects, or none, or all undone, or the intent says that it stands otherwise."""
    for intent in run.streams:
        shown = run.evidence.intents.get(intent)
        if shown is None:
            yield f"{intent} is in the log and is not shown."
            continue
        end = next((ENDS[e["type"]] for e in reversed(run.streams[intent]) if e["type"] in ENDS), None)
        if end is not None and shown["phase"] in TERMINAL and end != shown["phase"]:
            yield f"{intent} is shown as {shown['phase']} and ended as {end}."
        counts = [(run.count[a.key, "apply"], run.count[a.undo_key, "undo"]) for a in run.actions_of[intent]]
        yield from _whole(intent, shown, counts)


def _whole(intent: str, shown: Mapping[str, Any], counts: list[tuple[int, int]]) -> Iterator[str]:
    for action, found in zip(shown["actions"], counts, strict=True):
        wanted = STANDS.get(action["step"])
        if wanted is not None and found != wanted:
            yield f"{intent}: {action['id']} is {action['step']}, and outside there are (effects, undone) {found}."
    allowed = {
        "committed": {(1, 0)},
        "aborted": {(0, 0)},
        "denied": {(0, 0)},
        "simulated": {(0, 0)},
        "compensated": {(0, 0), (1, 1)},
    }.get(shown["phase"])
    if allowed is not None and not allowed.issuperset(counts):
        yield f"{intent} is {shown['phase']}, and outside there are (effects, undone) {counts}."
    if shown["phase"] == "mixed" and not any(step["step"] in {"done", "stuck"} for step in shown["actions"]):
        yield f"{intent} is mixed and shows nothing that stands."


def one_effect_per_key(run: Run) -> Iterator[str]:
    """I4: at most one effect for each key, counted outside."""
    for (key, what), count in run.count.items():
        if what in {"apply", "undo"} and count > 1:
            yield f"Key {key} has {count} effects ({what})."


def nothing_hangs(run: Run) -> Iterator[str]:
    """I8: nothing is held for a finished intent, and nothing is held again after a release."""
    for system, key in run.evidence.held:
        action = run.owner.get(key)
        shown = run.evidence.intents.get(action.intent) if action else None
        if shown is None or shown["phase"] in TERMINAL:
            yield f"{system} still holds {key} for {action or 'nobody'}."
    released: set[str] = set()
    for trace in sorted(run.evidence.traces, key=lambda trace: trace.at):
        if trace.what == "release":
            released.add(trace.key)
        elif trace.what in {"hold", "apply"} and trace.key in released:
            yield f"{trace.system} took {trace.key} ({trace.what}) after it was released."


def unknown_is_not_failure(run: Run) -> Iterator[str]:
    """I9: what is in doubt is established before anything is concluded from it."""
    for intent, stream in run.streams.items():
        open_doubts: dict[tuple[str, str], str] = {}  # (verb, action) → the event that opened it
        for event in stream:
            kind, action = event["type"], event["body"].get("action")
            wrong = [doubt for doubt in open_doubts if kind in CONCLUDES[doubt[0]]]
            if wrong:
                yield f"{intent}: {kind} while {wrong} were in doubt."
            if kind in OPENS:
                open_doubts[OPENS[kind], action] = kind
            elif kind == "CallDeferred":  # this call had no effect: settles an announcement, never a doubt
                verb = event["body"]["verb"]
                if open_doubts.get((verb, action), "").endswith("Attempted"):
                    del open_doubts[verb, action]
            else:
                for verb, settling in SETTLES.items():
                    if kind in settling:
                        open_doubts.pop((verb, action), None)


def undone_in_reverse(run: Run) -> Iterator[str]:
    """I10: compensations in reverse order, each once, and only of effects that are known."""
    undone_at = {t.key: t.at for t in run.evidence.traces if t.what == "undo"}
    for intent in run.streams:
        done, undone = _history(run, intent)
        if len(undone) != len(set(undone)):
            yield f"{intent} undid something twice: {undone}."
        if [name for name in reversed(done) if name in undone] != undone:
            yield f"{intent} did {list(done)} and undid {undone}."
        outside = {a.id: undone_at[a.undo_key] for a in run.actions_of[intent] if a.undo_key in undone_at}
        for name, moment in outside.items():
            if name not in done or moment < at(done[name]):
                yield f"{intent} undid {name} before its effect was known."
        if [name for name in reversed(done) if name in outside] != sorted(outside, key=lambda name: outside[name]):
            yield f"{intent}: outside, things were undone in the order of {outside}."


def _history(run: Run, intent: str) -> tuple[dict[str, Event], list[str]]:
    """Return what was done, in order, and what was undone; a person's word counts as what it was about."""
    done: dict[str, Event] = {}
    undone: list[str] = []
    compensating = False
    for event in run.streams[intent]:
        kind, name = event["type"], event["body"].get("action")
        said = kind == "AttentionResolved" and event["body"]["outcome"] == "applied"
        compensating = compensating or kind == "CompensateDecided"
        if kind == "ActionDone" or (said and not compensating):
            done.setdefault(name, event)
        elif kind == "ActionUndone" or (said and name in done):
            undone.append(name)
    return done, undone


def paused_workers_change_nothing(run: Run) -> Iterator[str]:
    """I12: what had ended before a paused worker woke is as it was, in the ledger and outside."""
    for frozen in run.evidence.frozen:
        version = len(run.streams[frozen.intent])
        if version != frozen.version:
            yield f"{frozen.intent} had ended at version {frozen.version} and went on to {version}."
        for trace in run.evidence.traces:
            action = run.owner.get(trace.key)
            if action is not None and action.intent == frozen.intent and trace.at > frozen.woke_at:
                yield f"{trace.system} changed {action.id} of {frozen.intent} after the paused worker woke."


def acknowledged_means_recorded(run: Run) -> Iterator[str]:
    """I13 and I14: acknowledged exactly once, refused never, unknown at most once; one key, one body, one intent."""
    logged = defaultdict(list)
    for intent, stream in run.streams.items():
        logged[stream[0]["body"]["idempotency_key"]].append(intent)
    attempts = defaultdict(list)
    for attempt in run.evidence.attempts:
        attempts[attempt.key].append(attempt)
    for key, made in attempts.items():
        accepted = {attempt.intent for attempt in made if attempt.outcome == "accepted"}
        if len(logged[key]) > 1:
            yield f"Key {key} is in the log {len(logged[key])} times."
        if accepted and accepted != set(logged[key]):
            yield f"Key {key} was acknowledged as {accepted}, and the log has {logged[key]}."
        if len({attempt.body for attempt in made if attempt.outcome == "accepted"}) > 1:
            yield f"Key {key} was accepted with two bodies."
        if logged[key] and all(attempt.outcome == "refused" for attempt in made):
            yield f"Key {key} was refused and is in the log."
        bodies = {attempt.body for attempt in made if attempt.outcome == "accepted"}
        for attempt in made:
            wrong = attempt.outcome == "refused" and attempt.status not in {422, 401}  # 401 is judged by I5
            if bodies and attempt.body not in bodies and wrong:
                yield f"Key {key} with another body was answered {attempt.status}."
    for key in logged.keys() - attempts.keys():
        if logged[key]:
            yield f"Key {key} is in the log and nobody sent it."


def one_order(run: Run) -> Iterator[str]:
    """I15: positions are gapless, never change, and respect real time."""
    events = run.evidence.events
    if [e["position"] for e in events] != list(range(1, len(events) + 1)):
        yield "Positions are not 1, 2, 3 …"
    for stream, members in run.streams.items():
        if [e["version"] for e in members] != list(range(1, len(members) + 1)):
            yield f"Versions of {stream} are not 1, 2, 3 …"
    if list(run.evidence.earlier) != list(events[: len(run.evidence.earlier)]):
        yield "What was read earlier is not what the feed says now."
    for before, after in pairwise(events):
        if at(after) < at(before):
            yield f"Position {after['position']} is older than {before['position']}."
    yield from _real_time(run)


def _real_time(run: Run) -> Iterator[str]:
    positions = {intent: stream[0]["position"] for intent, stream in run.streams.items()}
    first: dict[str, Attempt] = {}
    for attempt in sorted(run.evidence.attempts, key=lambda attempt: attempt.started):
        if attempt.intent in positions:
            first.setdefault(str(attempt.intent), attempt)
    earliest: dict[str, float] = {}
    for attempt in run.evidence.attempts:
        earliest[attempt.key] = min(attempt.started, earliest.get(attempt.key, attempt.started))
    sent = {intent: earliest[attempt.key] for intent, attempt in first.items()}
    acknowledged = sorted((attempt.ended, positions[intent]) for intent, attempt in first.items())
    newest, index = 0, 0
    for intent, started in sorted(sent.items(), key=lambda item: item[1]):
        while index < len(acknowledged) and acknowledged[index][0] < started:
            newest = max(newest, acknowledged[index][1])
            index += 1
        if positions[intent] < newest:
            yield f"{intent} was first sent after position {newest} was acknowledged, and stands before it."


def views_equal_their_rebuild(run: Run) -> Iterator[str]:
    """I17: every view equals its rebuild; a replay appends nothing and calls nobody."""
    if not run.evidence.views or dict(run.evidence.views) != dict(run.evidence.rebuilt):
        yield f"Views {dict(run.evidence.views)} were rebuilt as {dict(run.evidence.rebuilt)}."
    if not run.evidence.inline or not all(run.evidence.inline.values()):
        yield f"Inline tables against the events: {dict(run.evidence.inline)}."
    if run.evidence.head[0] != run.evidence.head[1]:
        yield f"The replay moved the head of the log: {run.evidence.head}."
    if run.evidence.outside_calls[0] != run.evidence.outside_calls[1]:
        yield f"The replay called the outside: {run.evidence.outside_calls}."


def everything_comes_to_rest(run: Run) -> Iterator[str]:
    """I18: when the faults have ended, every intent ends or asks for attention, in time."""
    for intent in run.streams:
        shown = run.evidence.intents.get(intent, {})
        if run.phase(intent) not in TERMINAL and not shown.get("attention"):
            yield f"{intent} is still {run.phase(intent)}, and asks for nobody."
    if run.evidence.healed_seconds > run.evidence.healing_limit_seconds:
        yield f"Healing took {run.evidence.healed_seconds:.1f} of {run.evidence.healing_limit_seconds:.1f} seconds."


def it_was_a_run(run: Run) -> Iterator[str]:
    """Nothing is proved by a run in which nothing was committed or nothing went wrong."""
    if not any(shown["phase"] == "committed" for shown in run.evidence.intents.values()):
        yield "Nothing was committed."
    if not any(trace.what == "apply" for trace in run.evidence.traces):
        yield "Nothing happened outside."
    if not run.evidence.required:
        yield "No fault was required of the run."
    for kind, wanted in run.evidence.required.items():
        if run.evidence.faults.get(kind, 0) < wanted:
            yield f"The fault {kind} fired {run.evidence.faults.get(kind, 0)} times, less than {wanted}."


CHECKS: Mapping[str, Callable[[Run], Iterator[str]]] = {
    "I1": effects_follow_the_decision,
    "I2": one_decision,
    "I3": all_or_nothing_or_said,
    "I4": one_effect_per_key,
    "I8": nothing_hangs,
    "I9": unknown_is_not_failure,
    "I10": undone_in_reverse,
    "I12": paused_workers_change_nothing,
    "I13": acknowledged_means_recorded,
    "I15": one_order,
    "I17": views_equal_their_rebuild,
    "I18": everything_comes_to_rest,
    "run": it_was_a_run,
    **AUTHORITY_CHECKS,
}


def check(evidence: Evidence) -> list[str]:
    """Return every violation as a sentence, with the invariant in front; empty when the run holds."""
    run = Run(evidence)
    return [f"{name}: {sentence}" for name, invariant in CHECKS.items() for sentence in invariant(run)]
