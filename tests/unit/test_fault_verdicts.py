"""The judge of the fault matrix and its reader, without a single process."""

import json
from pathlib import Path

import pytest

from bench.faults.cells import ALL, Cell, Client, Guarantee, Row
from bench.faults.gate import EFFECT, HOLD, LOOK, UNDO, kind_of
from bench.faults.record import Found, found
from bench.faults.roster import ROSTER, contender, expected_of_ours
from bench.faults.verdicts import Said, State, Verdict, verdict

NOTHING, PAID, PAID_TWICE, BACK = Found(0, 0, 0), Found(1, 0, 0), Found(2, 0, 0), Found(1, 1, 0)
HELD, BACK_TWICE, BACK_FOR_NOTHING, UNDONE_ONE_OF_TWO = Found(0, 0, 1), Found(1, 2, 0), Found(0, 1, 0), Found(2, 1, 0)


def both(left: Found, right: Found) -> dict[str, Found]:
    return {"left": left, "right": right}


@pytest.mark.parametrize(
    ("recorded", "state", "expected"),
    [
        (both(PAID, PAID), State.DONE, Verdict.ATOMIC),
        (both(NOTHING, NOTHING), State.NOTHING, Verdict.ATOMIC),
        (both(BACK, NOTHING), State.NOTHING, Verdict.ATOMIC),
        (both(PAID, NOTHING), State.ASKS, Verdict.HONEST_STUCK),
        (both(PAID, PAID), State.ASKS, Verdict.HONEST_STUCK),
        (both(PAID, NOTHING), State.MOVING, Verdict.HALF),
        (both(PAID, NOTHING), State.SILENT, Verdict.HALF),
        (both(HELD, NOTHING), State.NOTHING, Verdict.HALF),
        (both(HELD, HELD), State.MOVING, Verdict.HALF),
        (both(NOTHING, NOTHING), State.MOVING, Verdict.LOST),
        (both(NOTHING, NOTHING), State.SILENT, Verdict.LOST),
        (both(PAID, PAID), State.MOVING, Verdict.LOST),
        (both(PAID_TWICE, PAID), State.DONE, Verdict.DOUBLED),
        (both(PAID_TWICE, NOTHING), State.ASKS, Verdict.DOUBLED),
        (both(UNDONE_ONE_OF_TWO, PAID), State.DONE, Verdict.DOUBLED),
        (both(BACK_TWICE, NOTHING), State.NOTHING, Verdict.DOUBLED),
        (both(PAID, NOTHING), State.DONE, Verdict.LIED),
        (both(NOTHING, NOTHING), State.DONE, Verdict.LIED),
        (both(BACK, BACK), State.DONE, Verdict.LIED),
        (both(PAID, PAID), State.NOTHING, Verdict.LIED),
        (both(BACK_FOR_NOTHING, NOTHING), State.NOTHING, Verdict.LIED),
    ],
)
def test_what_is_recorded_is_held_against_what_is_said(recorded, state, expected):
    assert verdict(recorded, Said(state))[0] is expected


def test_who_asks_may_be_wrong_about_nothing_that_is_stated():
    recorded = both(PAID, NOTHING)
    assert verdict(recorded, Said(State.ASKS, {"left": True, "right": False}))[0] is Verdict.HONEST_STUCK
    assert verdict(recorded, Said(State.ASKS, {"left": False}))[0] is Verdict.LIED


def test_what_the_client_was_told_counts_as_well():
    told = Said(State.NOTHING)
    assert verdict(both(PAID, PAID), Said(State.DONE), [told])[0] is Verdict.LIED
    assert verdict(both(PAID, PAID), Said(State.DONE), [Said(State.ASKS), Said(State.MOVING)])[0] is Verdict.ATOMIC


LINES = {
    "nothing": ([], NOTHING),
    "somebody else's": ([{"what": "credit", "key": "k", "id": "cr_1", "account": "ab"}], NOTHING),
    "a credit": ([{"what": "credit", "key": "k", "id": "cr_1", "account": "a"}], PAID),
    "a credit taken back": (
        [
            {"what": "credit", "key": "k", "id": "cr_1", "account": "a"},
            {"what": "reverse", "key": "b", "id": "rv_2", "of": "cr_1"},
        ],
        BACK,
    ),
    "two transfers, one back": (
        [
            {"what": "transfer", "key": "k", "id": f"tr_{n}", "account": name}
            for n, name in enumerate(["a", "a", "a-back"])
        ],
        UNDONE_ONE_OF_TWO,
    ),
    "a hold": ([{"what": "hold", "key": "k", "id": "re_1", "charge": "a"}], HELD),
    "a hold released": (
        [{"what": "hold", "key": "k", "id": "re_1", "charge": "a"}, {"what": "release", "key": "k"}],
        NOTHING,
    ),
    "a release of nothing": ([{"what": "release", "key": "k"}], NOTHING),
    "a hold confirmed and taken back": (
        [
            {"what": "hold", "key": "k", "id": "re_1", "charge": "a"},
            {"what": "confirm", "key": "k"},
            {"what": "reverse", "key": "b", "id": "rv_3", "of": "re_1"},
        ],
        BACK,
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_the_reader_counts_what_an_account_has_seen(case, tmp_path):
    lines, expected = LINES[case]
    journal = tmp_path / "left.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert found(journal, "a") == expected


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("POST", "refunds", {}, HOLD),
        ("POST", "refunds/k/confirm", {}, EFFECT),
        ("POST", "refunds/k/release", {}, UNDO),
        ("POST", "credits", {"account": "a"}, EFFECT),
        ("POST", "transfers", {"account": "a"}, EFFECT),
        ("POST", "transfers", {"account": "a-back"}, UNDO),
        ("POST", "reversals", {"of": "cr_1"}, UNDO),
        ("GET", "keys/k", {}, LOOK),
    ],
)
def test_the_gate_knows_what_a_request_would_do(method, path, body, kind):
    assert kind_of(method, path, body) == kind


def test_the_matrix_is_whole_and_nothing_is_not_applicable_to_ours():
    assert len(ALL) == len(Row) * len(Guarantee) * len(Client) == 80
    ours = next(one for one in ROSTER if one.name == "intentledger")
    assert [cell for cell in ALL if ours.misses(cell)] == []


def test_ours_may_be_stuck_only_where_nobody_can_know():
    stuck = [cell for cell in ALL if expected_of_ours(cell) is not Verdict.ATOMIC]
    assert {cell.guarantee for cell in stuck} == {Guarantee.BLIND}
    assert Cell(Row.RECORDED, Guarantee.BLIND, Client.NEVER) not in stuck


@pytest.mark.parametrize(
    ("name", "lock"),
    [("dbos", "requirements-bench.txt")]
    + [(name, f"bench/faults/requirements/{name}.txt") for name in ("airlock-sdk", "agent-saga", "agentbarrier")],
)
def test_the_version_that_the_page_names_is_the_one_that_is_pinned(name, lock):
    text = (Path(__file__).parents[2] / lock).read_text()
    assert f"{name}=={contender(name).version} " in text
    assert "--hash=sha256:" in text
    assert "index-url" not in text
