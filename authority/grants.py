"""Grants: who may act, as events in one stream, and the tokens that name them.

A token is 256 random bits, shown once; the ledger knows only its SHA-256, so that reading the ledger gives no access.
Today there is one grant, the operator's, with full rights, made when a ledger is initialised.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ledger.errors import Corrupt
from ledger.events import GrantIssued, Recorded
from ledger.intents import Subject

GRANTS_STREAM: Final = "grants"
TOKEN_BYTES: Final = 32
_PREFIX: Final = "il_"  # so that secret scanners can find a leaked one


class Principal(msgspec.Struct, frozen=True):
    """Who makes a request, and by which authority."""

    grant: str
    subject: Subject
    custody: tuple[str, ...]  # the grants from the first down to this one
    commissioned_by: str | None


def token_of(entropy: bytes) -> str:
    """Write 32 random bytes as a bearer token."""
    return _PREFIX + base64.urlsafe_b64encode(entropy).rstrip(b"=").decode()


def fingerprint(token: str) -> str:
    """Return the SHA-256 of a token, in hexadecimal: all that is ever stored of it."""
    return hashlib.sha256(token.encode()).hexdigest()


def operator_grant(token: str) -> GrantIssued:
    """Return the grant that `intentledger init` makes: a person with every right."""
    return GrantIssued(
        grant="grant-operator",
        parent=None,
        subject=Subject(kind="person", name="operator"),
        token_sha256=fingerprint(token),
        operations=("*",),
    )


def principals(recorded: Iterable[Recorded]) -> Mapping[str, Principal]:
    """Fold the grants stream into who holds which token, by fingerprint."""
    found: dict[str, Principal] = {}
    by_grant: dict[str, Principal] = {}
    for one in recorded:
        if not isinstance(one.event, GrantIssued):
            raise Corrupt(f"The grants stream holds a {one.type} at position {one.position}, which is no grant.")
        parent = by_grant[one.event.parent] if one.event.parent else None
        principal = Principal(
            grant=one.event.grant,
            subject=one.event.subject,
            custody=(*(parent.custody if parent else ()), one.event.grant),
            commissioned_by=parent.subject.name if parent else None,
        )
        by_grant[one.event.grant] = found[one.event.token_sha256] = principal
    return found
