"""Random histories that the real rules allow: `decide` says what is next, chance answers, `evolve` checks.

    events = history(random.Random(7), number=3)

The same seed gives the same events. Every phase, every step and every word of a person can come up; intents end, stay
in attention or stop half-way, as `decide` and chance will have it. A whole ledger has the events of authority between.
"""

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from adapters.contract import Absent, Applied, Prepared, Preview, Refused, Result, Unknown
from coordinator import people
from coordinator.decide import decide
from coordinator.moves import Evaluate, Invocation, Invoke, Record, Rest, Verify, Wait
from coordinator.outcome import event_of, verified
from ledger import events as e
from ledger.errors import InDoubt, NotUndoable, Permanent, Transient
from ledger.grants import Limit, Permission, Range
from ledger.ids import intent_id, intent_stream, undo_plan_stream
from ledger.intents import JSON, ActionPlan, Guarantee, Mode, Subject, Undo, Verb
from ledger.phases import TERMINAL, UNDECIDED, Phase, Step
from ledger.state import IntentState, evolve
from ledger.tasks import Criterion, FailureMode, TaskContract
from ledger.undo_plans import Ending, Extent, PlannedUndo, Selection, UndoOutcome, content_digest, count

T0 = datetime(2030, 1, 1, tzinfo=UTC)
MOVES_MAX = 120  # an intent that is still moving then stays as it is
AGENTS = ("payment-specialist", "mail-room", "stock-keeper")
PEOPLE = ("operator", "manager-x")
CONTRACT = TaskContract(
    task="12A",
    owner="manager-x",
    scope=("payments.*", "crm.update"),
    success=(Criterion(verify="crm.customer", params={"customer": "88"}, expect={"status": "refunded"}),),
    failure_modes=(
        FailureMode(name="account not found", contains="no cover", escalate_to="dana"),
        FailureMode(name="must phone retention", contains="closed", escalate_to="erin"),
    ),
)


ANOMALY = e.AnomalyDetected(
    anomaly="7-0",
    kind="count",
    whose="agent",
    name="payment-specialist",
    operation="payments.refund",
    position=7,
    found_at=T0,
    intent=None,
    grants=("grant-7",),
    evidence={"minutes": 1, "count": 57, "expected_thousandths": 1_700, "limit": 44},
    sentence="Payment Specialist Agent asked for payments.refund 57 times within a minute",
    response="suspend",
    stands_until=T0 + timedelta(days=1),
    suspended=("grant-7",),
)


def recorded(event: e.Event, stream: str, version: int, position: int, at: datetime = T0) -> e.Recorded:
    return e.Recorded(
        ledger="main", position=position, stream=stream, version=version, at=at, event=event, body=e.encode(event)
    )


def submitted(chance: random.Random, number: int) -> e.IntentSubmitted:
    intent = _intent(number)
    task = chance.choice(("12A", "12B", None))
    return e.IntentSubmitted(
        intent=intent,
        idempotency_key=f"k-{number}",
        request_digest="sha256:0",
        agent=Subject(kind="agent", name=chance.choice(AGENTS), version=chance.choice(("1.0", "3.1", None))),
        grant="grant-7",
        custody=("grant-operator", "grant-7"),
        commissioned_by=chance.choice((*PEOPLE, None)),
        task=task,
        reason="a test",
        confidence=chance.choice((None, 0.97)),
        mode=Mode.DRY_RUN if chance.random() < 0.1 else Mode.EXECUTE,
        deadline_seconds=30,
        context={"ticket": f"T-{number}"},
        actions=tuple(_plan(chance, intent, place) for place in range(chance.randint(1, 3))),
        follows=_intent(chance.randrange(number)) if number and chance.random() < 0.3 else None,
        contract=CONTRACT if task == "12A" else None,
    )


def _intent(number: int) -> str:
    return intent_id(T0 + timedelta(milliseconds=number), number.to_bytes(10, "big"))


def history(chance: random.Random, number: int, moves: int = MOVES_MAX) -> list[e.Event]:
    """Return the events of one intent's stream."""
    return [event for event, _ in _history(chance, number, moves)]


def ledger_of(seed: int, intents: int) -> list[e.Recorded]:
    """Return a whole ledger: the first grant, then the streams of authority and of many intents, mixed by chance."""
    chance = random.Random(seed)
    first = e.GrantIssued(
        grant="grant-operator",
        parent=None,
        subject=Subject(kind="person", name="operator"),
        token_sha256="0" * 64,
        operations=("*",),
    )
    authority = [*_authority().items(), *_beside().items(), *_undo_plans().items()]
    waiting = [[(event, T0) for event in events] for _, events in authority]
    waiting += [list(_history(chance, number, _moves(chance))) for number in range(intents)]
    streams = [stream for stream, _ in authority]
    streams += [intent_stream(events[0][0].intent) for events in waiting[len(authority) :]]
    written = [0] * len(waiting)
    everything = [recorded(first, "grants", 1, 1)]
    going = list(range(len(waiting)))
    while going:
        place = chance.choice(going[:8])
        events = waiting[place]
        for _ in range(min(chance.randint(1, 4), len(events) - written[place])):
            event, at = events[written[place]]
            written[place] += 1
            everything.append(recorded(event, streams[place], written[place], len(everything) + 1, at))
        if written[place] == len(events):
            going.remove(place)
    return everything


def _authority() -> dict[str, list[e.Event]]:
    """Return the streams of authority: grants, policy sets, a task, and tokens that are dead."""
    chain = ("grant-operator", "grant-manager-x", "grant-7")
    manager = e.GrantIssued(
        grant=chain[1],
        parent=chain[0],
        subject=Subject(kind="person", name="manager-x", role="manager"),
        token_sha256="1" * 64,
        operations=(Permission("*"),),
        custody=chain[:2],
        commissioned_by="operator",
        issued_by="operator",
    )
    agent = e.GrantIssued(
        grant=chain[2],
        parent=chain[1],
        subject=Subject(kind="agent", name="payment-specialist", version="3.1"),
        token_sha256="2" * 64,
        operations=(
            Permission("payments.*", {"currency": ("USD",), "amount": Range(max=5000)}),
            Permission("crm.update"),
        ),
        task="12A",
        limits=(Limit("payments.refund", "amount", "day", 50_000, "USD"), Limit("*", "count", "hour", 10)),
        expires_at=T0 + timedelta(days=30),
        custody=chain,
        commissioned_by="manager-x",
        issued_by="manager-x",
    )
    below = chain[:2]
    return {
        "grant/grant-manager-x": [manager],
        "grant/grant-7": [
            agent,
            e.GrantSuspended(grant="grant-7", reason="It was odd.", by=None, anomaly="7-0"),
            e.GrantResumed(grant="grant-7", reason="It was not.", by="operator", custody=chain[:1]),
            e.GrantRevoked(grant="grant-7", reason="The contract ended.", by="operator", custody=chain[:1]),
        ],
        "policy/sha256:p": [e.PolicySetAdded("sha256:p", "permit(…);", ("P-45", "P-46"), "manager-x", below)],
        "policies": [e.PolicySetActivated(f"sha256:{name}", "manager-x", below) for name in "pqp"],
        "task/12A": [e.TaskDefined(CONTRACT, "manager-x", below)],
        "refusal/1": [e.TokenRefused("revoked", "grant-7", 3, chain)],
        "refusal/2": [e.TokenRefused("expired", "grant-7", 1, chain)],
        "refusal/3": [e.TokenRefused("unknown", None, 12)],
        "refusal/4": [e.ActRefused("approve_intent", agent.subject, "grant-7", 2, _intent(0), chain)],
    }


def _beside() -> dict[str, list[e.Event]]:
    """Return the streams of what is seen, said and changed beside intents and authority."""
    chain = ("grant-operator", "grant-manager-x", "grant-7")
    refunder, intent = Subject(kind="agent", name="payment-specialist", version="3.1"), _intent(0)
    return {
        "anomaly/7-0": [
            ANOMALY,
            e.AnomalyCleared("7-0", "agent", "payment-specialist", "It was a sale.", "operator", chain[:1]),
        ],
        "subject/k00000000000000000088": [
            e.SubjectErased("k00000000000000000088", "asked for it", "operator", "grant-operator", chain[:1])
        ],
        "configuration": [e.ConfigurationChanged("sha256:c", None, {}, {}, ("[adapters.crm]", "crm.update"))],
        f"notes/{intent}": [e.NoteAdded(intent, "I looked twice.", refunder, "grant-7", chain)],
        f"reconcile/{intent}": [
            e.DivergenceFound(
                intent,
                "a0",
                "shown",
                "payments.refund",
                {"status": "refunded"},
                {"status": "open"},
                "It is open.",
                "refund 42.00 USD to customer 88",
                refunder,
                "12A",
                "manager-x",
                "grant-7",
                chain,
                7,
            ),
            e.DivergenceGone(intent, "a0", "shown", "agrees", "It was refunded again."),
        ],
    }


def _undo_plans() -> dict[str, list[e.Event]]:
    """Return the streams of undo plans: one that was carried out, and one that halted and was approved again."""
    chain, found = ("grant-operator", "grant-manager-x"), {}
    for number, halts in enumerate((False, True)):
        plan, intents = _intent(10_000 + number), (_intent(0), _intent(1))
        items = tuple(
            PlannedUndo(intent, T0, 7, AGENTS[0], extent, adapters=("payments",))
            for intent, extent in zip(intents, (Extent.EXACT, Extent.SEMANTIC), strict=True)
        )
        selection = Selection(agent=AGENTS[number], since=T0 if halts else None, operation="payments.refund")
        planned = e.UndoPlanned(
            plan=plan,
            selection=selection,
            partial=halts,
            reason="It was steered\nby a mail.",
            digest=content_digest(items),
            intents=len(items),
            counts=count(items),
            as_of=0,
            expires_at=T0 + timedelta(days=1),
            by="manager-x",
            grant=chain[-1],
            custody=chain,
        )
        approved = e.UndoPlanApproved(planned.digest, "manager-x", chain[-1], chain)
        outcomes = [
            UndoOutcome(intents[0], Ending.UNDONE),
            UndoOutcome(intents[1], Ending.ATTENTION, "Look there."),
        ]
        halts_by = [e.UndoPlanHalted("The grant was revoked."), e.UndoPlanHalted("Stop.", "dana", ("grant-operator",))]
        halt = [halts_by[number], e.UndoPlanApproved(planned.digest, "operator", *_OPERATOR)]
        found[undo_plan_stream(plan)] = [
            planned,
            e.UndoListed(items),
            approved,
            e.UndoPlanAdvanced(tuple(outcomes[:1])),
            *(halt if halts else ()),
            e.UndoPlanAdvanced(tuple(outcomes[1:])),
            e.UndoPlanFinished({"undone": 1, "attention": 1}),
        ]
    return found


_OPERATOR = ("grant-operator", ("grant-operator",))


def _moves(chance: random.Random) -> int:
    return MOVES_MAX if chance.random() < 0.8 else chance.randint(1, 6)


def _plan(chance: random.Random, intent: str, place: int) -> ActionPlan:
    adapter = chance.choice(("payments", "crm", "email"))
    guarantee = Guarantee.BLIND if adapter == "email" else chance.choice(list(Guarantee))
    held = guarantee is Guarantee.ATOMIC
    return ActionPlan(
        id=f"a{place}",
        adapter=adapter,
        operation=f"{adapter}.{chance.choice(('refund', 'update'))}",
        params={"amount": chance.randint(1, 10_000)},
        guarantee=guarantee,
        undo=chance.choice(list(Undo)),
        summary=f"refund {chance.randint(1, 99)}.00 USD to customer {chance.randint(1, 99)}",
        key=f"{intent}-{place}",
        undo_key=f"{intent}-{place}-undo",
        key_lifetime_seconds=chance.choice((None, 60)),
        hold_seconds=chance.choice((None, 40)) if held else None,
        facts=chance.random() < 0.3,
    )


class _Teller:
    """One intent's history in the making."""

    def __init__(self, chance: random.Random, first: e.IntentSubmitted) -> None:
        self.chance = chance
        self.now = T0
        self.stream = intent_stream(first.intent)
        self.events: list[tuple[e.Event, datetime]] = [(first, T0)]
        self.state: IntentState = evolve(None, recorded(first, self.stream, 1, 1, T0))

    def tell(self, *events: e.Event) -> None:
        for event in events:
            version = self.state.version + 1
            self.state = evolve(self.state, recorded(event, self.stream, version, version, self.now))
            self.events.append((event, self.now))


def _history(chance: random.Random, number: int, moves: int) -> Iterator[tuple[e.Event, datetime]]:
    teller = _Teller(chance, submitted(chance, number))
    for _ in range(moves):
        teller.now += timedelta(seconds=chance.random())
        if not _go_on(teller):
            break
    return iter(teller.events)


def _go_on(teller: _Teller) -> bool:
    """Tell what happens next; False when nothing does."""
    chance, state = teller.chance, teller.state
    if state.phase in UNDECIDED and chance.random() < 0.04:
        teller.tell(people.cancel(state, "No longer needed.", chance.choice(PEOPLE)))
        return True
    match decide(state, teller.now, alive=chance.random() > 0.01):
        case Record(events):
            teller.tell(*events)
        case Evaluate(preview, facts):
            teller.tell(*_verdict(teller, preview, facts))
        case Verify(criteria, last):
            answers = [chance.choice((Preview({"status": "refunded"}), Preview({}), InDoubt("?"))) for _ in criteria]
            teller.tell(verified(state, criteria, answers, teller.now, last=last or chance.random() < 0.3))
        case Invoke(calls):
            teller.tell(*(call.announce for call in calls if call.announce is not None))
            for call in chance.sample(calls, len(calls)):
                action = teller.state.action(call.action)
                teller.tell(event_of(call, action, _answer(chance, call, action.plan, action.step), teller.now))
        case Wait(until):
            if state.phase is Phase.AWAITING_APPROVAL and chance.random() < 0.5:
                teller.tell(_said(teller))
            else:
                teller.now = until
        case Rest():
            return _person(teller)
    return True


def _said(teller: _Teller) -> e.Event:
    """Answer what people are asked."""
    asked = teller.state.approval_requested
    by = next(name for name in ("dana", "erin", "manager-x") if name not in {a.by for a in teller.state.approvals})
    if teller.chance.random() < 0.2:
        return e.AbortDecided(cause="rejected", reason="Too much.", by=by)
    return e.ApprovalGiven(digest=asked.digest, by=by, note="Seen.", grant=f"grant-{by}")


def _verdict(teller: _Teller, preview: tuple[str, ...], facts: Mapping[str, JSON]) -> tuple[e.Event, ...]:
    effect = teller.chance.choices(("allow", "escalate", "deny"), (8, 3, 1))[0]
    verdict = e.PolicyEvaluated(
        effect=effect,
        policies=("P-45",) if effect != "deny" else ("P-13",),
        policy_set="sha256:p",
        reasons=("the amount is above 50.00",) if effect == "deny" else (),
        facts=dict(facts) or {action: {"n": 1} for action in preview},
        quorum=teller.chance.choice((1, 1, 2)),
    )
    if teller.state.submitted.mode is Mode.DRY_RUN and effect != "deny":
        return verdict, e.IntentSimulated(previews={action: {"after": {}} for action in preview})
    return (verdict,)


def _answer(chance: random.Random, call: Invocation, plan: ActionPlan, step: Step) -> object:
    held = plan.guarantee is Guarantee.ATOMIC
    match call.verb:
        case Verb.PREPARE:
            yes = Prepared({"hold": call.action} if held else None, Preview({"n": chance.choice((1, 1, 2))}))
            return chance.choices((yes, Refused("no cover"), InDoubt("time-out"), Transient("busy")), (8, 1, 1, 1))[0]
        case Verb.COMMIT if held:
            return chance.choices((Result({"ok": True}), InDoubt("reset\nby peer"), Transient("busy")), (6, 2, 1))[0]
        case Verb.COMMIT:
            doubtful = step is Step.COMMIT_IN_DOUBT
            no = InDoubt("reset") if doubtful else Permanent("closed")
            return chance.choices((Result({"ok": True}), InDoubt("reset"), Transient("busy"), no), (6, 2, 1, 2))[0]
        case Verb.ABORT:
            return chance.choices((None, Transient("busy"), Permanent("unknown hold")), (6, 2, 1))[0]
        case Verb.COMPENSATE:
            return chance.choices((Result({"undone": True}), InDoubt("reset"), Permanent("closed")), (6, 2, 1))[0]
        case _:
            return chance.choice((Applied(Result({"ok": True})), Absent(), Unknown()))


def _person(teller: _Teller) -> bool:
    chance, state = teller.chance, teller.state
    if state.attention is not None and chance.random() < 0.8:
        outcome = chance.choice(("applied", "not_applied"))
        teller.tell(people.resolve(state, state.attention.action, outcome, "I looked.", chance.choice(PEOPLE)))
        return True
    if state.phase is Phase.COMMITTED and state.phase in TERMINAL and chance.random() < 0.3:
        try:
            teller.tell(people.undo(state, "A mistake.", "operator", partial=True, now=teller.now))
        except NotUndoable:
            return False
        return True
    return False
