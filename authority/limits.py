"""Limits: what an intent takes from the allowances of the grants it is submitted under. Pure.

Every limit of every grant of the chain that matches an action is charged, so that splitting one effect into several
actions, intents or children never gets under it. The store adds the charges up inside the deciding transaction
(`ledger.store.WithinLimits`); this file only names the counters and says how much.

A counter is named by the grant and the limit's place in it; where each agent has an allowance of its own, by the agent
too. That agent is the first one at or below the limit's grant: what it delegates to others counts as its own, or else
it could mint allowances by minting children.
"""

from collections.abc import Iterator, Sequence

from authority.grants import whole_number
from ledger.events import GrantIssued, IntentSubmitted
from ledger.grants import Charge, Limit, covers
from ledger.intents import ActionPlan


def charges(chain: Sequence[GrantIssued], submitted: IntentSubmitted) -> tuple[Charge, ...] | str:
    """Return what a decision to commit takes from the limits of a chain, or the sentence why it never could."""
    found = []
    for counter, limit in _limits(chain):
        amount = _amount(limit, [plan for plan in submitted.actions if covers(limit.operation, plan.operation)])
        if isinstance(amount, str):
            return f"limit {counter} cannot be applied: {amount}"
        if amount > limit.max:
            return (
                f"limit {counter} permits {_measured(limit, limit.max)} {_window(limit)}, "
                f"and this intent alone asks for {_measured(limit, amount)}"
            )
        if amount:
            found.append(Charge(limit=counter, per=limit.per, amount=amount, max=limit.max))
    return tuple(found)


def _limits(chain: Sequence[GrantIssued]) -> Iterator[tuple[str, Limit]]:
    """Yield every limit of a chain with the name of its counter. Ids of grants hold no slash, so no two are alike."""
    for depth, grant in enumerate(chain):
        if not grant.limits:
            continue
        below = [one.subject for one in chain[depth:]]
        agent = next((subject for subject in below if subject.kind == "agent"), below[-1])
        for index, limit in enumerate(grant.limits):
            counter = f"{grant.grant}/{index}"
            yield (f"{counter}/{agent.name}" if limit.each == "agent" else counter), limit


def _amount(limit: Limit, plans: Sequence[ActionPlan]) -> int | str:
    if limit.measure == "count":
        return len(plans)
    total = 0
    for plan in plans:
        if plan.amount_minor is None:
            if limit.operation == plan.operation:
                return f"{plan.operation} does not say how much money it moves"
            continue  # the pattern covers it among others, and its adapter declares that it moves none
        amount = whole_number(plan.amount_minor)
        if amount is None or amount < 0:
            return f"{plan.operation} moves {plan.amount_minor!r}, which is no amount"
        if plan.currency != limit.currency:
            return f"{plan.operation} moves {plan.currency or 'an unknown currency'}, and it counts {limit.currency}"
        total += amount
    return total


def _measured(limit: Limit, amount: int) -> str:
    return f"{amount} {limit.currency} (minor units)" if limit.measure == "amount" else f"{amount} actions"


def _window(limit: Limit) -> str:
    return "in total" if limit.per == "total" else f"per {limit.per}"
