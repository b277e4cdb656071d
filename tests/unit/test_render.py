"""What is shown of an intent: the words and the fields of the outside contract, and nothing that is not for outside."""

import json
from datetime import UTC, datetime

import pytest
from given import aborted, attention, committing, compensate, decided, done, given, plan, prepared, resolution, verdict

from adapters.reference import ReferenceAdapter, World
from gateway.render import encode, show_intent, show_operation
from ledger import events as e
from ledger.intents import Mode
from ledger.phases import Step
from ledger.state import content_digest
from ledger.tasks import Check

CONTRACT = {
    "id", "ledger", "phase", "mode", "version", "position", "task", "reason", "confidence", "context", "agent",
    "commissioned_by", "custody", "grant", "decision", "approval", "attention", "digest", "actions", "submitted_at",
    "updated_at",
}  # fmt: skip
ACTION = {"id", "operation", "step", "guarantee", "undo", "params", "preview", "result", "error", "attempts"}
STEPS = {"planned", "prepared", "refused", "attempted", "in_doubt", "done", "failed", "aborted", "undone", "stuck"}


def shown(*history, **how):
    return json.loads(encode(show_intent(given(*history, **how))))


def test_an_intent_has_every_field_of_the_contract():
    body = shown(plan("refund"))
    assert body.keys() >= CONTRACT
    assert body["actions"][0].keys() >= ACTION


def test_nothing_is_decided_until_authority_has_spoken():
    assert shown(plan("refund"))["decision"] is None
    decision = shown(plan("refund"), verdict())["decision"]
    assert decision == {
        "effect": "allow",
        "policies": ["P-1"],
        "policy_set": "sha256:p",
        "reasons": [],
        "approvers": [],
        "quorum": 1,
    }


def test_a_denied_intent_says_why():
    denied = e.PolicyEvaluated(effect="deny", policies=(), policy_set="sha256:p", reasons=("amount above 50.00",))
    body = shown(plan("refund"), denied)
    assert (body["phase"], body["decision"]["reasons"]) == ("denied", ["amount above 50.00"])


def test_the_agent_is_shown_by_name_and_version_and_its_authority_by_grants():
    body = shown(plan("refund"))
    assert body["agent"] == {"name": "payment-specialist", "version": "3.1"}
    assert (body["grant"], body["custody"], body["commissioned_by"]) == (
        "grant-7",
        ["grant-root", "grant-7"],
        "operator",
    )


def test_times_are_rfc_3339_in_utc():
    body = shown(plan("refund"), verdict())
    assert body["submitted_at"] == "2030-01-01T00:00:00Z"
    assert datetime.fromisoformat(body["updated_at"]) == datetime(2030, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_the_digest_is_the_one_that_an_approval_would_name():
    state = given(plan("refund"), verdict(), prepared("refund"))
    assert show_intent(state).digest == content_digest(state)
    assert show_intent(state).digest != show_intent(given(plan("refund"), verdict())).digest


@pytest.mark.parametrize("step", Step)
def test_every_step_is_shown_as_one_of_the_ten_words(step):
    assert step.shown in STEPS


def test_what_an_action_showed_and_gave_is_shown_but_never_its_handle():
    body = shown(*committing(plan("refund")), done("refund"))
    (action,) = body["actions"]
    assert (action["step"], action["result"]) == ("done", {"ref": "refund"})
    assert action["preview"] == {"facts": {}, "before": None, "after": None}
    assert not {"receipt", "key", "undo_key"} & action.keys()


def test_a_dry_run_shows_its_previews():
    preview = {"facts": {}, "before": {"n": 1}, "after": {"n": 2}}
    body = shown(plan("refund"), verdict(), e.IntentSimulated(previews={"refund": preview}), mode=Mode.DRY_RUN)
    assert (body["phase"], body["actions"][0]["preview"]) == ("simulated", preview)


def test_attention_names_the_action_the_reason_and_since_when_until_it_is_answered():
    doubt = e.CommitInDoubt(action="mail", reason="no answer", retry_at=datetime(2030, 1, 1, tzinfo=UTC))
    raised = (*committing(plan("mail", "blind")), e.CommitAttempted(action="mail"), doubt, attention("mail"))
    assert shown(*raised)["attention"] == {"reason": "a test", "action": "mail", "since": "2030-01-01T00:00:06Z"}
    assert shown(*raised)["actions"][0] | {"step": "in_doubt", "error": "no answer"} == shown(*raised)["actions"][0]
    assert shown(*raised, resolution("mail", "applied"))["attention"] is None


def test_what_turned_an_intent_back_is_shown_with_who_said_so():
    assert shown(*committing(plan("refund")))["setback"] is None
    assert shown(plan("refund"), verdict(), aborted("deadline"))["setback"] == {
        "cause": "deadline",
        "reason": "a test",
        "by": None,
        "failure_mode": None,
        "escalated_to": None,
    }
    by = e.CompensateDecided(cause="undo", reason="a mistake", by="operator")
    history = (*committing(plan("refund")), done("refund"), e.IntentCommitted(), by)
    setback = shown(*history)["setback"]
    assert (setback["cause"], setback["reason"], setback["by"]) == ("undo", "a mistake", "operator")


def test_a_failure_that_was_foreseen_names_whom_it_escalates_to():
    foreseen = e.AbortDecided(cause="refused", reason="no account", failure_mode="unknown", escalated_to="dana")
    setback = shown(plan("refund"), verdict(), foreseen)["setback"]
    assert (setback["failure_mode"], setback["escalated_to"]) == ("unknown", "dana")


def test_the_money_that_an_action_moves_is_shown_in_minor_units():
    body = shown(plan("refund", amount_minor=4200, currency="USD"), plan("mail"))
    assert [action["money"] for action in body["actions"]] == [{"amount": 4200, "currency": "USD"}, None]


@pytest.mark.parametrize(
    ("event", "verdict_shown", "reason"),
    [
        (e.OutcomeVerified, "verified", None),
        (e.OutcomeContradicted, "contradicted", None),
        (lambda checks: e.OutcomeUnknown(checks=checks, reason="billing was away"), "unknown", "billing was away"),
    ],
)
def test_whether_the_task_is_done_is_shown_with_what_was_found(event, verdict_shown, reason):
    check = Check(verify="billing.look", expect={"status": "canceled"}, found={"status": "active"}, holds=False)
    history = (*committing(plan("refund")), done("refund"), e.IntentCommitted())
    assert shown(*history)["outcome"] is None
    outcome = shown(*history, event(checks=(check,)))["outcome"]
    assert (outcome["verdict"], outcome["reason"]) == (verdict_shown, reason)
    assert outcome["checks"] == [
        {
            "verify": "billing.look",
            "expect": {"status": "canceled"},
            "found": {"status": "active"},
            "holds": False,
            "reason": None,
        }
    ]


def test_a_mixed_intent_says_what_stands():
    history = (
        *committing(plan("mail", "blind", undo="none"), plan("pay", "idempotent")),
        e.CommitAttempted(action="mail"),
        done("mail"),
        e.ActionFailed(action="pay", reason="closed"),
        compensate(),
        e.IntentMixed(reason="Not undone: sim.mail."),
    )
    body = shown(*history)
    assert body["phase"] == "mixed"
    assert body["setback"]["reason"] == "a test Not undone: sim.mail."


def test_an_approval_is_shown_from_the_moment_it_is_asked_for_with_everybody_who_gave_it():
    asked = e.ApprovalRequested(
        digest="sha256:d", expires_at=datetime(2030, 1, 2, tzinfo=UTC), approvers=("manager",), quorum=2
    )
    history = (plan("refund"), verdict("escalate"), prepared("refund"), asked)
    assert shown(*history)["approval"] == {
        "digest": "sha256:d",
        "requested_at": "2030-01-01T00:00:03Z",
        "expires_at": "2030-01-02T00:00:00Z",
        "approvers": ["manager"],
        "quorum": 2,
        "given": [],
        "by": None,
        "note": None,
    }
    first = e.ApprovalGiven(digest="sha256:d", by="manager-x", note="seen")
    second = e.ApprovalGiven(digest="sha256:d", by="manager-y")
    approval = shown(*history, first, second)["approval"]
    assert approval["given"] == [
        {"by": "manager-x", "note": "seen", "at": "2030-01-01T00:00:04Z"},
        {"by": "manager-y", "note": None, "at": "2030-01-01T00:00:05Z"},
    ]
    assert (approval["by"], approval["note"]) == ("manager-x", "seen")
    assert shown(*history, first, second, decided())["phase"] == "committing"


def test_an_operation_is_shown_with_its_promises():
    (operation,) = ReferenceAdapter("bank", World()).operations.values()
    body = json.loads(encode(show_operation(operation)))
    assert body.keys() >= {"operation", "guarantee", "undo", "undo_window", "facts", "params"}
    assert (body["operation"], body["guarantee"], body["undo"]) == ("bank.post", "atomic", "exact")
