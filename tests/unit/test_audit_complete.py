"""That the audit leaves nothing out: which events it tells of, and what an intent's entry says of how it came about."""

import json

import pytest
from histories import T0, ledger_of, recorded
from unit.told import COMMITTED, DECIDED, DONE, PREPARED, UNDO, plan, rows, submitted

from ledger import events as e
from ledger.intents import Guarantee, Undo
from ledger.tasks import Check
from projections.audit.entry import Act, Kind
from projections.audit.forms import entry_json
from projections.audit.sentence import sentence
from projections.audit.view import AUDIT

NOT_TOLD = {
    # the way there, which the entry's end sums up; all of it is in the intent's stream and in its timeline
    "ActionPrepared": "a vote; what it leads to is told",
    "CallDeferred": "a call that is made again",
    "PrepareInDoubt": "becomes a vote, an abort or attention",
    "ReleaseAttempted": "becomes a release or attention",
    "HoldReleased": "a hold that is taken again once people have approved",
    "CommitAttempted": "becomes done, failed or attention",
    "CommitInDoubt": "becomes done, failed or attention",
    "CommitFoundAbsent": "the commit is made again",
    "AbortFailed": "raises attention",
    "UndoAttempted": "becomes undone, failed or attention",
    "UndoInDoubt": "becomes undone, failed or attention",
    "UndoFoundAbsent": "the undo is made again",
    "OutcomeDeferred": "the outside is asked again",
    "UndoListed": "the pages of what the entry of the plan counts",
    "UndoPlanAdvanced": "what came of each intent is in that intent's entries",
    "NoteAdded": "changes nothing and decides nothing; it is in the timeline",
}
FACTS = {"refund": {"account_age_days": 12}}
JUDGED = e.PolicyEvaluated(effect="escalate", policies=("P-45",), policy_set="sha256:p", facts=FACTS)
CONFIRMED = e.ActionDone(action="refund", result={"charge": "ch_88", "state": "refunded"})


def intent_entry(*events):
    return entry_json(rows(AUDIT, *events)[0])


def said(*events):
    shown = intent_entry(*events)["confirmed"]
    return None if shown is None else json.loads(bytes(shown))


def test_every_event_is_told_or_it_is_said_why_not():
    told = {event.__name__ for event in AUDIT.reads}
    assert told | NOT_TOLD.keys() == set(e.EVENT_TYPES)
    assert not told & NOT_TOLD.keys()


def test_every_kind_of_entry_and_every_act_comes_up_and_reads_as_one_sentence():
    entries = {}
    for seed in range(4):
        for one in ledger_of(seed, 120):
            if type(one.event) in AUDIT.reads:
                entries[seed, one.stream] = AUDIT.apply(entries.get((seed, one.stream), ()), one)
    every = [row for of_stream in entries.values() for row in of_stream]
    assert {row.kind for row in every} == set(Kind)
    assert {row.outcome for row in every} >= set(Act) - {Act.TOKEN_SUSPENDED}
    for row in every:
        assert sentence(row)
        assert "\n" not in sentence(row)


def test_an_entry_says_what_policy_saw_and_said_and_on_whose_word_it_was_decided():
    decided = e.CommitDecided("grant-7", ("P-45",), "sha256:p", approved_by=("dana", "erin"))
    shown = intent_entry(submitted(), JUDGED, PREPARED, decided, CONFIRMED, e.IntentCommitted())
    assert shown["authority"] == {"grant": "grant-7", "policies": ("P-45",), "policy_set": "sha256:p"}
    assert (shown["effect"], shown["approved_by"]) == ("escalate", ("dana", "erin"))
    assert json.loads(bytes(shown["facts"])) == FACTS
    assert (shown["position"], shown["decision_position"], shown["outcome_position"]) == (101, 104, 106)


def test_a_denied_attempt_says_what_policy_saw():
    denied = e.PolicyEvaluated("deny", (), "sha256:p", ("amount is above 50.00",), FACTS)
    shown = intent_entry(submitted(), denied)
    assert (shown["outcome"], shown["effect"], shown["reason"]) == ("denied", "deny", "amount is above 50.00")
    assert json.loads(bytes(shown["facts"])) == FACTS
    assert (shown["decision_position"], shown["confirmed"]) == (None, None)


def test_what_the_outside_answered_is_kept_word_for_word_also_once_it_is_undone():
    answer = {"charge": "ch_88", "state": "refunded"}
    way = (*COMMITTED[:4], CONFIRMED, e.IntentCommitted())
    assert said(*way) == {"refund": {"outcome": "done", "result": answer}}
    undone = said(*way, UNDO, e.ActionUndone(action="refund", result={"reversal": 7}))
    assert undone == {"refund": {"outcome": "undone", "result": answer, "undone": {"reversal": 7}}}


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ((e.ActionRefused("refund", "no\ncover"),), {"outcome": "refused", "error": "no cover"}),
        ((PREPARED, DECIDED, e.ActionFailed("refund", "closed")), {"outcome": "failed", "error": "closed"}),
        (
            (PREPARED, e.AbortDecided("cancelled", "no", "dana"), e.ActionAborted("refund")),
            {"outcome": "aborted"},
        ),
    ],
)
def test_what_the_outside_refused_or_let_go_is_kept(events, found):
    assert said(submitted(), JUDGED, *events) == {"refund": found}


def test_what_a_person_stated_in_place_of_the_outside_bears_their_name():
    mail = plan("mail", Guarantee.BLIND, Undo.NONE)
    doubt = e.CommitInDoubt(action="mail", reason="reset", retry_at=T0)
    raised = e.AttentionRaised(action="mail", reason="Nobody knows.")
    resolved = e.AttentionResolved(action="mail", outcome="applied", note="Seen", by="dana")
    prepared = e.ActionPrepared(action="mail", receipt=None, preview={})
    way = (submitted(plan(), mail), JUDGED, PREPARED, prepared, DECIDED, doubt, raised, resolved, DONE)
    assert said(*way) == {"mail": {"outcome": "applied", "by": "dana"}, "refund": {"outcome": "done", "result": {}}}


def test_what_was_looked_at_to_verify_an_outcome_is_kept():
    check = Check("crm.customer", {"status": "refunded"}, {"status": "open"}, holds=False)
    shown = intent_entry(*COMMITTED, e.OutcomeContradicted((check,)))
    assert json.loads(bytes(shown["detail"]))["checks"][0]["found"] == {"status": "open"}


def test_an_act_of_a_person_carries_nothing_of_what_the_intent_was_decided_on():
    act = rows(AUDIT, *COMMITTED, UNDO)[1]
    assert (act.facts, act.confirmed, act.effect, act.approved_by, act.decision_position) == (
        None,
        None,
        None,
        (),
        None,
    )


def test_facts_are_those_of_the_last_verdict():
    first = recorded(submitted(), "intent/" + submitted().intent, 1, 1)
    again = e.PolicyEvaluated(effect="allow", policies=("P-1",), policy_set="sha256:p")
    found = AUDIT.apply((), first)
    for version, event in enumerate((JUDGED, again), 2):
        found = AUDIT.apply(found, recorded(event, first.stream, version, version))
    assert (found[0].facts, found[0].effect) == (None, "allow")
