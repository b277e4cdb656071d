"""Whether the recorded decisions were right: judged again from nothing but the ledger's own events.

Every verdict is repeated from the grants, the policy text, the intent, the facts and the time that are on record, and
must come out the same, word for word. Every decision to commit must stand on it: under grants that were alive, under
the policy set that was active, with the approvals that policy asked for, and within every limit as the decisions before
it had left it. None of the tables from which the running system decides is looked at; they are what is checked.

Events go in one by one, by position, from the first; the first that is wrong ends it. Nothing is read or written here.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from authority.approvals import Involved, eligible
from authority.grants import principal_of
from authority.policy import DEFAULT, PolicySet, parse
from authority.verdict import evaluate
from ledger import events as e
from ledger.errors import Corrupt, Erased, InvalidPolicy
from ledger.grants import Charge
from ledger.intent_seal import IntentSeal, is_personal
from ledger.phases import TERMINAL
from ledger.sealing import DataKey
from ledger.state import IntentState, content_digest, evolve

_DECIDING: Final = ("effect", "policies", "policy_set", "reasons", "approvers", "quorum", "charges")


class Wrong(msgspec.Struct, frozen=True):
    """The first thing that cannot have been right, and where it stands."""

    position: int
    stream: str
    sentence: str


class AuthorityWalk:
    """What the events so far say about authority, and what was checked on the way."""

    def __init__(self, keys: Mapping[str, DataKey] | None = None) -> None:
        """Start before the first event of a ledger; `keys` are those of data subjects that are left, by id."""
        self._keys = keys or {}
        self.position = 0
        self.sealed = 0  # verdicts on what nobody can open any more; they are taken as they are
        self.verdicts = 0
        self.decisions = 0
        self._grants: dict[str, e.GrantIssued] = {}
        self._revoked: set[str] = set()
        self._suspended: set[str] = set()
        self._anomalies: dict[str, tuple[str, str]] = {}  # by id: what was odd about whom
        self._sets: dict[str, PolicySet] = {DEFAULT.digest: DEFAULT}
        self._active = DEFAULT.digest
        self._intents: dict[str, IntentState] = {}  # those that are not over, by stream
        self._used: dict[str, tuple[datetime | None, int]] = {}  # by limit: the window last charged, and what is used
        self._checks: Mapping[type[e.Event], Callable[[e.Recorded, Any], str | None]] = {
            e.GrantIssued: self._issued,
            e.GrantRevoked: self._revoke,
            e.GrantSuspended: self._suspend,
            e.GrantResumed: self._resume,
            e.AnomalyDetected: self._detected,
            e.PolicySetAdded: self._added,
            e.PolicySetActivated: self._activated,
            e.IntentSubmitted: self._submitted,
            e.PolicyEvaluated: self._evaluated,
            e.ApprovalGiven: self._approved,
            e.CommitDecided: self._decided,
            e.IntentCompensated: self._compensated,
        }

    def take(self, recorded: e.Recorded) -> Wrong | None:
        """Check the next event; None if nothing is wrong with it.

        It goes on after something wrong, but only the first thing is certain: what follows may follow from it.
        """
        due, self.position = self.position + 1, recorded.position
        missing = None if recorded.position == due else f"Position {due} is missing; this one comes in its place."
        check = self._checks.get(type(recorded.event))
        wrong = None if check is None else check(recorded, recorded.event)
        moved = self._move(recorded)
        sentence = missing or wrong or moved
        return None if sentence is None else Wrong(recorded.position, recorded.stream, sentence)

    def _move(self, recorded: e.Recorded) -> str | None:
        if recorded.stream not in self._intents and not isinstance(recorded.event, e.IntentSubmitted):
            return None
        try:
            state = evolve(self._intents.get(recorded.stream), recorded)
        except Corrupt as error:
            return error.message
        self._intents[recorded.stream] = state
        if state.phase in TERMINAL:
            del self._intents[recorded.stream]
        return None

    # ── authority ────────────────────────────────────────────────────────────────────────────────────────────────

    def _issued(self, recorded: e.Recorded, event: e.GrantIssued) -> str | None:
        if event.grant in self._grants:
            return f"Grant {event.grant} was issued before."
        self._grants[event.grant] = event
        dead = None if event.parent is None else self._dead(event.parent, recorded.at)
        return None if dead is None else f"Grant {event.grant} was issued below one that was not alive: {dead}"

    def _revoke(self, _recorded: e.Recorded, event: e.GrantRevoked) -> str | None:
        if event.grant not in self._grants:
            return f"Grant {event.grant} was never issued."
        self._revoked.add(event.grant)
        return None

    def _suspend(self, _recorded: e.Recorded, event: e.GrantSuspended) -> str | None:
        if event.grant not in self._grants or event.grant in self._suspended:
            return f"Grant {event.grant} was never issued, or was suspended before."
        self._suspended.add(event.grant)
        return None

    def _resume(self, _recorded: e.Recorded, event: e.GrantResumed) -> str | None:
        if event.grant not in self._suspended:
            return f"Grant {event.grant} was not suspended."
        self._suspended.remove(event.grant)
        return None

    def _detected(self, _recorded: e.Recorded, event: e.AnomalyDetected) -> None:
        self._anomalies[event.anomaly] = (event.kind, event.name)

    def _added(self, _recorded: e.Recorded, event: e.PolicySetAdded) -> str | None:
        try:
            found = parse(event.cedar)
        except InvalidPolicy as error:
            return f"Policy set {event.policy_set} cannot be read: {error.message}"
        if (found.digest, found.policies) != (event.policy_set, event.policies):
            return f"The text of policy set {event.policy_set} is that of {found.digest}, or its policies are others."
        self._sets[found.digest] = found
        return None

    def _activated(self, _recorded: e.Recorded, event: e.PolicySetActivated) -> str | None:
        if event.policy_set not in self._sets:
            return f"Policy set {event.policy_set} was activated and never added."
        self._active = event.policy_set
        return None

    def _chain(self, grant: str) -> tuple[e.GrantIssued, ...]:
        """Return a grant and those above it, the first one first; empty if one of them was never issued."""
        chain: list[e.GrantIssued] = []
        name: str | None = grant
        while name is not None:
            issued = self._grants.get(name)
            if issued is None:
                return ()
            chain.append(issued)
            name = issued.parent
        return tuple(reversed(chain))

    def _dead(self, grant: str, at: datetime) -> str | None:
        chain = self._chain(grant)
        if not chain:
            return f"grant {grant} was never issued."
        for one in chain:
            if one.grant in self._revoked:
                return f"grant {one.grant} was revoked before."
            if one.grant in self._suspended:
                return f"grant {one.grant} was suspended."
            if one.expires_at is not None and one.expires_at <= at:
                return f"grant {one.grant} had expired at {one.expires_at.isoformat()}."
        return None

    # ── intents ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _submitted(self, recorded: e.Recorded, event: e.IntentSubmitted) -> str | None:
        dead = self._dead(event.grant, recorded.at)
        if dead is not None:
            return f"The intent was submitted without authority: {dead}"
        chain = self._chain(event.grant)
        if event.custody != tuple(one.grant for one in chain) or event.agent != chain[-1].subject:
            return f"The intent names another agent or another custody than grant {event.grant} has."
        return None

    def _evaluated(self, recorded: e.Recorded, event: e.PolicyEvaluated) -> str | None:
        state = self._intents.get(recorded.stream)
        if state is None:
            return "A verdict was given on no intent in flight."
        if event.policy_set != self._active:
            return f"The verdict is of policy set {event.policy_set}, and {self._active} was active."
        self.verdicts += 1
        opened = self._opened(state, event)
        if opened is None:
            self.sealed += 1
            return None
        submitted, event = opened
        invented = [one.anomaly for one in event.anomalies if self._anomalies.get(one.anomaly) != (one.kind, one.name)]
        if invented:
            return f"The verdict names anomaly {invented[0]}, which was not recorded before, or otherwise."
        at = event.evaluated_at or recorded.at  # 0.1 did not say, and its policy set did not ask
        chain, policy_set = self._chain(state.submitted.grant), self._sets[self._active]
        again = evaluate(chain, policy_set, submitted, event.facts, at, anomalies=event.anomalies)
        for name in _DECIDING:
            was, now = getattr(event, name), getattr(again, name)
            if was != now:
                return f"Judged again, the verdict is another: {name} was {_shown(was)} and comes out as {_shown(now)}."
        return None

    def _opened(
        self, state: IntentState, event: e.PolicyEvaluated
    ) -> tuple[e.IntentSubmitted, e.PolicyEvaluated] | None:
        """Return what was judged, and the verdict, as policy saw and gave it; None if that cannot be opened."""
        if not is_personal(state.submitted):
            return state.submitted, event
        try:
            return IntentSeal.of(state.ledger, state.submitted, self._keys).opened((state.submitted, event))
        except Erased:
            return None

    def _approved(self, recorded: e.Recorded, event: e.ApprovalGiven) -> str | None:
        state = self._intents.get(recorded.stream)
        if state is None:
            return "An approval was given to no intent in flight."
        dead = "its grant is not named." if event.grant is None else self._dead(event.grant, recorded.at)
        if dead is not None or event.grant is None:
            return f"{event.by} approved without authority: {dead}"
        principal = principal_of(self._chain(event.grant))
        if principal.subject.name != event.by:
            return f"{event.by} approved under grant {event.grant}, which is {principal.subject.name}'s."
        answered = [self._chain(given.grant) for given in state.approvals if given.grant is not None]
        reason = eligible(principal, state, Involved(self._chain(state.submitted.grant), answered))
        return None if reason is None else f"{event.by} was not eligible: {reason}"

    def _decided(self, recorded: e.Recorded, event: e.CommitDecided) -> str | None:
        state = self._intents.get(recorded.stream)
        policy = None if state is None else state.policy
        if state is None or policy is None:
            return "A decision to commit stands on no verdict."
        self.decisions += 1
        dead = self._dead(event.grant, recorded.at)
        if event.grant != state.submitted.grant or dead is not None:
            return (
                f"The decision stands under no living grant of the intent: {dead or event.grant + ' is not its own.'}"
            )
        if event.policy_set != self._active:
            return f"The decision is of policy set {event.policy_set}, and {self._active} was active."
        if policy.effect == "deny":
            return "The decision was made against the verdict, which denied."
        same = (event.policies, event.policy_set, event.charges) == (policy.policies, policy.policy_set, policy.charges)
        if not same:
            return "The decision names other policies or charges than the verdict on which it stands."
        return _unapproved(state, event) or self._charge(event.charges, recorded.at)

    def _charge(self, charges: tuple[Charge, ...], at: datetime) -> str | None:
        for charge in charges:
            window = _window(charge, at)
            last, used = self._used.get(charge.limit, (window, 0))
            used = used if last == window else 0
            if used + charge.amount > charge.max:
                return (
                    f"Limit {charge.limit} was exceeded: {charge.amount} were taken, {used} of {charge.max} being used."
                )
            self._used[charge.limit] = (window, used + charge.amount)
        return None

    def _compensated(self, recorded: e.Recorded, _event: e.IntentCompensated) -> str | None:
        """Give back what the decision had taken, as the system does where an action failed for good."""
        state = self._intents.get(recorded.stream)
        if state is None or state.committed is None or state.commit_decided_at is None or state.compensate is None:
            return None  # an undo of what was over before, which gives nothing back
        if state.compensate.cause == "failed":
            for charge in state.committed.charges:
                last, used = self._used.get(charge.limit, (None, 0))
                if last == _window(charge, state.commit_decided_at):
                    self._used[charge.limit] = (last, max(0, used - charge.amount))
        return None


def verify(events: Iterable[e.Recorded]) -> Wrong | None:
    """Check a whole ledger; None if every decision in it was right."""
    walk = AuthorityWalk()
    return next((wrong for one in events if (wrong := walk.take(one)) is not None), None)


def _unapproved(state: IntentState, event: e.CommitDecided) -> str | None:
    """Tell what is missing of the approvals that the verdict asks for."""
    policy, asked = state.policy, state.approval_requested
    if policy is None or policy.effect == "allow":
        return None
    if asked is None:
        return "The verdict asks for people, and nobody was asked."
    if asked.digest != content_digest(state):
        return "What people were asked about is not what was prepared when the decision was made."
    if (asked.approvers, asked.quorum) != (policy.approvers, policy.quorum):
        return "Other people were asked than the verdict names."
    people = tuple(given.by for given in state.approvals)
    if len(people) < policy.quorum or event.approved_by != people:
        return (
            f"The verdict asks for {policy.quorum} approvals; {len(people)} count, of {', '.join(people) or 'nobody'}."
        )
    return None


def _window(charge: Charge, at: datetime) -> datetime | None:
    """Return the start of the hour or day of UTC's calendar; None for the window without an end."""
    moment = at.astimezone(UTC)
    if charge.per == "total":
        return None
    return moment.replace(hour=moment.hour if charge.per == "hour" else 0, minute=0, second=0, microsecond=0)


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()
