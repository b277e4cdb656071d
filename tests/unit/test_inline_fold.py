"""What of the inline tables follows from events: given these events, these rows."""

from datetime import timedelta

import pytest
from histories import T0, ledger_of, recorded

from ledger import events as e
from ledger.errors import Corrupt
from ledger.grants import Charge
from ledger.ids import intent_of, intent_stream, undo_plan_stream
from ledger.intents import Subject
from projections.inline import FlightRow, Inline, LimitRow

INTENT = "01b8dac5-b400-7000-8000-000000000000"
STREAM, PLAN = intent_stream(INTENT), undo_plan_stream("p")


def told(*events):
    """Fold events of an intent, or of a plan where one is given with its stream."""
    inline = Inline()
    for position, one in enumerate(events, 1):
        event, stream, at = (*one, T0)[:3] if isinstance(one, tuple) else (one, STREAM, T0)
        inline.take(recorded(event, stream, position, position, at))
    return inline


def granted(name, parent=None, **more):
    subject = Subject(kind="person", name=name)
    return e.GrantIssued(name, parent, subject, f"sha of {name}", ("*",), **more), f"grant/{name}"


def charged(at, *, per="hour", amount=1):
    return e.CommitDecided("g", (), "p", charges=(Charge("g/0", per, amount, 10),)), STREAM, at


def approved(grant):
    return e.UndoPlanApproved("d", "dana", grant, (grant,)), PLAN


def undone(plan=None):
    return e.CompensateDecided(cause="undo", reason="x", by="dana", plan=plan)


def test_an_undo_is_in_flight_under_the_grant_of_whoever_approved_its_plan_last():
    done = [charged(T0), e.IntentCommitted()]
    assert told(*done).flights() == []
    assert told(*done, undone()).flights() == [FlightRow(INTENT, None)]
    assert told(*done, approved("grant-a"), undone("p")).flights() == [
        FlightRow(INTENT, "grant-a"),
        FlightRow(PLAN, None),
    ]
    again = [approved("grant-a"), (e.UndoPlanHalted("x"), PLAN), approved("grant-b"), undone("p")]
    assert told(*done, *again).flights()[0] == FlightRow(INTENT, "grant-b")
    assert told(*done, *again, e.IntentCompensated(), (e.UndoPlanFinished({}), PLAN)).flights() == []


@pytest.mark.parametrize(("per", "start"), [("hour", "T13:00"), ("day", "T00:00"), ("total", "-infinity")])
def test_a_charge_counts_in_the_window_of_its_time(per, start):
    at = T0.replace(hour=13, minute=59)
    (row,) = told(charged(at, per=per), charged(at, per=per, amount=2)).limits()
    assert (row.counter, row.used) == ("g/0", 3)
    assert start in row.window_start
    later = at + timedelta(days=1)
    (row,) = told(charged(at, per=per), charged(later, per=per)).limits()
    assert row.used == (2 if per == "total" else 1)


def test_what_failed_is_given_back_while_its_window_is_open_and_what_was_undone_is_not():
    failed = e.CompensateDecided(cause="failed", reason="x")
    back = [failed, e.IntentCompensated()]
    at = T0.replace(hour=13)
    assert told(charged(at), *back).limits() == [LimitRow("g/0", at.isoformat(), 0)]
    assert told(charged(at), e.IntentCommitted(), undone(), e.IntentCompensated()).limits()[0].used == 1
    other = (*charged(at + timedelta(hours=1))[:1], intent_stream("other"), at + timedelta(hours=1))
    assert told(charged(at), other, *back).limits()[0].used == 1


def test_a_grant_is_dead_with_whatever_is_above_it():
    tree = [granted("a"), granted("b", "a", expires_at=T0), granted("c", "b", expires_at=T0 + timedelta(days=1))]
    suspended = (e.GrantSuspended("a", "x", "dana"), "grant/a")
    revoked = (e.GrantRevoked("b", "x", "dana"), "grant/b")
    rows = {row.grant_id: row for row in told(*tree, suspended, revoked).grants()}
    assert {name: (row.ended, row.suspensions) for name, row in rows.items()} == {
        "a": (False, 1),
        "b": (True, 1),
        "c": (True, 1),
    }
    assert (rows["a"].expires_at, rows["b"].expires_at) == ("infinity", T0.isoformat())
    assert rows["c"].expires_at == T0.isoformat(), "no grant outlives those above it"
    with pytest.raises(Corrupt, match="never issued"):
        told(*tree, granted("d", "nobody")).grants()


def test_only_a_kept_policy_set_is_active_by_its_digest():
    kept = (e.PolicySetAdded("sha256:p", "permit(…);", (), "dana"), "policy/sha256:p")
    active = (e.PolicySetActivated("sha256:p", "dana"), "policies")
    assert told(kept, active).policy_set == "sha256:p"
    built_in = (e.PolicySetActivated("sha256:built in", "dana"), "policies")
    assert told(kept, active, built_in).policy_set is None


def test_what_is_in_flight_is_what_is_not_at_rest():
    events = [one for one in ledger_of(81, 60) if intent_of(one.stream)]
    grants = [granted("grant-operator")[0], granted("grant-7", "grant-operator")[0]]
    inline = Inline()
    for number, one in enumerate(grants, 1):
        inline.take(recorded(one, f"grant/{one.grant}", 1, number))
    last = {}
    for one in events:
        inline.take(one)
        last[intent_of(one.stream)] = one.event
    ended = (e.IntentAborted, e.IntentCompensated, e.IntentMixed, e.IntentSimulated)
    flying = {row.intent for row in inline.flights()}
    assert flying
    assert not flying & {intent for intent, event in last.items() if isinstance(event, ended)}
    assert len(inline.submissions) == len(last)
