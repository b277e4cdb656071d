"""agent-saga in its strongest documented form: a saga of steps with registered, idempotent inverses, and its daemon.

* `FileWAL` with fsync, one for each process ("each process gets its own WAL file"), and a `RecoveryDaemon` over each
  of them in every process, which watches four times a second.
* Inverses are named (`@compensator`) and made by `call_with`: they are right also where the forward call is in
  doubt. Each looks at the outside system before it undoes, or is recognised by its key.
* What cannot be undone is IRREVERSIBLE, with somebody who approves it beforehand.
* It has no key under which a request could be repeated: a second call is a second saga.
"""

import asyncio
import json
from pathlib import Path

import door
from agent_saga import ActionSemantics, PreFlightGate, RecoveryDaemon, SagaAborted, call_with, compensator
from agent_saga.decorator import saga_scope
from agent_saga.wal import FileWAL
from outside import System

options = door.arguments()
directory = Path(options.directory)
SYSTEMS = {name: System(options.gate, name) for name in ("left", "right")}


@compensator("faults.release")
async def release(system: str, key: str) -> None:
    await SYSTEMS[system].release_if_held(key)


@compensator("faults.take_back")
async def take_back(system: str, key: str) -> None:
    await SYSTEMS[system].take_back(key)


@compensator("faults.untransfer")
async def untransfer(system: str, key: str, account: str) -> None:
    await SYSTEMS[system].untransfer_if_present(key, account)


def steps(work: dict):
    """Yield every step: its name, how it can be undone, what it does, what undoes it."""
    key, actions = work["key"], work["actions"]
    for action in actions:
        system, account = action["system"], action["account"]
        outside = SYSTEMS[system]
        undo = {"system": system, "key": key}
        match work["guarantee"]:
            case "atomic":
                yield "hold", "COMPENSABLE", lambda o=outside, a=account: o.hold(key, a), call_with(release, **undo)
            case "idempotent":
                yield (
                    "credit",
                    "COMPENSABLE",
                    lambda o=outside, a=account: o.credit(key, a),
                    call_with(take_back, **undo),
                )
            case "verifiable":
                inverse = call_with(untransfer, account=account, **undo)
                yield "transfer", "COMPENSABLE", lambda o=outside, a=account: o.transfer(key, a), inverse
            case "blind":
                yield "wire", "IRREVERSIBLE", lambda o=outside, a=account: o.transfer(key, a), None
    if work["guarantee"] == "atomic":
        for action in actions:
            undo = {"system": action["system"], "key": key}
            outside = SYSTEMS[action["system"]]
            yield "confirm", "COMPENSABLE", lambda o=outside: o.confirm(key), call_with(take_back, **undo)


async def submit(work: dict) -> dict:
    gate = PreFlightGate(approval_provider=lambda *_: True)
    try:
        async with saga_scope(name=work["key"], gate=gate, wal=wal) as saga:
            for name, semantics, forward, inverse in steps(work):

                async def act(forward=forward) -> None:
                    await forward()

                await saga.execute(tool=name, semantics=ActionSemantics(semantics), forward=act, compensate=inverse)
    except SagaAborted as aborted:
        if isinstance(aborted.cause, asyncio.CancelledError):
            raise asyncio.CancelledError from aborted
        return door.say("nothing" if aborted.report.clean else "asks", aborted.report.summary())
    return door.say("done")


async def says(work: dict) -> dict:
    """Tell what the logs say."""
    return read_logs(work)


def read_logs(work: dict) -> dict:
    """Read the logs of every process, and what the daemons have written about them."""
    records = [line for path in sorted(directory.glob("*.wal")) for line in _lines(path)]
    saga = next((one["saga_id"] for one in records if one.get("name") == work["key"]), None)
    mine = [one for one in records if one.get("saga_id") == saga]
    if saga is None:
        return door.say("silent")
    events = [one["event"] for one in mine]
    if "SAGA_COMPLETE" in events:
        return door.say("done", "SAGA_COMPLETE")
    if "SAGA_ABORTED" in events:
        clean = next(one["clean"] for one in mine if one["event"] == "SAGA_ABORTED")
        return door.say("nothing" if clean else "asks", f"SAGA_ABORTED, clean={clean}")
    journal = [line for path in directory.glob("*.recovery.jsonl") for line in _lines(path)]
    about = [one for one in journal if one.get("saga_id") == saga]
    for one in about:
        if one["event"] in {"RECOVERY_ESCALATED", "RECOVERY_FAILED"}:
            return door.say("asks", f"{one['event']}: {one.get('reason') or one.get('error')}")
    undone = {one["step_id"] for one in about + mine if one["event"] in {"RECOVERY_SUCCESS", "COMPENSATED"}}
    begun = {one["step_id"] for one in mine if one["event"] == "STEP_INTENT"}
    if begun and begun == undone:
        return door.say("nothing", "every step is compensated")
    return door.say("moving", ", ".join(events))


def _lines(path: Path) -> list[dict]:
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # cut short by a crash
    return found


async def watch() -> None:
    """Run a daemon over every log there is."""
    while True:
        for path in sorted(directory.glob("*.wal")):
            await RecoveryDaemon(path, daemon_id=f"daemon-{options.number}").recover_all()
        await asyncio.sleep(0.25)


async def main() -> None:
    await wal.start()
    task = asyncio.create_task(watch())
    task.add_done_callback(lambda done: done.cancelled() or done.result())
    await door.serve(submit, says)


if __name__ == "__main__":
    wal = FileWAL(directory / f"worker-{options.number}.wal")
    asyncio.run(main())
