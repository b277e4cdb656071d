"""Who may answer for an intent that waits for a person. Pure.

The point of asking is a second pair of eyes, so whoever stands anywhere in the intent's chain of custody cannot be it,
under whatever grant or spelling of their name; nor can anybody to whom one of them has issued a grant, because then one
person could make both. The one exception is the ledger's first grant: every grant hangs on it, and its holder, who
could activate a policy set that asks nobody, is trusted anyway (and, standing in every chain, never approves).

And nobody approves what they could not do themselves: every grant of the approver's chain must permit every action.
"""

import unicodedata
from collections.abc import Sequence

from authority.grants import Principal, beyond
from ledger.events import GrantIssued
from ledger.state import IntentState

_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})  # categories of characters that do not tell two names apart


def eligible(approver: Principal, state: IntentState, custody: Sequence[GrantIssued]) -> str | None:
    """Tell why a person may not answer for an intent; None if they may. `custody` is the intent's chain of grants."""
    if approver.subject.kind != "person":
        return "Only a person may answer for an intent."
    if not custody or custody[-1].grant != state.submitted.grant:
        return "The grants under which the intent was submitted are not known."
    involved = {folded(grant.subject.name) for grant in custody}
    own = approver.chain[1:] or approver.chain
    if folded(approver.subject.name) in involved:
        return f"{approver.subject.name} stands in the intent's chain of custody and cannot answer for it."
    above = next((grant.subject.name for grant in own if folded(grant.subject.name) in involved), None)
    if above is not None:
        return f"Your grant was issued below {above}, who stands in the intent's chain of custody."
    requested = state.approval_requested
    names = () if requested is None else requested.approvers
    if names and approver.subject.name not in names and approver.subject.role not in names:
        return f"The policy asks {' or '.join(names)} to answer."
    reasons = beyond(approver.chain, state.submitted)
    if reasons:
        return f"Nobody answers for what their own grant does not permit: {'; '.join(reasons)}."
    if any(folded(given.by) == folded(approver.subject.name) for given in state.approvals):
        return f"{approver.subject.name} has already answered."
    return None


def folded(name: str) -> str:
    """Reduce a name to what tells it apart from others: no case, no compatibility forms, nothing invisible."""
    compatible = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(letter for letter in compatible if unicodedata.category(letter) not in _INVISIBLE)
