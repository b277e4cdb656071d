"""An outside system that hangs holds up its own intents, and nobody else's."""

import asyncio

from doorway import doorway, eventually, intent

from ledger.bounds import CALL_SECONDS

AT_ONCE = 2
WAITING = 2


async def test_an_adapter_that_hangs_leaves_room_for_the_intents_of_others(dsn, monkeypatch):
    monkeypatch.setattr("ledger.bounds.CALLS_PER_ADAPTER", AT_ONCE)
    monkeypatch.setattr("ledger.bounds.CALLS_WAITING_PER_ADAPTER", WAITING, raising=False)
    monkeypatch.setattr("ledger.bounds.INTENTS_IN_FLIGHT", 30)
    monkeypatch.setattr("ledger.bounds.CLAIMS_AT_ONCE", 2)
    async with doorway(dsn) as door:
        door.bank.gate.clear()
        hanging = [(await door.submit(intent(("bank.post", "88", 1)), wait=None))[1]["id"] for _ in range(29)]

        async def the_others_left_our_hands():
            return door.service.coordinator.in_flight == AT_ONCE + WAITING

        await eventually(the_others_left_our_hands, CALL_SECONDS - 2)  # before the first call is given up
        healthy = await asyncio.gather(*(door.submit(intent(("mail.post", "88", 1)), wait=10) for _ in range(10)))
        assert [(status, body["phase"]) for status, body, _ in healthy] == [(200, "committed")] * 10
        door.bank.gate.set()

        async def all_committed():
            return [(await door.get(f"/v1/intents/{one}"))[1]["phase"] for one in hanging] == ["committed"] * 29

        await eventually(all_committed)
