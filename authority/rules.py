"""The policies of a set, read: each with what its annotations say and the conditions that it joins.

Of a set, only the policies that may be about an action are ever asked about it. The tree of actions is ours
(`authority/cedar_request.py`), so which those are can be told from the text: leaving the others out changes no verdict
and makes it as cheap in a large set as in a small one.
"""

from collections.abc import Iterator
from functools import cached_property

import msgspec
from cedarpy import pst

from authority.cedar_request import groups
from authority.cedar_text import Statement
from authority.cedar_words import Path, conjuncts, paths, roots, text


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

    def may_be_about(self, action: str) -> bool:
        """Tell whether the policy could apply to an action; a no is certain."""
        constraint = self.template.action
        if isinstance(constraint, pst.ActionEq):
            return constraint.entity.id == action
        if isinstance(constraint, pst.ActionIn):
            tree = {action, *groups(action.partition("#")[0])}
            return any(uid.id in tree for uid in constraint.entities)
        return True


def _parts(clause: pst.Clause) -> Iterator[pst.Clause]:
    if isinstance(clause, pst.When):
        yield from map(pst.When, conjuncts(clause.expr))
    else:
        yield clause
