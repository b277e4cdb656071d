"""Words for tests of policy: an agent who asks for something, and what a policy set says to it.

said = judged(POLICIES, asking("payments.refund", role="payment-specialist", amount=4200), facts={"age": 91})
assert said.effect == "allow"
"""

from datetime import UTC, datetime
from typing import Any

from authority.policy import Judgement, judge, parse
from ledger.events import IntentSubmitted
from ledger.intents import JSON, ActionPlan, Guarantee, Mode, Subject, Undo

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)


def action(
    operation: str, name: str = "it", amount: int | None = None, currency: str | None = "USD", **params: Any
) -> ActionPlan:
    money = {} if amount is None else {"amount": amount, "currency": currency}
    return ActionPlan(
        id=name,
        adapter=operation.partition(".")[0],
        operation=operation,
        params={**money, **params},
        guarantee=Guarantee.ATOMIC,
        undo=Undo.EXACT,
        summary=f"do {operation}",
        key=f"key-{name}",
        undo_key=f"undo-{name}",
        amount_minor=amount,
        currency=currency if amount is not None else None,
    )


def asking(*what: ActionPlan | str, **how: Any) -> IntentSubmitted:
    """Return an intent; `amount`, `currency` and `params` are of its one action if that is given by its operation."""
    who = {name: how.pop(name) for name in ("name", "version", "role", "kind") if name in how}
    intent = {name: how.pop(name) for name in ("confidence", "task", "mode", "grant") if name in how}
    params = how.pop("params", {})
    actions = tuple(action(one, **how, **params) if isinstance(one, str) else one for one in what)
    return IntentSubmitted(
        intent="01930000-0000-7000-8000-000000000001",
        idempotency_key="k",
        request_digest="sha256:0",
        agent=Subject(**{"kind": "agent", "name": "helper", "version": "3.1", **who}),
        custody=("grant-operator", intent.get("grant", "grant-7")),
        commissioned_by=None,
        reason="because",
        deadline_seconds=30,
        context={},
        actions=actions,
        **{"grant": "grant-7", "confidence": 1.0, "task": "12A", "mode": Mode.EXECUTE, **intent},
    )


def judged(cedar: str, intent: IntentSubmitted, facts: JSON | None = None, at: datetime = NOON) -> Judgement:
    """Judge an intent; `facts` are of each of its actions."""
    return judge(parse(cedar), intent, {one.id: facts or {} for one in intent.actions}, at)
