"""Honest adapters earn what they declare, and each planted liar is found under the law that it breaks."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import lying_adapters as liars
import pytest
from servers.accounts import accounts

from adapters.laws.sampling import setup
from adapters.laws.verdict import Outcome, Report
from adapters.laws.verification import verify
from adapters.registry import Registry
from ledger.errors import Misconfigured
from ledger.intents import Guarantee, Undo

ATOMIC, IDEMPOTENT, VERIFIABLE, BLIND = (Guarantee(name) for name in ("atomic", "idempotent", "verifiable", "blind"))
ACCOUNT = {"account": "{run}-{n}"}
TABLE: dict[str, Any] = {
    "params": {**ACCOUNT, "amount": 60},
    "refused": {"amount": -1000},
    "shows": {"read": "witness.balance", "params": ACCOUNT},
    "counts": {"read": "witness.effects", "params": ACCOUNT},
    "holds": {"read": "witness.held", "params": ACCOUNT},
    "at_most": 2,
}


@pytest.fixture(scope="session")
def port() -> Iterator[int]:
    with accounts() as port:
        yield port


@cache
def runs() -> Iterator[int]:
    return iter(range(1, 10_000))


def verified(port: int, kind: type[liars.Honest], guarantee: Guarantee, only: Any = (), **table: Any) -> Report:
    registry = Registry([kind(port, guarantee), liars.Witness(port)])
    trying = setup(registry, "accounts.post", {**TABLE, **table}, f"run{next(runs())}")
    return verify(trying, now=lambda: datetime.now(UTC), secrets=["pass-of-the-operator"], only=only)


def broken(report: Report) -> set[int]:
    return {law.number for law in report.laws if law.outcome is Outcome.BROKEN}


@pytest.mark.parametrize("guarantee", list(Guarantee))
def test_an_honest_adapter_earns_what_it_declares(port, guarantee):
    report = verified(port, liars.Honest, guarantee)
    assert report.kept, [law for law in report.laws if law.findings]
    assert (report.earned, report.earned_undo) == (guarantee, Undo.EXACT)
    assert report.faults["cut"] >= 4
    assert report.faults["kill"] >= 4
    assert report.faults["stop"] + report.faults["sleep"] >= (5 if guarantee in {ATOMIC, IDEMPOTENT} else 0)


@pytest.mark.parametrize(
    ("liar", "declared", "law"),
    [
        (liars.RaisesItsRefusal, BLIND, 1),
        (liars.RefusesNothing, BLIND, 1),
        (liars.HoldsInMemory, ATOMIC, 2),
        (liars.HoldsTwice, ATOMIC, 3),
        (liars.GivesNewReceipts, ATOMIC, 3),
        (liars.ActsInPrepare, IDEMPOTENT, 4),
        (liars.LooksHard, BLIND, 11),
        (liars.ActsAgain, IDEMPOTENT, 5),
        (liars.Retries, BLIND, 5),
        (liars.HopesForTheBest, IDEMPOTENT, 5),
        (liars.DoesNothing, IDEMPOTENT, 5),
        (liars.RefusesARepetition, IDEMPOTENT, 5),
        (liars.NeedsTheReceipt, ATOMIC, 6),
        (liars.ForgetsTheAbort, ATOMIC, 6),
        (liars.LetsOldOnesHold, ATOMIC, 7),
        (liars.UndoesAgain, IDEMPOTENT, 8),
        (liars.UndoneAtOnce, IDEMPOTENT, 8),
        (liars.SaysAbsentWhenItCannotAsk, IDEMPOTENT, 9),
        (liars.SaysApplied, VERIFIABLE, 9),
        (liars.CannotSay, VERIFIABLE, 9),
        (liars.AsksByDoing, IDEMPOTENT, 9),
        (liars.SaysNothingIsHeld, ATOMIC, 10),
        (liars.DeclaresOtherFacts, BLIND, 11),
        (liars.Babbles, BLIND, 12),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_each_liar_is_found_under_the_law_that_it_breaks(port, liar, declared, law):
    report = verified(port, liar, declared, only=[law])
    assert law in broken(report), report
    assert not report.kept


@pytest.mark.parametrize(
    ("liar", "declared", "laws", "earned", "undo"),
    [
        (liars.KeepsTheHold, ATOMIC, (6,), IDEMPOTENT, Undo.EXACT),
        (liars.Flatters, IDEMPOTENT, (5, 8), VERIFIABLE, Undo.NONE),
        (liars.SaysAbsent, VERIFIABLE, (9,), BLIND, Undo.NONE),
        (liars.CallsDoubtTransient, BLIND, (10,), None, Undo.EXACT),
        (liars.UndoesNothing, IDEMPOTENT, (8,), IDEMPOTENT, Undo.NONE),
        (liars.UndoesHalf, BLIND, (8,), BLIND, Undo.SEMANTIC),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_lie_costs_the_promise_that_hangs_on_it_and_no_other(port, liar, declared, laws, earned, undo):
    report = verified(port, liar, declared)
    assert set(laws) <= broken(report), report
    assert (report.earned, report.earned_undo) == (earned, undo)
    assert not report.kept


def test_a_record_that_could_not_show_a_second_effect_proves_nothing(port):
    told = {"shows": {"read": "witness.touched", "params": ACCOUNT}, "counts": None}
    report = verified(port, liars.ActsAgain, IDEMPOTENT, only=[5], **told)
    (law,) = [one for one in report.laws if one.number == 5]
    assert law.outcome is Outcome.UNTRIED
    assert "could not be seen" in law.findings[0]
    assert not report.kept


def test_what_is_said_to_be_a_state_need_not_be_counted_and_the_report_says_so(port):
    told = {"shows": {"read": "witness.touched", "params": ACCOUNT}, "counts": None, "state": True}
    report = verified(port, liars.Honest, IDEMPOTENT, only=[5], **told)
    assert report.kept, report
    assert "said to be a state" in report.notes[0]


def test_a_record_that_shows_nothing_proves_nothing(port):
    held = {"read": "witness.held", "params": ACCOUNT}
    report = verified(port, liars.Honest, IDEMPOTENT, shows=held, counts=None)
    assert (report.earned, report.kept) == (None, False)


def test_an_atomic_operation_cannot_be_tried_without_a_look_at_its_holds(port):
    with pytest.raises(Misconfigured, match="holds is missing"):
        verified(port, liars.Honest, ATOMIC, holds=None)
