"""agentbarrier in its strongest documented form: one protected call, its state in PostgreSQL, a short execution lease.

An outcome that is not known becomes `unknown`, and a person reconciles it after looking outside: nothing here does
that for them, because its documentation does not either.
"""

import asyncio

import door
from agentbarrier import errors
from agentbarrier.runtime import PolicyEffect, PolicyRule, PostgresRuntimeStore, RuntimeBarrier, RuntimePolicy
from outside import System

LEASE_SECONDS = 6.0
options = door.arguments()
system = System(options.gate, "left")


async def refund(request_id: str, account: str) -> str:
    await system.hold(request_id, account)
    await system.confirm(request_id)
    return "done"


async def credit(request_id: str, account: str) -> str:
    await system.credit(request_id, account)
    return "done"


async def transfer(request_id: str, account: str) -> str:
    await system.transfer_if_absent(request_id, account)
    return "done"


async def wire(request_id: str, account: str) -> str:
    await system.transfer(request_id, account)
    return "done"


TOOLS = {"atomic": refund, "idempotent": credit, "verifiable": transfer, "blind": wire}
POLICY = RuntimePolicy(version="1", rules=(PolicyRule("allow", PolicyEffect.ALLOW),))


def store(*, first: bool = False) -> PostgresRuntimeStore:
    """Connect; the first one provisions the schema."""
    return PostgresRuntimeStore(options.dsn, execution_lease_seconds=LEASE_SECONDS, create_schema=first, migrate=first)


async def submit(work: dict) -> dict:
    with store() as opened:
        barrier = RuntimeBarrier(policy=POLICY, store=opened, namespace="faults")
        tool = barrier.protect(TOOLS[work["guarantee"]], tool_name=work["guarantee"], idempotency_key="request_id")
        try:
            await tool(request_id=work["key"], account=work["actions"][0]["account"])
        except errors.ActionInProgress as error:
            return door.say("moving", str(error))
        except errors.AgentBarrierError as error:
            return door.say("asks", f"{type(error).__name__}: {error}")
    return door.say("done")


async def says(work: dict) -> dict:
    with store() as opened:
        known = [one for one in opened.list_actions() if one.idempotency_key == work["key"]]
    if not known:
        return door.say("silent")
    states = {"succeeded": "done", "unknown": "asks", "denied": "nothing", "rejected": "nothing", "pending": "asks"}
    return door.say(states.get(known[0].status.value, "moving"), f"{known[0].status.value} {known[0].error or ''}")


async def main() -> None:
    if options.number == 1:
        store(first=True).close()
    await door.serve(submit, says)


if __name__ == "__main__":
    asyncio.run(main())
