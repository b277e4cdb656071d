"""Words for tests of authority: chains of grants, intents under them, and principals who act.

chain = descend(person("manager-x"), agent("refunder", operations=only("payments.refund")))
reasons = outside(chain, intent(chain, refund(4200)))
"""

from datetime import UTC, datetime
from typing import Any

from authority.grants import fingerprint, operator_grant
from ledger.events import GrantIssued, IntentSubmitted
from ledger.grants import Limit, Permission, Range
from ledger.intents import ActionPlan, Guarantee, Mode, Subject, Undo

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def only(*patterns: str, **where: Any) -> tuple[Permission, ...]:
    """Permit these patterns, each narrowed by the same constraints: a list of values, or a range."""
    constraints = {name: one if isinstance(one, Range) else tuple(one) for name, one in where.items()}
    return tuple(Permission(pattern, constraints) for pattern in patterns)


def person(name: str, **more: Any) -> dict[str, Any]:
    return {"subject": Subject(kind="person", name=name), **more}


def agent(name: str, **more: Any) -> dict[str, Any]:
    return {"subject": Subject(kind="agent", name=name, version="3.1"), **more}


def below(parent: GrantIssued | None, given: dict[str, Any]) -> GrantIssued:
    """Hang a grant under another, with every right unless it says otherwise."""
    subject = given["subject"]
    name = given.pop("grant", f"grant-{subject.name}")
    return GrantIssued(
        grant=name,
        parent=parent.grant if parent else None,
        subject=subject,
        token_sha256=fingerprint(name),
        operations=given.get("operations", only("*")),
        task=given.get("task"),
        limits=given.get("limits", ()),
        expires_at=given.get("expires_at"),
        may_delegate=given.get("may_delegate", True),
        custody=(*(parent.custody if parent else ()), name),
    )


def descend(*given: dict[str, Any]) -> tuple[GrantIssued, ...]:
    """Return the operator's grant and those below it, each hanging on the one before."""
    chain = [operator_grant("il_operator")]
    for one in given:
        chain.append(below(chain[-1], dict(one)))
    return tuple(chain)


def action(operation: str, money: tuple[Any, str | None] = (None, None), **params: Any) -> ActionPlan:
    amount, currency = money
    return ActionPlan(
        id="a",
        adapter=operation.partition(".")[0],
        operation=operation,
        params=params,
        guarantee=Guarantee.ATOMIC,
        undo=Undo.EXACT,
        summary=f"do {operation}",
        key="k",
        undo_key="u",
        amount_minor=amount,
        currency=currency,
    )


def refund(amount: Any, currency: str = "USD", **params: Any) -> ActionPlan:
    return action("payments.refund", (amount, currency), amount=amount, currency=currency, **params)


def intent(
    chain: tuple[GrantIssued, ...], *actions: ActionPlan, task: str | None = "12A", **more: Any
) -> IntentSubmitted:
    return IntentSubmitted(
        intent="01930000-0000-7000-8000-000000000001",
        idempotency_key="k-1",
        request_digest="sha256:0",
        agent=chain[-1].subject,
        grant=chain[-1].grant,
        custody=tuple(one.grant for one in chain),
        commissioned_by="manager-x",
        task=task,
        reason="a test",
        confidence=None,
        mode=Mode.EXECUTE,
        deadline_seconds=30,
        context={},
        actions=actions,
        **more,
    )


def limit(operation: str, most: int, measure: str = "amount", per: str = "day", **more: Any) -> Limit:
    currency = more.pop("currency", "USD" if measure == "amount" else None)
    return Limit(operation=operation, measure=measure, per=per, max=most, currency=currency, **more)  # type: ignore[arg-type]
