"""The fault matrix judges rightly, and a short slice of ours is as it must be. All of it: `make faults`."""

import sys
from functools import partial
from pathlib import Path

import pytest

from bench.faults import lane as lanes
from bench.faults import scenes
from bench.faults.cells import Cell, Client, Guarantee, Row
from bench.faults.contender import Contender
from bench.faults.lane import Lane, Patience, play
from bench.faults.ours import Ours
from bench.faults.peers import Peer
from bench.faults.roster import OURS, contender, expected_of_ours
from bench.faults.verdicts import Verdict

LIAR = Contender("liar", "1", "told to lie", True, lambda _: None)
SCRIPT = Path(__file__).parent / "lying_worker.py"
SOON = Patience(rest_seconds=1.5, quiet_seconds=0.1)
NEVER, RETURNS = Client.NEVER, Client.RETURNS
LIES = [
    ("honest", Row.LANDED, RETURNS, Verdict.ATOMIC),
    ("asks", Row.LANDED, NEVER, Verdict.HONEST_STUCK),
    ("halves", Row.RECORDED, NEVER, Verdict.HALF),
    ("loses", Row.BEFORE, NEVER, Verdict.LOST),
    ("doubles", Row.LANDED, RETURNS, Verdict.DOUBLED),
    ("lies", Row.BEFORE, NEVER, Verdict.LIED),
]
SLICE = [
    Cell(Row.LANDED, Guarantee.ATOMIC, NEVER),
    Cell(Row.LOST_ANSWER, Guarantee.BLIND, RETURNS),
    Cell(Row.COMPENSATION, Guarantee.IDEMPOTENT, NEVER),
]


def lying(directory, postgres, gate):
    return Peer(sys.executable, SCRIPT, directory, postgres, gate)


async def test_every_verdict_is_reached_by_a_worker_that_deserves_it(open_directory, monkeypatch):
    judged = []
    async with Lane(open_directory, LIAR, lying, SOON) as lane:
        for lie, row, client, _ in LIES:
            monkeypatch.setenv("LIE", lie)
            outcome = await lane.run(Cell(row, Guarantee.IDEMPOTENT, client))
            judged.append((lie, row, client, outcome.verdict))
        assert judged == LIES
        monkeypatch.setattr(scenes, "STRIKE_SECONDS", 3.0)
        monkeypatch.setenv("LIE", "honest")  # it has no holds, so nothing of it is ever undone
        with pytest.raises(scenes.NeverStruckError):
            await lane.run(Cell(Row.COMPENSATION, Guarantee.IDEMPOTENT, NEVER))
        monkeypatch.setattr(scenes, "RESTART_SECONDS", 0.0)  # then every restart takes too long, whatever came of it
        monkeypatch.setattr(lanes, "_PLAYS", 1)
        with pytest.raises(scenes.VoidError):
            await lane.run(Cell(Row.DATABASE, Guarantee.IDEMPOTENT, NEVER))


async def test_a_slice_of_ours_is_atomic_or_honestly_stuck(open_directory):
    install = partial(Ours, lease_seconds=1.0)
    patience = Patience(quiet_seconds=0.2)
    outcomes = await play(contender(OURS), install, SLICE, open_directory / "ours", 1, lambda _: None, patience)
    assert {one.cell: (one.verdict, one.why) for one in outcomes if one.verdict is not expected_of_ours(one.cell)} == {}
    assert {one.cell for one in outcomes} == set(SLICE)
