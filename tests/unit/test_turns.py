"""Turns: what is asked for at the same time is worked out in one go, and everybody hears of their own."""

import asyncio

import pytest

from authority.turns import Turns


async def test_what_is_ready_at_the_same_time_is_worked_out_in_one_go() -> None:
    turns, course = Turns[int](), []

    async def ask(number: int) -> int:
        course.append(f"asks {number}")
        answer = await turns.take(lambda: course.append(f"works {number}") or number)
        course.append(f"hears {answer}")
        return answer

    assert await asyncio.gather(*map(ask, range(3))) == [0, 1, 2]
    assert course == [f"{word} {number}" for word in ("asks", "works", "hears") for number in range(3)]


async def test_only_who_asked_hears_of_an_error() -> None:
    turns = Turns[float]()
    answers = await asyncio.gather(turns.take(lambda: 1 / 0), turns.take(lambda: 1 / 2), return_exceptions=True)
    assert [type(one) for one in answers] == [ZeroDivisionError, float]
    with pytest.raises(ZeroDivisionError):
        await turns.take(lambda: 1 / 0)


async def test_nothing_is_worked_out_for_somebody_who_went_away() -> None:
    turns, worked = Turns[None](), []
    gone = asyncio.create_task(turns.take(lambda: worked.append("gone")))
    stays = asyncio.create_task(turns.take(lambda: worked.append("stays")))
    asyncio.get_running_loop().call_soon(gone.cancel)  # both have asked by then, and neither has had its turn
    await stays
    assert (worked, gone.cancelled()) == (["stays"], True)
    await turns.take(lambda: worked.append("later"))
    assert worked == ["stays", "later"]
