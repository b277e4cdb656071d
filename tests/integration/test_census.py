"""What is counted in the ledger for Prometheus: true numbers, or none."""

from doorway import doorway, eventually, intent

from gateway.census import Census
from ledger.errors import Unavailable


def shown(census):
    return {
        (sample.name, *sample.labels.values()): sample.value for metric in census.collect() for sample in metric.samples
    }


async def test_what_waits_is_counted_where_it_waits(dsn):
    async with doorway(dsn) as door:
        door.mail.loses_answers = True
        _, body, _ = await door.submit(intent(("mail.post", "box", 1), ("bank.post", "88", 1)))
        assert body["attention"] is not None
        await door.get(f"/v1/intents?min_position={body['position']}")
        census = Census(door.service.pool, "main")
        assert shown(census) == {("intentledger_database_up",): 0.0}
        await census.count()
        found = shown(census)
        assert found["intentledger_database_up",] == 1
        assert found["intentledger_ledger_position",] == await door.head()
        assert found["intentledger_intents_moving", "committing"] == 1
        assert found["intentledger_intents_moving", "awaiting_approval"] == 0
        assert found["intentledger_intents_in_attention",] == 1
        assert found["intentledger_attention_oldest_seconds",] > 0
        assert found["intentledger_actions_exposed", "mail", "in_doubt"] == 1
        assert found["intentledger_actions_exposed", "bank", "promised"] == 1
        assert (found["intentledger_view_lag_events", "intents"], found["intentledger_view_stopped", "intents"]) == (
            0,
            0,
        )


async def test_while_the_database_is_away_there_are_no_numbers_and_later_there_are(dsn, monkeypatch):
    monkeypatch.setattr("gateway.census.CENSUS_SECONDS", 0.02)
    async with doorway(dsn) as door:
        census = Census(door.service.pool, "main")
        census.start()

        async def up():
            return shown(census)["intentledger_database_up",] == 1

        await eventually(up)
        monkeypatch.setattr("gateway.census.connection", _away)

        async def away():
            return shown(census) == {("intentledger_database_up",): 0.0}

        await eventually(away)
        monkeypatch.undo()
        await eventually(up)
        await census.stop()


def _away(_pool):
    raise Unavailable("PostgreSQL does not answer.")
