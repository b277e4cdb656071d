"""A policy set tried on the past: whose verdict would have been another, and what that would have meant.

Each intent is judged again as it was then (its grants, its facts, the time of its verdict) under the candidate in place
of the set that was in force. Nothing happens and nothing is recorded. What would follow from another verdict, an agent
that asks for less the next time, is not foreseen.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from authority.policy import Effect, PolicySet
from authority.verdict import evaluate
from ledger import bounds
from ledger.events import GrantIssued, IntentSubmitted, PolicyEvaluated


class Past(msgspec.Struct, frozen=True):
    """An intent that was judged: its grants, the first one first, and the last verdict on it, with its time."""

    chain: tuple[GrantIssued, ...]
    submitted: IntentSubmitted
    evaluated: PolicyEvaluated | None  # None: what it judged was erased


class OtherVerdict(msgspec.Struct, frozen=True):
    """One intent whose verdict would have been another. `policies` and `reasons` are the candidate's."""

    intent: str
    agent: str
    task: str | None
    was: Effect
    would_be: Effect
    policies: tuple[str, ...]
    reasons: tuple[str, ...]
    approvers: tuple[str, ...]
    quorum: int  # 0: nobody would be asked


class Turn(msgspec.Struct, frozen=True):
    """How many intents went one way and would go another."""

    was: Effect
    would_be: Effect
    intents: int


class Sum(msgspec.Struct, frozen=True):
    """Money, in minor units, of the intents whose verdict would newly be this one."""

    would_be: Effect
    currency: str
    minor: int


class Report(msgspec.Struct, frozen=True):
    """What the candidate would have changed."""

    looked_at: int
    differing: int
    turns: tuple[Turn, ...]
    money: tuple[Sum, ...]
    approvals_added: int  # answers of people that would have been needed and were not
    approvals_removed: int
    differences: tuple[OtherVerdict, ...]  # the first `bounds.REHEARSAL_DIFFERENCES`
    not_looked_at: int  # verdicts of release 0.1, which do not say when they were given, and on what was erased since


def rehearse(candidate: PolicySet, past: Iterable[Past]) -> Report:
    """Judge the past under a candidate. Takes about as long as the decisions did: some tenths of a millisecond each."""
    turns: Counter[tuple[Effect, Effect]] = Counter()
    money: Counter[tuple[Effect, str]] = Counter()
    differences: list[OtherVerdict] = []
    looked_at = differing = added = removed = timeless = 0
    for one in past:
        was = one.evaluated
        at = was.evaluated_at if was is not None else None
        if was is None or at is None:
            timeless += 1
            continue
        looked_at += 1
        found = evaluate(one.chain, candidate, one.submitted, was.facts, at, anomalies=was.anomalies)
        if _outcome(found) == _outcome(was):
            continue
        differing += 1
        more = _people(found) - _people(was)
        added, removed = added + max(0, more), removed + max(0, -more)
        if found.effect != was.effect:
            turns[was.effect, found.effect] += 1
            for plan in one.submitted.actions:
                if plan.amount_minor is not None and plan.currency is not None:
                    money[found.effect, plan.currency] += plan.amount_minor
        if len(differences) < bounds.REHEARSAL_DIFFERENCES:
            differences.append(_difference(one.submitted, was, found))
    return Report(
        looked_at=looked_at,
        differing=differing,
        turns=tuple(Turn(was, would_be, times) for (was, would_be), times in sorted(turns.items())),
        money=tuple(Sum(effect, currency, minor) for (effect, currency), minor in sorted(money.items())),
        approvals_added=added,
        approvals_removed=removed,
        differences=tuple(differences),
        not_looked_at=timeless,
    )


def _outcome(verdict: PolicyEvaluated) -> tuple[Effect, tuple[str, ...], int]:
    return verdict.effect, tuple(sorted(verdict.approvers)), _people(verdict)


def _people(verdict: PolicyEvaluated) -> int:
    return verdict.quorum if verdict.effect == "escalate" else 0


def _difference(submitted: IntentSubmitted, was: PolicyEvaluated, found: PolicyEvaluated) -> OtherVerdict:
    return OtherVerdict(
        intent=submitted.intent,
        agent=submitted.agent.name,
        task=submitted.task,
        was=was.effect,
        would_be=found.effect,
        policies=found.policies,
        reasons=found.reasons,
        approvers=found.approvers,
        quorum=_people(found),
    )
