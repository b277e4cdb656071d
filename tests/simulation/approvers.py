"""People who are asked to approve, and how they answer: well, late, about what is past, or for themselves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from simulation.cast import APPROVERS, INVOLVED, OPERATOR, token
from simulation.world import Door, Gone, World

from ledger import events as e
from ledger.errors import Conflict, DigestMismatch, NotEligible, NotWaiting, Unauthenticated, Unavailable
from ledger.phases import UNDECIDED
from ledger.state import IntentState

NOBODY_KNOWS = "sha256:" + "0" * 64
REFUSED = {
    NotEligible: "refused: not eligible",
    DigestMismatch: "refused: old digest",
    NotWaiting: "refused: late",
}


async def answer(world: World, state: IntentState, *, hurry: bool) -> None:
    """Let somebody say something about an intent that waits for approval; in a hurry mostly what moves it on."""
    random = world.random
    asked = state.approval_requested
    assert asked is not None
    waited = world.database.now() - (state.approval_requested_at or state.updated_at)
    left = (asked.expires_at - world.database.now()).total_seconds()
    if waited.total_seconds() < world.chance.patience or (state.id[-1] in "08" and left > 3):
        return  # they take their time; some of them all there is
    if left < 3:
        await asyncio.sleep(max(0.0, left + random.uniform(-0.2, 0.6)))
        hurry = True
    words = ["approve", "reject", "cancel", "old digest", "not eligible", "wait"]
    word = random.choices(words, (30, 1, 2, 3, 3, 0) if hurry else (8, 0.5, 0.5, 3, 3, 6))[0]
    match word:
        case "approve":
            fit = [name for name in APPROVERS if not asked.approvers or name != "frank"]
            await say(world, state, random.choice(fit), asked.digest)
        case "reject":
            await say(world, state, random.choice(APPROVERS[:2]), asked.digest, no=True)
        case "cancel":
            await tried(world, lambda door: door.coordinator.cancel(state.id, OPERATOR, "too long"))
        case "old digest":
            known = {one.digest for one in requested(world, state)} - {asked.digest}
            digest = random.choice(sorted(known)) if known else NOBODY_KNOWS
            await say(world, state, random.choice(APPROVERS[:2]), digest)
        case "not eligible":
            unfit = [one for one in INVOLVED if involved(state, one)] + ["friend", "frank"] * bool(asked.approvers)
            await say(world, state, random.choice(unfit), asked.digest)


async def too_late(world: World, state: IntentState) -> None:
    """Approve what no longer waits."""
    if state.approval_requested is not None and state.phase not in UNDECIDED:
        await say(world, state, world.random.choice(APPROVERS), state.approval_requested.digest)


def involved(state: IntentState, name: str) -> bool:
    return name == "operator" or "grant-manager" in state.submitted.custody


def requested(world: World, state: IntentState) -> list[e.ApprovalRequested]:
    stream = world.database.streams[f"intent/{state.id}"]
    return [one.event for one in stream if isinstance(one.event, e.ApprovalRequested)]


async def say(world: World, state: IntentState, name: str, digest: str, *, no: bool = False) -> str | None:
    """Approve or reject as somebody; returns what came of it."""
    said = await tried(
        world,
        lambda door: door.reject(token(name), state.id, digest) if no else door.approve(token(name), state.id, digest),
    )
    if said is not None and not no:
        world.counters[f"approval {said}"] += 1
    return said


async def tried(world: World, word: Callable[[Door], Awaitable[Any]]) -> str | None:
    """Return how a word was taken; None where it is not known, or nobody answered."""
    try:
        await world.ask(word)
    except (NotEligible, DigestMismatch, NotWaiting) as error:
        return REFUSED[type(error)]
    except (Gone, Unavailable, Conflict, Unauthenticated):
        return None
    return "accepted"
