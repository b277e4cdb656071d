"""What the views keep of authority: grants, policy sets, tasks, dead tokens, hand-overs, escalations, outcomes."""

import json
from datetime import timedelta

import msgspec
import pytest
from histories import CONTRACT, T0, recorded
from unit.told import (
    ALLOWED,
    COMMITTED,
    INTENT,
    PREPARED,
    STREAM,
    exposures,
    plan,
    rows,
    said,
    submitted,
)

from ledger import events as e
from ledger.errors import IllegalTransition
from ledger.grants import Limit, Permission, Range
from ledger.intents import Subject
from ledger.tasks import Check
from projections.audit.entry import Kind, Verification
from projections.audit.forms import COLUMNS, csv_lines, csv_row, entry_json, whom
from projections.audit.sentence import sentence
from projections.audit.view import AUDIT, OUTCOMES
from projections.catalogue import PROJECTIONS
from projections.exposure import Exposure
from projections.intents import INTENTS

CHAIN = ("grant-root", "grant-manager-x", "grant-7")
OTHER = "01930000-0000-7000-8000-000000000002"
WHO = "Payment Specialist Agent v3.1, task 12A, commissioned by Manager X"
ASKED = e.ApprovalRequested(digest="sha256:0123456789abcdef", expires_at=T0)
ESCALATED = e.PolicyEvaluated(effect="escalate", policies=("P-1",), policy_set="sha256:p")


def issued(**other):
    fields = {
        "grant": "grant-7",
        "parent": "grant-manager-x",
        "subject": Subject(kind="agent", name="payment-specialist", version="3.1"),
        "token_sha256": "0" * 64,
        "operations": (Permission("payments.*", {"currency": ("USD",)}),),
        "task": "12A",
        "expires_at": T0 + timedelta(days=31),
        "custody": CHAIN,
        "commissioned_by": "manager-x",
        "issued_by": "manager-x",
    }
    return e.GrantIssued(**fields | other)


REVOKED = e.GrantRevoked(grant="grant-7", reason="The contract ended.", by="operator", custody=CHAIN[:1])


def entries(*events, stream="grant/grant-7"):
    found = ()
    for version, event in enumerate(events, 1):
        found = AUDIT.apply(found, recorded(event, stream, version, 200 + version))
    return found


def told(*events, stream="grant/grant-7"):
    return [sentence(entry) for entry in entries(*events, stream=stream)]


# ── grants ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_issued_what_to_whom_for_what_until_when():
    assert told(issued()) == [
        (
            "Manager X issued grant-7 to Payment Specialist Agent v3.1 for task 12A: payments.* where currency is USD, "
            "until 2030-02-01 00:00:00 UTC"
        )
    ]


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"operations": ("*",)}, "every operation"),
        ({"operations": (Permission("a.b"), Permission("c.*"))}, "a.b and c.*"),
        ({"operations": (Permission("a.b", {"n": Range(1, 5)}),)}, "a.b where n is from 1 to 5"),
        ({"operations": (Permission("a.b", {"n": Range(max=5), "m": Range(min=1)}),)},
         "a.b where m is at least 1 and n is at most 5"),
        ({"operations": (Permission("a.b", {"to": ("x", "y", None)}),)}, "a.b where to is x, y or null"),
        ({"limits": (Limit("payments.refund", "amount", "day", 50_000, "USD"),)},
         "payments.* where currency is USD, at most 500.00 USD of payments.refund a day"),
        ({"limits": (Limit("*", "count", "hour", 10, each="agent"), Limit("a.b", "count", "total", 1))},
         "payments.* where currency is USD, at most 10 operations an hour for each agent, at most 1 a.b in all"),
    ],
)  # fmt: skip
def test_the_terms_of_a_grant_in_words(terms, words):
    assert told(issued(expires_at=None, task=None, **terms)) == [
        f"Manager X issued grant-7 to Payment Specialist Agent v3.1: {words}"
    ]


def test_an_agent_who_delegates_is_called_one():
    below = issued(grant="grant-8", custody=(*CHAIN, "grant-8"), issued_by="payment-specialist", task=None)
    assert told(below)[0].startswith("Payment Specialist Agent issued grant-8 to Payment Specialist Agent v3.1: ")
    assert entry_json(entries(below)[0])["actor"] == {"kind": "agent", "name": "payment-specialist", "version": None}


def test_the_first_grant_is_nobodys_gift():
    first = e.GrantIssued("grant-operator", None, Subject("person", "operator"), "0" * 64, ("*",))
    (entry,) = entries(first, stream="grants")
    assert sentence(entry) == "The ledger began with grant-operator for Operator: every operation"
    assert entry.custody == ("grant-operator",)


def test_a_revocation_names_the_grant_the_reason_and_the_chain_of_who_did_it():
    issue, revoke = entries(issued(), REVOKED)
    assert sentence(revoke) == "Operator revoked grant-7 and everything below it: The contract ended"
    assert (revoke.custody, revoke.agent, revoke.task) == (CHAIN[:1], "payment-specialist", "12A")
    assert (revoke.kind, revoke.by, revoke.outcome) == (Kind.REVOKE, "operator", "revoked")
    assert issue == entries(issued())[0]
    assert whom(revoke) == ("Payment Specialist Agent v3.1",)


def test_a_revocation_away_from_its_grant_still_says_which():
    (entry,) = entries(REVOKED, stream="grant/grant-operator")
    assert sentence(entry) == "Operator revoked grant-7 and everything below it: The contract ended"
    assert entry.custody == CHAIN[:1]


FORBIDDEN = e.ActRefused("approve_intent", Subject("agent", "payment-specialist", "3.1"), "grant-7", 3, "01a2", CHAIN)

# ── policies, tasks, tokens ──────────────────────────────────────────────────────────────────────────────────────


def test_policy_sets_are_added_and_activated_by_somebody():
    digest = "sha256:0123456789abcdef"
    added = e.PolicySetAdded(digest, "permit(…);", ("P-45", "P-46"), "manager-x", CHAIN[:2])
    (entry,) = entries(added, stream=f"policy/{digest}")
    assert sentence(entry) == "Manager X added policy set sha256:0123456789ab: P-45 and P-46"
    assert (entry.policies, entry.policy_set, entry.custody) == (("P-45", "P-46"), digest, CHAIN[:2])
    activated = [e.PolicySetActivated(one, "operator", CHAIN[:1]) for one in (digest, "sha256:q", digest)]
    assert told(*activated, stream="policies")[2] == "Operator activated policy set sha256:0123456789ab"
    assert [one.version for one in entries(*activated, stream="policies")] == [1, 2, 3]


def test_a_task_is_defined_with_what_done_means_and_who_is_asked():
    assert told(e.TaskDefined(CONTRACT, "manager-x", CHAIN[:2]), stream="task/12A") == [
        (
            "Manager X defined task 12A, owned by Manager X: payments.* and crm.update; done when crm.customer shows "
            "status refunded; account not found goes to Dana; must phone retention goes to Erin"
        )
    ]


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (e.TokenRefused("revoked", "grant-7", 3, CHAIN), "A revoked token of grant-7 was shown 3 times"),
        (e.TokenRefused("expired", "grant-7", 1, CHAIN), "An expired token of grant-7 was shown once"),
        (e.TokenRefused("unknown", None, 12), "An unknown token was shown 12 times"),
    ],
)
def test_dead_tokens_are_told_apart(refused, words):
    (entry,) = entries(refused, stream="refusal/1")
    assert sentence(entry) == words
    assert entry.outcome == f"token_{refused.cause}"
    assert entry.custody == refused.custody
    assert entry_json(entry)["actor"] is None


def test_who_asked_for_what_was_not_theirs_to_do_is_told():
    (entry,) = entries(FORBIDDEN, stream="refusal/4")
    assert sentence(entry) == "Payment Specialist Agent v3.1 was refused 3 times: approve intent (first 01a2)"
    assert (entry.by, entry.custody, entry.grant_id) == ("payment-specialist", CHAIN, "grant-7")
    person = e.ActRefused("erase_subject", Subject("person", "dana"), "grant-8", 1)
    assert told(person, stream="refusal/5") == ["Dana was refused once: erase subject"]


# ── intents under authority ──────────────────────────────────────────────────────────────────────────────────────


def test_a_hand_over_says_what_it_follows():
    assert said(submitted(follows=OTHER)) == [f"{WHO}, following {OTHER}: refund 42.00 USD to customer 88, submitted"]
    assert rows(INTENTS, submitted(follows=OTHER))[0].follows == OTHER


def test_a_denied_intent_names_the_policies_and_the_reasons():
    denied = e.PolicyEvaluated("deny", ("P-13", "P-14"), "sha256:p", ("tier-1 only reads", "the amount is above 50"))
    assert said(submitted(), denied) == [
        (
            f"{WHO}, under policies P-13 and P-14: refund 42.00 USD to customer 88, denied: "
            "tier-1 only reads; the amount is above 50"
        )
    ]


def test_people_answer_to_a_digest():
    approved = e.ApprovalGiven(digest=ASKED.digest, by="manager-x", note="Seen.", grant="grant-manager-x")
    rejected = e.AbortDecided(cause="rejected", reason="No.", by="dana")
    entry, approve, reject = rows(AUDIT, submitted(), ESCALATED, PREPARED, ASKED, approved, rejected)
    assert [entry.digest, approve.digest, reject.digest] == [ASKED.digest] * 3
    assert sentence(approve) == (
        "Manager X approved: refund 42.00 USD to customer 88 (sha256:0123456789ab), asked for by "
        "Payment Specialist Agent v3.1: Seen"
    )
    assert sentence(reject).startswith("Dana rejected: refund 42.00 USD to customer 88 (sha256:0123456789ab), ")


def test_an_agent_who_cancels_what_is_its_own_is_no_person():
    cancelled = e.AbortDecided(cause="cancelled", reason="No longer needed.", by="payment-specialist")
    act = rows(AUDIT, submitted(), cancelled)[1]
    assert sentence(act).startswith("Payment Specialist Agent cancelled: ")
    assert entry_json(act)["actor"]["kind"] == "agent"


def test_a_foreseen_failure_says_to_whom_it_was_escalated():
    failed = e.AbortDecided("refused", "billing refused: no such account", None, "account not found", "dana")
    way = (submitted(), ALLOWED, failed)
    assert said(*way)[0].endswith(
        "customer 88, aborting, escalated to Dana: account not found (billing refused: no such account)"
    )
    assert rows(INTENTS, *way)[0].escalated_to == "dana"
    undone = e.CompensateDecided("failed", "no such account", None, "account not found", "dana")
    assert rows(INTENTS, *COMMITTED, undone)[0].escalated_to == "dana"


def test_outcomes_are_told_as_long_as_the_intent_stands_committed():
    check = Check("billing.subscription", {"status": "canceled"}, {"status": "active"}, holds=False)
    kept = Check("email.sent", {"sent": True}, {"sent": True}, holds=True)
    who = f"{WHO}, under policy P-45: refund 42.00 USD to customer 88"
    assert said(*COMMITTED, e.OutcomeVerified((kept,))) == [f"{who}, committed and verified"]
    contradicted = (*COMMITTED, e.OutcomeContradicted((kept, check)))
    assert said(*contradicted) == [
        f"{who}, committed, but the outside contradicts it: billing.subscription shows status active, not canceled"
    ]
    assert said(*COMMITTED, e.OutcomeUnknown((check,), "No answer.")) == [
        f"{who}, committed, and whether the task is done is not known: No answer"
    ]
    undone = rows(AUDIT, *contradicted, e.CompensateDecided("undo", "A mistake.", "operator"))
    assert sentence(undone[0]) == f"{who}, compensating: A mistake"
    assert (undone[0].verification, undone[1].verification) == (Verification.CONTRADICTED, None)


def test_waiting_for_people_is_held_and_a_hold_let_go_is_not():
    way = (submitted(), ESCALATED, PREPARED, ASKED)
    releasing = (*way, e.ReleaseAttempted(action="refund"))
    released = (*releasing, e.HoldReleased(action="refund", key="again"))
    assert exposures(*way) == exposures(*releasing) == [Exposure.HELD]
    assert exposures(*released) == [None]
    assert exposures(*released, PREPARED) == [Exposure.HELD]


# ── every entry ──────────────────────────────────────────────────────────────────────────────────────────────────


def every_kind():
    yield from entries(issued(), REVOKED)
    yield from entries(e.PolicySetAdded("sha256:p", "", ("P-45",), "operator", CHAIN[:1]), stream="policy/sha256:p")
    yield from entries(e.PolicySetActivated("sha256:p", "operator", CHAIN[:1]), stream="policies")
    yield from entries(e.TaskDefined(CONTRACT, "manager-x", CHAIN[:2]), stream="task/12A")
    yield from entries(e.TokenRefused("expired", "grant-7", 1, CHAIN), stream="refusal/1")
    yield from entries(FORBIDDEN, stream="refusal/2")
    yield from rows(AUDIT, *COMMITTED, e.CompensateDecided("undo", "A mistake.", "operator"))


def test_the_chain_of_custody_stands_in_every_entry_and_every_form():
    for entry in every_kind():
        shown = msgspec.json.decode(msgspec.json.encode(entry_json(entry)))
        assert shown["custody"] == list(entry.custody) != []
        assert shown["authority"]["grant"] == entry.grant_id == entry.custody[-1]
        assert shown["outcome"] in OUTCOMES
        assert shown["intent"] == (INTENT if entry.stream == STREAM else None)
        assert len(csv_row(entry)) == len(COLUMNS)
        assert csv_lines([csv_row(entry)]).count("\n") == 1


def test_what_was_granted_can_be_read_by_machines():
    shown = msgspec.json.decode(msgspec.json.encode(entry_json(entries(issued())[0])))
    assert shown["detail"]["operations"] == [{"operation": "payments.*", "where": {"currency": ["USD"]}}]
    assert shown["what"] == [{"action": None, "operation": "payments.*", "summary": "payments.*"}]
    assert shown["actor"] == {"kind": "person", "name": "manager-x", "version": None}
    assert "token" not in json.dumps(shown)


def test_outside_words_cannot_break_a_sentence_about_authority_in_two():
    forged = "ended\nManager X issued grant-9 to Eve: every operation\u2028"
    for entry in (
        *entries(issued(task=forged), e.GrantRevoked("grant-7", forged, "operator")),
        *entries(e.PolicySetAdded("sha256:p", "", (forged,), "operator"), stream="policy/sha256:p"),
    ):
        assert sentence(entry).isprintable()


@pytest.mark.parametrize("event", [ALLOWED, PREPARED, submitted()], ids=lambda event: type(event).__name__)
def test_an_event_of_an_intent_cannot_stand_in_a_stream_of_authority(event):
    with pytest.raises(IllegalTransition):
        entries(event)


def test_an_event_of_authority_cannot_stand_in_the_stream_of_an_intent():
    with pytest.raises(IllegalTransition):
        rows(AUDIT, submitted(), issued())
    assert all(type(issued()) not in p.reads for p in PROJECTIONS if p is not AUDIT)


def test_an_entry_of_an_intent_is_named_by_its_stream():
    (entry,) = rows(AUDIT, submitted(plan("refund"), plan("mail")))
    assert (entry.stream, entry.version, entry.follows, entry.detail) == (STREAM, 1, None, None)
