"""Why a policy did or did not apply, in a sentence that names its id and the condition that decided.

Cedar tells which policies applied and which erred, and nothing of those that did not. So each condition of a policy is
made a policy of its own, a *probe*, and Cedar is asked about all of them in one request; the first condition in the
policy's own order that does not hold is the one to name. Reasons explain a verdict and never make it. Their words
are our own, not Cedar's, so that a recorded decision reads the same after an upgrade.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal

import cedarpy
import msgspec
from cedarpy import pst

from authority.cedar_request import Asked
from authority.cedar_words import missing, values
from authority.rules import Condition, Rule
from ledger import bounds

_ANY: Final = pst.ScopeAny()


class Why(msgspec.Struct, frozen=True):
    """What a policy came to: the condition is the first that fails or errs, if one does."""

    rule: Rule
    came_to: Literal["elsewhere", "applies", "fails", "errs"]  # elsewhere: it is about others, or other systems
    condition: Condition | None = None


def why(rules: tuple[Rule, ...], asked: Asked, *, approved: bool) -> tuple[Why, ...]:
    """Say of each of these policies, which may be about the action, what it came to for one request."""
    if not rules:
        return ()
    question = asked.question(approved=approved)
    (answer,) = cedarpy.is_authorized_batch([question.request], _probes(rules), question.entities)
    return tuple(
        _came_to(rule, set(answer.diagnostics.reasons), "\n".join(answer.diagnostics.errors)) for rule in rules
    )


def considered(found: Iterable[Why]) -> tuple[Why, ...]:
    """Return the permits that are about this action and did not apply; those for somebody else only if no other is."""
    near = [one for one in found if one.rule.permits and one.came_to in ("fails", "errs")]
    ours = [one for one in near if one.condition and not one.condition.about_who]
    return tuple(ours or near)


def sentence(one: Why, asked: Asked, *, approved: bool) -> str:
    """Name the policy and what decided about it."""
    seen = asked.seen(approved=approved)
    decisive = one.condition
    if decisive is None:
        said = f"{one.rule.id} {'permits' if one.rule.permits else 'forbids'} {asked.operation}"
        because = one.rule.description or _because(one.rule, seen)
        return _bounded(f"{said}: {because}" if because else said)
    if one.came_to == "errs":
        absent = missing(decisive.looks_at, seen)
        cause = f"{absent} is not known" if absent else f"its values do not fit{values(decisive.looks_at, seen)}"
        return _bounded(f"{one.rule.id}: {decisive.text} could not be evaluated, because {cause}")
    told = "holds and rules it out" if decisive.negated else "does not hold"
    return _bounded(f"{one.rule.id}: {decisive.text} {told}{values(decisive.looks_at, seen)}")


def _came_to(rule: Rule, holding: set[str], erring: str) -> Why:
    if f"{rule.number}.scope" not in holding:
        return Why(rule, "elsewhere")
    for place, condition in enumerate(rule.conditions):
        name = f"{rule.number}.{place}"
        if name not in holding:
            return Why(rule, "errs" if f"`{name}`" in erring else "fails", condition)
    return Why(rule, "applies")


def _because(rule: Rule, seen: dict[str, object]) -> str:
    return " and ".join(
        f"{one.text} {'does not hold' if one.negated else 'holds'}{values(one.looks_at, seen)}"
        for one in rule.conditions
        if not one.about_who
    )


def _bounded(said: str) -> str:
    return said if len(said) <= bounds.DECISION_REASON_LENGTH else said[: bounds.DECISION_REASON_LENGTH - 1] + "…"


@lru_cache(maxsize=256)
def _probes(rules: tuple[Rule, ...]) -> cedarpy.PolicySet:
    """Return a probe for the scope and for each condition of each policy."""
    probes = [
        _probe(rule.template, f"{rule.number}.{name}", clauses)
        for rule in rules
        for name, clauses in (
            ("scope", ()),
            *((place, (condition.clause,)) for place, condition in enumerate(rule.conditions)),
        )
    ]
    nodes = pst.FrozenMap({probe.id: probe for probe in probes})
    return cedarpy.PolicySet.from_pst(pst.PolicySet(pst.FrozenMap(), nodes, ()))


def _probe(whole: pst.Template, name: str, clauses: tuple[pst.Clause, ...]) -> pst.Template:
    return pst.Template(
        id=name,
        effect="permit",
        principal=whole.principal,
        action=_ANY,
        resource=whole.resource,
        clauses=clauses,
        annotations=pst.FrozenMap(),
    )
