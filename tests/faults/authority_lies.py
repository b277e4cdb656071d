"""Lies about who may do what, how far and who said so: I5, I6, I7 and I11."""

from honest import CHARGED, COUNTED, moment, trace
from lies import Lie, all_of, attempted, event, granted, late, more, put, retitle, shown, told, without
from traces import Answer, Attempt, Evidence, Revocation

ANSWER = Answer("good", "approve", "finance-1", "finance-1", "sha256:other", 200)
REJECTION = Answer("good", "reject", "finance-1", None, "", 200)
TAKEN = Attempt("key-good", "body", "accepted", 44, 45, 200, "good", "agent")
SMALL = {"operation": "*", "where": {"amount": {"max": 15}}}
AN_AGENT = {"kind": "agent", "name": "finance-2", "role": "finance"}
ACTIVATED_BY_THE_DEAD = late("policies", "PolicySetActivated", policy_set="set-1", custody=["agent"])
IN_SET_1 = {"grant": "agent", "policies": ["p-1"], "policy_set": "set-1", "charges": [], "approved_by": []}


def revoked_before(grant: str) -> Lie:
    """Let a grant die before the first intent: at the place where a policy set was activated."""
    return lambda e: e.events[6].update(
        type="GrantRevoked", stream=f"grant/{grant}", body={"grant": grant, "custody": ["operator"]}
    )


def revocation(aborting: tuple[str, ...], already_decided: tuple[str, ...]) -> Lie:
    return put(revocations=[Revocation("agent", 43.0, 43.5, 200, aborting, already_decided)])


def answered(*answers: Answer) -> Lie:
    return lambda e: e.answers.extend(answers)


def approved_by(name: str, grant: str) -> Lie:
    """Let somebody else stand where finance-2 approved."""

    def lie(e: Evidence) -> None:
        event(e, "asked", 6)["body"].update(by=name, grant=grant)
        event(e, "asked", 7)["body"].update(approved_by=["finance-1", name])
        e.answers.append(Answer("asked", "approve", name, grant, event(e, "asked", 4)["body"]["digest"], 200))

    return lie


def refund(intent: str, amount: int) -> Lie:
    """Let the intent have asked for another amount."""
    return lambda e: event(e, intent, 1)["body"]["actions"][0]["params"].update(amount=amount)


def moved(amount: int, currency: str) -> Lie:
    """Let other money move outside than `good` asked for."""
    return all_of(without("good/b"), more(trace("apply", "good/b", 12.5, (amount, currency))))


def limited(place: int, most: int, grant: str) -> Lie:
    """Let a limit be lower, in the grant and in every charge."""

    def lie(e: Evidence) -> None:
        for intent, version in (("good", 3), ("back", 3), ("asked", 7)):
            event(e, intent, version)["body"]["charges"][place]["max"] = most
        issued = next(one for one in e.events if one["type"] == "GrantIssued" and one["body"]["grant"] == grant)
        issued["body"]["limits"][0]["max"] = most

    return lie


AUTHORITY_LIES: list[tuple[str, str, Lie]] = [
    ("I5", "a decision stands behind the revoke of its grant", late("intent/stopped", "CommitDecided", **IN_SET_1)),
    ("I5", "a decision stands behind the revoke of a grant above", revoked_before("manager")),
    ("I5", "an approval stands behind the revoke of its grant", revoked_before("finance-1")),
    ("I5", "a dead grant delegates", late("grant/child", "GrantIssued", grant="child", parent="agent", custody=[])),
    ("I5", "a dead grant activates policies", ACTIVATED_BY_THE_DEAD),
    ("I5", "what was undecided is not aborted", shown("stopped", phase="committing")),
    ("I5", "what was undecided is still held", put(held=[("payments", "stopped/a")])),
    ("I5", "what was undecided happened", more(trace("apply", "stopped/a", 46, (10, "USD")))),
    ("I5", "a revoke that was answered is not in the log", lambda e: e.events[42].update(type="Other")),
    ("I5", "what was to be aborted was committed", revocation(("good",), ())),
    ("I5", "what was decided already was not", revocation((), ("stopped",))),
    ("I5", "a revoked token is taken", attempted(TAKEN)),
    ("I5", "a living token is refused", attempted(Attempt("k", "b", "refused", 30, 31, 401, None, "agent"))),
    ("I6", "a verdict is of a set that is not in force", told("good", 2, policy_set="set-2")),
    ("I6", "a decision is of a set that is not in force", told("good", 3, policy_set="set-2")),
    ("I6", "a decision names other policies than its verdict", told("good", 3, policies=["p-2"])),
    ("I6", "a decision names no policy", all_of(told("good", 2, policies=[]), told("good", 3, policies=[]))),
    ("I6", "a decision has no verdict", retitle("good", 2, "Other")),
    ("I6", "what was denied is committed", told("good", 2, effect="deny")),
    ("I6", "a decision names another grant", told("good", 3, grant="manager")),
    ("I6", "a verdict is milder than its set", refund("good", 70)),
    ("I6", "a verdict asks fewer people than its set", told("asked", 2, quorum=1)),
    ("I6", "a grant of the chain does not permit it", granted("manager", operations=["crm.*", "payments.credit"])),
    ("I6", "a grant permits it with other parameters", granted("agent", operations=[SMALL])),
    ("I6", "a verdict given again is another", put(repeated={"decisions": 3, "wrong": {"position": 9}})),
    ("I6", "no verdict was given again", put(repeated={})),
    ("I7", "nobody was asked", retitle("asked", 4, "Other")),
    ("I7", "one of two people is missing", retitle("asked", 6, "Other")),
    ("I7", "one person counts as two", told("asked", 6, by="finance-1", grant="finance-1")),
    ("I7", "an approval came too late", told("asked", 4, expires_at=moment(35).isoformat())),
    ("I7", "an approval is of another digest", told("asked", 6, digest="sha256:other")),
    ("I7", "something else was done than approved", refund("asked", 91)),
    ("I7", "something else was shown than prepared", told("asked", 3, preview={"facts": {"amount": 2}})),
    ("I7", "fewer people were asked than policy wants", told("asked", 4, quorum=1)),
    ("I7", "others were asked than policy wants", told("asked", 4, approvers=[])),
    ("I7", "the decision names other people", told("asked", 7, approved_by=["finance-1"])),
    ("I7", "somebody in the chain approves", approved_by("manager", "manager")),
    ("I7", "somebody below one in the chain approves", approved_by("friend", "friend")),
    ("I7", "an agent approves", granted("finance-2", subject=AN_AGENT)),
    ("I7", "somebody approves under another's name", told("asked", 6, grant="finance-1")),
    ("I7", "somebody of another role approves", granted("finance-2", subject={"kind": "person", "name": "finance-2"})),
    ("I7", "somebody approves what they may not do", granted("finance-2", operations=["payments.refund"])),
    ("I7", "an approval that was answered is not in the log", answered(ANSWER)),
    ("I7", "a rejection that was answered is not in the log", answered(REJECTION)),
    ("I7", "an approval came from nobody", put(answers=[])),
    ("I7", "somebody may not, and did", answered(Answer("asked", "approve", "finance-1", None, "", 200, fit=False))),
    ("I11", "a limit on amounts is exceeded", limited(0, 30, "manager")),
    ("I11", "a limit on counts is exceeded", limited(1, 3, "agent")),
    ("I11", "what is undone on request is given back", told("back", 6, cause="undo")),
    ("I11", "a decision is charged nothing", told("good", 3, charges=[])),
    ("I11", "a decision is charged less", told("good", 3, charges=[CHARGED[0] | {"amount": 10}, CHARGED[1]])),
    ("I11", "a decision is charged to the wrong limit", granted("agent", limits=[COUNTED | {"per": "day"}])),
    ("I11", "more moved outside than was asked", moved(21, "USD")),
    ("I11", "another currency moved outside", moved(20, "EUR")),
]  # fmt: skip
