"""The cluster API of the examples must itself be honest: what is held, scheduled, restored and purged, and when."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp.test_utils import TestClient, TestServer

from examples.clusters.api import KEPT, Clusters
from examples.journal import Journal

DAY = timedelta(days=1)
VOLUMES = [{"id": "data-1", "gib": 500}, {"id": "data-2", "gib": 20}]


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2030, 6, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def api(tmp_path, clock):
    with closing(Journal(tmp_path / "journal")) as journal:
        async with TestClient(TestServer(Clusters(journal, clock).app())) as client:
            old = {
                "id": "old-1",
                "environment": "test",
                "nodes": ["n1", "n2"],
                "volumes": VOLUMES,
                "created": (clock.now - 400 * DAY).isoformat(),
                "last_traffic": (clock.now - 200 * DAY).isoformat(),
            }
            assert (await client.post("/clusters", json=old)).status == 201
            yield client


async def post(client, path, body=None, key="k1"):
    response = await client.post(path, json=body or {}, headers={"Idempotency-Key": key})
    return response.status, await response.json()


async def look(client, path="/clusters/old-1"):
    return await (await client.get(path)).json()


async def scheduled(client, key="k1"):
    assert (await post(client, "/deletions", {"cluster": "old-1"}, key))[0] == 201
    status, done = await post(client, f"/deletions/{key}/confirm")
    assert (status, done["status"]) == (200, "scheduled")
    return done


async def test_it_says_what_would_go(api, clock):
    told = await look(api, "/clusters/old-1/deletion")
    assert (told["nodes"], told["volumes"], told["volume_gib"]) == (["n1", "n2"], VOLUMES, 520)
    assert (told["age_days"], told["idle_days"]) == (400, 200)
    await post(
        api, "/clusters", {"id": "new", "nodes": [], "volumes": [], "created": (clock.now - 9 * DAY).isoformat()}
    )
    told = await look(api, "/clusters/new/deletion")
    assert (told["environment"], told["idle_days"], told["last_traffic"]) == ("", 9, "never")


async def test_a_hold_lets_it_run_and_lets_nobody_change_it_but_for_traffic(api, clock):
    before = await look(api)
    assert (await post(api, "/deletions", {"cluster": "old-1"}))[0] == 201
    assert (await post(api, "/deletions", {"cluster": "old-1"}))[0] == 200
    assert (await post(api, "/deletions", {"cluster": "old-1"}, key="k2"))[0] == 422
    assert await look(api) == before
    assert (await post(api, "/clusters/old-1/changes", {"nodes": ["n1", "n2", "n3"]}))[0] == 422
    assert (await post(api, "/clusters/old-1/changes", {"last_traffic": clock.now.isoformat()}))[0] == 200
    assert (await look(api, "/clusters/old-1/deletion"))["idle_days"] == 0


async def test_a_released_hold_is_not_taken_again_even_if_the_release_came_first(api):
    for key in ("k1", "k2"):
        if key == "k1":
            await post(api, "/deletions", {"cluster": "old-1"}, key)
        assert (await post(api, f"/deletions/{key}/release"))[0] == 200
        assert (await post(api, "/deletions", {"cluster": "old-1"}, key))[0] == 410
        assert (await post(api, f"/deletions/{key}/confirm"))[0] == 410
    assert (await look(api, "/holds"))["holds"] == []


async def test_until_the_purge_it_comes_back_as_it_was_and_once(api, clock):
    before = await look(api)
    await scheduled(api)
    clock.now += KEPT - timedelta(seconds=1)
    assert (await look(api))["status"] == "scheduled"
    for _ in range(2):
        assert (await post(api, "/restorations", {"of": "k1"}, key="u1"))[0] == 200
    assert await look(api) == before
    assert (await post(api, "/restorations", {"of": "k1"}, key="u2"))[0] == 422


async def test_when_its_time_has_come_it_is_purged_and_nothing_brings_it_back(api, clock):
    await scheduled(api)
    clock.now += KEPT
    assert (await post(api, "/restorations", {"of": "k1"}, key="u1"))[0] == 410
    told = await look(api)
    assert (told["status"], told["nodes"], told["volumes"]) == ("purged", [], [])


async def test_only_what_is_scheduled_is_purged_now_and_what_is_held_for_it_is_not_restored(api):
    assert (await post(api, "/purges", {"cluster": "old-1"}, key="p1"))[0] == 422
    await scheduled(api)
    assert (await post(api, "/purges", {"cluster": "old-1"}, key="p1"))[0] == 201
    assert (await post(api, "/restorations", {"of": "k1"}, key="u1"))[0] == 422
    assert (await post(api, "/deletions/p1/confirm"))[0] == 410
    for _ in range(2):
        assert (await post(api, "/purges/p1/confirm"))[1]["status"] == "purged"
    assert (await look(api))["status"] == "purged"


async def test_what_is_protected_or_not_there_is_refused_with_a_sentence(api):
    await post(api, "/clusters/old-1/changes", {"protected": True})
    assert "protected" in (await post(api, "/deletions", {"cluster": "old-1"}))[1]["error"]
    assert "There is no cluster" in (await post(api, "/deletions", {"cluster": "x"}, key="k2"))[1]["error"]
    assert (await look(api, "/holds"))["holds"] == []


async def test_everything_is_recovered_from_the_record(api, tmp_path, clock):
    await scheduled(api)
    await post(api, "/purges", {"cluster": "old-1"}, key="p1")
    here = await look(api)
    with closing(Journal(tmp_path / "journal")) as again:
        async with TestClient(TestServer(Clusters(again, clock).app())) as recovered:
            assert await look(recovered) == here
            assert [hold["key"] for hold in (await look(recovered, "/holds"))["holds"]] == ["p1"]
