"""Words for tests of the views as pure functions: one intent, what may happen to it, and the rows that it makes."""

from datetime import timedelta

from histories import T0, recorded

from ledger import events as e
from ledger.ids import intent_stream
from ledger.intents import ActionPlan, Guarantee, Mode, Subject, Undo
from projections.audit.sentence import sentence
from projections.audit.view import AUDIT
from projections.exposure import EXPOSURE

INTENT = "01930000-0000-7000-8000-000000000001"
STREAM = intent_stream(INTENT)


def plan(name="refund", guarantee=Guarantee.ATOMIC, undo=Undo.EXACT, summary="refund 42.00 USD to customer 88"):
    return ActionPlan(
        id=name,
        adapter="payments",
        operation=f"payments.{name}",
        params={},
        guarantee=guarantee,
        undo=undo,
        summary=summary,
        key=f"key-{name}",
        undo_key=f"undo-{name}",
    )


def submitted(*plans, **other):
    fields = {
        "intent": INTENT,
        "idempotency_key": "k",
        "request_digest": "sha256:0",
        "agent": Subject(kind="agent", name="payment-specialist", version="3.1"),
        "grant": "grant-7",
        "custody": ("grant-root", "grant-manager-x", "grant-7"),
        "commissioned_by": "manager-x",
        "task": "12A",
        "reason": "Charged twice",
        "confidence": 0.97,
        "mode": Mode.EXECUTE,
        "deadline_seconds": 30,
        "context": {},
        "actions": plans or (plan(),),
    }
    return e.IntentSubmitted(**fields | other)


ALLOWED = e.PolicyEvaluated(effect="allow", policies=("P-45",), policy_set="sha256:p")
DENIED = e.PolicyEvaluated(effect="deny", policies=(), policy_set="sha256:p", reasons=("amount is above 50.00",))
PREPARED = e.ActionPrepared(action="refund", receipt={"hold": 1}, preview={})
DECIDED = e.CommitDecided(grant="grant-7", policies=("P-45",), policy_set="sha256:p")
DONE = e.ActionDone(action="refund", result={})
COMMITTED = (submitted(), ALLOWED, PREPARED, DECIDED, DONE, e.IntentCommitted())
IN_DOUBT = e.CommitInDoubt(action="refund", reason="reset", retry_at=T0)
UNDO = e.CompensateDecided(cause="undo", reason="A mistake.", by="operator")


def rows(projection, *events):
    found = ()
    for version, event in enumerate(events, 1):
        if type(event) in projection.reads:
            at = T0 + timedelta(seconds=version)
            found = projection.apply(found, recorded(event, STREAM, version, 100 + version, at))
    return found


def said(*events):
    return [sentence(entry) for entry in rows(AUDIT, *events)]


def exposures(*events):
    return [row.exposure for row in rows(EXPOSURE, *events) if EXPOSURE.stored(row)]
