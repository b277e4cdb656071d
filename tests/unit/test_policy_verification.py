"""Recorded decisions judged again: an honest ledger is right, and each single lie in it is found where it stands."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from chains import action, agent, descend, intent, limit, only, person, refund

from authority.policy import DEFAULT, parse
from authority.verdict import evaluate
from authority.verification import AuthorityWalk, verify
from ledger import events as e
from ledger.grants import Charge
from ledger.intents import ActionPlan
from ledger.state import IntentState, content_digest, evolve

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
CEDAR = (
    '@id("P-45") permit (principal, action == Action::"payments.refund", resource) when { context.amount < 5000 };'
    '@id("P-46") @quorum("2") permit (principal, action == Action::"payments.refund#with_approval", resource);'
)
SET = parse(CEDAR)
OPERATOR, MANAGER, AGENT = CHAIN = descend(
    person(
        "manager-x", operations=only("payments.*"), limits=(limit("payments.*", 60_000), limit("*", 5, "count", "hour"))
    ),
    agent("refunder", expires_at=START + timedelta(hours=30)),
)
DANA, EVE, FINN = (descend(person(name))[-1] for name in ("dana", "eve", "finn"))


class Ledger:
    """Events as the system would record them, a second apart."""

    def __init__(self) -> None:
        self.recorded: list[e.Recorded] = []
        self.states: dict[str, IntentState] = {}
        self.at = START
        self.policy_set = DEFAULT

    def say(self, stream: str, *events: e.Event) -> None:
        for event in events:
            self.at += timedelta(seconds=1)
            version = 1 + sum(one.stream == stream for one in self.recorded)
            one = e.Recorded(
                ledger="main",
                position=len(self.recorded) + 1,
                stream=stream,
                version=version,
                at=self.at,
                event=event,
                body=b"",
            )
            self.recorded.append(one)
            if stream.startswith("intent/"):
                self.states[stream] = evolve(self.states.get(stream), one)

    def submit(self, stream: str, plan: ActionPlan, chain: tuple[e.GrantIssued, ...] = CHAIN) -> e.PolicyEvaluated:
        submitted = intent(chain, plan)
        verdict = evaluate(chain, self.policy_set, submitted, {"a": {"age": 91}}, self.at)
        self.say(stream, submitted, verdict)
        if verdict.effect != "deny":
            self.say(stream, e.ActionPrepared(action="a", receipt={}, preview={"facts": {"age": 91}}))
        return verdict

    def decide(self, stream: str) -> None:
        state = self.states[stream]
        assert state.policy is not None
        self.say(
            stream,
            e.CommitDecided(
                grant=state.submitted.grant,
                policies=state.policy.policies,
                policy_set=state.policy.policy_set,
                charges=state.policy.charges,
                approved_by=tuple(one.by for one in state.approvals),
            ),
        )

    def ask(self, stream: str, *people: e.GrantIssued) -> None:
        state = self.states[stream]
        assert state.policy is not None
        digest = content_digest(state)
        until = self.at + timedelta(hours=1)
        self.say(stream, e.ApprovalRequested(digest, until, state.policy.approvers, state.policy.quorum))
        for one in people:
            self.say(stream, e.ApprovalGiven(digest=digest, by=one.subject.name, grant=one.grant))

    def activate(self) -> None:
        self.say(f"policy/{SET.digest}", e.PolicySetAdded(SET.digest, CEDAR, SET.policies, "operator"))
        self.say("policies", e.PolicySetActivated(SET.digest, "operator"))
        self.policy_set = SET


def story() -> Ledger:
    """An intent under the built-in set, one that P-45 allows, one that two people approve, one denied, one undone."""
    ledger = Ledger()
    ledger.say("grants", OPERATOR)
    for one in (MANAGER, AGENT, DANA, EVE, FINN):
        ledger.say(f"grant/{one.grant}", one)
    ledger.submit("intent/0", refund(100))
    ledger.decide("intent/0")
    ledger.say("intent/0", e.ActionDone(action="a", result={}), e.IntentCommitted())
    ledger.activate()
    ledger.submit("intent/1", refund(4_200))
    ledger.decide("intent/1")
    ledger.say("intent/1", e.ActionDone(action="a", result={}), e.IntentCommitted())
    ledger.submit("intent/2", refund(50_000))
    ledger.ask("intent/2", DANA, EVE)
    ledger.decide("intent/2")
    ledger.say("intent/2", e.ActionFailed(action="a", reason="no"), e.CompensateDecided(cause="failed", reason="no"))
    ledger.say("intent/2", e.IntentCompensated())
    ledger.submit("intent/3", action("email.send"))
    ledger.submit("intent/4", refund(55_000))  # fits because intent 2 has given back what it took
    ledger.ask("intent/4", FINN, DANA)
    ledger.decide("intent/4")
    return ledger


def lie(about: type[e.Event], stream: str, **changed: object) -> tuple[int, list[e.Recorded]]:
    """Return the story with one event changed, and where it stands."""
    told = story().recorded
    place = next(n for n, one in enumerate(told) if type(one.event) is about and one.stream == stream)
    told[place] = msgspec.structs.replace(told[place], event=msgspec.structs.replace(told[place].event, **changed))
    return place + 1, told


def found(told: list[e.Recorded]) -> tuple[int, str]:
    wrong = verify(told)
    assert wrong is not None, "nothing was found wrong"
    return wrong.position, wrong.sentence


def test_an_honest_ledger_is_right():
    walk = AuthorityWalk()
    assert [wrong for one in story().recorded if (wrong := walk.take(one)) is not None] == []
    assert (walk.position, walk.verdicts, walk.decisions) == (len(story().recorded), 5, 4)


def test_a_ledger_of_release_0_1_is_right():
    """Its verdicts had no time, its operator's grant no custody, and its decisions no charges."""
    old = msgspec.structs.replace(OPERATOR, custody=(), operations=("*",))
    ledger = Ledger()
    ledger.say("grants", old)
    ledger.say("intent/1", intent((OPERATOR,), refund(10**9)))
    ledger.say(
        "intent/1",
        e.PolicyEvaluated(effect="allow", policies=("allow-all",), policy_set=DEFAULT.digest, facts={}),
        e.ActionPrepared(action="a", receipt={}, preview={}),
        e.CommitDecided(grant="grant-operator", policies=("allow-all",), policy_set=DEFAULT.digest),
    )
    assert verify(ledger.recorded) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"effect": "escalate"},
        {"policies": ("P-46",)},
        {"policies": ()},
        {"reasons": ("because",)},
        {"approvers": ("dana",)},
        {"quorum": 2},
        {"charges": ()},
        {"charges": (Charge("grant-manager-x/0", "day", 1, 60_000),)},
    ],
)
def test_a_verdict_that_was_another_is_found(changed):
    place, told = lie(e.PolicyEvaluated, "intent/1", **changed)
    position, sentence = found(told)
    assert position == place
    assert sentence.startswith(f"Judged again, the verdict is another: {next(iter(changed))} was ")


def test_a_verdict_of_another_policy_set_is_found():
    place, told = lie(e.PolicyEvaluated, "intent/1", policy_set=DEFAULT.digest)
    position, sentence = found(told)
    assert (position, "was active" in sentence) == (place, True)


@pytest.mark.parametrize(
    ("about", "stream", "changed"),
    [
        (e.IntentSubmitted, "intent/2", {"actions": (refund(10),)}),  # what was submitted
        (e.PolicySetAdded, f"policy/{SET.digest}", {"cedar": CEDAR.replace("5000", "9000")}),  # by what it was judged
        (e.PolicySetAdded, f"policy/{SET.digest}", {"policies": ("P-45",)}),
        (e.PolicySetAdded, f"policy/{SET.digest}", {"cedar": "permit;"}),
        (e.IntentSubmitted, "intent/1", {"custody": ("grant-operator", "grant-refunder")}),
        (e.IntentSubmitted, "intent/1", {"grant": "grant-nobody"}),
        (e.GrantIssued, "grant/grant-manager-x", {"limits": ()}),  # under what
        (e.GrantIssued, "grant/grant-manager-x", {"operations": only("crm.*")}),
        (e.GrantIssued, "grant/grant-manager-x", {"parent": "grant-nobody"}),
        (e.GrantIssued, "grant/grant-refunder", {"expires_at": START}),
        (e.PolicySetActivated, "policies", {"policy_set": "sha256:0"}),
    ],
)
def test_what_a_verdict_stands_on_cannot_be_changed_afterwards(about, stream, changed):
    place, told = lie(about, stream, **changed)
    assert found(told)[0] >= place


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"grant": "grant-manager-x"}, "The decision stands under no living grant of the intent"),
        ({"policies": ("P-45",)}, "names other policies or charges than the verdict"),
        ({"charges": ()}, "names other policies or charges than the verdict"),
        ({"policy_set": DEFAULT.digest}, "was active"),
        ({"approved_by": ()}, "The verdict asks for 2 approvals; 2 count, of dana, eve."),
        ({"approved_by": ("dana", "finn")}, "The verdict asks for 2 approvals"),
    ],
)
def test_a_decision_that_does_not_stand_on_its_verdict_is_found(changed, sentence):
    place, told = lie(e.CommitDecided, "intent/2", **changed)
    position, said = found(told)
    assert (position, sentence in said) == (place, True), said


def other(change: Callable[[Ledger], None]) -> tuple[int, str]:
    """Return what is found where a large refund is decided after `change` has told its own story."""
    ledger = Ledger()
    ledger.say("grants", OPERATOR)
    for one in (MANAGER, AGENT, DANA, EVE, FINN):
        ledger.say(f"grant/{one.grant}", one)
    ledger.activate()
    ledger.submit("intent/1", refund(50_000))
    change(ledger)
    ledger.decide("intent/1")
    position, sentence = found(ledger.recorded)
    assert position <= len(ledger.recorded)
    return len(ledger.recorded) - position, sentence


def asked(ledger: Ledger, **changed: object) -> None:
    ledger.ask("intent/1")
    request = msgspec.structs.replace(ledger.recorded.pop().event, **changed)
    ledger.states["intent/1"] = evolve_all(ledger, "intent/1")
    ledger.say("intent/1", request)
    for name in ("dana", "eve"):
        ledger.say("intent/1", e.ApprovalGiven(digest=request.digest, by=name, grant=f"grant-{name}"))


def evolve_all(ledger: Ledger, stream: str) -> IntentState:
    state = None
    for one in ledger.recorded:
        if one.stream == stream:
            state = evolve(state, one)
    assert state is not None
    return state


def revoke(grant: str) -> e.GrantRevoked:
    return e.GrantRevoked(grant=grant, reason="stop", by="operator")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda _: None, "nobody was asked"),
        (lambda ledger: ledger.ask("intent/1"), "2 approvals; 0 count, of nobody"),
        (lambda ledger: ledger.ask("intent/1", DANA), "2 approvals; 1 count, of dana"),
        (lambda ledger: asked(ledger, digest="sha256:0"), "is not what was prepared"),
        (lambda ledger: asked(ledger, quorum=1), "Other people were asked"),
        (lambda ledger: asked(ledger, approvers=("dana", "eve")), "Other people were asked"),
        (lambda ledger: asked(ledger, expires_at=START), "2 approvals; 0 count"),
    ],
)
def test_a_decision_without_the_approvals_of_its_verdict_is_found(change, sentence):
    after, said = other(change)
    assert (after, sentence in said) == (0, True), said


@pytest.mark.parametrize("grant", ["grant-refunder", "grant-manager-x", "grant-operator"])
def test_a_decision_after_a_revoke_anywhere_above_is_found(grant):
    def change(ledger: Ledger) -> None:
        ledger.ask("intent/1", DANA, EVE)
        ledger.say(f"grant/{grant}", revoke(grant))

    after, said = other(change)
    assert (after, said) == (
        0,
        f"The decision stands under no living grant of the intent: grant {grant} was revoked before.",
    )


def test_a_decision_after_the_grant_expired_is_found():
    def change(ledger: Ledger) -> None:
        ledger.ask("intent/1", DANA, EVE)
        ledger.at = START + timedelta(hours=30)

    after, said = other(change)
    assert (after, "had expired at 2030-01-02T18:00:00+00:00" in said) == (0, True)


def test_a_decision_after_another_set_was_activated_is_found():
    def change(ledger: Ledger) -> None:
        ledger.ask("intent/1", DANA, EVE)
        ledger.say("policies", e.PolicySetActivated(DEFAULT.digest, "operator"))

    assert "was active" in other(change)[1]


@pytest.mark.parametrize(
    ("by", "grant", "sentence"),
    [
        ("manager-x", "grant-manager-x", "stands in the intent's chain of custody"),
        ("refunder", "grant-refunder", "Only a person may answer"),
        ("dana", "grant-eve", "which is eve's"),
        ("dana", None, "its grant is not named"),
        ("zoe", "grant-zoe", "was never issued"),
    ],
)
def test_an_approval_of_somebody_who_may_not_is_found(by, grant, sentence):
    def change(ledger: Ledger) -> None:
        ledger.ask("intent/1")
        digest = content_digest(ledger.states["intent/1"])
        ledger.say("intent/1", e.ApprovalGiven(digest=digest, by=by, grant=grant))

    after, said = other(change)
    assert (after, sentence in said) == (1, True), said


def spending(*amounts: int, apart: timedelta = timedelta(0)) -> e.Recorded | None:
    ledger = Ledger()
    ledger.say("grants", OPERATOR)
    for one in (MANAGER, AGENT):
        ledger.say(f"grant/{one.grant}", one)
    for number, amount in enumerate(amounts):
        ledger.submit(f"intent/{number}", refund(amount))
        ledger.decide(f"intent/{number}")
        ledger.at += apart
    wrong = verify(ledger.recorded)
    return None if wrong is None else ledger.recorded[wrong.position - 1]


def test_a_limit_that_was_exceeded_is_found_where_it_was():
    assert spending(30_000, 30_000) is None
    wrong = spending(30_000, 30_000, 1)
    assert wrong is not None
    assert (type(wrong.event), wrong.stream) == (e.CommitDecided, "intent/2")


def test_a_limit_begins_anew_with_each_window():
    assert spending(60_000, 60_000, apart=timedelta(hours=12)) is None  # noon, and midnight of the next day
    assert spending(60_000, 60_000, apart=timedelta(hours=11, minutes=59)) is not None
    assert spending(*[1] * 5) is None
    assert spending(*[1] * 6) is not None
    assert spending(*[1] * 6, apart=timedelta(minutes=13)) is None


def test_an_undo_gives_nothing_back():
    place, told = lie(e.CompensateDecided, "intent/2", cause="undo")
    wrong = verify(told)
    assert wrong is not None
    assert "was exceeded" in wrong.sentence
    assert wrong.position > place


def test_an_event_that_its_state_does_not_allow_is_found():
    told = story().recorded
    place = next(
        n for n, one in enumerate(told) if isinstance(one.event, e.ActionPrepared) and one.stream == "intent/2"
    )
    told[place] = msgspec.structs.replace(told[place], event=e.ActionDone(action="a", result={}))
    assert found(told)[0] == place + 1


def test_an_event_that_is_missing_is_found():
    told = story().recorded
    assert found(told[:8] + told[9:]) == (10, "Position 9 is missing; this one comes in its place.")


def suspended(ledger: Ledger) -> None:
    for grant in CHAIN:
        ledger.say(f"grant/{grant.grant}", grant)
    ledger.say(f"grant/{AGENT.grant}", e.GrantSuspended(grant=AGENT.grant, reason="odd", by=None, anomaly="7-0"))


def test_nothing_is_decided_under_a_suspended_grant_and_again_once_it_is_resumed():
    ledger = Ledger()
    suspended(ledger)
    ledger.submit("intent/1", refund(100))
    wrong = verify(ledger.recorded)
    assert wrong is not None
    assert f"grant {AGENT.grant} was suspended" in wrong.sentence
    ledger = Ledger()
    suspended(ledger)
    ledger.say(f"grant/{AGENT.grant}", e.GrantResumed(grant=AGENT.grant, reason="fine", by="dana"))
    ledger.submit("intent/1", refund(100))
    assert verify(ledger.recorded) is None


def test_a_verdict_names_only_anomalies_that_were_recorded():
    odd = e.StandingAnomaly("7-0", "count", "refunder", escalates=True)
    ledger = Ledger()
    for grant in CHAIN:
        ledger.say(f"grant/{grant.grant}", grant)
    submitted = intent(CHAIN, refund(100))
    verdict = evaluate(CHAIN, DEFAULT, submitted, {"a": {"age": 91}}, ledger.at, anomalies=(odd,))
    assert verdict.effect == "escalate"
    assert verdict.anomalies == (odd,)
    ledger.say("intent/1", submitted, verdict)
    wrong = verify(ledger.recorded)
    assert wrong is not None
    assert "anomaly 7-0, which was not recorded" in wrong.sentence
