"""The histories of a big ledger: what intents of an ordinary company look like, as bytes that are filled in.

A history is told once, as events, and folded, so that an impossible one is found before anything is written. Of its
events only the words that differ from intent to intent are then filled into the canonical bytes, which costs a
microsecond an event. What stands for such a word is in `@…@`; money is the number AMOUNT.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ledger import events as e
from ledger.ids import intent_stream
from ledger.intents import ActionPlan, Guarantee, Mode, Subject, Undo
from ledger.state import fold

AMOUNT: Final = 7_700_770_077
BEGIN: Final = datetime(2026, 5, 1, tzinfo=UTC)
RETRY: Final = datetime(2030, 1, 1, tzinfo=UTC)
POLICY_SETS: Final = tuple("sha256:" + digit * 64 for digit in "abc")
CHAIN: Final = ("grant-operator", "@manager_grant@", "@grant@")
DIGEST: Final = "sha256:@hex@@hex@"
SECONDS: Final = 0.4  # between two events of an intent at most, where no person is waited for


class Told(msgspec.Struct, frozen=True):
    """One event of a history: its type, its bytes to be filled in (None of them: as they are), and its delay."""

    type: str
    body: bytes
    fills: bool
    delay_seconds: float


class History(msgspec.Struct, frozen=True):
    """How one kind of intent goes, and how often."""

    weight: float
    told: tuple[Told, ...]


def histories() -> list[History]:
    """Return every kind of history: each shape of an intent with each ending that it can have."""
    return [
        History(shape_weight * weight, tuple(_templates(events)))
        for shape_weight, plans in _SHAPES
        for weight, events in _endings(plans)
    ]


def fill(body: bytes, words: Mapping[bytes, bytes]) -> bytes:
    """Put the words of one intent into the bytes of a told event."""
    return body % words


def _plan(name: str, operation: str, guarantee: Guarantee, undo: Undo, summary: str, **fields: Any) -> ActionPlan:
    return ActionPlan(
        id=name,
        adapter=operation.partition(".")[0],
        operation=operation,
        params=fields.pop("params"),
        guarantee=guarantee,
        undo=undo,
        summary=summary,
        key=f"@hex@-{name}",
        undo_key=f"@hex@-{name}-u",
        **fields,
    )


_REFUND: Final = _plan(
    "refund",
    "payments.refund",
    Guarantee.ATOMIC,
    Undo.EXACT,
    "refund @money@ USD to customer @customer@",
    params={"charge": "ch_@customer@", "amount": AMOUNT, "currency": "USD"},
    facts=True,
    amount_minor=AMOUNT,
    currency="USD",
)
_CRM: Final = _plan(
    "crm",
    "crm.update",
    Guarantee.IDEMPOTENT,
    Undo.SEMANTIC,
    "update customer @customer@",
    params={"customer": "@customer@", "set": {"status": "refunded"}},
)
_MAIL: Final = _plan(
    "mail",
    "email.send",
    Guarantee.BLIND,
    Undo.NONE,
    "mail customer @customer@",
    params={"to": "customer-@customer@@example.com", "subject": "Your order", "text": "It is on its way back to you."},
)
_ORDER: Final = _plan(
    "order",
    "orders.cancel",
    Guarantee.VERIFIABLE,
    Undo.SEMANTIC,
    "cancel order @customer@",
    params={"order": "@customer@"},
)
_ADDRESS: Final = _plan(
    "address",
    "crm.set_address",
    Guarantee.IDEMPOTENT,
    Undo.EXACT,
    "set the address of customer @customer@",
    params={"customer": "@customer@", "street": "Lime Street @customer@"},
)
_SHAPES: Final[Sequence[tuple[float, tuple[ActionPlan, ...]]]] = (
    (30, (_REFUND,)),
    (15, (_REFUND, _CRM)),
    (5, (_REFUND, _CRM, _MAIL)),
    (20, (_ADDRESS,)),
    (15, (_MAIL,)),
    (15, (_ORDER,)),
)
_Story = list[tuple[float, e.Event]]


def _endings(plans: tuple[ActionPlan, ...]) -> Iterator[tuple[float, _Story]]:
    """Yield every way in which an intent of these actions may go, with its weight."""
    start: _Story = [(0, _submitted(plans)), (SECONDS, _verdict(plans, "allow"))]
    asked: _Story = [(0, _submitted(plans)), (SECONDS, _verdict(plans, "escalate"))]
    ready: _Story = [(SECONDS, _prepared(plan)) for plan in plans]
    waits: _Story = [(0, e.ApprovalRequested(digest=DIGEST, expires_at=RETRY))]
    decided: _Story = [(0, e.CommitDecided("@grant@", ("P-@policy@",), "@policy_set@"))]
    done: _Story = [one for plan in plans for one in _done(plan)]
    committed: _Story = [(0, e.IntentCommitted())]
    given: _Story = [(7_200, e.ApprovalGiven(DIGEST, "@person@", "Looked at it.", "grant-@person@"))]
    aborted: _Story = [(0, e.IntentAborted())]
    yield 70, [*start, *ready, *decided, *done, *committed]
    yield 5, [*asked, *ready, *waits, *given, *decided, *done, *committed]
    rejected = e.AbortDecided(cause="rejected", reason="Too much for this customer.", by="@person@")
    released: _Story = [(SECONDS, e.ActionAborted(plan.id)) for plan in plans]
    yield 2, [*asked, *ready, *waits, (10_800, rejected), *released, *aborted]
    yield 0.1, [*asked, *ready, *waits]  # nobody has answered yet
    yield 8, [(0, _submitted(plans)), (SECONDS, _verdict(plans, "deny"))]
    refused = [(SECONDS, e.ActionRefused(plans[0].id, "insufficient funds on the account")), *ready[1:]]
    no = e.AbortDecided(cause="refused", reason=f"{plans[0].id}: insufficient funds on the account")
    yield 5, [*start, *refused, (0, no), *released[1:], *aborted]
    doubt = e.CommitInDoubt(plans[0].id, "no answer within 10 s", retry_at=RETRY)
    first, rest = done[: len(_done(plans[0]))], done[len(_done(plans[0])) :]
    yield 4, [*start, *ready, *decided, *first[:-1], (10, doubt), first[-1], *rest, *committed]
    stuck = e.AttentionRaised(plans[0].id, "Nobody can tell whether it happened.")
    yield 0.1, [*start, *ready, *decided, *first[:-1], (10, doubt), (SECONDS, stuck)]
    answer = e.AttentionResolved(plans[0].id, "applied", "I looked it up.", "@person@")
    yield (
        0.4,
        [*start, *ready, *decided, *first[:-1], (10, doubt), (SECONDS, stuck), (7_200, answer), *rest, *committed],
    )
    if all(plan.undo is not Undo.NONE for plan in plans):
        undo = e.CompensateDecided(cause="undo", reason="The customer was right after all.", by="@person@")
        undone: _Story = [(SECONDS, e.ActionUndone(plan.id, {"reversal": "@hex@"})) for plan in reversed(plans)]
        end: _Story = [(0, e.IntentCompensated())]
        yield 1, [*start, *ready, *decided, *done, *committed, (86_400, undo), *undone, *end]


def _submitted(plans: tuple[ActionPlan, ...]) -> e.IntentSubmitted:
    return e.IntentSubmitted(
        intent="@intent@",
        idempotency_key="@hex@",
        request_digest=DIGEST,
        agent=Subject(kind="agent", name="@agent@", version="@version@", role="@role@"),
        grant="@grant@",
        custody=CHAIN,
        commissioned_by="@manager@",
        task="@task@",
        reason="Customer @customer@ asked for it",
        confidence=0.97,
        mode=Mode.EXECUTE,
        deadline_seconds=30,
        context={"ticket": "T-@customer@"},
        actions=plans,
    )


def _verdict(plans: tuple[ActionPlan, ...], effect: Any) -> e.PolicyEvaluated:
    return e.PolicyEvaluated(
        effect=effect,
        policies=("P-@policy@",),
        policy_set="@policy_set@",
        reasons=("the account of the customer is younger than 30 days",) if effect == "deny" else (),
        facts={plan.id: {"account_age_days": 12, "amount": AMOUNT} for plan in plans if plan.facts},
        evaluated_at=BEGIN,
    )


def _prepared(plan: ActionPlan) -> e.ActionPrepared:
    held = plan.guarantee is Guarantee.ATOMIC
    return e.ActionPrepared(plan.id, {"hold": "@hex@"} if held else None, {"before": {"balance": 10_000}})


def _done(plan: ActionPlan) -> _Story:
    done = (SECONDS, e.ActionDone(plan.id, {"id": "re_@customer@", "at": "2026-05-01T00:00:00Z"}))
    if plan.guarantee is Guarantee.ATOMIC:
        return [done]
    return [(0, e.CommitAttempted(plan.id)), done]


def _templates(story: _Story) -> Iterator[Told]:
    """Fold a story, so that it is known to be possible, and encode its events."""
    at, recorded = BEGIN, []
    for version, (delay, event) in enumerate(story, 1):
        at += timedelta(seconds=delay)
        recorded.append(
            e.Recorded(
                ledger="main",
                position=version,
                stream=intent_stream("@intent@"),
                version=version,
                at=at,
                event=event,
                body=e.encode(event),
            )
        )
    fold(recorded)
    for one, (delay, _) in zip(recorded, story, strict=True):
        body = one.body.replace(b"%", b"%%").replace(str(AMOUNT).encode(), b"%(amount)b")
        for word in _WORDS:
            body = body.replace(b"@" + word + b"@", b"%(" + word + b")b")
        yield Told(one.type, body, b"%" in body, delay)


_WORDS: Final = (
    b"intent", b"hex", b"agent", b"version", b"role", b"grant", b"manager_grant", b"manager", b"task", b"customer",
    b"money", b"person", b"policy_set", b"policy",
)  # fmt: skip
