"""How authority appends what somebody said: under their living grant, and with every answer that could come back."""

from typing import assert_never

from ledger.errors import InvariantViolation, Unauthenticated, Unavailable
from ledger.store import Append, Appended, GrantAlive, GuardFailed, Store, Unknown, VersionConflict

NOT_ALIVE = "This token is not alive. Nothing was done."  # one sentence for expired, revoked and unknown


async def record(store: Store, append: Append, what: str) -> Appended | VersionConflict:
    """Append, and return that it is durable or that the stream has moved on.

    Raises `Unauthenticated` if the grant under which it was said has died, and `Unavailable` if it is not known
    whether it was recorded; `what` names it ("the grant was revoked").
    """
    verdict = await store.append(append)
    match verdict:
        case Appended() | VersionConflict():
            return verdict
        case GuardFailed(GrantAlive()):
            raise Unauthenticated(NOT_ALIVE)
        case GuardFailed(guard):
            raise InvariantViolation(f"Authority appended under no such guard as {guard}.")
        case Unknown(reason):
            raise Unavailable(f"Whether {what} is not known: {reason} Look before you ask again.")
        case _:
            assert_never(verdict)
