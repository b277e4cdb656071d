"""Policy: the verdict of a set of Cedar policies on an intent, from what was asked and what adapters reported.

Two questions decide about each action. May it happen by itself (`Action::"payments.refund"`, `context.approved` is
false)? If not: may it happen once people have approved it (`Action::"payments.refund#with_approval"`, `approved` is
true)? Yes to the first is *allow*, yes to the second *escalate*, everything else *deny*: a `forbid`, no `permit`, a
value that is missing, an error in any policy, an answer that Cedar does not give. The strictest action decides for the
intent. Pure: the same set, intent, facts and time always give the same judgement, in the same words.

It does not know the catalogue of operations (`authority/schema.py`), grants, or what is done with a judgement.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final, Literal

import cedarpy
import msgspec

from authority.cedar_request import CIRCUMSTANCES, RESERVED, Asked, Question, attributes, named
from authority.cedar_text import Fault, dangers, faults, statements
from authority.reasons import Why, considered, sentence, why
from authority.rules import Rule, rule_faults, rule_of
from ledger import bounds
from ledger.canonical import digest
from ledger.errors import InvalidPolicy
from ledger.events import IntentSubmitted
from ledger.intents import JSON, Subject
from ledger.visible_text import brief_json

Effect = Literal["allow", "escalate", "deny"]
_STRICTEST_FIRST: Final[tuple[Effect, ...]] = ("deny", "escalate", "allow")

_FAULTS_TOLD: Final = 3  # in the sentence; all of them stand beside it
_REMEMBERED: Final = 2_048  # characters of circumstances, of a question whose answer is
_ERRING: Final = re.compile(r"`policy([0-9]+)`")


class PolicySet(msgspec.Struct, frozen=True, eq=False):
    """A set of policies, parsed once."""

    text: str
    digest: str
    policies: tuple[str, ...]  # ids, in the order of the text
    rules: tuple[Rule, ...]


class Judgement(msgspec.Struct, frozen=True):
    """The verdict, the policies that made it, and why; for escalate also who must approve (empty: any eligible)."""

    effect: Effect
    policies: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    quorum: int = 1


class _About(msgspec.Struct, frozen=True, eq=False):
    """The policies of a set that may be about an action, and what must be known to ask them."""

    rules: tuple[Rule, ...]
    asked: tuple[Rule, ...]  # without those that are plainly for somebody else
    handle: cedarpy.PolicySet  # the same, in their own words
    circumstances: frozenset[str]


class _Answer(msgspec.Struct, frozen=True):
    """What Cedar said to one question; policies are numbers."""

    approved: bool  # which of the two questions
    allowed: bool
    determining: frozenset[int]  # permits if allowed, forbids if not
    erring: frozenset[int]
    rules: tuple[Rule, ...]  # those that may be about it
    heard: bool  # False: not every word of the answer was understood


class _Finding(msgspec.Struct, frozen=True):
    """What policy says about one action."""

    effect: Effect
    policies: frozenset[int]
    permits: frozenset[int] = frozenset()  # those that let it happen
    reasons: tuple[str, ...] = ()


def judge(
    policy_set: PolicySet,
    submitted: IntentSubmitted,
    facts: Mapping[str, JSON],
    at: datetime,
    anomalies: tuple[str, ...] = (),
) -> Judgement:
    """Give the verdict on an intent; `facts` are by action, `at` is the time that policies see.

    `anomalies` are the kinds of what is odd about whoever acts.
    """
    asked = [Asked(submitted, one, facts.get(one.id) or {}, at, anomalies) for one in submitted.actions]
    findings = [_find(policy_set, one) for one in asked]
    if len(findings) > 1:
        findings = [
            msgspec.structs.replace(finding, reasons=tuple(f"{one.id}: {said}" for said in finding.reasons))
            if finding.reasons
            else finding
            for one, finding in zip(submitted.actions, findings, strict=True)
        ]
    denied = [one for one in findings if one.effect == "deny"]
    if denied or not findings:
        return Judgement("deny", _ids(policy_set, denied), _few(denied))
    escalated = [one for one in findings if one.effect == "escalate"]
    policies = _ids(policy_set, findings)
    if not escalated:
        return Judgement("allow", policies)
    return _escalate(policy_set, escalated, policies)


def strictest(judgements: Sequence[Judgement]) -> Judgement:
    """Return what several judgements, at least one, come to if all of them must be met: the strictest decides.

    Where they escalate, the most people are asked, and those whom all of them name; if there is nobody, it is a denial.
    """
    effect = next(one for one in _STRICTEST_FIRST if any(each.effect == one for each in judgements))
    deciding = [each for each in judgements if each.effect == effect]
    telling = deciding if effect == "deny" else judgements
    policies, reasons = tuple(dict.fromkeys(one for each in telling for one in each.policies)), _few(deciding)
    if effect != "escalate":
        return Judgement(effect, policies, reasons)
    naming = [each.approvers for each in deciding if each.approvers]
    approvers = _in_common(naming)
    if naming and not approvers:
        said = "no approver is named for every agent of the chain, so nobody may approve"
        return Judgement("deny", policies, (*reasons, said))
    return Judgement(effect, policies, reasons, approvers, max(each.quorum for each in deciding))


@lru_cache(maxsize=bounds.POLICY_SETS_KEPT)
def parse(cedar: str) -> PolicySet:
    """Read a policy set, at most `bounds.POLICY_BYTES` of Cedar.

    Raises `InvalidPolicy` with the line, the column and the reason of each fault. A set that was read lately is not
    read again. To be called from threads with a stack of 8 MB, which is the usual size: Cedar's parser recurses.
    """
    if len(cedar) > bounds.POLICY_BYTES or len(cedar.encode(errors="replace")) > bounds.POLICY_BYTES:
        _refuse([Fault(1, 1, f"The policy set is longer than {bounds.POLICY_BYTES} bytes.")])
    texts = statements(cedar)
    if not texts:
        _refuse([Fault(1, 1, "There is no policy in it, and without one nothing would ever be permitted.")])
    if len(texts) > bounds.POLICIES_MAX:
        _refuse([texts[bounds.POLICIES_MAX].fault(f"There are more than {bounds.POLICIES_MAX} policies.")])
    _refuse(dangers(texts))
    _refuse(faults(texts))
    try:
        nodes = cedarpy.policies_to_pst(cedar)
    except ValueError as error:
        raise _invalid([Fault(1, 1, f"The policy set cannot be read: {error}.")]) from error
    templates = {**nodes.static_policies, **nodes.templates}
    if len(templates) != len(texts):
        _refuse(
            [Fault(1, 1, "Where one policy ends and the next begins is not clear; write each on lines of its own.")]
        )
    rules = tuple(rule_of(number, text, templates[f"policy{number}"]) for number, text in enumerate(texts))
    names = [rule.id for rule in rules]
    again = [rule for rule in rules if rule.id and rule.id in names[: rule.number]]
    _refuse(fault for rule in rules for fault in rule_faults(rule))
    _refuse(rule.statement.fault(f"The id {rule.id!r} was given to a policy above already.") for rule in again)
    return PolicySet(cedar, digest(cedar), tuple(names), rules)


# ── one action ───────────────────────────────────────────────────────────────────────────────────────────────────


def _find(policy_set: PolicySet, asked: Asked) -> _Finding:
    if any(sign in asked.operation for sign in RESERVED):  # it could pass for another action, or for a group of them
        return _Finding("deny", frozenset(), reasons=(f"{brief_json(asked.operation)} is no name of an operation",))
    plain = _answer(policy_set, asked, approved=False)
    if plain.allowed:
        return _Finding("allow", plain.determining, plain.determining)
    approved = _answer(policy_set, asked, approved=True)
    if approved.allowed:
        stopped, reasons = _stopped(asked, (plain,))
        return _Finding("escalate", approved.determining | stopped, approved.determining, reasons)
    stopped, reasons = _stopped(asked, (plain, approved))
    return _Finding("deny", stopped, reasons=reasons)


def _answer(policy_set: PolicySet, asked: Asked, *, approved: bool) -> _Answer:
    action = named(asked.operation, approved=approved)
    about = _about(policy_set, action, asked.submitted.agent, asked.submitted.grant)
    question = asked.question(approved=approved, about=about.circumstances)
    return _said(about, question) if len(question.context) <= _REMEMBERED else _said.__wrapped__(about, question)


@lru_cache(maxsize=1024)
def _said(about: _About, question: Question) -> _Answer:
    """Ask Cedar, unless these policies have lately been asked the same."""
    rules = about.asked
    (result,) = cedarpy.is_authorized_batch([question.request], about.handle, question.entities)
    decision, said, errors = result.decision, result.diagnostics.reasons, result.diagnostics.errors
    allowed = decision is cedarpy.Decision.Allow
    erring = frozenset(rules[int(match[1])].number for error in errors if (match := _ERRING.search(error)))
    return _Answer(
        approved=question.approved,
        allowed=allowed and not errors,
        determining=frozenset() if allowed and errors else frozenset(rules[int(one[6:])].number for one in said),
        erring=erring,
        rules=about.rules,
        heard=decision is not cedarpy.Decision.NoDecision and len(erring) == len(errors),
    )


@lru_cache(maxsize=1024)
def _about(policy_set: PolicySet, action: str, subject: Subject, grant: str) -> _About:
    who = attributes(subject, grant)
    rules = tuple(rule for rule in policy_set.rules if rule.may_be_about(action))
    return _readable(rules, tuple(rule for rule in rules if rule.may_be_for(who)))


@lru_cache(maxsize=256)
def _readable(rules: tuple[Rule, ...], asked: tuple[Rule, ...]) -> _About:
    return _About(
        rules=rules,
        asked=asked,
        handle=cedarpy.PolicySet.from_str("\n".join(rule.statement.whole for rule in asked)),
        circumstances=frozenset(
            name for rule in asked for name in (CIRCUMSTANCES if rule.circumstances is None else rule.circumstances)
        ),
    )


def _stopped(asked: Asked, answers: tuple[_Answer, ...]) -> tuple[frozenset[int], tuple[str, ...]]:
    """Return the policies that stood against these questions, and a sentence on each.

    Those that forbade or erred; if there are none, the permits that were considered and did not apply.
    """
    if not all(answer.heard for answer in answers):
        return frozenset(), (f"Policy could not be asked about {asked.operation}",)
    told: dict[str, int] = {}
    for find in (_against, _near):
        for answer in answers:
            told.update(
                (sentence(one, asked, approved=answer.approved), one.rule.number) for one in find(asked, answer)
            )
        if told:
            return frozenset(told.values()), tuple(told)
    return frozenset(), (f"No policy permits {asked.operation} to {asked.submitted.agent.name}",)


def _against(asked: Asked, answer: _Answer) -> Iterator[Why]:
    for rule in answer.rules:
        if rule.number in answer.erring:
            yield from why((rule,), asked, approved=answer.approved)
        elif rule.number in answer.determining:
            yield Why(rule, "applies")


def _near(asked: Asked, answer: _Answer) -> Iterable[Why]:
    return considered(why(answer.rules, asked, approved=answer.approved))


# ── the whole intent ─────────────────────────────────────────────────────────────────────────────────────────────


def _escalate(policy_set: PolicySet, escalated: list[_Finding], policies: tuple[str, ...]) -> Judgement:
    """Every policy that lets an action happen with approval has its say: the most people, and those whom all name."""
    rules = [policy_set.rules[number] for number in sorted({one for finding in escalated for one in finding.permits})]
    naming = [rule for rule in rules if rule.approvers]
    approvers = _in_common([rule.approvers for rule in naming])
    if naming and not approvers:
        names = " and ".join(rule.id for rule in naming)
        return Judgement(
            "deny", policies, (*_few(escalated), f"{names} name no approver in common, so nobody may approve")
        )
    return Judgement("escalate", policies, _few(escalated), approvers, max(rule.quorum for rule in rules))


def _in_common(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for name in (lists[0] if lists else ()) if all(name in names for names in lists))


def _ids(policy_set: PolicySet, findings: list[_Finding]) -> tuple[str, ...]:
    return tuple(policy_set.policies[one] for one in sorted({one for each in findings for one in each.policies}))


def _few(findings: Sequence[_Finding | Judgement]) -> tuple[str, ...]:
    reasons = tuple(dict.fromkeys(said for finding in findings for said in finding.reasons))
    if len(reasons) <= bounds.DECISION_REASONS:
        return reasons
    shown = bounds.DECISION_REASONS - 1
    return (*reasons[:shown], f"and {len(reasons) - shown} more")


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _invalid(found: Iterable[Fault]) -> InvalidPolicy:
    errors: list[dict[str, str | int]] = [
        {"line": one.line, "column": one.column, "message": one.message} for one in found
    ]
    return InvalidPolicy(
        f"The policy set cannot be used ({places(errors)}). It was neither kept nor activated.", errors
    )


def places(errors: Sequence[Mapping[str, str | int]]) -> str:
    """Say in a sentence where the first faults of a policy set are."""
    return "; ".join(f"line {one['line']}: {one['message']}" for one in errors[:_FAULTS_TOLD])


def _refuse(found: Iterable[Fault]) -> None:
    faults_found = list(itertools.islice(found, bounds.POLICY_FAULTS))
    if faults_found:
        raise _invalid(faults_found)


DEFAULT: Final = parse('@id("allow-all") permit (principal, action, resource);')
"""What is in force while no set was ever activated."""
