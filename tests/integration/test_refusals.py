"""What the audit is told of dead tokens, and of living ones that asked for what is not theirs to do."""

import pytest
from doorway import eventually
from test_authority import OPERATOR, Passing, entropy, events, order

from authority.authority import Authority
from authority.refusals import Refusals
from ledger import bounds
from ledger.errors import Unauthenticated
from ledger.events import ActRefused, TokenRefused


@pytest.fixture
async def authority(store):
    made = Authority(store)
    assert await made.ensure_operator(OPERATOR)
    yield made
    await made.close()


@pytest.fixture
async def operator(authority):
    return await authority.authenticate(OPERATOR)


async def test_many_refusals_of_one_kind_are_counted_and_told_once_in_a_while(store, monkeypatch):
    async def refused(authority: Authority, times: int) -> None:
        for number in range(times):
            with pytest.raises(Unauthenticated):
                await authority.authenticate(f"il_{number}")

    async def told() -> list[TokenRefused]:
        return await events(store, TokenRefused)

    monkeypatch.setattr(bounds, "TOKEN_REFUSAL_SECONDS", 1e9)  # a minute that does not end
    passing = Passing(store)
    here, beside = Authority(store), Authority(passing)  # type: ignore[arg-type]
    await refused(here, 5)
    first = await eventually(told)
    await refused(here, 20)
    await refused(beside, 20)  # another process, which finds that it was told already

    async def attempted() -> bool:
        return passing.appended == 1

    async def kept() -> bool:
        return sum(one.times for one in beside._tokens.refusals._untold.values() if one is not None) == 20

    await eventually(attempted)
    await eventually(kept)  # to be told in the next one
    assert await told() == first
    assert len(first) == 1
    await here.close()
    await beside.close()
    monkeypatch.setattr(bounds, "TOKEN_REFUSAL_SECONDS", 0.2)
    later = Authority(store)
    await refused(later, 5)

    async def everything() -> bool:
        return sum(one.times for one in await told()) == first[0].times + 5

    await eventually(everything)
    await later.close()


async def test_a_refused_act_is_told_with_the_first_intent_that_was_not_told_of_yet(store, operator, monkeypatch):
    monkeypatch.setattr(bounds, "TOKEN_REFUSAL_SECONDS", 0.5)
    refusals = Refusals(store)

    async def told(times: int) -> list[tuple[str | None, int]]:
        found = [(one.of, one.times) for one in await events(store, ActRefused)]
        return found if sum(count for _, count in found) == times else []

    refusals.act(operator, "approve_intent", "one")
    assert await eventually(lambda: told(1)) == [("one", 1)]
    for intent in ("two", "three"):
        refusals.act(operator, "approve_intent", intent)
    assert await eventually(lambda: told(3)) == [("one", 1), ("two", 2)]
    await refusals.close()


async def test_of_two_processes_that_are_besieged_both_tell(store, operator, monkeypatch):
    monkeypatch.setattr(bounds, "TOKEN_REFUSAL_SECONDS", 0.5)
    processes = {name: Refusals(store) for name in ("here", "beside")}

    async def both() -> bool:
        for name, refusals in processes.items():
            refusals.act(operator, "approve_intent", name)
        told = [one.of for one in await events(store, ActRefused)]
        return len(told) > 5 and {"here", "beside"} == {*told[2:]}

    await eventually(both)
    for refusals in processes.values():
        await refusals.close()


async def test_kinds_of_refusals_are_bounded(authority, operator, monkeypatch):
    monkeypatch.setattr(bounds, "TOKEN_REFUSALS_KEPT", 2)
    for _ in range(5):
        issued, token = await authority.issue(operator, order("bot"), entropy)
        await authority.revoke(operator, issued.grant, "a test")
        with pytest.raises(Unauthenticated):
            await authority.authenticate(token)
    assert len(authority._tokens.refusals._untold) == 3  # two kinds, and what is counted without a grant
