"""`intentledger approve` and `reject`: what a person sees is what would happen, and only that is answered for."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from commands import Person
from doorway import Doorway, Holder, doorway, eventually, intent

CEDAR = """
@id("P-small") permit (principal, action == Action::"bank.post", resource) when { context.params.amount <= 1000 };
@id("P-large") @quorum("QUORUM") permit (principal, action == Action::"bank.post#with_approval", resource);
"""


@pytest.fixture
async def door(dsn) -> AsyncIterator[Doorway]:
    async with doorway(dsn) as opened:
        yield opened


async def asking(door: Doorway, account: str = "alice", quorum: int = 1) -> tuple[Holder, dict[str, Any]]:
    """Put a policy in force that asks for people, and submit what it asks about."""
    cedar = CEDAR.replace("QUORUM", str(quorum))
    status, said, _ = await door.post("/v1/policies", {"cedar": cedar, "activate": True})
    assert status == 201, said
    payer = await door.grant("payer", task="12A")
    status, shown, _ = await payer.submit(intent(("bank.post", account, 5000)))
    assert (status, shown["phase"]) == (202, "awaiting_approval")
    return payer, shown


async def person(door: Doorway, directory: Path, name: str = "dana") -> Person:
    return Person(directory, door.url, (await door.grant(name, kind="person")).token, name)


async def phase(door: Doorway, shown: dict[str, Any]) -> str:
    return (await door.get(f"/v1/intents/{shown['id']}"))[1]["phase"]


def ends(door: Doorway, shown: dict[str, Any], wanted: str) -> Callable[[], Any]:
    async def ended() -> bool:
        return await phase(door, shown) == wanted

    return ended


async def test_the_sheet_shows_what_would_happen_who_asks_and_why(door, tmp_path):
    payer, shown = await asking(door)
    dana = await person(door, tmp_path)
    answer = await dana.run("approve", shown["id"], "--yes", "--note", "seen")
    assert answer.code == 0, answer.err
    digest = shown["approval"]["digest"]
    for line in (
        f"Intent       {shown['id']} in the ledger main",
        "Agent        payer (agent)",
        f"Custody      grant-operator > {payer.id}",
        "For          operator",
        "Task         12A",
        "Reason       a test",
        "Approvals    0 of 1 (nobody yet)",
        "May approve  any person outside its custody chain",
        "1. post 5000 to account alice",
        "   bank.post as a1 (atomic, undo exact)",
        f"Digest       {digest}",
    ):
        assert line in answer.out.splitlines(), line
    assert answer.out.splitlines()[-1] == f"Approved {digest[7:15]}. 1 of 1 have; it goes on."
    assert "P-large of sha256:" in answer.out
    assert 'account           "alice"' in answer.out
    assert "* balance           0 -> 5000" in answer.out
    await eventually(ends(door, shown, "committed"))
    _, committed, _ = await door.get(f"/v1/intents/{shown['id']}")
    assert [(one["by"], one["note"]) for one in committed["approval"]["given"]] == [("dana", "seen")]


async def test_where_nobody_can_be_asked_nothing_is_approved_without_yes(door, tmp_path):
    _, shown = await asking(door)
    answer = await (await person(door, tmp_path)).run("approve", shown["id"])
    assert answer.code == 2
    assert "1. post 5000 to account alice" in answer.out
    assert answer.err == "There is no terminal to ask at. Nothing was changed; look at the above, then use --yes.\n"
    assert await phase(door, shown) == "awaiting_approval"


@pytest.mark.parametrize("said", ["\n", "n\n", "yess\n", "1\n"])
async def test_at_a_terminal_everything_but_yes_means_no(door, tmp_path, said):
    _, shown = await asking(door)
    answer = await (await person(door, tmp_path)).sit(said, "approve", shown["id"])
    assert answer.code == 1
    assert f"Approve exactly this, {shown['approval']['digest'][7:15]}? [y/N] " in answer.err
    assert "Nothing was approved." in answer.err
    assert await phase(door, shown) == "awaiting_approval"


async def test_at_a_terminal_yes_approves(door, tmp_path):
    _, shown = await asking(door)
    answer = await (await person(door, tmp_path)).sit("y\n", "approve", shown["id"], "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["id"] == shown["id"]
    assert "1. post 5000 to account alice" in answer.err.replace("\r", "")
    await eventually(ends(door, shown, "committed"))


async def test_what_an_agent_hides_in_a_parameter_is_seen(door, tmp_path):
    _, shown = await asking(door, account="alice\u202e\u200b\x1b[2K p\u0430yp\u0430l")
    answer = await (await person(door, tmp_path)).run("approve", shown["id"])
    assert answer.out.isascii()
    assert "\x1b" not in answer.out
    assert 'account           "alice\\u202e\\u200b\\u001b[2K p\\u0430yp\\u0430l"' in answer.out


async def test_a_quorum_waits_for_another_person_and_nobody_answers_twice(door, tmp_path):
    _, shown = await asking(door, quorum=2)
    dana, eve = await person(door, tmp_path, "dana"), await person(door, tmp_path, "eve")
    first = await dana.run("approve", shown["id"], "--yes")
    assert (first.code, first.out.splitlines()[-1].partition(". ")[2]) == (0, "1 of 2 have; it waits for more.")
    again = await dana.run("approve", shown["id"], "--yes")
    assert again.code == 1
    assert "dana has already answered." in again.err
    second = await eve.run("approve", shown["id"], "--yes")
    assert second.code == 0, second.err
    assert "Approvals    1 of 2 (dana)" in second.out
    await eventually(ends(door, shown, "committed"))


async def test_a_rejection_aborts_and_moves_nothing(door, tmp_path):
    _, shown = await asking(door)
    dana = await person(door, tmp_path)
    assert (await dana.sit("n\n", "reject", shown["id"], "--reason", "no")).code == 1
    answer = await dana.run("reject", shown["id"], "--reason", "not this customer", "--yes")
    assert answer.code == 0, answer.err
    await eventually(ends(door, shown, "aborted"))
    assert door.bank.world.balances == {}
    late = await dana.run("approve", shown["id"], "--yes")
    assert (late.code, late.out) == (1, "")
    assert "waits for nobody's approval. Nothing was changed." in late.err


async def test_whoever_stands_in_the_chain_is_refused(door, tmp_path):
    _, shown = await asking(door)
    operator = Person(tmp_path, door.url, door.token, "operator")
    answer = await operator.run("approve", shown["id"], "--yes")
    assert answer.code == 1
    assert "operator stands in the intent's chain of custody and cannot answer for it." in answer.err
    assert await phase(door, shown) == "awaiting_approval"


async def test_an_intent_that_there_is_not_is_refused(door, tmp_path):
    dana = await person(door, tmp_path)
    for name in ("00000000-0000-7000-8000-000000000000", "../policies/active", "x?y=z"):
        answer = await dana.run("approve", name, "--yes")
        assert (answer.code, answer.out) == (1, ""), name
        assert "Traceback" not in answer.err


# ── a service that lies ──────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def lying(door: Doorway, *lies: tuple[str, str]) -> AsyncIterator[tuple[str, list[str]]]:
    """Stand between a person and the service, and change what it says; yields the address and what was asked."""
    asked: list[str] = []

    async def pass_on(request: web.BaseRequest) -> web.Response:
        asked.append(f"{request.method} {request.path.rpartition('/')[2]}")
        headers = {"Authorization": request.headers["Authorization"], "Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, door.url + request.path, data=await request.read() or None, headers=headers
            ) as answer,
        ):
            text = (await answer.read()).decode()
        for truth, lie in lies:
            text = text.replace(truth, lie)
        return web.Response(status=answer.status, text=text, content_type="application/json")

    runner = web.ServerRunner(web.Server(pass_on))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


@pytest.mark.parametrize(
    "lie",
    [
        ('"amount":5000', '"amount":50'),  # approve this little
        ('"account":"alice"', '"account":"bob"'),
        ('"after":{"balance":5000}', '"after":{"balance":50}'),
    ],
)
async def test_a_service_that_shows_other_content_than_it_asks_for_is_found_out(door, tmp_path, lie):
    _, shown = await asking(door)
    dana = await person(door, tmp_path)
    async with lying(door, lie) as (url, asked):
        answer = await dana.run("approve", shown["id"], "--yes", "--url", url)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("What the events hold has the digest sha256:")
    assert "They must be one. Nothing was approved; " in answer.err
    assert asked[-1] == "GET events"
    assert await phase(door, shown) == "awaiting_approval"


@pytest.mark.parametrize("beside", ['"approval":{"digest":', '"digest":'], ids=["in the intent", "everywhere"])
async def test_a_service_that_asks_for_another_digest_is_found_out(door, tmp_path, beside):
    _, shown = await asking(door)
    dana = await person(door, tmp_path)
    truth = f'{beside}"{shown["approval"]["digest"]}"'
    lie = f'{beside}"sha256:{"0" * 64}"'
    async with lying(door, (truth, lie)) as (url, asked):
        answer = await dana.run("approve", shown["id"], "--yes", "--url", url)
    assert (answer.code, answer.out) == (1, "")
    assert "They must be one. Nothing was approved; " in answer.err
    assert asked[-1] == "GET events"
    assert await phase(door, shown) == "awaiting_approval"


async def test_the_same_way_without_a_lie_approves(door, tmp_path):
    _, shown = await asking(door)
    dana = await person(door, tmp_path)
    async with lying(door) as (url, asked):
        answer = await dana.run("approve", shown["id"], "--yes", "--url", url)
    assert answer.code == 0, answer.err
    assert asked[-1] == "POST approve"
    await eventually(ends(door, shown, "committed"))
