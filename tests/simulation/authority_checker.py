"""What must hold of authority at the end of every run: I5, I6, I7, I11, and that nobody does by mistake what was done.

Judged from the ledger's events in their order, and from what the outside recorded, once more and by other code: whoever
was alive, what policy meant, who may approve, what is left of a limit. Only the replay of verdicts calls the product.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from simulation.cast import grant_of
from simulation.rules import MEANINGS, Says, together
from simulation.world import BOUNDS, World

from authority.policy import DEFAULT, parse
from authority.verdict import evaluate
from coordinator.intake import likeness
from ledger import bounds
from ledger import events as e
from ledger.canonical import digest
from ledger.grants import covers
from ledger.ids import intent_of

HEARD_SECONDS = bounds.LEASE_SECONDS + 2 * bounds.CALL_SECONDS + 5  # until a revoke has reached every worker
Chain = list[e.GrantIssued]


class Case:
    """What the checker knows of one intent while it reads on."""

    def __init__(self, recorded: e.Recorded, event: e.IntentSubmitted, chain: Chain) -> None:
        self.recorded, self.event, self.chain = recorded, event, chain
        self.verdict: e.PolicyEvaluated | None = None
        self.previews: dict[str, Any] = {}  # as the last votes showed them
        self.asked: e.ApprovalRequested | None = None
        self.approvals: list[e.Recorded] = []  # since that was asked
        self.committed: e.Recorded | None = None
        self.aborted: e.Recorded | None = None
        self.denied = False  # or only looked at
        self.ended = False
        self.released = False
        self.cause: str | None = None  # of its compensation
        self.undone_at: int | None = None  # the position from which nothing of it is left in the world

    @property
    def undecided(self) -> bool:
        return self.committed is None and self.aborted is None and not self.denied

    def content(self) -> str:
        actions = [
            {"id": plan.id, "operation": plan.operation, "params": plan.params, "preview": self.previews.get(plan.id)}
            for plan in self.event.actions
        ]
        return digest({"actions": actions, "policy_set": self.verdict.policy_set if self.verdict else None})


class AuthorityChecker:
    """Reads the log once, from the first event to the last."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broken: list[str] = []
        self.seen = world.counters
        self.grants: dict[str, e.GrantIssued] = {}
        self.revoked: dict[str, e.Recorded] = {}
        self.sets = {DEFAULT.digest: DEFAULT}
        self.active = DEFAULT.digest
        self.cases: dict[str, Case] = {}
        self.used: Counter[tuple[str, datetime]] = Counter()  # by counter and window
        self.alike: dict[str, list[Case]] = defaultdict(list)

    def check(self) -> list[str]:
        """Return every law of authority that was broken."""
        for one in self.world.database.log:
            self._read(one)
        self._revocations()
        self._counters()
        for cases in self.alike.values():
            self._likeness(cases)
        return self.broken

    def _read(self, one: e.Recorded) -> None:
        intent = intent_of(one.stream)
        match one.event:
            case e.GrantIssued() as issued:
                if issued.parent is not None:
                    self._alive(issued.parent, one, "issued a grant")
                self.grants[issued.grant] = issued
            case e.GrantRevoked(grant=grant):
                self.revoked[grant] = one
                below = [case for case in self.cases.values() if grant in case.event.custody]
                self.seen["decision won against a revoke"] += any(case.committed and not case.ended for case in below)
            case e.PolicySetAdded(policy_set=policy_set, cedar=cedar):
                self.sets[policy_set] = parse(cedar)
            case e.PolicySetActivated(policy_set=policy_set):
                self.active = policy_set
            case e.IntentSubmitted() as submitted:
                self._alive(submitted.grant, one, "submitted an intent")
                self.cases[submitted.intent] = case = Case(one, submitted, self._chain(submitted.grant))
                like = likeness(submitted)
                if like is not None:
                    self.alike[like].append(case)
            case event if intent is not None:
                self._of_an_intent(self.cases[intent], one, event)

    def _of_an_intent(self, case: Case, one: e.Recorded, event: e.Event) -> None:
        if getattr(event, "by", None) is not None:
            self._alive(grant_of(event.by), one, "spoke")  # type: ignore[attr-defined]
        match event:
            case e.HoldReleased():
                case.released = True
            case e.PolicyEvaluated():
                self._verdict(case, one, event)
            case e.ActionPrepared(action=action, preview=preview):
                case.previews[action] = preview
            case e.ApprovalRequested(digest=wanted):
                self.seen["asked again with a new digest"] += case.asked is not None and case.asked.digest != wanted
                case.asked, case.approvals = event, []
            case e.ApprovalGiven():
                self._approval(case, one, event)
                case.approvals.append(one)
            case e.CommitDecided():
                self._decision(case, one, event)
                case.committed = one
            case e.AbortDecided(cause=cause):
                case.aborted = one
                expired = cause == "revoked" and not any(grant in self.revoked for grant in case.event.custody)
                self.seen[f"aborted because {'grant expired' if expired else cause}"] += 1
            case e.CompensateDecided(cause=cause):
                case.cause = cause
            case e.OutcomeVerified() | e.OutcomeContradicted():
                self._outcome(case, event)
            case e.IntentSimulated():
                case.denied = True
            case e.IntentAborted():
                case.undone_at = one.position
            case e.IntentCompensated():
                case.ended, case.undone_at = True, one.position
                if case.cause == "failed" and case.committed is not None:
                    self._take(case.committed, -1)
            case e.IntentCommitted() | e.IntentMixed():
                case.ended = True

    def _blame(self, crime: str) -> None:
        self.broken.append(crime)

    # ── I5: who is alive ─────────────────────────────────────────────────────────────────────────────────────────

    def _chain(self, grant: str) -> Chain:
        return [self.grants[one] for one in self.grants[grant].custody]

    def _alive(self, grant: str, one: e.Recorded, what: str) -> None:
        for above in self._chain(grant):
            if above.grant in self.revoked:
                self._blame(f"I5: {grant} {what} at {one.position} after {above.grant} was revoked")
            elif above.expires_at is not None and above.expires_at <= one.at:
                self._blame(f"I5: {grant} {what} at {one.position} after {above.grant} had expired")

    def _revocations(self) -> None:
        """What was undecided when its grant was revoked ended aborted, and soon; who was told so was told the truth."""
        for grant, position in self.world.obeyed.items():
            dead = [self.revoked[above] for above in self.grants[grant].custody if above in self.revoked]
            if not any(one.position <= position for one in dead):
                self._blame(f"I5: it was said that {grant} is revoked, and at {position} it was not")
        quiet = self.world.quiet_since()
        for case in self.cases.values():
            died = self._died(case)
            if died is None or case.denied or (case.committed is not None and case.committed.at <= died):
                continue
            late = max(died, quiet) + timedelta(seconds=HEARD_SECONDS)
            if case.aborted is None or case.aborted.at > late:
                self._blame(
                    f"I5: {case.event.intent} was undecided when its grant died at {died}, and not aborted soon"
                )

    def _died(self, case: Case) -> datetime | None:
        """Tell when the first grant of an intent's chain was revoked or expired, if that has come."""
        deaths = [one.expires_at for one in case.chain if one.expires_at is not None]
        deaths += [self.revoked[one.grant].at for one in case.chain if one.grant in self.revoked]
        return min((at for at in deaths if at <= self.world.database.now()), default=None)

    # ── I6: verdicts ─────────────────────────────────────────────────────────────────────────────────────────────

    def _verdict(self, case: Case, one: e.Recorded, event: e.PolicyEvaluated) -> None:
        name = f"the verdict at {one.position} on {case.event.intent}"
        self._alive(case.event.grant, one, "was given a verdict")
        if event.policy_set != self.active:
            self._blame(f"I6: {name} is of a policy set that was not active")
        again = evaluate(case.chain, self.sets[event.policy_set], case.event, event.facts, event.evaluated_at or one.at)
        if again != event:
            self._blame(f"I6: {name} is not what comes out when it is repeated: {event} {again}")
        meant = self._meant(case, event)
        if (event.effect, event.approvers, event.quorum) != meant:
            self._blame(f"I6: {name} is {event.effect} by {event.quorum} of {event.approvers}, and should be {meant}")
        for action, facts in event.facts.items():
            told = (case.event.intent, action, facts.get("risk")) in self.world.outside.shown
            if not told and "nonsense" not in self.world.chance.rates:
                self._blame(f"I6: {name} rests on facts that nobody outside has reported: {facts}")
        if case.verdict is not None:
            self.seen["evaluated again: facts changed"] += case.verdict.facts != event.facts
            self.seen["evaluated again: policy changed"] += case.verdict.policy_set != event.policy_set
        case.verdict = event
        case.denied = event.effect == "deny" and not case.previews

    def _meant(self, case: Case, event: e.PolicyEvaluated) -> Says:
        plans = case.event.actions
        narrow = any(one.subject.name == "delta" for one in case.chain) and any(plan.params["n"] > 7 for plan in plans)
        if narrow or any(amount > most for _, amount, most in self._owed(case)):
            return Says("deny")
        said = [
            MEANINGS[event.policy_set](plan.params["n"], event.facts.get(plan.id, {}).get("risk")) for plan in plans
        ]
        return together(said)

    # ── the decision: I5, I6, I7, I11 ────────────────────────────────────────────────────────────────────────────

    def _decision(self, case: Case, one: e.Recorded, event: e.CommitDecided) -> None:
        name, verdict = f"the decision at {one.position} on {case.event.intent}", case.verdict
        self._alive(case.event.grant, one, "committed")
        if verdict is None or verdict.effect == "deny":
            self._blame(f"I6: {name} is against the verdict")
            return
        if not event.policy_set == verdict.policy_set == self.active:
            self._blame(f"I6: {name} rests on a policy set that was not active")
        for plan in case.event.actions:
            seen = case.previews.get(plan.id, {}).get("facts") if plan.facts else None
            if seen and seen != verdict.facts.get(plan.id):
                self._blame(f"I6: {name} rests on other facts than those that the votes saw")
        if verdict.effect == "escalate":
            self._approved(case, name, verdict, event)
        charged = {(charge.limit, charge.amount, charge.max) for charge in event.charges}
        if charged != {owed for owed in self._owed(case) if owed[1]}:
            self._blame(f"I11: {name} took {charged} from the limits")
        self.seen["committed after a hold was let go"] += case.released
        self._take(one, +1)

    def _approved(self, case: Case, name: str, verdict: e.PolicyEvaluated, event: e.CommitDecided) -> None:
        """I7: enough people have approved exactly this, each of them in time."""
        asked, content = case.asked, case.content()
        if asked is None or (asked.quorum, asked.approvers) != (verdict.quorum, verdict.approvers):
            self._blame(f"I7: {name} was never put to the people whom policy wants")
            return
        approved = {
            given.event.by.casefold()  # type: ignore[attr-defined]
            for given in case.approvals
            if given.event.digest == content and given.at < asked.expires_at  # type: ignore[attr-defined]
        }
        if len(approved) < verdict.quorum:
            self._blame(f"I7: {name} was approved by {len(approved)} of {verdict.quorum}")
        self.seen["quorum of two"] += len(approved) > 1
        if not approved.issuperset(event.approved_by):
            self._blame(f"I7: {name} names {event.approved_by}; only {approved} have approved it")

    def _approval(self, case: Case, one: e.Recorded, event: e.ApprovalGiven) -> None:
        """I7: only what is asked, by somebody who is asked, who may, is not involved and has not spoken."""
        name = f"the approval at {one.position} of {case.event.intent} by {event.by}"
        asked = case.asked
        if asked is None or not case.undecided or event.digest != asked.digest:
            self._blame(f"I7: {name} is of something else than what was asked")
        if event.grant is None:
            self._blame(f"I7: {name} has no authority")
            return
        self._alive(event.grant, one, "approved")
        chain = self._chain(event.grant)
        involved = {above.subject.name for above in case.chain}
        names = {above.subject.name for above in chain[1:] or chain}
        if chain[-1].subject.kind != "person" or involved & names:
            self._blame(f"I7: {name} is by somebody who is involved")
        for subject in (above.subject for above in chain[1:] or chain):
            if asked is not None and asked.approvers and not {subject.name, subject.role} & set(asked.approvers):
                self._blame(f"I7: {name} is by {subject.name}, whom policy does not ask")
        for earlier in case.approvals:
            others = self._chain(earlier.event.grant)  # type: ignore[attr-defined]
            if names & {above.subject.name for above in others[1:] or others}:
                self._blame(f"I7: {name} is their second")

    # ── I11: limits ──────────────────────────────────────────────────────────────────────────────────────────────

    def _owed(self, case: Case) -> Iterator[tuple[str, int, int]]:
        """Yield each counter of the chain, what the intent takes from it, and what there is at most."""
        for depth, grant in enumerate(case.chain):
            agent = next(one.subject.name for one in case.chain[depth:] if one.subject.kind == "agent")
            for place, limit in enumerate(grant.limits):
                plans = [plan for plan in case.event.actions if covers(limit.operation, plan.operation)]
                amounts = [1 if limit.measure == "count" else plan.amount_minor or 0 for plan in plans]
                own = f"/{agent}" if limit.each == "agent" else ""
                yield f"{grant.grant}/{place}{own}", sum(amounts), limit.max

    def _take(self, decided: e.Recorded, sign: int) -> None:
        for charge in decided.event.charges:  # type: ignore[attr-defined]
            counter = (charge.limit, _window(charge.per, decided.at))
            self.used[counter] += sign * charge.amount
            self.seen["limit restored"] += sign < 0
            if self.used[counter] > charge.max:
                self._blame(f"I11: {charge.limit} has {charge.max} and {self.used[counter]} of it was used")

    def _counters(self) -> None:
        """What the store counts is what the events say."""
        for counter, (window, used) in self.world.database.inline.limits.items():
            if self.used[counter, window] != used:
                self._blame(f"I11: {counter} counts {used}, and the events say {self.used[counter, window]}")

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _likeness(self, cases: list[Case]) -> None:
        """Of two intents that are alike both commit only if the later one says so, or nothing was left of the first."""
        for place, later in enumerate(cases):
            for earlier in cases[:place]:
                apart = (later.recorded.at - earlier.recorded.at).total_seconds()
                vain = earlier.undone_at is not None and earlier.undone_at < later.recorded.position
                if later.committed and not later.event.again and apart < BOUNDS["DUPLICATE_SECONDS"]:
                    self.seen["duplicate allowed after a vain one"] += vain
                excused = later.event.again or vain or apart >= BOUNDS["DUPLICATE_SECONDS"]
                if earlier.committed and later.committed and not excused:
                    self._blame(f"likeness: {later.event.intent} repeats {earlier.event.intent}")

    def _outcome(self, case: Case, event: e.OutcomeVerified | e.OutcomeContradicted) -> None:
        if isinstance(event, e.OutcomeVerified) not in self.world.outside.looks[case.event.intent]:
            self._blame(f"outcome: {type(event).__name__} of {case.event.intent} is not what the outside has shown")


def _window(per: str, at: datetime) -> datetime:
    if per == "total":
        return datetime.min.replace(tzinfo=UTC)
    return at.replace(minute=0, second=0, microsecond=0, **({} if per == "hour" else {"hour": 0}))
