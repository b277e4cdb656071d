"""airlock-sdk in its strongest documented form: one guarded call on PostgreSQL, with recovery.

* `Effect(key_param=…)` where the system recognises a key, `Effect(verify=…)` where it can be searched, neither where
  it is blind: then airlock runs it at most once, and says so.
* The ledger in PostgreSQL, `execute_timeout` below `reconcile_after`: a caller that finds a stale row recovers it.
* The sweep of `python -m airlock reconcile`, with `on_absent=retry`: at the start and then every second, as a cron
  job would, only more often.
"""

import asyncio
import threading
import traceback
from datetime import timedelta

import airlock
import door
from airlock import Decision, Effect, Policy, Rule
from airlock.reconcile import OnAbsent, reconcile
from airlock.types import Verification
from outside import System

EXECUTE_SECONDS = 6.0
RECONCILE_SECONDS = 7.0
SWEEP_SECONDS = 1.0
options = door.arguments()
system = System(options.gate, "left")


async def is_there(request: str, **_: object) -> tuple[Verification, str]:
    """Answer the probe."""
    there = await system.is_transferred(request)
    return (Verification.PRESENT if there else Verification.ABSENT), request


def guarded(name: str, effect: Effect):
    """Guard a tool under the key of its request."""
    return airlock.guard(f"{name}.call", key=lambda request, **_: request, effect=effect)


@guarded("atomic", Effect(key_param="idempotency_key"))
async def refund(request: str, account: str, *, idempotency_key: str | None = None) -> str:
    del request
    key = str(idempotency_key).replace(":", "-")
    await system.hold(key, account)
    await system.confirm(key)
    return "done"


@guarded("idempotent", Effect(key_param="idempotency_key"))
async def credit(request: str, account: str, *, idempotency_key: str | None = None) -> str:
    del request
    await system.credit(str(idempotency_key), account)
    return "done"


@guarded("verifiable", Effect(verify=is_there))
async def transfer(request: str, account: str) -> str:
    await system.transfer(request, account)
    return "done"


@guarded("blind", Effect())
async def wire(request: str, account: str) -> str:
    await system.transfer(request, account)
    return "done"


TOOLS = {"atomic": refund, "idempotent": credit, "verifiable": transfer, "blind": wire}


async def submit(work: dict) -> dict:
    try:
        await TOOLS[work["guarantee"]](request=work["key"], account=work["actions"][0]["account"])
    except airlock.AirlockError as error:
        return door.say("asks", f"{type(error).__name__}: {error}")
    return door.say("done")


async def says(work: dict) -> dict:
    record = await asyncio.to_thread(store.load, f"{work['guarantee']}.call:{work['key']}")
    if record is None:
        return door.say("silent")
    state = record.state.value
    known = {"committed": "done", "aborted": "nothing", "failed": "nothing", "unknown": "asks"}
    return door.say(known.get(state, "moving"), f"{state} {record.error_json or ''}")


def sweep(stop: threading.Event) -> None:
    """Recover, again and again."""
    while not stop.is_set():
        try:
            reconcile(
                store,
                older_than=timedelta(seconds=RECONCILE_SECONDS),
                execute_timeout=timedelta(seconds=EXECUTE_SECONDS),
                on_absent=OnAbsent.RETRY,
            )
        except Exception:  # noqa: BLE001 - as a job that runs again
            traceback.print_exc()
        stop.wait(SWEEP_SECONDS)


async def main() -> None:
    airlock.init(
        store=store,
        policy=Policy(rules=[Rule(match="*", decision=Decision.AUTO)]),
        reconcile_after=timedelta(seconds=RECONCILE_SECONDS),
        execute_timeout=timedelta(seconds=EXECUTE_SECONDS),
    )
    threading.Thread(target=sweep, args=[threading.Event()], daemon=True).start()
    await door.serve(submit, says)


if __name__ == "__main__":
    store = airlock.from_url(options.dsn)
    if options.number == 1:
        store.ensure_schema()
    asyncio.run(main())
