"""Spans and paths: what the stream of an intent says about time, and about the way it went."""

import random
from datetime import timedelta

import pytest
from histories import T0, _history, history, recorded

from ledger import bounds
from ledger import events as e
from ledger.ids import intent_stream
from ledger.intents import Verb
from ledger.tally import BUCKETS, Tally
from ledger.traces import outgoing, read_traceparent, run_of, span_of, trace_of
from projections.timeline.path import MILESTONES, MORE, arranged, extended, milestone
from projections.timeline.side_by_side import compare, steps_of
from projections.timeline.span import Kind
from projections.timeline.spans import spans_of
from projections.timeline.view import TIMELINE

SEEDS = range(120)
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
INTENT = "0199a000-0000-7000-8000-000000000001"


def stream(seed):
    """Return a random history as it is recorded: what goes down in one append has one time."""
    events = list(_history(random.Random(seed), seed, 120))
    name = intent_stream(events[0][0].intent)
    return [recorded(event, name, n, n, at) for n, (event, at) in enumerate(events, 1)]


@pytest.fixture(scope="module")
def streams():
    return [stream(seed) for seed in SEEDS]


def test_every_span_lies_within_its_parent_and_has_a_name_of_its_own(streams):
    kinds = set()
    for one in streams:
        spans = spans_of(one)
        known = {span.id: span for span in spans}
        assert len(known) == len(spans)
        for span in spans:
            kinds.add(span.kind)
            assert span.ended_at is None or span.started_at <= span.ended_at
            if span.parent is None:
                assert span.kind is Kind.INTENT
                continue
            parent = known[span.parent]
            assert parent.started_at <= span.started_at
            if parent.kind is not Kind.INTENT and parent.ended_at is not None:
                assert span.ended_at is not None
                assert span.ended_at <= parent.ended_at
    assert kinds == set(Kind), "a kind of span never came up"


def test_a_story_told_so_far_is_the_beginning_of_the_whole_story(streams):
    for one in streams[:40]:
        whole = {span.id: span for span in spans_of(one)}
        for length in range(1, len(one)):
            for span in spans_of(one[:length]):
                assert span.id in whole
                if span.ended_at is not None and span.kind not in {Kind.ACTION, Kind.UNDO}:
                    assert whole[span.id] == span


def test_each_call_that_was_answered_is_one_span(streams):
    answers = {e.ActionPrepared, e.ActionRefused, e.ActionDone, e.ActionUndone, e.CommitInDoubt, e.CallDeferred}
    for one in streams:
        calls = [span for span in spans_of(one) if span.kind is Kind.CALL and span.verb != "preview"]
        told = {span.position for span in calls}
        assert {
            r.position for r in one if type(r.event) in answers and getattr(r.event, "verb", "") != "preview"
        } <= told


def test_a_call_begins_when_it_is_due_and_the_time_before_is_a_wait():
    first = next(event for event in history(random.Random(5), 5) if isinstance(event, e.IntentSubmitted))
    action = first.actions[0].id
    moments = [
        (first, 0),
        (e.PolicyEvaluated(effect="allow", policies=("P-45",), policy_set="sha256:p"), 1),
        (e.CallDeferred(action=action, verb=Verb.PREPARE, reason="busy", retry_at=T0 + timedelta(seconds=10)), 3),
        (
            e.CallDeferred(
                action=action, verb=Verb.PREPARE, reason="full", retry_at=T0 + timedelta(seconds=11), sent=False
            ),
            10,
        ),
        (e.ActionRefused(action=action, reason="closed"), 12),
    ]
    name = intent_stream(first.intent)
    told = [recorded(event, name, n, n, T0 + timedelta(seconds=second)) for n, (event, second) in enumerate(moments, 1)]
    spans = [span for span in spans_of(told) if span.kind in {Kind.CALL, Kind.WAIT} and span.verb == "prepare"]
    seconds = [(span.kind, (span.started_at - T0).seconds, (span.ended_at - T0).seconds) for span in spans]
    assert seconds == [
        (Kind.CALL, 1, 3),
        (Kind.WAIT, 3, 10),
        (Kind.CALL, 10, 10),  # which did not leave
        (Kind.WAIT, 10, 11),
        (Kind.CALL, 11, 12),
    ]
    assert [span.attempt for span in spans] == [1, None, None, None, 2]


def test_the_view_and_the_comparison_know_the_same_path(streams):
    for one in streams:
        rows = ()
        for r in one:
            if type(r.event) in TIMELINE.reads:
                rows = TIMELINE.apply(rows, r)
        (row,) = rows
        assert list(row.path) == [step.words for step in steps_of([one])]


def test_votes_come_in_any_order_and_effects_in_theirs():
    operations = ["bank.post", "mail.send"]
    votes = ["prepare mail.send prepared", "prepare bank.post prepared"]
    effects = ["commit mail.send done", "commit bank.post done"]
    path = ()
    for step in (*votes, *effects):
        path = extended(path, step, operations)
    assert path == (*reversed(votes), *effects)
    assert [words for words, _ in arranged([(step, None) for step in (*votes, *effects)], operations)] == list(path)


def test_a_path_that_goes_round_in_circles_ends():
    path = ()
    for _ in range(bounds.PATH_STEPS + 5):
        path = extended(path, "approval requested", [])
    assert (len(path), path[-1]) == (bounds.PATH_STEPS + 1, MORE)


def test_what_comes_from_the_weather_is_no_milestone():
    weather = {e.CallDeferred, e.CommitAttempted, e.CommitInDoubt, e.CommitFoundAbsent, e.PrepareInDoubt}
    assert weather.isdisjoint(MILESTONES)
    assert milestone(e.CommitAttempted(action="a"), "bank.post") is None


def test_a_run_beside_itself_is_the_same_and_a_value_that_differs_is_named(streams):
    for one in streams[:30]:
        same = compare([one], [one])
        assert (same.same_path, same.parts_at, same.differences) == (True, None, ())
    left, right = streams[0], streams[1]
    found = compare([left], [right])
    assert {"/0/context/ticket"} <= {difference.path for difference in found.differences}


def test_a_traceparent_is_read_as_w3c_writes_it_and_nothing_else_is_one():
    read = read_traceparent(f"00-{TRACE}-{SPAN}-01")
    assert (read.trace, read.span, read.sampled) == (TRACE, SPAN, True)
    assert not read_traceparent(f"00-{TRACE}-{SPAN}-00").sampled
    for nonsense in (None, "", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE.upper()}-{SPAN}-01"):
        assert read_traceparent(nonsense) is None
    assert (trace_of(INTENT, None), run_of(INTENT, None)) == (INTENT.replace("-", ""), INTENT)
    sent = outgoing(INTENT, "a1", "commit", f"00-{TRACE}-{SPAN}-00")
    assert sent == f"00-{TRACE}-{span_of(INTENT, 'action', 'a1')}-00"
    assert outgoing(INTENT, "a1", "compensate", None).split("-")[2] == span_of(INTENT, "undo", "a1")


def test_durations_are_counted_in_the_bucket_that_still_holds_them():
    tally = Tally()
    for seconds in (0.0, BUCKETS[0], BUCKETS[0] + 1e-9, 1e9):
        tally.add(seconds)
    assert (tally.counts[0], tally.counts[1], tally.counts[-1], sum(tally.counts)) == (2, 1, 1, 4)
