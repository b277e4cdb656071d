"""The checker is believed only because each of its checks has been seen to fail, once for each way to lie."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from checker import CHECKS, check
from traces import Attempt, Evidence, Frozen, Trace

START = datetime(2026, 1, 1, tzinfo=UTC)


BACK = ("CompensateDecided", "ActionUndone:b", "ActionUndone:a", "IntentCompensated")


def moment(position: float) -> datetime:
    return START + timedelta(seconds=position)


def trace(what: str, key: str, second: float) -> Trace:
    return Trace("payments", key, what, moment(second))


class Honest:
    """Builds a small run in which nothing is wrong: position n happens at second n."""

    def __init__(self) -> None:
        self.evidence = Evidence(
            faults={"kill": 3},
            required={"kill": 1},
            views={"audit": "d1"},
            rebuilt={"audit": "d1"},
            head=(9, 9),
            outside_calls=(4, 4),
            healed_seconds=3.0,
            healing_limit_seconds=30.0,
        )
        events: list[dict] = []
        self.evidence.events = events
        self.evidence.intents, self.evidence.attempts, self.evidence.traces = {}, [], []
        self._add(
            "good",
            "committed",
            ["done", "done"],
            ["CommitDecided", "CommitInDoubt:a", "ActionDone:a", "ActionDone:b", "IntentCommitted"],
        )
        self._traces(("hold", "good/a", 1), ("apply", "good/a", 3), ("apply", "good/b", 4.5))
        self._add(
            "bad",
            "aborted",
            ["aborted", "aborted"],
            ["PrepareInDoubt:a", "AbortDecided", "ActionAborted:a", "IntentAborted"],
        )
        self._traces(("hold", "bad/a", 8), ("release", "bad/a", 10))
        self._add(
            "back",
            "compensated",
            ["undone", "undone"],
            ["CommitDecided", "ActionDone:a", "ActionDone:b", *BACK],
        )
        self._traces(("apply", "back/a", 13.5), ("apply", "back/b", 14.5))
        self._traces(("undo", "back/b/undo", 17.5), ("undo", "back/a/undo", 18.5))
        self.evidence.earlier = deepcopy(events[:7])
        self.evidence.frozen = [Frozen("good", 6, moment(15))]

    def _add(self, intent: str, phase: str, steps: list[str], kinds: list[str]) -> None:
        events = self.evidence.events
        names = ("a", "b")
        plans = [{"id": n, "key": f"{intent}/{n}", "undo_key": f"{intent}/{n}/undo"} for n in names]
        started = float(len(events) + 1)
        for version, kind in enumerate(["IntentSubmitted", *kinds], 1):
            name, _, action = kind.partition(":")
            body = {"action": action} if action else {}
            if version == 1:
                body = {"idempotency_key": f"key-{intent}", "actions": plans}
            position = len(events) + 1
            events.append(
                {"position": position, "version": version, "type": name, "stream": f"intent/{intent}", "body": body}
                | {"at": moment(position).isoformat()}
            )
        actions = [{"id": n, "step": step} for n, step in zip(names, steps, strict=True)]
        self.evidence.intents[intent] = {"phase": phase, "attention": None, "actions": actions}
        self.evidence.attempts.append(Attempt(f"key-{intent}", "body", "accepted", started, started + 0.5, 202, intent))

    def _traces(self, *traces: tuple[str, str, float]) -> None:
        self.evidence.traces.extend(trace(*one) for one in traces)


Lie = Callable[[Evidence], object]


def retitle(position: int, kind: str) -> Lie:
    return lambda e: e.events[position - 1].update(type=kind)


def shown(intent: str, **fields: object) -> Lie:
    return lambda e: e.intents[intent].update(fields)


def more(*traces: Trace) -> Lie:
    return lambda e: e.traces.extend(traces)


def attempted(*attempts: Attempt) -> Lie:
    return lambda e: e.attempts.extend(attempts)


def without(intent: str) -> Lie:
    return lambda e: e.traces.__setitem__(slice(None), [t for t in e.traces if not t.key.startswith(intent)])


def swap_positions(first: int, second: int) -> Lie:
    def lie(e: Evidence) -> None:
        e.events[first - 1], e.events[second - 1] = e.events[second - 1], e.events[first - 1]

    return lie


LIES: list[tuple[str, str, Lie]] = [
    ("I1", "an effect comes before the decision", more(trace("apply", "good/b", 1.5))),
    ("I1", "an effect has no decision at all", more(trace("apply", "bad/b", 9))),
    ("I1", "an effect belongs to no intent", more(trace("apply", "stranger", 9))),
    ("I2", "an intent is committed and aborted", retitle(3, "AbortDecided")),
    ("I3", "a committed intent has only half of its effects", without("good/b")),
    ("I3", "an aborted intent has an effect", more(trace("apply", "bad/b", 9))),
    ("I3", "a compensated intent was not undone", without("back/a/undo")),
    ("I3", "what is shown is not how it ended", shown("bad", phase="denied")),
    ("I3", "a mixed intent shows nothing that stands", shown("bad", phase="mixed")),
    ("I3", "an intent in the log is not shown", lambda e: e.intents.pop("bad")),
    ("I3", "a step says done and nothing was", shown("bad", actions=[{"id": n, "step": "done"} for n in "ab"])),
    ("I4", "one key has two effects", more(trace("apply", "good/a", 7))),
    ("I4", "one key is undone twice", more(trace("undo", "back/a/undo", 19))),
    ("I8", "something is held for a finished intent", lambda e: setattr(e, "held", [("payments", "bad/a")])),
    ("I8", "something is held for nobody", lambda e: setattr(e, "held", [("payments", "stranger")])),
    ("I8", "a late hold is taken after the release", more(trace("hold", "bad/a", 11))),
    ("I9", "a commit in doubt is compensated", retitle(4, "CompensateDecided")),
    ("I9", "a commit in doubt is forgotten", retitle(4, "ActionPrepared")),
    ("I9", "a hold in doubt is forgotten", retitle(10, "CallForgotten")),
    ("I9", "an announced attempt is forgotten", lambda e: (retitle(3, "CommitAttempted")(e), retitle(4, "X")(e))),
    ("I10", "things are undone in the wrong order", swap_positions(17, 18)),
    ("I10", "something is undone before it is known", more(trace("undo", "good/a/undo", 3.5))),
    ("I10", "an undo is recorded twice", retitle(19, "ActionUndone")),
    ("I12", "a paused worker appended", lambda e: setattr(e, "frozen", [Frozen("good", 5, moment(15))])),
    ("I12", "a paused worker had an effect", lambda e: setattr(e, "frozen", [Frozen("good", 6, moment(4))])),
    ("I13", "an acknowledged intent is not in the log", attempted(Attempt("k", "b", "accepted", 30, 31, 202, "lost"))),
    ("I13", "an intent is in the log twice", lambda e: e.events[6]["body"].update(idempotency_key="key-good")),
    ("I13", "an intent came from nobody", lambda e: e.attempts.pop()),
    (
        "I13",
        "a refused intent is in the log",
        lambda e: e.attempts.__setitem__(1, replace(e.attempts[1], outcome="refused", status=422, intent=None)),
    ),
    ("I13", "one key was accepted twice", attempted(Attempt("key-good", "body", "accepted", 30, 31, 202, "bad"))),
    ("I13", "one key, two bodies", attempted(Attempt("key-good", "other", "accepted", 30, 31, 202, "good"))),
    ("I13", "another body was not a 422", attempted(Attempt("key-good", "other", "refused", 30, 31, 409))),
    ("I15", "a position is missing", lambda e: e.events.pop(8)),
    ("I15", "the past has changed", lambda e: e.earlier[2].update(type="Other")),
    ("I15", "time runs backwards", lambda e: e.events[8].update(at=moment(0).isoformat())),
    ("I15", "a later intent stands before an earlier one", lambda e: e.attempts.__setitem__(0, later(e.attempts[0]))),
    ("I17", "a view differs from its rebuild", lambda e: setattr(e, "rebuilt", {"audit": "d2"})),
    ("I17", "there are no views", lambda e: (setattr(e, "rebuilt", {}), setattr(e, "views", {}))),
    ("I17", "a replay appended", lambda e: setattr(e, "head", (9, 10))),
    ("I17", "a replay called the outside", lambda e: setattr(e, "outside_calls", (4, 5))),
    ("I18", "an intent is still moving", shown("good", phase="committing")),
    ("I18", "healing took too long", lambda e: setattr(e, "healed_seconds", 31.0)),
    ("run", "nothing was committed", shown("good", phase="aborted")),
    ("run", "nothing happened outside", lambda e: e.traces.clear()),
    ("run", "no fault was required", lambda e: setattr(e, "required", {})),
    ("run", "a required fault never fired", lambda e: setattr(e, "faults", {})),
]


def later(attempt: Attempt) -> Attempt:
    return replace(attempt, started=50.0, ended=51.0)


def test_an_honest_run_holds():
    assert check(Honest().evidence) == []


@pytest.mark.parametrize(("invariant", "lie"), [(i, lie) for i, _, lie in LIES], ids=[f"{i}: {w}" for i, w, _ in LIES])
def test_a_lie_is_found(invariant, lie):
    evidence = Honest().evidence
    lie(evidence)
    assert any(sentence.startswith(f"{invariant}:") for sentence in check(evidence))


def test_every_check_has_been_lied_to():
    assert {invariant for invariant, _, _ in LIES} == set(CHECKS)


def test_attention_is_an_honest_place_to_rest():
    evidence = Honest().evidence
    evidence.intents["good"] |= {"phase": "committing", "attention": {"reason": "nobody knows"}}
    assert check(evidence) == ["run: Nothing was committed."]


def test_a_person_may_settle_a_doubt():
    evidence = Honest().evidence
    evidence.events[3].update(type="AttentionResolved", body={"action": "a", "outcome": "applied"})
    evidence.earlier = []
    assert check(evidence) == []


def test_an_announced_attempt_that_never_left_is_no_doubt():
    evidence = Honest().evidence
    evidence.events[2].update(type="CommitAttempted")
    evidence.events[3].update(type="CallDeferred", body={"action": "a", "verb": "commit"})
    assert not any(sentence.startswith("I9") for sentence in check(evidence))
