"""The policies of a set, read: each with what its annotations say and the conditions that it joins.

The annotations are its id, a description, and who must approve where it lets people decide. One that is misspelt would
be silently without effect in Cedar, and so one that is not known is a fault.

Of a set, only the policies that may be about an action are ever asked about it. The tree of actions is ours
(`authority/cedar_request.py`), so which those are can be told from the text: leaving the others out changes no verdict
and makes it as cheap in a large set as in a small one. So it is with policies that are plainly for somebody else, and
with the circumstances that none of the others looks at.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final

import msgspec
from cedarpy import pst

from authority.cedar_request import WITH_APPROVAL, groups
from authority.cedar_text import Fault, Statement
from authority.cedar_words import Path, circumstances, conjuncts, paths, roots, text
from ledger import bounds
from ledger.visible_text import readable

_KNOWN: Final = ("id", "description", "approvers", "quorum")


class Condition(msgspec.Struct, frozen=True, eq=False):
    """One thing that must hold (`when`), or must not (`unless`), for a policy to apply."""

    clause: pst.Clause
    text: str
    looks_at: tuple[Path, ...]
    about_who: bool  # it only says whom the policy is for

    @property
    def negated(self) -> bool:
        """Tell whether the policy applies unless this holds."""
        return isinstance(self.clause, pst.Unless)


class Rule(msgspec.Struct, frozen=True, eq=False, dict=True):
    """One policy of a set."""

    id: str
    number: int  # its place in the set, from 0
    statement: Statement
    template: pst.Template
    description: str | None
    approvers: tuple[str, ...]
    quorum: int

    @property
    def permits(self) -> bool:
        """Tell a permit from a forbid."""
        return self.template.effect == "permit"

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """What must hold for the policy to apply, in the order in which it is tried."""
        return tuple(
            Condition(part, text(part.expr), tuple(dict.fromkeys(paths(part.expr))), roots(part.expr) == {"principal"})
            for clause in self.template.clauses
            for part in _parts(clause)
        )

    @cached_property
    def whom(self) -> tuple[tuple[str, str], ...]:
        """The attributes of the principal that the policy compares with a text before it looks at anything else."""
        found = []
        for one in self.conditions:
            match one.clause:
                case pst.When(pst.BinaryOp("eq", pst.GetAttr(pst.Var("principal"), attribute), pst.StringLit(text))):
                    found.append((attribute, text))
                case _:
                    break
        return tuple(found)

    @cached_property
    def circumstances(self) -> frozenset[str] | None:
        """Which attributes of the context the policy may look at; None: all of them."""
        return circumstances(tuple(clause.expr for clause in self.template.clauses))

    def may_be_about(self, action: str) -> bool:
        """Tell whether the policy could apply to an action; a no is certain."""
        constraint = self.template.action
        if isinstance(constraint, pst.ActionEq):
            return constraint.entity.id == action
        if isinstance(constraint, pst.ActionIn):
            tree = {action, *groups(action.partition("#")[0])}
            return any(uid.id in tree for uid in constraint.entities)
        return True

    def may_be_for(self, who: Mapping[str, str]) -> bool:
        """Tell whether the policy could apply to somebody with these attributes; a no is certain, and it cannot err."""
        for attribute, wanted in self.whom:
            if who.get(attribute) != wanted:
                return attribute not in who  # which is an error, and errors deny
        return True


def rule_of(number: int, statement: Statement, template: pst.Template) -> Rule:
    """Read one policy, at this place in its set, whatever may be wrong with its annotations."""
    notes = template.annotations
    return Rule(
        id=notes.get("id", ""),
        number=number,
        statement=statement,
        template=template,
        description=notes.get("description"),
        approvers=tuple(dict.fromkeys(name.strip() for name in notes["approvers"].split(",")))
        if "approvers" in notes
        else (),
        quorum=int(notes["quorum"]) if re.fullmatch(r"[0-9]{1,3}", notes.get("quorum", "")) else 1,
    )


def rule_faults(rule: Rule) -> Iterator[Fault]:
    """Yield what is wrong with one policy beyond its syntax, each at its first line."""
    notes = rule.template.annotations
    for name in sorted(set(notes) - set(_KNOWN)):
        yield rule.statement.fault(f"The annotation @{name} is not known; there are @{', @'.join(_KNOWN)}.")
    if not rule.id:
        yield rule.statement.fault('A policy needs an id, @id("…"), so that decisions can name it.')
    elif not _written(rule.id, bounds.NAME_LENGTH):
        yield rule.statement.fault(
            f"An id is at most {bounds.NAME_LENGTH} printable characters, without spaces at its ends."
        )
    if rule.description is not None and not _written(rule.description, bounds.POLICY_DESCRIPTION_LENGTH):
        yield rule.statement.fault(f"A description is at most {bounds.POLICY_DESCRIPTION_LENGTH} printable characters.")
    if _has_slot(rule.template):
        yield rule.statement.fault(
            "Templates (?principal, ?resource) are not taken; name whom and what the policy is about."
        )
    yield from _approval_faults(rule)


def _approval_faults(rule: Rule) -> Iterator[Fault]:
    notes = rule.template.annotations
    asked = [name for name in ("approvers", "quorum") if name in notes]
    if not asked:
        return
    if not rule.permits or _never_asked(rule.template.action):
        yield rule.statement.fault(f"@{asked[0]} has an effect only on a permit for an operation's {WITH_APPROVAL}.")
    if "approvers" in notes and not (
        len(rule.approvers) <= bounds.APPROVERS_MAX
        and all(_written(name, bounds.NAME_LENGTH) for name in rule.approvers)
    ):
        yield rule.statement.fault(
            f"@approvers is a list of names or roles separated by commas, at most {bounds.APPROVERS_MAX}, each "
            f"of at most {bounds.NAME_LENGTH} printable characters."
        )
    quorum = notes.get("quorum")
    if quorum is not None and not (re.fullmatch(r"[1-9][0-9]?", quorum) and rule.quorum <= bounds.QUORUM_MAX):
        yield rule.statement.fault(f'@quorum is a whole number from 1 to {bounds.QUORUM_MAX}, as in @quorum("2").')


def _never_asked(action: pst.ActionConstraint) -> bool:
    return isinstance(action, pst.ActionEq) and not action.entity.id.endswith(WITH_APPROVAL)


def _has_slot(template: pst.Template) -> bool:
    return any(
        isinstance(getattr(constraint, "entity", None), pst.Slot)
        for constraint in (template.principal, template.resource)
    )


def _written(name: str, length: int) -> bool:
    return len(name) <= length and readable(name)


def _parts(clause: pst.Clause) -> Iterator[pst.Clause]:
    if isinstance(clause, pst.When):
        yield from map(pst.When, conjuncts(clause.expr))
    else:
        yield clause
