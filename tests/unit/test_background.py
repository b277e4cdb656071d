"""A part of a process goes on whatever becomes of one turn, and ends when it is let go."""

import asyncio
from collections import deque

import pytest
from structlog.testing import capture_logs

from ledger.background import Background
from ledger.errors import Unavailable

HOUR = 3600.0
AWAY = Unavailable("The database does not answer.")
DEFECT = ZeroDivisionError()
STRAY = asyncio.CancelledError()  # of something that the turn waited for, and not of the part


class Part:
    """Its turns go as they are told, and then there is nothing to do for an hour."""

    def __init__(self, *turns, **options):
        self.turns = deque(turns)
        self.taken = 0
        self.idle = asyncio.Event()
        self.background = Background("part", self.turn, retry_seconds=0, **options)

    async def turn(self) -> float:
        self.taken += 1
        if not self.turns:
            self.idle.set()
            return HOUR
        told = self.turns.popleft()
        if isinstance(told, BaseException):
            raise told
        return told

    async def go(self):
        self.background.start()
        await asyncio.wait_for(self.idle.wait(), 5)


@pytest.mark.parametrize("trouble", [AWAY, DEFECT, STRAY])
async def test_whatever_ends_a_turn_does_not_end_the_part(trouble):
    part = Part(0, trouble, 0)
    await part.go()
    await part.background.stop()
    assert part.taken == 4


async def test_what_is_the_matter_is_said_once_until_it_is_another_or_was_over():
    part = Part(AWAY, AWAY, DEFECT, DEFECT, AWAY, 0, AWAY)
    with capture_logs() as logged:
        await part.go()
    await part.background.stop()
    waits, failed = "background_waits", "background_failed"
    assert [line["event"] for line in logged] == [waits, failed, waits, waits]
    assert {line["part"] for line in logged} == {"part"}


async def test_news_end_a_rest():
    part = Part()
    await part.go()
    part.idle.clear()
    part.background.wake()
    await asyncio.wait_for(part.idle.wait(), 5)
    await part.background.stop()
    assert part.taken == 2


async def test_news_that_come_during_a_turn_are_for_the_next_one():
    begun, go_on, turns = asyncio.Event(), asyncio.Event(), []

    async def turn() -> float:
        turns.append(None)
        if len(turns) == 2:
            go_on.set()
            return HOUR
        begun.set()
        await asyncio.sleep(0)  # the news come here
        return HOUR

    background = Background("part", turn, retry_seconds=0)
    background.start()
    await begun.wait()
    background.wake()
    await asyncio.wait_for(go_on.wait(), 5)
    await background.stop()


@pytest.mark.parametrize(("drain_seconds", "ends"), [(5.0, True), (0.0, False)])
async def test_a_turn_that_is_under_way_ends_if_it_is_given_the_time(drain_seconds, ends):
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), []

    async def turn() -> float:
        begun.set()
        await go_on.wait()
        ended.append(True)
        return HOUR

    background = Background("part", turn, retry_seconds=0, drain_seconds=drain_seconds)
    background.start()
    await begun.wait()
    stopping = asyncio.create_task(background.stop())
    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, go_on.set)
    await asyncio.wait_for(stopping, 5)
    assert bool(ended) == ends


async def test_what_was_never_started_stops_at_once():
    await Part().background.stop()
