"""The policy sets of the simulation, each with what its text means, said once more in Python.

The second saying is the oracle: a verdict that differs from it is a crime, whoever made the mistake. What an action is
called is of no interest to these rules; they look at its parameter `n`, and at the `risk` that its system reports.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from authority.policy import DEFAULT, parse


class Says(NamedTuple):
    """What rules say about one action."""

    effect: str
    approvers: tuple[str, ...] = ()
    quorum: int = 1


Meaning = Callable[[int, int | None], Says]  # from n, and the risk where one was reported

ALLOW, DENY = Says("allow"), Says("deny")


class Rules(NamedTuple):
    """A policy set and its meaning."""

    text: str
    meaning: Meaning

    @property
    def digest(self) -> str:
        return parse(self.text).digest

    @property
    def policies(self) -> tuple[str, ...]:
        return parse(self.text).policies


def _usual(n: int, risk: int | None) -> Says:
    risk = risk or 0
    if risk >= 8 or n == 9:
        return DENY
    if n < 6 and risk < 5:
        return ALLOW
    return Says("escalate") if n < 8 else Says("escalate", ("finance",), 2)


def _strict(n: int, _risk: int | None) -> Says:
    if n == 9:
        return DENY
    return ALLOW if n < 2 else Says("escalate", (), 2)


def _erring(n: int, risk: int | None) -> Says:
    return DENY if risk is None or risk >= 8 or n == 9 else ALLOW


RULEBOOK = {
    "usual": Rules(
        """
        @id("P-1") permit (principal, action, resource)
        when { context.params.n < 6 && !(context.facts has risk && context.facts.risk >= 5) };
        @id("P-2") permit (principal, action, resource) when { context.approved && context.params.n < 8 };
        @id("P-3") @approvers("finance") @quorum("2") permit (principal, action, resource)
        when { context.approved && context.params.n == 8 };
        @id("P-4") forbid (principal, action, resource) when { context.facts has risk && context.facts.risk >= 8 };
        """,
        _usual,
    ),
    "strict": Rules(
        """
        @id("S-1") permit (principal, action, resource) when { context.params.n < 2 };
        @id("S-2") @quorum("2") permit (principal, action, resource) when { context.approved };
        @id("S-3") forbid (principal, action, resource) when { context.params.n == 9 };
        """,
        _strict,
    ),
    "erring": Rules(  # where no risk is reported it cannot be evaluated, and what cannot be evaluated denies
        """
        @id("E-1") permit (principal, action, resource) when { context.params.n < 9 };
        @id("E-2") forbid (principal, action, resource) when { context.facts.risk >= 8 };
        """,
        _erring,
    ),
}
MEANINGS: dict[str, Meaning] = {DEFAULT.digest: lambda *_: ALLOW} | {
    rules.digest: rules.meaning for rules in RULEBOOK.values()
}


def together(said: Sequence[Says]) -> Says:
    """Say what rules mean for a whole intent: the strictest word, the most people, those whom all name."""
    if any(one.effect == "deny" for one in said):
        return DENY
    asked = [one for one in said if one.effect == "escalate"]
    if not asked:
        return ALLOW
    named = [set(one.approvers) for one in asked if one.approvers]
    approvers = tuple(sorted(set.intersection(*named))) if named else ()
    return Says("escalate", approvers, max(one.quorum for one in asked))
