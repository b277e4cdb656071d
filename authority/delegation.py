"""Delegation: a child is narrower than its parent, or it is not issued. Pure.

`wider(child, parent)` names every part that is wider by its place in the request. The rules:

1. A permission of the child is covered by *one* permission of the parent: its pattern lies within the other's and every
   constraint of the parent is there, as narrow or narrower. What only several permissions together cover is refused:
   whoever wants it writes it as several permissions.
2. A limit of the child that counts the same as one of the parent does not exceed it. A limit that the child leaves out
   is no gap: every limit along the chain is charged (`authority/limits.py`).
3. Task and expiry are the parent's unless the child names narrower ones. An agent never issues to a person. Only a
   grant that may delegate has children, down to GRANT_DEPTH.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from authority.grants import GrantOrder, Principal, fingerprint, holds, permissions
from ledger import bounds
from ledger.events import GrantIssued
from ledger.grants import Limit, Permission, Range, Scalar, covers, is_pattern
from ledger.intents import Subject
from ledger.visible_text import brief_json, readable

Fault = Mapping[str, str]  # {"path": JSON pointer into the request, "message": sentence}


def child_of(issuer: Principal, order: GrantOrder, *, grant: str, token: str, now: datetime) -> GrantIssued:
    """Write down the grant that an order asks for, with what it inherits; whether it may be is for `wider` to say."""
    parent = issuer.chain[-1]
    expires_in = order.expires_in_seconds
    return GrantIssued(
        grant=grant,
        parent=issuer.grant,
        subject=order.subject,
        token_sha256=fingerprint(token),
        operations=order.operations,
        task=parent.task if order.task is None else order.task,
        limits=order.limits,
        expires_at=parent.expires_at if expires_in is None else now + timedelta(seconds=expires_in),
        may_delegate=order.may_delegate,
        custody=(*issuer.custody, grant),
        commissioned_by=issuer.subject.name if issuer.subject.kind == "person" else issuer.commissioned_by,
        issued_by=issuer.subject.name,
    )


def wider(child: GrantIssued, parent: GrantIssued) -> list[Fault]:
    """Name each part of a child that is wider than its parent; empty when it is narrower throughout."""
    return [
        *_delegation(child, parent),
        *(fault for place, one in enumerate(permissions(child)) for fault in _permission(place, one, parent)),
        *(fault for place, one in enumerate(child.limits) for fault in _limit(place, one, parent)),
    ]


def faults(order: GrantOrder) -> list[Fault]:
    """Name everything in an order that no grant could be made of."""
    return [
        *_subject_faults(order.subject),
        *_count("/operations", len(order.operations), 1, bounds.GRANT_OPERATIONS),
        *(fault for place, one in enumerate(order.operations) for fault in _permission_faults(place, one)),
        *_count("/limits", len(order.limits), 0, bounds.GRANT_LIMITS),
        *(fault for place, one in enumerate(order.limits) for fault in _limit_faults(place, one)),
        *_order_faults(order),
    ]


# ── wider than the parent ────────────────────────────────────────────────────────────────────────────────────────


def _delegation(child: GrantIssued, parent: GrantIssued) -> Iterator[Fault]:
    if not parent.may_delegate:
        yield _fault("/may_delegate", f"Grant {parent.grant} may not delegate.")
    if len(child.custody) > bounds.GRANT_DEPTH:
        yield _fault("/may_delegate", f"A chain of grants is at most {bounds.GRANT_DEPTH} deep.")
    if child.subject.kind == "person" and parent.subject.kind != "person":
        yield _fault("/subject/kind", "An agent cannot issue a grant to a person.")
    if parent.task is not None and child.task != parent.task:
        yield _fault("/task", f"Grant {parent.grant} is for task {brief_json(parent.task)} only.")
    if parent.expires_at is not None and (child.expires_at is None or child.expires_at > parent.expires_at):
        yield _fault("/expires_in", f"Grant {parent.grant} expires at {parent.expires_at.isoformat()}.")


def _permission(place: int, wanted: Permission, parent: GrantIssued) -> Sequence[Fault]:
    """Find one permission of the parent that covers this one; where none does, name what the nearest one lacks."""
    nearest: Sequence[Fault] | None = None
    for offered in permissions(parent):
        if not covers(offered.operation, wanted.operation):
            continue
        lacks = [
            _fault(
                f"/operations/{place}/where/{_escaped(name)}",
                f"{name} is wider than one permission of grant {parent.grant} for {offered.operation}.",
            )
            for name, constraint in offered.where.items()
            if not _narrower(wanted.where.get(name), constraint)
        ]
        if not lacks:
            return ()
        if nearest is None or len(lacks) < len(nearest):
            nearest = lacks
    if nearest is not None:
        return nearest
    message = f"No permission of grant {parent.grant} covers {brief_json(wanted.operation)}."
    return (_fault(f"/operations/{place}/operation", message),)


def _narrower(child: tuple[Scalar, ...] | Range | None, parent: tuple[Scalar, ...] | Range) -> bool:
    """Tell whether every value that satisfies the child's constraint satisfies the parent's."""
    if child is None:
        return False
    if not isinstance(child, Range):
        return all(holds(parent, value) for value in child)
    if not isinstance(parent, Range):
        return False  # a range may hold values that a list does not; whoever means a list writes one
    return _not_below(child.min, parent.min) and _not_above(child.max, parent.max)


def _not_below(child: int | None, parent: int | None) -> bool:
    return parent is None or (child is not None and child >= parent)


def _not_above(child: int | None, parent: int | None) -> bool:
    return parent is None or (child is not None and child <= parent)


def _limit(place: int, wanted: Limit, parent: GrantIssued) -> Iterator[Fault]:
    for limit in parent.limits:
        if wanted.max > limit.max and _count_the_same(wanted, limit):
            message = f"Grant {parent.grant} has {limit.max} per {limit.per} for {limit.operation}."
            yield _fault(f"/limits/{place}/max", message)
            return


def _count_the_same(child: Limit, parent: Limit) -> bool:
    """Tell whether two limits can be compared: one measure, window and currency, and operations that both count.

    An allowance for all agents together says nothing against one for each of them.
    """
    return (
        (child.measure, child.per, child.currency) == (parent.measure, parent.per, parent.currency)
        and (covers(parent.operation, child.operation) or covers(child.operation, parent.operation))
        and not (parent.each == "agent" and child.each == "grant")
    )


# ── no grant at all ──────────────────────────────────────────────────────────────────────────────────────────────


def _subject_faults(subject: Subject) -> Iterator[Fault]:
    if subject.kind not in {"agent", "person"}:
        yield _fault("/subject/kind", 'A subject is an "agent" or a "person".')
    for field in ("name", "version", "role"):
        word = getattr(subject, field)
        if word is None and field != "name":
            continue
        if not word or len(word) > bounds.NAME_LENGTH or not readable(word):
            yield _fault(f"/subject/{field}", f"Write 1 to {bounds.NAME_LENGTH} visible characters.")


def _permission_faults(place: int, one: Permission) -> Iterator[Fault]:
    yield from _pattern_faults(f"/operations/{place}/operation", one.operation)
    for name, constraint in one.where.items():
        path = f"/operations/{place}/where/{_escaped(name)}"
        if isinstance(constraint, Range):
            if constraint.min is not None and constraint.max is not None and constraint.min > constraint.max:
                yield _fault(path, "No number is in this range.")
        else:
            yield from _count(path, len(constraint), 1, bounds.GRANT_VALUES)


def _limit_faults(place: int, one: Limit) -> Iterator[Fault]:
    yield from _pattern_faults(f"/limits/{place}/operation", one.operation)
    yield from _count(f"/limits/{place}/max", one.max, 0, bounds.INTEGER_MAX)
    if (one.measure == "amount") != (one.currency is not None):
        yield _fault(f"/limits/{place}/currency", "A limit on an amount has a currency, and no other has.")


def _order_faults(order: GrantOrder) -> Iterator[Fault]:
    if order.expires_in_seconds is not None:
        yield from _count("/expires_in", order.expires_in_seconds, 1, bounds.GRANT_SECONDS_MAX)
    if order.task is not None:
        yield from _count("/task", len(order.task), 1, bounds.NAME_LENGTH)


def _pattern_faults(path: str, pattern: str) -> Iterator[Fault]:
    if not is_pattern(pattern):
        yield _fault(path, 'Write an operation ("payments.refund"), those of an adapter ("payments.*") or all ("*").')


def _count(path: str, number: int, least: int, most: int) -> Iterator[Fault]:
    if not least <= number <= most:
        yield _fault(path, f"There must be {least} to {most}; this is {number}.")


def _fault(path: str, message: str) -> Fault:
    return {"path": path, "message": message}


def _escaped(name: str) -> str:
    """Write a name as one part of a JSON pointer (RFC 6901 §3)."""
    return name.replace("~", "~0").replace("/", "~1")
