"""Who may answer for an intent: a second pair of eyes, and never the first in disguise."""

import msgspec
import pytest
from chains import agent, descend, intent, only, person, refund
from given import T0, recorded

from authority import approvals
from authority.approvals import Involved, folded
from authority.grants import principal_of
from ledger import events as e
from ledger.intents import Subject
from ledger.state import evolve

CUSTODY = descend(person("manager-x"), agent("payment-specialist"))
BOB = principal_of(descend(person("bob")))


def waiting(approvers=(), quorum=1, custody=CUSTODY):
    state = evolve(None, recorded(intent(custody, refund(12_000)), 1, T0))
    asked = e.ApprovalRequested(digest="sha256:1", expires_at=T0, approvers=approvers, quorum=quorum)
    return msgspec.structs.replace(state, approval_requested=asked)


def eligible(approver, state, custody, *answered):
    return approvals.eligible(approver, state, Involved(custody, answered))


def why_not(*given, custody=CUSTODY, **how):
    return eligible(principal_of(descend(*given)), waiting(custody=custody, **how), custody)


def test_a_person_outside_the_chain_may_answer():
    assert eligible(BOB, waiting(), CUSTODY) is None
    assert why_not(person("dana"), person("bob")) is None


def test_an_agent_never_may():
    assert why_not(agent("bob")) == "Only a person may answer for an intent."


@pytest.mark.parametrize("name", ["manager-x", "operator", "payment-specialist"])
def test_nobody_in_the_chain_may_under_whatever_grant(name):
    assert "chain of custody" in str(why_not(person(name)))
    assert "chain of custody" in str(why_not(person("dana"), person(name, grant="grant-another")))


@pytest.mark.parametrize(
    "name",
    [
        "Manager-X",
        "MANAGER-X",
        "\uff4danager-x",
        "manager-x\u200b",
        " manager-x",
        "manager\u00ad-x",
        "manager\u034f-x",
        "manager-x\ufe0f",
        "manager-x\u3164",
        "manager-x\U000e0100",
    ],
)
def test_nor_under_another_spelling_of_their_name(name):
    assert "chain of custody" in str(why_not(person(name)))


def test_letters_that_fold_into_several_are_one_spelling():
    custody = descend(person("straße"), agent("bot"))
    assert "chain of custody" in str(why_not(person("STRASSE"), custody=custody))
    assert folded("\ufb01ona") == folded("FIONA")


def test_nor_may_a_person_to_whom_somebody_in_the_chain_has_issued_a_grant():
    assert why_not(person("manager-x"), person("puppet")) == (
        "Your grant was issued below manager-x, who stands in the intent's chain of custody."
    )
    assert why_not(person("dana"), person("Manager-X", grant="grant-9"), person("puppet")) is not None


def test_the_operator_never_may_because_every_grant_hangs_on_theirs():
    operator = principal_of(descend())
    assert eligible(operator, waiting(), CUSTODY) is not None
    assert eligible(BOB, waiting(custody=descend(agent("bot"))), descend(agent("bot"))) is None


def test_nobody_approves_what_their_own_grant_does_not_permit():
    assert "does not permit" in str(why_not(person("bob", operations=only("crm.*"))))
    assert "does not permit" in str(why_not(person("bob", operations=only("payments.*", currency=["EUR"]))))
    assert "does not permit" in str(why_not(person("bob", task="12B")))
    assert why_not(person("bob", operations=only("payments.refund", currency=["USD"]), task="12A")) is None
    assert "does not permit" in str(why_not(person("dana", operations=only("crm.*")), person("bob")))


def test_only_those_whom_the_policy_names_may():
    lead = {"subject": Subject(kind="person", name="eve", role="refund-lead")}
    assert why_not(lead, approvers=("refund-lead",)) is None
    assert why_not(lead, approvers=("eve", "dana")) is None
    assert why_not(person("bob"), approvers=("refund-lead", "dana")) == "The policy asks refund-lead or dana to answer."
    assert why_not(person("Dana"), approvers=("dana",)) is not None  # a name that gives a right is taken literally


def test_everybody_answers_once_under_whatever_grant_and_spelling():
    state, chain = answered_by(person("Bob"))
    assert eligible(BOB, state, CUSTODY, chain) == "bob has already answered."
    assert eligible(principal_of(descend(person("dana"))), state, CUSTODY, chain) is None


def answered_by(*given):
    """Return an intent that waits for a second answer, and the chain of the first."""
    chain = descend(*given)
    first = e.ApprovalGiven(digest="sha256:1", by=chain[-1].subject.name, grant=chain[-1].grant)
    return msgspec.structs.replace(waiting(quorum=2), approvals=(first,)), chain


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([person("dana")], [person("dana"), person("puppet")]),
        ([person("dana"), person("puppet")], [person("dana")]),
        ([person("dana"), person("puppet")], [person("Dana", grant="grant-9"), person("other puppet")]),
        ([person("dana"), person("puppet")], [person("eve"), person("puppet", grant="grant-9")]),
    ],
)
def test_two_behind_whom_one_person_could_be_do_not_both_count(first, second):
    state, chain = answered_by(*first)
    assert "already answered" in str(eligible(principal_of(descend(*second)), state, CUSTODY, chain))
    assert eligible(BOB, state, CUSTODY, chain) is None


def test_where_the_grants_of_those_who_answered_are_not_known_nobody_may():
    state, chain = answered_by(person("dana"))
    assert eligible(BOB, state, CUSTODY) is not None
    assert eligible(BOB, state, CUSTODY, ()) is not None
    assert eligible(BOB, state, CUSTODY, chain[:-1]) is not None


def test_nobody_appoints_an_approver_who_is_none():
    lead = {"subject": Subject(kind="person", name="eve", role="refund-lead")}
    head = {"subject": Subject(kind="person", name="ida", role="refund-lead")}
    for approvers in (("refund-lead",), ("eve",)):
        assert "issued below mallory" in str(why_not(person("mallory"), lead, approvers=approvers))
        assert why_not(lead, approvers=approvers) is None
    assert why_not(head, lead, approvers=("refund-lead",)) is None
    assert why_not(person("mallory"), lead) is None  # where policy names nobody, anybody may


def test_where_the_custody_is_not_known_nobody_may():
    assert eligible(BOB, waiting(), ()) is not None
    assert eligible(BOB, waiting(), CUSTODY[:-1]) is not None
