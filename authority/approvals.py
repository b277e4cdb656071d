"""Who may answer for an intent that waits for a person. Pure.

The point of asking is a second pair of eyes, and where policy asks for several, as many pairs. Three rules follow, and
all of them look at the whole chain of grants of whoever answers, because a person who may delegate makes other people:

1. Whoever stands in the chain of custody of the intent cannot answer, under whatever grant or spelling of a name; nor
   can anybody to whom one of them has issued a grant.
2. Nobody counts twice: two who answer have no name in common in their chains, or else one person could be both.
3. Whom policy names, it names by name or role: everybody in the chain must be named. Those whom the operator appoints
   may appoint others of their kind, and nobody can appoint what they are not.

The one exception is the ledger's first grant: every grant hangs on it, and its holder, who could activate a policy set
that asks nobody, is trusted anyway (and, standing in every chain, never approves).

And nobody approves what they could not do themselves: every grant of the approver's chain must permit every action.
"""

import unicodedata
from collections.abc import Sequence

import msgspec

from authority.grants import Principal, beyond
from ledger.events import GrantIssued
from ledger.state import IntentState
from ledger.visible_text import UNSEEN

_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})  # categories of characters that do not tell two names apart


class Involved(msgspec.Struct, frozen=True):
    """The grants behind a question to people, as chains with the first grant first."""

    custody: Sequence[GrantIssued]  # under which the intent was submitted
    answered: Sequence[Sequence[GrantIssued]] = ()  # of those who have approved it already


def eligible(approver: Principal, state: IntentState, involved: Involved) -> str | None:
    """Tell why a person may not answer for an intent; None if they may."""
    name, role = approver.subject.name, approver.subject.role
    if approver.subject.kind != "person":
        return "Only a person may answer for an intent."
    if not involved.custody or involved.custody[-1].grant != state.submitted.grant:
        return "The grants under which the intent was submitted are not known."
    own = _below_the_first(approver.chain)
    concerned = {folded(grant.subject.name) for grant in involved.custody}
    if folded(name) in concerned:
        return f"{name} stands in the intent's chain of custody and cannot answer for it."
    above = _shared(own, concerned)
    if above is not None:
        return f"Your grant was issued below {above}, who stands in the intent's chain of custody."
    requested = state.approval_requested
    names = () if requested is None else requested.approvers
    if names and name not in names and role not in names:
        return f"The policy asks {' or '.join(names)} to answer."
    strange = next((one for one in own if names and not {one.subject.name, one.subject.role} & set(names)), None)
    if strange is not None:
        return (
            f"Your grant was issued below {strange.subject.name}, and the policy asks {' or '.join(names)} to answer."
        )
    reasons = beyond(approver.chain, state.submitted)
    if reasons:
        return f"Nobody answers for what their own grant does not permit: {'; '.join(reasons)}."
    return _counted(name, own, state, involved.answered)


def _counted(
    name: str, own: Sequence[GrantIssued], state: IntentState, answered: Sequence[Sequence[GrantIssued]]
) -> str | None:
    """Tell why an answer would be somebody's second one."""
    if any(folded(given.by) == folded(name) for given in state.approvals):
        return f"{name} has already answered."
    if [chain[-1].grant for chain in answered if chain] != [given.grant for given in state.approvals]:
        return "The grants of those who have answered already are not known."
    for chain in answered:
        common = _shared(own, {folded(grant.subject.name) for grant in _below_the_first(chain)})
        if common is not None:
            return f"{chain[-1].subject.name} has already answered, and {common} could be behind both of you."
    return None


def _shared(chain: Sequence[GrantIssued], names: set[str]) -> str | None:
    return next((grant.subject.name for grant in chain if folded(grant.subject.name) in names), None)


def _below_the_first(chain: Sequence[GrantIssued]) -> Sequence[GrantIssued]:
    return chain[1:] or chain


def folded(name: str) -> str:
    """Reduce a name to what tells it apart from others: no case, no compatibility forms, nothing invisible."""
    compatible = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(
        letter for letter in compatible if unicodedata.category(letter) not in _INVISIBLE and letter not in UNSEEN
    )
