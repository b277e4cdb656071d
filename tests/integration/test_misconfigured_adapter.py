"""One adapter that cannot be used: it is named with its place, the others work, and what is in flight on it waits."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import structlog
from doorway import TOKEN, Bank, Doorway, Mail, doorway, eventually, intent

from adapters.configuration import load_sound
from adapters.contract import Call, Result
from adapters.reference import ReferenceAdapter, World
from adapters.registry import Registry
from gateway.app import new_door, open_service
from gateway.door import Limits
from gateway.server import listening
from ledger.errors import Transient
from ledger.intents import JSON, Guarantee

SOUND = '[adapters.bank]\ntype = "reference"\n'
BROKEN = """
[adapters.crm]
type = "reference"
guarantee = "sure"
"""
MENDED = BROKEN.replace("sure", "idempotent")


@asynccontextmanager
async def serving(dsn: str, registry: Registry) -> AsyncIterator[Doorway]:
    """Serve these adapters over the ledger of a database."""
    async with AsyncExitStack() as parts:
        service = await open_service(parts, dsn, "main", registry)
        await service.authority.ensure_operator(TOKEN)
        service.coordinator.start()
        parts.push_async_callback(service.coordinator.drain, 2)
        door = new_door(Limits())
        door.open(service)
        url = await parts.enter_async_context(listening(door, "127.0.0.1", 0))
        session = await parts.enter_async_context(aiohttp.ClientSession())
        yield Doorway(url, session, door, Bank("bank", World()), Mail("mail", World()))


def configured(tmp_path: Path, text: str) -> Registry:
    (tmp_path / "intentledger.toml").write_text(text)
    return load_sound(tmp_path / "intentledger.toml", {})


@pytest.fixture
def logged() -> Iterator[list[dict[str, str]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


async def test_it_is_named_with_file_and_line_and_the_others_work(dsn, tmp_path, logged):
    async with serving(dsn, configured(tmp_path, SOUND + BROKEN)) as door:
        (line,) = [one for one in logged if one["event"] == "adapter_misconfigured"]
        place = f"{tmp_path}/intentledger.toml, line 6, [adapters.crm]: guarantee: must be 'atomic', "
        assert (line["adapter"], line["log_level"]) == ("crm", "error")
        assert line["reason"].startswith(place)

        async with door.session.get(f"{door.url}/readyz") as response:
            ready = await response.json()
        assert (response.status, ready["ready"]) == (200, True)
        (reason,) = ready["reasons"]
        assert "The adapter crm is misconfigured" in reason
        assert str(tmp_path) not in reason, "nobody has shown a token here"

        status, shown, _ = await door.submit(intent(("bank.post", "88", 1)))
        assert (status, shown["phase"]) == (200, "committed")
        status, problem, _ = await door.submit(intent(("bank.post", "88", 1), ("crm.post", "88", 1)))
        assert (status, problem["errors"][0]["path"]) == (422, "/actions/1/operation")
        assert "crm is misconfigured" in problem["errors"][0]["message"]
        _, catalogue, _ = await door.get("/v1/operations")
        assert [one["operation"] for one in catalogue["items"]] == ["bank.post"]


class Away(ReferenceAdapter):
    """A participant that takes nothing now."""

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        raise Transient("Not now.")


async def test_what_is_in_flight_on_it_waits_and_goes_on_when_it_is_mended(dsn, tmp_path, monkeypatch):
    monkeypatch.setattr("ledger.bounds.RETRY_CAP_SECONDS", 0.1)  # how soon it is looked at again
    async with doorway(dsn, None, Away("crm", World(), Guarantee.IDEMPOTENT, facts=False)) as door:
        _, shown, _ = await door.submit(intent(("crm.post", "88", 1)), wait=None)
        (one,) = await eventually(lambda: tried(door, shown["id"]))
    before = one["attempts"]
    async with serving(dsn, configured(tmp_path, SOUND + BROKEN)) as door:
        (one,) = await eventually(lambda: tried(door, shown["id"], "No configured adapter offers crm.post"), 40)
        looked = await looks(door, shown["id"])
        await eventually(lambda: more_than(door, shown["id"], looked + 10))
        _, found, _ = await door.get(f"/v1/intents/{shown['id']}")
        assert (found["phase"], found["attention"], found["actions"][0]["attempts"]) == ("committing", None, before)
    async with serving(dsn, configured(tmp_path, SOUND + MENDED)) as door:

        async def committed() -> bool:
            return (await door.get(f"/v1/intents/{shown['id']}"))[1]["phase"] == "committed"

        await eventually(committed, 40)
    async with serving(dsn, configured(tmp_path, SOUND + BROKEN)) as door:
        status, plan, _ = await door.post("/v1/undo-plans", {"operation": "crm.post", "reason": "a mistake"})
        assert (status, [one["undo"] for one in plan["intents"]]) == (201, ["exact"])
        assert (await door.post(f"/v1/undo-plans/{plan['id']}/approve", {"digest": plan["digest"]}))[0] == 202
        await eventually(lambda: tried(door, shown["id"], "No configured adapter offers crm.post"), 40)
        _, found, _ = await door.get(f"/v1/intents/{shown['id']}")
        assert (found["phase"], found["attention"]) == ("compensating", None)


async def tried(door: Doorway, one: str, error: str = "Not now.") -> list[dict[str, object]]:
    _, found, _ = await door.get(f"/v1/intents/{one}")
    return [action for action in found["actions"] if error in (action["error"] or "")]


async def looks(door: Doorway, one: str) -> int:
    _, found, _ = await door.get(f"/v1/intents/{one}/events")
    return len(found["items"])


async def more_than(door: Doorway, one: str, count: int) -> bool:
    return await looks(door, one) > count
