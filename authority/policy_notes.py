"""The annotations of a policy: its id, a description, and who must approve where it lets people decide.

An annotation that is misspelt would be silently without effect in Cedar, and so one that is not known is a fault.
"""

import re
from collections.abc import Iterator
from typing import Final

from cedarpy import pst

from authority.cedar_request import WITH_APPROVAL
from authority.cedar_text import Fault
from authority.rules import Rule
from ledger import bounds

_KNOWN: Final = ("id", "description", "approvers", "quorum")


def rule_faults(rule: Rule) -> Iterator[Fault]:
    """Yield what is wrong with one policy beyond its syntax, each at its first line."""
    notes = rule.template.annotations
    for name in sorted(set(notes) - set(_KNOWN)):
        yield rule.statement.fault(f"The annotation @{name} is not known; there are @{', @'.join(_KNOWN)}.")
    if not rule.id:
        yield rule.statement.fault('A policy needs an id, @id("…"), so that decisions can name it.')
    elif not _readable(rule.id, bounds.NAME_LENGTH):
        yield rule.statement.fault(
            f"An id is at most {bounds.NAME_LENGTH} printable characters, without spaces at its ends."
        )
    if rule.description is not None and not _readable(rule.description, bounds.POLICY_DESCRIPTION_LENGTH):
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
        and all(_readable(name, bounds.NAME_LENGTH) for name in rule.approvers)
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


def _readable(name: str, length: int) -> bool:
    return 0 < len(name) <= length and name.isprintable() and name == name.strip()
