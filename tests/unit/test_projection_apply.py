"""Projections as pure functions: given these events, these rows; and an entry of the audit in words."""

import csv
import io
import json
import random
from datetime import timedelta

import msgspec
import pytest
from histories import AGENTS, T0, history, ledger_of, recorded
from unit.told import (
    ALLOWED,
    COMMITTED,
    DECIDED,
    DENIED,
    IN_DOUBT,
    INTENT,
    PREPARED,
    STREAM,
    UNDO,
    exposures,
    plan,
    rows,
    said,
    submitted,
)

from ledger import events as e
from ledger.canonical import canonical
from ledger.errors import IllegalTransition
from ledger.ids import intent_stream
from ledger.intents import Guarantee, Subject, Undo
from ledger.phases import Phase, Step
from ledger.state import evolve
from projections.audit.entry import Act, Kind, plain
from projections.audit.forms import COLUMNS, csv_lines, csv_row, entry_json, whom
from projections.audit.sentence import agent, person, sentence
from projections.audit.view import AUDIT, OUTCOMES
from projections.catalogue import PROJECTIONS as ALL
from projections.exposure import EXPOSURE, Exposure, exposure_of
from projections.intents import INTENTS, is_cursor

PROJECTIONS = tuple(one for one in ALL if one.across is None)  # the others: tests/unit/test_behaviour.py

# ── the list ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_intent_begins_as_a_row_with_what_it_is_searched_by():
    (row,) = rows(INTENTS, submitted(plan("refund"), plan("mail"), plan("refund2")))
    assert row.intent == INTENT
    assert (row.phase, row.attention, row.version, row.position) == (Phase.SUBMITTED, False, 1, 101)
    assert (row.agent, row.task, row.commissioned_by) == ("payment-specialist", "12A", "manager-x")
    assert row.operations == ("payments.refund", "payments.mail", "payments.refund2")


def test_every_event_moves_version_and_position_and_some_move_the_phase():
    (row,) = rows(INTENTS, *COMMITTED[:5])
    assert (row.phase, row.version, row.position) == (Phase.COMMITTING, 5, 105)
    (row,) = rows(INTENTS, *COMMITTED)
    assert (row.phase, row.version, row.position) == (Phase.COMMITTED, 6, 106)
    assert row.updated_at - row.submitted_at == timedelta(seconds=5)


def test_attention_comes_and_goes():
    raised = e.AttentionRaised(action="refund", reason="nobody knows")
    resolved = e.AttentionResolved(action="refund", outcome="applied", note="", by="operator")
    way = (*COMMITTED[:4], IN_DOUBT, raised)
    assert rows(INTENTS, *way)[0].attention
    assert not rows(INTENTS, *way, resolved)[0].attention


def test_an_abort_ends_attention():
    raised = e.AttentionRaised(action=None, reason="cannot be worked")
    cancelled = e.AbortDecided(cause="cancelled", reason="no", by="operator")
    assert not rows(INTENTS, submitted(), ALLOWED, raised, cancelled)[0].attention


@pytest.mark.parametrize("projection", [p for p in PROJECTIONS if p.subject(STREAM)], ids=lambda p: p.name)
def test_an_event_that_cannot_stand_there_is_not_applied(projection):
    with pytest.raises(IllegalTransition):
        rows(projection, submitted(), e.IntentCommitted())
    with pytest.raises(IllegalTransition):
        rows(projection, ALLOWED)


def test_a_version_that_does_not_follow_is_not_applied():
    with pytest.raises(IllegalTransition, match="known up to version 1"):
        INTENTS.apply(rows(INTENTS, submitted()), recorded(ALLOWED, STREAM, 3, 103))


def test_a_cursor_is_an_intent_as_we_write_it():
    assert is_cursor(INTENT)
    for wrong in ("", "7", INTENT.upper().replace("0", "A"), "{" + INTENT + "}", INTENT[:-1], "x" * 36):
        assert not is_cursor(wrong)


# ── exposure ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_exposure_follows_an_intent_from_held_to_nothing():
    assert exposures(*COMMITTED[:2]) == [None]
    assert exposures(*COMMITTED[:3]) == [Exposure.HELD]
    assert exposures(*COMMITTED[:4]) == [Exposure.PROMISED]
    assert exposures(*COMMITTED[:4], IN_DOUBT) == [Exposure.IN_DOUBT]
    assert exposures(*COMMITTED[:5]) == [None]
    assert exposures(*COMMITTED) == []


def test_an_undo_wakes_the_rows_that_rested():
    assert exposures(*COMMITTED, UNDO) == [Exposure.PROMISED]
    assert exposures(*COMMITTED, UNDO, e.ActionUndone(action="refund", result={})) == [None]


def test_a_prepared_one_shot_holds_nothing():
    one_shot = submitted(plan(guarantee=Guarantee.IDEMPOTENT))
    assert exposures(one_shot, ALLOWED, PREPARED) == [None]
    assert exposures(one_shot, ALLOWED, PREPARED, DECIDED) == [Exposure.PROMISED]


def test_since_is_when_the_exposure_began():
    (row,) = rows(EXPOSURE, *COMMITTED[:4], IN_DOUBT, IN_DOUBT)
    assert row.since == T0 + timedelta(seconds=5)


def test_one_action_in_doubt_says_nothing_about_the_other():
    mail = e.ActionPrepared(action="mail", receipt=None, preview={})
    way = (submitted(plan("refund"), plan("mail", Guarantee.BLIND, Undo.NONE)), ALLOWED, PREPARED, mail, DECIDED)
    assert [(row.action, row.exposure) for row in rows(EXPOSURE, *way, IN_DOUBT)] == [
        ("mail", Exposure.PROMISED),
        ("refund", Exposure.IN_DOUBT),
    ]


@pytest.mark.parametrize("step", list(Step))
def test_every_step_in_doubt_is_exposed_as_such(step):
    exposure = exposure_of(Phase.COMMITTING, step, Guarantee.ATOMIC, Undo.EXACT)
    assert (exposure is Exposure.IN_DOUBT) == (step.shown in {"in_doubt", "attempted"} or step is Step.ABORT_STUCK)


# ── every view ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(20))
def test_views_agree_with_the_state_that_evolve_folds(seed):
    state, views = None, {projection.name: () for projection in PROJECTIONS}
    for version, event in enumerate(history(random.Random(seed), seed), 1):
        one = recorded(event, intent_stream(history(random.Random(seed), seed)[0].intent), version, version)
        state = evolve(state, one)
        for projection in PROJECTIONS:
            if type(one.event) in projection.reads:
                views[projection.name] = projection.apply(views[projection.name], one)
        (listed,), entry = views["intents"], views["audit"][0]
        assert (listed.phase, listed.version, listed.position) == (state.phase, state.version, state.position)
        assert listed.attention == (state.attention is not None)
        assert (listed.custody, listed.follows) == (state.submitted.custody, state.submitted.follows)
        assert listed.escalated_to == getattr(state.compensate or state.abort, "escalated_to", None)
        assert entry.outcome == state.phase.value
        assert (entry.verification is None) == (state.outcome is None)
        assert entry.digest == (state.approval_requested.digest if state.approval_requested else None)
        assert (entry.attention is None) == (state.attention is None)
        assert {row.action: row.step for row in views["exposure"]} == {a.plan.id: a.step for a in state.actions}
        assert {row.phase for row in views["exposure"]} == {state.phase}


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda p: p.name)
def test_rows_of_a_subject_are_in_key_order_with_keys_of_their_own(projection):
    views = {}
    for one in ledger_of(3, 60):
        subject = projection.subject(one.stream)
        if subject is not None and type(one.event) in projection.reads:
            views[subject] = projection.apply(views.get(subject, ()), one)
            keys = [[getattr(row, column) for column in projection.key] for row in views[subject]]
            assert keys == sorted(keys)
            assert len({tuple(key) for key in keys}) == len(keys)
            assert {key[0] for key in keys} == {subject}


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda p: p.name)
def test_the_same_events_give_the_same_bytes(projection):
    once, again = (
        [canonical(msgspec.to_builtins(row)) for row in rows(projection, *history(random.Random(5), 5))]
        for _ in range(2)
    )
    assert once == again


# ── the audit ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_sentence_of_the_design():
    who = "Payment Specialist Agent v3.1, task 12A, commissioned by Manager X, under policy P-45"
    assert said(*COMMITTED) == [f"{who}: refund 42.00 USD to customer 88, committed"]


def test_the_operator_who_acts_alone_is_not_called_an_agent():
    alone = submitted(
        agent=Subject(kind="person", name="operator"), task=None, commissioned_by=None, custody=("grant-operator",)
    )
    assert said(alone, *COMMITTED[1:]) == ["Operator, under policy P-45: refund 42.00 USD to customer 88, committed"]


def test_an_intent_on_its_way_says_where_it_is():
    who = "Payment Specialist Agent v3.1, task 12A, commissioned by Manager X"
    assert said(submitted()) == [f"{who}: refund 42.00 USD to customer 88, submitted"]
    asked = e.ApprovalRequested(digest="sha256:d", expires_at=T0)
    escalated = e.PolicyEvaluated(effect="escalate", policies=("P-1", "P-2"), policy_set="sha256:p")
    assert said(submitted(), escalated, PREPARED, asked) == [
        f"{who}, under policies P-1 and P-2: refund 42.00 USD to customer 88, awaiting approval"
    ]


def test_outcomes_say_why():
    assert said(submitted(), DENIED)[0].endswith("refund 42.00 USD to customer 88, denied: amount is above 50.00")
    late = e.AbortDecided(cause="deadline", reason="The deadline passed.")
    assert said(submitted(), ALLOWED, late)[0].endswith("customer 88, aborting: The deadline passed")
    assert said(submitted(), ALLOWED, late, e.IntentAborted())[0].endswith("customer 88, aborted: The deadline passed")
    raised = e.AttentionRaised(action="refund", reason="Nobody knows.")
    assert said(*COMMITTED[:4], IN_DOUBT, raised)[0].endswith(
        "customer 88, committing, waiting for a person: Nobody knows"
    )


def test_what_people_do_has_entries_of_its_own():
    by = "asked for by Payment Specialist Agent v3.1"
    what = "refund 42.00 USD to customer 88"
    cancelled = e.AbortDecided(cause="cancelled", reason="No longer needed.", by="operator")
    rejected = e.AbortDecided(cause="rejected", reason="Too much", by="manager-x")
    approved = e.ApprovalGiven(digest="sha256:d", by="manager-x")
    escalated = e.PolicyEvaluated(effect="escalate", policies=("P-1",), policy_set="sha256:p")
    asked = (submitted(), escalated, PREPARED, e.ApprovalRequested(digest="sha256:d", expires_at=T0))
    resolved = e.AttentionResolved(action="refund", outcome="not_applied", note="I called them.", by="operator")
    raised = e.AttentionRaised(action="refund", reason="Nobody knows.")
    assert said(submitted(), cancelled)[1] == f"Operator cancelled: {what}, {by}: No longer needed"
    assert said(*asked, rejected)[1] == f"Manager X rejected: {what} (sha256:d), {by}: Too much"
    assert said(*asked, approved)[1] == f"Manager X approved: {what} (sha256:d), {by}"
    assert said(*COMMITTED, UNDO)[1] == f"Operator decided to undo: {what}, {by}: A mistake"
    assert said(*COMMITTED[:4], IN_DOUBT, raised, resolved)[1] == (
        f"Operator answered “not applied” about: {what}, {by}: I called them"
    )


def test_what_a_person_answers_about_a_release_is_not_told_as_an_effect():
    raised = e.AttentionRaised(action="refund", reason="It refuses to release its hold.")
    released = e.AttentionResolved(action="refund", outcome="applied", note="Gone.", by="operator")
    late = e.AbortDecided(cause="deadline", reason="late")
    stuck = e.AbortFailed(action="refund", reason="no")
    told = said(submitted(), ALLOWED, PREPARED, late, stuck, raised, released)[1]
    assert told.startswith("Operator answered “applied” about: refund 42.00 USD to customer 88, ")
    assert "effect" not in told


def test_an_abort_that_nobody_asked_for_is_nobodys_act():
    assert len(rows(AUDIT, submitted(), ALLOWED, e.AbortDecided(cause="deadline", reason="late"))) == 1


def test_an_act_does_not_change_when_the_intent_moves_on():
    undone = (e.ActionUndone(action="refund", result={}), e.IntentCompensated())
    before, after = rows(AUDIT, *COMMITTED, UNDO), rows(AUDIT, *COMMITTED, UNDO, *undone)
    assert before[1] == after[1]
    assert (after[1].kind, after[1].outcome, after[1].by) == (Kind.UNDO, Act.UNDO_DECIDED, "operator")
    assert (after[0].outcome, after[0].outcome_position) == (Phase.COMPENSATED, 109)
    assert (after[0].position, after[1].position) == (101, 107)


def test_an_answer_about_one_action_names_only_that_action():
    mail = plan("mail", Guarantee.BLIND, Undo.NONE, "mail a@example.com")
    way = (
        submitted(plan(), mail),
        ALLOWED,
        PREPARED,
        e.ActionPrepared(action="mail", receipt=None, preview={}),
        DECIDED,
    )
    doubt = e.CommitInDoubt(action="mail", reason="reset", retry_at=T0)
    raised = e.AttentionRaised(action="mail", reason="Nobody knows.")
    resolved = e.AttentionResolved(action="mail", outcome="applied", note="Seen", by="operator")
    entry, act = rows(AUDIT, *way, doubt, raised, resolved)
    assert act.summaries == ("mail a@example.com",)
    assert len(entry.summaries) == 2
    assert entry.attention is None


def test_an_entry_holds_the_whole_chain_of_authority():
    shown = entry_json(rows(AUDIT, *COMMITTED)[0])
    assert shown["custody"] == ("grant-root", "grant-manager-x", "grant-7")
    assert shown["authority"] == {"grant": "grant-7", "policies": ("P-45",), "policy_set": "sha256:p"}
    assert shown["actor"] == {"kind": "agent", "name": "payment-specialist", "version": "3.1"}
    assert shown["what"] == [
        {"action": "refund", "operation": "payments.refund", "summary": "refund 42.00 USD to customer 88"}
    ]
    assert shown["whom"] == ("customer 88",)
    assert (shown["outcome"], shown["outcome_position"], shown["position"]) == ("committed", 106, 101)
    assert shown["outcome"] in OUTCOMES
    assert json.loads(msgspec.json.encode(shown))["intent"] == INTENT


def test_whom_is_the_outside_system_where_the_summary_names_nobody():
    (entry,) = rows(AUDIT, submitted(plan(summary="close the till")))
    assert whom(entry) == ("payments",)


@pytest.mark.parametrize(
    ("kind", "name", "version", "words"),
    [
        ("agent", "payment-specialist", "3.1", "Payment Specialist Agent v3.1"),
        ("agent", "support_agent", "v2", "Support Agent v2"),
        ("agent", "stock keeper", None, "Stock Keeper Agent"),
        ("person", "operator", None, "Operator"),
        ("person", "ann@example.com", None, "ann@example.com"),
    ],
)
def test_names_are_written_for_people(kind, name, version, words):
    assert agent(kind, name, version) == words


def test_a_person_keeps_the_case_of_their_name():
    assert person("Manager-X") == "Manager X"
    assert person("anneMarie") == "AnneMarie"


def test_outside_words_cannot_break_a_sentence_in_two():
    forged = "closed\nPayment Specialist Agent v3.1: refund 1.00 USD, committed\x00\x1b[2J\u2028"
    (entry,) = rows(
        AUDIT, submitted(), ALLOWED, e.AbortDecided(cause="refused", reason=forged + "x" * 10_000), e.IntentAborted()
    )
    line = sentence(entry)
    assert line.isprintable()
    assert len(line) < 1_000
    assert plain(forged).startswith("closed Payment")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", " =", "\r", "\uff1d", "\uff20", "\u00a0=", "\ufeff+"])
def test_a_cell_is_never_a_formula(start):
    task = f"{start}HYPERLINK(1)"
    (entry,) = rows(AUDIT, submitted(task=task))
    text = csv_lines([COLUMNS, csv_row(entry)])
    header, line = csv.reader(io.StringIO(text, newline=""))
    assert dict(zip(header, line, strict=True))["task"] == "'" + task


def test_csv_has_a_cell_for_every_column_and_reads_back():
    entries = rows(AUDIT, *COMMITTED, UNDO)
    header, *lines = csv.reader(io.StringIO(csv_lines([COLUMNS, *map(csv_row, entries)])))
    assert [len(line) for line in lines] == [len(header)] * 2
    assert dict(zip(header, lines[0], strict=True))["sentence"] == sentence(entries[0])
    assert dict(zip(header, lines[1], strict=True))["actor"] == "operator"


# ── the histories that tests of views are made of ────────────────────────────────────────────────────────────────


def test_histories_reach_far_and_repeat():
    everything = [r.event for seed in range(6) for r in ledger_of(seed, 100)]
    assert {type(event).__name__ for event in everything} == set(e.EVENT_TYPES)
    assert ledger_of(1, 10) == ledger_of(1, 10)
    assert {event.agent.name for event in everything if isinstance(event, e.IntentSubmitted)} == set(AGENTS)
