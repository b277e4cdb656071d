"""What a verification makes of what it saw: changes, measures, faults to try, and what is left of a promise."""

import pytest

from adapters.laws.faults import AFTER, BEFORE, Kind, Step, faults
from adapters.laws.record import change, measure, words
from adapters.laws.sampling import render
from adapters.laws.verdict import LAWS, Outcome, Report, asked, earned, earned_undo, lines, objection
from ledger.errors import Misconfigured
from ledger.intents import Guarantee, Undo

CALL = (Step.CONNECT, Step.SEND, Step.RECEIVE)


def test_a_change_says_by_how_much_a_number_or_a_list_grew():
    before = {"total": 100, "notes": [1], "status": "active", "same": {"x": 1}}
    after = {"total": 160, "notes": [1, 2, 3], "status": "refunded", "same": {"x": 1}}
    assert change(before, after) == {"/total": {"by": 60}, "/notes": {"by": 2}, "/status": "refunded"}
    assert words(change(before, after)) == '/notes +2, /status is "refunded", /total +60'


def test_what_is_not_there_yet_counts_as_nothing():
    assert change({}, {"count": 2}) == {"/count": {"by": 2}}
    assert change({"id": "a"}, {}) == {"/id": None}


def test_one_effect_is_told_from_none_and_from_two():
    once = measure({"/count": {"by": 1}, "/id": "note_7"}, {"/count": {"by": 1}, "/id": "note_9"})
    assert once.times({}) == 0
    assert once.times({"/count": {"by": 1}, "/id": "note_12"}) == 1
    assert once.times({"/count": {"by": 2}, "/id": "note_12"}) is None
    assert once.times({"/count": {"by": 1}}) is None
    assert once.times({"/count": {"by": 1}, "/id": "x", "/more": 1}) is None


def test_every_kind_of_fault_waits_where_it_can():
    def places(kind: Kind) -> list[int]:
        return [fault.at for fault in faults(CALL, [kind], None)]

    assert places(Kind.CUT) == [1, 2, 3]
    assert places(Kind.KILL) == [BEFORE, 1, 2, 3, AFTER]
    assert places(Kind.STOP) == [BEFORE, 1, 2]
    assert places(Kind.SLEEP) == [2]
    assert places(Kind.LATE) == [3]


def test_where_there_are_too_many_steps_the_ends_are_among_those_that_are_tried():
    tried = [fault.at for fault in faults(CALL * 10, [Kind.CUT], 4)]
    assert len(tried) == 4
    assert (tried[0], tried[-1]) == (1, 30)
    assert len(set(tried)) == 4


@pytest.mark.parametrize(
    ("law", "left"),
    [(6, Guarantee.IDEMPOTENT), (5, Guarantee.VERIFIABLE), (9, Guarantee.BLIND), (10, None), (12, Guarantee.ATOMIC)],
)
def test_a_breach_leaves_the_strongest_guarantee_that_it_does_not_touch(law, left):
    assert earned(Guarantee.ATOMIC, [objection(law, "It broke.")]) == left


def test_nothing_is_earned_beyond_what_was_declared():
    assert earned(Guarantee.BLIND, []) == Guarantee.BLIND
    assert earned_undo(Undo.SEMANTIC, []) == Undo.SEMANTIC


def test_a_lie_about_undo_costs_the_undo_and_not_the_guarantee():
    lie = objection(8, "It was not undone.", undo=Undo.NONE)
    assert earned(Guarantee.ATOMIC, [lie]) == Guarantee.ATOMIC
    assert earned_undo(Undo.EXACT, [lie]) == Undo.NONE


def report(trials: dict[int, int], *findings) -> Report:
    return Report(
        operation="a.b",
        declared=Guarantee.IDEMPOTENT,
        earned=earned(Guarantee.IDEMPOTENT, findings),
        declared_undo=Undo.NONE,
        earned_undo=Undo.NONE,
        laws=lines(Guarantee.IDEMPOTENT, Undo.NONE, trials, findings),
        faults={},
    )


def test_a_law_that_was_asked_and_never_tried_is_not_kept():
    tried = {law: 1 for law in LAWS if asked(law, Guarantee.IDEMPOTENT, Undo.NONE)}
    assert report(tried).kept
    del tried[9]
    (law,) = [one for one in report(tried).laws if one.number == 9]
    assert (law.outcome, report(tried).kept) == (Outcome.UNTRIED, False)


def test_what_could_not_be_seen_is_not_earned():
    unseen = objection(5, "A second effect could not be seen.", untried=True)
    assert report(dict.fromkeys(LAWS, 1), unseen).earned == Guarantee.VERIFIABLE


def test_only_holds_are_asked_for_the_laws_of_holds():
    assert [law for law in LAWS if not asked(law, Guarantee.BLIND, Undo.NONE)] == [2, 3, 6, 7, 8]
    assert all(asked(law, Guarantee.ATOMIC, Undo.EXACT) for law in LAWS)


def test_references_are_replaced_in_texts_and_keep_their_type_where_they_stand_alone():
    values = {"n": 7, "run": "r", "arranged.amount": 42}
    template = {"text": "{run}-{n}", "number": "{n:integer}", "list": ["{arranged.amount}"], "kept": 1.5}
    assert render(template, values) == {"text": "r-7", "number": 7, "list": [42], "kept": 1.5}
    with pytest.raises(Misconfigured, match="stands for nothing"):
        render("{arranged.id}", values)
