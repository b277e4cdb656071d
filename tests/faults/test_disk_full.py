"""The ledger's disk fills up, and is emptied again: no acknowledged intent is lost, and work goes on by itself."""

import random

from patience import until
from small_disk import small_disk

from examples.demo.client import Client
from examples.demo.processes import Service

LITTLE = 512 * 1024


def intent(number):
    """Return an intent that takes a good deal of room and changes nothing anywhere."""
    context = {"filler": random.Random(number).randbytes(60_000).hex()}
    actions = [{"id": "a", "operation": "world.post", "params": {"account": f"n{number}", "amount": number}}]
    return {"task": "disk", "again": True, "reason": f"intent {number}", "context": context, "actions": actions}


async def test_a_full_disk_refuses_and_forgets_nothing(open_directory):
    configuration = open_directory / "intentledger.toml"
    configuration.write_text('[adapters.world]\ntype = "reference"\nfacts = false\n')
    with small_disk(open_directory / "disk") as disk:
        settings = {
            "INTENTLEDGER_CONFIG": str(configuration),
            "INTENTLEDGER_DATA": str(disk.directory / "data"),
            "INTENTLEDGER_LEASE_SECONDS": "2",
            "INTENTLEDGER_LOG_FORMAT": "json",
        }
        service = Service("cramped", open_directory, settings)
        disk.serve_on_it(service)
        await service.start()
        try:
            await service.ready()
            token = disk.read("data/operator-main.token").strip()
            async with Client(service.url, token, 20) as door:
                await fill_and_empty(disk, service, door)
        finally:
            await service.stop()


async def fill_and_empty(disk, service, door):
    """Submit until nothing is taken any more, make room, and look for everything that was acknowledged."""
    acknowledged, statuses = {}, []
    disk.fill(leave_bytes=LITTLE)
    for number in range(300):
        status, answer = await door.submit(f"disk-{number}", intent(number))
        statuses.append(status)
        if status in {200, 202}:
            acknowledged[f"disk-{number}"] = answer["id"]
        elif len(statuses) - len(acknowledged) >= 5:
            break
    assert set(statuses) <= {200, 202, 503}, statuses
    assert statuses.count(503) >= 5, "The disk was never full."
    assert service.pid is not None
    disk.clear()
    await until(lambda: takes(door), 60, "the service to take intents again")
    for key, identifier in acknowledged.items():
        assert (await door.until(identifier, 30))["submitted_at"], key
    await every_key_tells_the_truth(door, acknowledged, len(statuses))


async def takes(door):
    return (await door.submit("after", intent(10_000)))[0] in {200, 202}


async def every_key_tells_the_truth(door, acknowledged, sent):
    """Send every key once more: what was acknowledged is the same intent, what was refused is now taken, all once."""
    for number in range(sent):
        status, answer = await door.submit(f"disk-{number}", intent(number))
        assert status in {200, 202}
        assert acknowledged.setdefault(f"disk-{number}", answer["id"]) == answer["id"]
    submitted = [event for event in await door.events() if event["type"] == "IntentSubmitted"]
    assert len(submitted) == sent + 1
    assert len({event["body"]["idempotency_key"] for event in submitted}) == sent + 1
