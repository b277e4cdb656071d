"""The words of an intent: what an agent asked for, and what each operation promised when it was asked.

Everything here is a frozen value. What an operation promised (guarantee, undo, lifetimes) is copied into the intent
when it is submitted, so that a later change of configuration never changes what an old intent means.
"""

from enum import StrEnum
from typing import Any

import msgspec

JSON = dict[str, Any]


class Guarantee(StrEnum):
    """What an operation can promise when an answer is lost. Declared by its adapter, never flattered."""

    ATOMIC = "atomic"  # prepare takes a hold that survives crashes; commit cannot fail while it lives
    IDEMPOTENT = "idempotent"  # one shot, safe to repeat under its key
    VERIFIABLE = "verifiable"  # one shot, may be asked about, must not be repeated blindly
    BLIND = "blind"  # at most one attempt, ever


class Undo(StrEnum):
    """How an effect can be undone once it is committed."""

    EXACT = "exact"  # the state before is restored
    SEMANTIC = "semantic"  # a follow-up makes up for it: a reversal, an apology
    NONE = "none"


class Mode(StrEnum):
    """Whether the intent is to happen or only to be looked at."""

    EXECUTE = "execute"
    DRY_RUN = "dry_run"


class Verb(StrEnum):
    """What the coordinator asks of an adapter."""

    PREVIEW = "preview"
    PREPARE = "prepare"
    COMMIT = "commit"
    ABORT = "abort"
    COMPENSATE = "compensate"
    INQUIRE = "inquire"


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frozen value with strict, canonical encoding: the parent of every struct that is stored."""


class Subject(Value, frozen=True):
    """Who acts: an agent (with version and role) or a person."""

    kind: str  # "agent" | "person"
    name: str
    version: str | None = None
    role: str | None = None


class Personal(Value, frozen=True):
    """Whose personal data an action has: the key under which they are sealed, by its id (`ledger/sealing.py`)."""

    key: str
    fields: tuple[str, ...] = ()  # members of answers that are personal, wherever they stand in one


class ActionPlan(Value, frozen=True):
    """One action as it was accepted, with the promises of its operation and its keys."""

    id: str
    adapter: str
    operation: str  # "adapter.verb"
    params: JSON
    guarantee: Guarantee
    undo: Undo
    summary: str  # what the audit says this does: "refund 42.00 USD to customer 88"
    key: str  # names (intent, action) at the adapter for prepare, commit, abort and inquire
    undo_key: str  # names its compensation
    after: tuple[str, ...] = ()
    undo_window_seconds: int | None = None  # None: no limit
    settle_seconds: int = 0  # how long after a call has ended the outside system may still apply it
    hold_seconds: int | None = None  # how long the adapter keeps a hold; None: until told
    key_lifetime_seconds: int | None = None  # how long the adapter remembers a key; None: for ever
    facts: bool = False  # policy needs facts from the system of record first
    amount_minor: int | None = None  # the money that it moves, in minor units of `currency`
    currency: str | None = None
    personal: Personal | None = None  # None: nothing about it is personal


def has_hold(plan: ActionPlan) -> bool:
    """Tell whether preparing this action reserves something at the outside system."""
    return plan.guarantee is Guarantee.ATOMIC


def undo_guarantee(plan: ActionPlan) -> Guarantee:
    """Return what its compensation promises: one shot, fenced by `undo_key`; so a hold's is idempotent."""
    return Guarantee.IDEMPOTENT if plan.guarantee is Guarantee.ATOMIC else plan.guarantee
