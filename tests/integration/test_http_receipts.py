"""The receipt of an intent through the door: it waits for the log, and verifies offline."""

import aiohttp
import pytest
from doorway import doorway, intent
from logged import KEY, WITNESS, logged

from gateway import cli
from ledger.errors import Tampered
from ledger.log.receipts import verify_receipt

UNKNOWN = "01990000-0000-7000-8000-000000000000"


async def receipt_of(door, intent_id: str) -> tuple[int, str, aiohttp.ClientResponse]:
    headers = {"Authorization": f"Bearer {door.token}"}
    async with door.session.get(f"{door.url}/v1/intents/{intent_id}/receipt", headers=headers) as response:
        return response.status, await response.text(), response


async def sign(door, *keys) -> int:
    head = await door.head()
    async with door.service.pool.acquire() as connection, connection.transaction():
        await logged(connection, [head], *keys)
    return head


async def test_a_receipt_is_handed_out_and_verifies(dsn, tmp_path, capsys):
    async with doorway(dsn) as door:
        _, said, _ = await door.submit(intent(("bank.post", "88", 4200), ("mail.post", "88", 1)))
        assert said["phase"] == "committed"
        first = await sign(door, KEY)
        await door.submit(intent(("bank.post", "99", 1)))
        await sign(door, KEY, WITNESS)
        status, text, response = await receipt_of(door, said["id"])
        assert (status, response.content_type) == (200, "text/plain")
        assert response.headers["Content-Disposition"] == f'attachment; filename="{said["id"]}.tlog-proof"'
        assert text.startswith("c2sp.org/tlog-proof@v1\nextra ")
        proven = verify_receipt(
            text, [KEY.verifier], [WITNESS.verifier]
        )  # the checkpoint that was cosigned, not the first
        assert proven.checkpoint.size > first
        _, events, _ = await door.get(f"/v1/intents/{said['id']}/events")
        assert [(e.position, e.type) for e in proven.events] == [(e["position"], e["type"]) for e in events["items"]]
        (tmp_path / "receipt").write_text(text)
    assert cli._code(["receipt", "verify", str(tmp_path / "receipt"), "--key", str(KEY.verifier)]) == 0
    assert "; after them it is committed.\n" in capsys.readouterr().out


async def test_a_receipt_waits_for_the_log_and_covers_what_came_last(dsn, monkeypatch):
    monkeypatch.setattr("gateway.waiting.VIEW_SECONDS", 0.1)
    async with doorway(dsn) as door:
        _, said, _ = await door.submit(intent(("bank.post", "88", 4200)))
        status, text, _ = await receipt_of(door, said["id"])
        assert (status, "was not reached" in text) == (503, True)
        await sign(door)
        first = verify_receipt((await receipt_of(door, said["id"]))[1], [KEY.verifier])
        status, _, _ = await door.post(f"/v1/intents/{said['id']}/undo", {"reason": "a test"})
        assert status == 200
        status, _, _ = await receipt_of(door, said["id"])
        assert status == 503
        await sign(door)
        second = verify_receipt((await receipt_of(door, said["id"]))[1], [KEY.verifier])
        assert second.events[: len(first.events)] == first.events
        assert len(second.events) > len(first.events)


async def test_an_agent_gets_receipts_of_its_own_and_too_long_ones_are_refused(dsn, monkeypatch):
    async with doorway(dsn) as door:
        agent, other = await door.grant("agent-a"), await door.grant("agent-b")
        _, said, _ = await agent.submit(intent(("bank.post", "88", 4200)))
        await sign(door)
        assert (await receipt_of(agent, said["id"]))[0] == 200
        assert (await receipt_of(other, said["id"]))[0] == 404
        assert (await receipt_of(door, UNKNOWN))[0] == 404
        monkeypatch.setattr("gateway.routes_receipts.RECEIPT_EVENTS", 2)
        status, text, _ = await receipt_of(door, said["id"])
        assert (status, "/v1/log/proofs/inclusion" in text) == (422, True)


async def test_a_tree_that_the_databases_owner_changed_makes_receipts_that_prove_nothing(dsn):
    async with doorway(dsn) as door:
        _, said, _ = await door.submit(intent(("bank.post", "88", 4200)))
        await sign(door)
        async with door.service.pool.acquire() as connection:
            await connection.execute(
                "update intent_ledger.log_tiles set hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1)"
            )
        _, text, _ = await receipt_of(door, said["id"])
        with pytest.raises(Tampered, match="not in the log"):
            verify_receipt(text, [KEY.verifier])
