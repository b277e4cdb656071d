"""A stream has a bound: before it a person is asked, beyond it nothing is folded and nothing runs hot."""

from doorway import doorway, eventually, intent

from ledger import events as e
from ledger.ids import intent_stream
from ledger.intents import Verb
from ledger.store import Append, Due

BOUND = 60
ASKED = 40


def small(monkeypatch):
    monkeypatch.setattr("ledger.bounds.STREAM_EVENTS", BOUND)
    monkeypatch.setattr("ledger.bounds.STREAM_EVENTS_ASKED", ASKED, raising=False)


async def held_up(door):
    """Submit an intent whose adapter does not answer; return its id."""
    door.bank.gate.clear()
    _, body, _ = await door.submit(intent(("bank.post", "88", 1), deadline=300), wait=None)

    async def preparing():
        return (await door.get(f"/v1/intents/{body['id']}"))[1]["phase"] == "preparing"

    await eventually(preparing)
    return body["id"]


async def lengthen(door, one, length):
    """Let the intent have been put off so often that its stream is that long, and let it be due."""
    store = door.service.store
    recorded = await store.read(intent_stream(one))
    deferred = e.CallDeferred(action="a1", verb=Verb.PREPARE, reason="busy", retry_at=store.now())
    more = (deferred,) * (length - len(recorded))
    await store.append(
        Append(stream=intent_stream(one), expected_version=len(recorded), events=more, work=Due(store.now()))
    )


async def of_type(door, one, name):
    return [event for event in await door.service.store.read(intent_stream(one)) if event.type == name]


async def test_a_person_is_asked_once_before_a_stream_is_full_and_the_intent_goes_on(dsn, monkeypatch):
    small(monkeypatch)
    async with doorway(dsn) as door:
        one = await held_up(door)
        await lengthen(door, one, ASKED + 1)

        async def asked():
            return (await door.get(f"/v1/intents/{one}"))[1]["attention"]

        attention = await eventually(asked)
        assert attention["action"] is None
        assert f"{ASKED + 1} events" in attention["reason"]
        door.bank.gate.set()
        word = {"action": None, "outcome": "applied", "note": "try on"}
        status, _, _ = await door.post(f"/v1/intents/{one}/resolve", word)
        assert status == 200

        async def committed():
            return (await door.get(f"/v1/intents/{one}"))[1]["phase"] == "committed"

        await eventually(committed)
        assert len(await of_type(door, one, "AttentionRaised")) == 1


async def test_a_stream_within_the_measure_asks_nobody(dsn, monkeypatch):
    small(monkeypatch)
    async with doorway(dsn) as door:
        one = await held_up(door)
        await lengthen(door, one, ASKED - 10)
        door.bank.gate.set()

        async def committed():
            return (await door.get(f"/v1/intents/{one}"))[1]["phase"] == "committed"

        await eventually(committed)
        assert await of_type(door, one, "AttentionRaised") == []


async def test_an_intent_beyond_the_bound_is_parked_and_does_not_run_hot(dsn, pool, monkeypatch):
    async with doorway(dsn) as door:
        one = await held_up(door)
        await lengthen(door, one, BOUND + 1)
        small(monkeypatch)

        async def parked():
            query = "select due_at = 'infinity' from intent_ledger.in_flight where intent = $1"
            return await pool.fetchval(query, one)

        await eventually(parked)
        door.bank.gate.set()
