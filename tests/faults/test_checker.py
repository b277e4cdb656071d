"""The checker is believed only because each of its checks has been seen to fail, once for each way to lie.

The lies about authority stand in `authority_lies.py`.
"""

from dataclasses import replace

import pytest
from authority_lies import AUTHORITY_LIES
from checker import CHECKS, check
from honest import Honest, moment, trace
from lies import Lie, all_of, attempted, event, more, put, retitle, shown, swap, told, without
from traces import Attempt, Frozen

LIES: list[tuple[str, str, Lie]] = [
    ("I1", "an effect comes before the decision", more(trace("apply", "good/b", 9.5))),
    ("I1", "an effect has no decision at all", more(trace("apply", "bad/b", 18))),
    ("I1", "an effect belongs to no intent", more(trace("apply", "stranger", 18))),
    ("I2", "an intent is committed and aborted", retitle("good", 4, "AbortDecided")),
    ("I3", "a committed intent has only half of its effects", without("good/b")),
    ("I3", "an aborted intent has an effect", more(trace("apply", "bad/b", 18))),
    ("I3", "a compensated intent was not undone", without("back/a/undo")),
    ("I3", "what is shown is not how it ended", shown("bad", phase="denied")),
    ("I3", "a mixed intent shows nothing that stands", shown("bad", phase="mixed")),
    ("I3", "an intent in the log is not shown", lambda e: e.intents.pop("bad")),
    ("I3", "a step says done and nothing was", shown("bad", actions=[{"id": n, "step": "done"} for n in "ab"])),
    ("I4", "one key has two effects", more(trace("apply", "good/a", 14))),
    ("I4", "one key is undone twice", more(trace("undo", "back/a/undo", 28))),
    ("I8", "something is held for a finished intent", put(held=[("payments", "bad/a")])),
    ("I8", "something is held for nobody", put(held=[("payments", "stranger")])),
    ("I8", "a late hold is taken after the release", more(trace("hold", "bad/a", 20))),
    ("I9", "a commit in doubt is compensated", retitle("good", 5, "CompensateDecided")),
    ("I9", "a commit in doubt is forgotten", retitle("good", 5, "ActionPrepared")),
    ("I9", "a hold in doubt is forgotten", retitle("bad", 5, "CallForgotten")),
    ("I9", "an announced attempt is forgotten", all_of(retitle("good", 4, "CommitAttempted"), retitle("good", 5, "X"))),
    ("I10", "things are undone in the wrong order", swap("back", 7, 8)),
    ("I10", "something is undone before it is known", more(trace("undo", "good/a/undo", 11.5))),
    ("I10", "an undo is recorded twice", retitle("back", 9, "ActionUndone")),
    ("I12", "a paused worker appended", put(frozen=[Frozen("good", 6, moment(30))])),
    ("I12", "a paused worker had an effect", put(frozen=[Frozen("good", 7, moment(10))])),
    ("I13", "an acknowledged intent is not in the log", attempted(Attempt("k", "b", "accepted", 30, 31, 202, "lost"))),
    ("I13", "an intent is in the log twice", told("bad", 1, idempotency_key="key-good")),
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
    ("I17", "a view differs from its rebuild", put(rebuilt={"audit": "d2"})),
    ("I17", "an inline table says what no event does", put(inline={"grants": False})),
    ("I17", "there are no views", put(rebuilt={}, views={})),
    ("I17", "a replay appended", put(head=(9, 10))),
    ("I17", "a replay called the outside", put(outside_calls=(4, 5))),
    ("I18", "an intent is still moving", shown("good", phase="committing")),
    ("I18", "healing took too long", put(healed_seconds=31.0)),
    ("run", "nothing was committed", all_of(shown("good", phase="aborted"), shown("asked", phase="aborted"))),
    ("run", "nothing happened outside", lambda e: e.traces.clear()),
    ("run", "no fault was required", put(required={})),
    ("run", "a required fault never fired", put(faults={})),
    *AUTHORITY_LIES,
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
    for intent in ("good", "asked"):
        evidence.intents[intent] |= {"phase": "committing", "attention": {"reason": "nobody knows"}}
    assert check(evidence) == ["run: Nothing was committed."]


def test_a_person_may_settle_a_doubt():
    evidence = Honest().evidence
    event(evidence, "good", 4).update(type="AttentionResolved", body={"action": "a", "outcome": "applied"})
    evidence.earlier = []
    assert check(evidence) == []


def test_an_announced_attempt_that_never_left_is_no_doubt():
    evidence = Honest().evidence
    event(evidence, "good", 4).update(type="CommitAttempted")
    event(evidence, "good", 5).update(type="CallDeferred", body={"action": "a", "verb": "commit"})
    assert not any(sentence.startswith("I9") for sentence in check(evidence))
