"""agent-saga in its strongest documented form: everything provisional, registered durably before it happens.

* Each half of the work is a `TentativeResource`, on the disk before the money moves (`register_tentative_durable`:
  "use this when the tentative write is the money"), with an inverse registered by name (`@compensator`) that looks
  at the outside system before it undoes anything. A step with a compensation would be weaker: the inverse of a step
  is written only when the step has returned, so a crash inside it leaves nothing to undo it with.
* What cannot be undone is an IRREVERSIBLE step, which somebody has approved beforehand.
* `FileWAL` with fsync, one for each process ("each process gets its own WAL file"), and a `RecoveryDaemon` over each
  of them in every process, which sweeps four times a second. The lease is the documented five seconds, twice for
  grace.
* It has no key under which a request could be repeated: a second call is a second saga.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import door
from agent_saga import ActionSemantics, PreFlightGate, RecoveryDaemon, SagaAborted, compensator
from agent_saga.context import SagaContext
from agent_saga.decorator import saga_scope
from agent_saga.patterns.tentative import TentativeResource
from agent_saga.wal import FileWAL
from outside import System

options = door.arguments()
directory = Path(options.directory)
SYSTEMS = {name: System(options.gate, name) for name in ("left", "right")}


@compensator("faults.refund")
async def undo_refund(system: str, key: str, account: str) -> None:
    """Let go of a hold, or take back what it became."""
    del account
    await SYSTEMS[system].release_if_held(key)
    await SYSTEMS[system].take_back(key)


@compensator("faults.credit")
async def undo_credit(system: str, key: str, account: str) -> None:
    """Take back what was paid, if anything was."""
    del account
    await SYSTEMS[system].take_back(key)


@compensator("faults.transfer")
async def undo_transfer(system: str, key: str, account: str) -> None:
    """Pay back what is there and is not back."""
    await SYSTEMS[system].untransfer_if_present(key, account)


UNDO = {"atomic": undo_refund, "idempotent": undo_credit, "verifiable": undo_transfer}
HANDLER = {"atomic": "faults.refund", "idempotent": "faults.credit", "verifiable": "faults.transfer"}


async def provisionally(saga: SagaContext, work: dict) -> None:
    """Do all of it, each half registered before it begins; the boundary settles what was registered."""
    for action in work["actions"]:
        await saga.register_tentative_durable(_registered(saga, work, action))
        outside, account = SYSTEMS[action["system"]], action["account"]
        match work["guarantee"]:
            case "atomic":
                await outside.hold(work["key"], account)
            case "idempotent":
                await outside.credit(work["key"], account)
            case "verifiable":
                await outside.transfer(work["key"], account)
    if work["guarantee"] == "atomic":
        for action in work["actions"]:
            await SYSTEMS[action["system"]].confirm(work["key"])


def _registered(saga: SagaContext, work: dict, action: dict) -> TentativeResource:
    about = {"system": action["system"], "key": work["key"], "account": action["account"]}

    async def undo() -> None:
        await UNDO[work["guarantee"]](**about)

    return TentativeResource(
        resource_id=action["account"],
        saga_id=saga.saga_id,
        on_rollback=undo,
        rollback_handler=HANDLER[work["guarantee"]],
        rollback_kwargs=about,
    )


async def irreversibly(saga: SagaContext, work: dict) -> None:
    """Do what cannot be undone."""
    for action in work["actions"]:

        async def act(action: dict = action) -> None:
            await SYSTEMS[action["system"]].transfer(work["key"], action["account"])

        await saga.execute(tool="wire", semantics=ActionSemantics.IRREVERSIBLE, forward=act)


async def submit(work: dict) -> dict:
    gate = PreFlightGate(approval_provider=lambda *_: True)
    do: Callable[[SagaContext, dict], Awaitable[None]] = irreversibly if work["guarantee"] == "blind" else provisionally
    try:
        async with saga_scope(name=work["key"], gate=gate, wal=wal) as saga:
            await do(saga, work)
    except SagaAborted as aborted:
        if isinstance(aborted.cause, asyncio.CancelledError):
            raise asyncio.CancelledError from aborted
    return read_logs(work)


async def says(work: dict) -> dict:
    return read_logs(work)


def read_logs(work: dict) -> dict:
    """Tell what the logs of every process say of a saga, and the journals of the daemons about it."""
    records = [line for path in sorted(directory.glob("*.wal")) for line in _lines(path)]
    saga = next((one["saga_id"] for one in records if one.get("name") == work["key"]), None)
    if saga is None:
        return door.say("silent")
    mine = [one for one in records if one.get("saga_id") == saga]
    journal = [line for path in directory.glob("*.recovery.jsonl") for line in _lines(path)]
    about = [one for one in journal if one.get("saga_id") == saga]
    events = {one["event"]: one for one in mine + about}
    if "TENTATIVE_UNRESOLVED" in events:
        return door.say("asks", f"TENTATIVE_UNRESOLVED: {events['TENTATIVE_UNRESOLVED']['error']}")
    if "SAGA_COMPLETE" in events:
        return door.say("done", "SAGA_COMPLETE")
    if "SAGA_ABORTED" in events:
        clean = events["SAGA_ABORTED"]["clean"]
        return door.say("nothing" if clean else "asks", f"SAGA_ABORTED, clean={clean}")
    for name in ("RECOVERY_ESCALATED", "RECOVERY_FAILED"):
        if name in events:
            return door.say("asks", f"{name}: {events[name].get('reason') or events[name].get('error')}")
    settled = {one["resource_id"] for one in mine if one["event"] == "TENTATIVE_RESOLVED"}
    recovered = {one.get("resource_id") for one in about if one["event"] == "RECOVERY_SUCCESS"}
    begun = {one["resource_id"] for one in mine if one["event"] == "TENTATIVE_REGISTERED"}
    if begun and begun <= settled | recovered:
        return door.say("nothing", "the daemon has rolled back everything that was registered")
    return door.say("moving", ", ".join(events))


def _lines(path: Path) -> list[dict]:
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # cut short by a crash
    return found


def logs() -> list[Path]:
    """Return the logs of every process."""
    return sorted(directory.glob("*.wal"))


async def watch() -> None:
    """Run a daemon over every log there is."""
    while True:
        for path in logs():
            await RecoveryDaemon(path, daemon_id=f"daemon-{options.number}").recover_all()
        await asyncio.sleep(0.25)


async def main() -> None:
    await wal.start()
    watching = asyncio.create_task(watch())
    watching.add_done_callback(lambda done: done.cancelled() or done.result())
    await door.serve(submit, says)


if __name__ == "__main__":
    wal = FileWAL(directory / f"worker-{options.number}.wal")
    asyncio.run(main())
