"""DBOS in its strongest documented form for this work: one durable workflow, every call a step.

* `SetWorkflowID(key)`: a client that repeats its key gets the same workflow.
* Steps that can be repeated retry (`retries_allowed`); for a system that can be searched the step looks before it
  pays. Undoing is steps of the same workflow, as its documentation has it.
* A step that must not run twice has no retries, and its workflow `max_recovery_attempts=0`: steps are documented to
  run at least once, so after an interruption the workflow is put aside for people instead of being run again.
* An executor id for each process. Where another process is to take over, it is told so as Conductor tells it.
"""

import asyncio

import door
from dbos import DBOS, SetWorkflowID
from outside import Refused, System

RETRIES = {"retries_allowed": True, "max_attempts": 5, "interval_seconds": 0.3, "backoff_rate": 1.5}
SYSTEMS: dict[str, System] = {}


def _retry(error: BaseException) -> bool:
    return not isinstance(error, Refused)


@DBOS.step(**RETRIES, should_retry=_retry)
async def repeatable(system: str, verb: str, *arguments: str) -> None:
    """Make a call that may be repeated."""
    await getattr(SYSTEMS[system], verb)(*arguments)


@DBOS.step()
async def once(system: str, verb: str, *arguments: str) -> None:
    """Make a call that must not be."""
    await getattr(SYSTEMS[system], verb)(*arguments)


async def _work(work: dict) -> str:
    make = {"atomic": _held, "idempotent": _credited, "verifiable": _transferred, "blind": _wired}
    done: list[dict] = []
    do, undo = make[work["guarantee"]](work["key"])
    try:
        for act in do:
            for action in work["actions"]:
                await act(action)
                if action not in done:
                    done.append(action)
    except Refused:
        for action in reversed(done):
            await undo(action)
        return "nothing"
    return "done"


def _held(key: str):
    return [
        lambda a: repeatable(a["system"], "hold", key, a["account"]),
        lambda a: repeatable(a["system"], "confirm", key),
    ], lambda a: repeatable(a["system"], "release", key)


def _credited(key: str):
    return [lambda a: repeatable(a["system"], "credit", key, a["account"])], lambda a: repeatable(
        a["system"], "take_back", key
    )


def _transferred(key: str):
    return [lambda a: repeatable(a["system"], "transfer_if_absent", key, a["account"])], lambda a: repeatable(
        a["system"], "untransfer_if_present", key, a["account"]
    )


def _wired(key: str):
    return [lambda a: once(a["system"], "transfer", key, a["account"])], lambda a: once(
        a["system"], "untransfer", key, a["account"]
    )


@DBOS.workflow()
async def work_with_retries(work: dict) -> str:
    return await _work(work)


@DBOS.workflow(max_recovery_attempts=0)
async def work_at_most_once(work: dict) -> str:
    return await _work(work)


async def submit(work: dict) -> dict:
    flow = work_at_most_once if work["guarantee"] == "blind" else work_with_retries
    with SetWorkflowID(work["key"]):
        handle = await DBOS.start_workflow_async(flow, work)
    try:
        return door.say(await handle.get_result())
    except Exception:  # noqa: BLE001 - whatever it was, the record says what it means
        return await says(work)


async def says(work: dict) -> dict:
    status = await DBOS.get_workflow_status_async(work["key"])
    if status is None:
        return door.say("silent")
    if status.status == "SUCCESS":
        return door.say(status.output)
    if status.status in {"PENDING", "ENQUEUED"}:
        return door.say("moving", status.status)
    return door.say("asks", f"{status.status} {status.error or ''}")


async def take_over(number: int) -> None:
    await asyncio.to_thread(DBOS._recover_pending_workflows, [_executor(number)])  # noqa: SLF001 - as Conductor does


def _executor(number: int) -> str:
    return f"{options.cell}-{number}"


async def main() -> None:
    SYSTEMS.update({name: System(options.gate, name) for name in ("left", "right")})
    DBOS(
        config={
            "name": "faults",
            "system_database_url": options.dsn,
            "executor_id": _executor(options.number),
            "application_version": "1",
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    await door.serve(submit, says, take_over)


if __name__ == "__main__":
    options = door.arguments()
    asyncio.run(main())
