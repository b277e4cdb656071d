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

from authority.cedar_request import Asked, groups
from authority.cedar_words import conjuncts, missing, roots, text, values
from ledger import bounds

_ANY: Final = pst.ScopeAny()


class Rule(msgspec.Struct, frozen=True, eq=False):
    """One policy of a set, read."""

    id: str
    number: int  # its place in the set, from 0
    line: int
    effect: pst.Effect
    template: pst.Template
    description: str | None
    approvers: tuple[str, ...]
    quorum: int


class Condition(msgspec.Struct, frozen=True):
    """One thing that must hold (`when`), or must not (`unless`), for a policy to apply."""

    clause: pst.Clause

    @property
    def about_who(self) -> bool:
        """Tell whether it only says whom the policy is for."""
        return roots(self.clause.expr) == {"principal"}


class Why(msgspec.Struct, frozen=True):
    """What a policy came to: the condition is the first that fails or errs, if one does."""

    rule: Rule
    came_to: Literal["elsewhere", "applies", "fails", "errs"]  # elsewhere: it is about others' actions
    condition: Condition | None = None


def why(rules: tuple[Rule, ...], asked: Asked, *, approved: bool) -> tuple[Why, ...]:
    """Say of every policy of a set what it came to for one request."""
    request = asked.request(approved=approved)
    probes, handle = _probes(rules, request["action"]["id"])
    (answer,) = cedarpy.is_authorized_batch([request], handle, asked.entities)
    holding = set(answer.diagnostics.reasons)
    erring = "\n".join(answer.diagnostics.errors)
    found: list[Why] = []
    for number in probes:
        rule = rules[number]
        if f"{number}.scope" not in holding:
            found.append(Why(rule, "elsewhere"))
            continue
        found.append(Why(rule, "applies"))
        for place, condition in enumerate(conditions(rule)):
            name = f"{number}.{place}"
            if name not in holding:
                found[-1] = Why(rule, "errs" if f"`{name}`" in erring else "fails", condition)
                break
    return tuple(found)


def considered(found: Iterable[Why]) -> tuple[Why, ...]:
    """Return the permits that are about this action and did not apply; those for somebody else only if no other is."""
    near = [one for one in found if one.rule.effect == "permit" and one.came_to in ("fails", "errs")]
    ours = [one for one in near if one.condition and not one.condition.about_who]
    return tuple(ours or near)


def sentence(one: Why, asked: Asked, *, approved: bool) -> str:
    """Name the policy and what decided about it."""
    seen = asked.seen(approved=approved)
    if one.condition is None:
        return _bounded(_applied(one.rule, asked, approved=approved))
    expr = one.condition.clause.expr
    if one.came_to == "errs":
        absent = missing(expr, seen)
        cause = f"{absent} is not known" if absent else f"its values do not fit{values(expr, seen)}"
        return _bounded(f"{one.rule.id}: {text(expr)} could not be evaluated, because {cause}")
    if isinstance(one.condition.clause, pst.Unless):
        return _bounded(f"{one.rule.id}: {text(expr)} holds and rules it out{values(expr, seen)}")
    return _bounded(f"{one.rule.id}: {text(expr)} does not hold{values(expr, seen)}")


def conditions(rule: Rule) -> tuple[Condition, ...]:
    """Return what must hold for a policy to apply, in the order in which it is tried."""
    return tuple(
        Condition(part)
        for clause in rule.template.clauses
        for part in (map(pst.When, conjuncts(clause.expr)) if isinstance(clause, pst.When) else (clause,))
    )


def _applied(rule: Rule, asked: Asked, *, approved: bool) -> str:
    said = f"{rule.id} {'permits' if rule.effect == 'permit' else 'forbids'} {asked.operation}"
    if rule.description:
        return f"{said}: {rule.description}"
    seen = asked.seen(approved=approved)
    because = [
        f"{text(one.clause.expr)} {'holds' if isinstance(one.clause, pst.When) else 'does not hold'}"
        f"{values(one.clause.expr, seen)}"
        for one in conditions(rule)
        if not one.about_who
    ]
    return f"{said}: {' and '.join(because)}" if because else said


def _bounded(said: str) -> str:
    return said if len(said) <= bounds.DECISION_REASON_LENGTH else said[: bounds.DECISION_REASON_LENGTH - 1] + "…"


@lru_cache(maxsize=256)
def _probes(rules: tuple[Rule, ...], action: str) -> tuple[tuple[int, ...], cedarpy.PolicySet]:
    """Return the policies that may be about an action, and a probe for the scope and each condition of each of them."""
    numbers = tuple(number for number, rule in enumerate(rules) if _may_be_about(rule.template.action, action))
    probes: dict[str, pst.Template] = {}
    for number in numbers:
        clauses = ((), *((condition.clause,) for condition in conditions(rules[number])))
        for name, clause in zip(("scope", *range(len(clauses) - 1)), clauses, strict=True):
            probe = _probe(rules[number].template, f"{number}.{name}", clause)
            probes[probe.id] = probe
    nodes = pst.PolicySet(templates=pst.FrozenMap(), static_policies=pst.FrozenMap(probes), template_links=())
    return numbers, cedarpy.PolicySet.from_pst(nodes)


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


def _may_be_about(constraint: pst.ActionConstraint, action: str) -> bool:
    if isinstance(constraint, pst.ScopeAny):
        return True
    named = {constraint.entity} if isinstance(constraint, pst.ActionEq) else set(constraint.entities)
    own = action.partition("#")[0]
    tree = {action} if isinstance(constraint, pst.ActionEq) else {action, *groups(own)}
    return any(uid.type == pst.EntityType("Action") and uid.id in tree for uid in named)
