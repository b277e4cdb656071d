"""Which intents a caller may see: people see all of them, an agent only what was done under its own authority.

What an agent may not see does not exist for it: the answer is that of an id that nobody ever had.
"""

from authority.grants import Principal
from gateway.door import Visit
from ledger.errors import NotFound
from ledger.events import IntentSubmitted
from ledger.state import IntentState


def is_agent(principal: Principal) -> bool:
    """Tell whether somebody is not a person; what is neither counts as an agent."""
    return principal.subject.kind != "person"


def sees(principal: Principal, submitted: IntentSubmitted) -> bool:
    """Tell whether an intent stands under the caller's grant, or under an earlier grant of the same agent.

    The same agent is the same name under the same issuer: it keeps its intents when its token is renewed.
    """
    if not is_agent(principal) or principal.grant in submitted.custody:
        return True
    same = (submitted.agent.kind, submitted.agent.name) == (principal.subject.kind, principal.subject.name)
    return same and len(principal.custody) > 1 and submitted.custody[:-1] == principal.custody[:-1]


async def seen(visit: Visit, intent: str) -> IntentState | None:
    """Let the caller go on to an intent that it may see: its state, or None for people, who see all that there are.

    Raises `NotFound`, in the same words whether there is no such intent or it is not the caller's.
    """
    if not is_agent(visit.principal):
        return None
    try:
        state = await visit.service.coordinator.get(intent)
    except NotFound:
        raise unseen() from None
    if not sees(visit.principal, state.submitted):
        raise unseen()
    return state


def unseen() -> NotFound:
    """Say that there is no such intent, whether or not there is one."""
    return NotFound("There is no such intent in this ledger.")
