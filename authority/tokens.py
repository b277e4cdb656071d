"""Tokens: who holds one, and whether it is alive.

Rules of this file:

1. Expired, revoked and unknown are one answer to the caller, three causes in the audit (`authority/refusals.py`).
   Who holds the token of a suspended grant is told so: it will be good again when a person says so.
2. A token is found by its SHA-256, never compared with another: how long an answer takes tells at most something about
   a digest that the caller can compute anyway, and nothing about a token they do not have.
3. Only `authenticate(fresh=False)` may answer from memory. That is for submitting an intent, whose append checks the
   grant under the head lock again; whoever reads or says something asks the store.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from authority.grants import Principal, fingerprint, principal_of
from authority.recent import Recent
from authority.record import NOT_ALIVE
from authority.refusals import Cause, Refusals
from authority.suspension import suspended
from ledger.errors import Unauthenticated
from ledger.events import GrantIssued
from ledger.store import StandingGrant, Store

_KEPT: Final = 4_096  # principals and chains, a few KB each


class Tokens:
    """What one process knows of tokens and chains of grants."""

    def __init__(self, store: Store) -> None:
        """Know nothing yet."""
        self._store = store
        self.refusals = Refusals(store)
        self._living: Recent[str, Principal] = Recent(_KEPT)  # by fingerprint
        self._chains: Recent[str, tuple[GrantIssued, ...]] = Recent(_KEPT)  # by grant; they never change

    async def authenticate(self, token: str, *, fresh: bool) -> Principal:
        """Return who holds a living token. Raises `Unauthenticated`, and says no more about why."""
        name = fingerprint(token)
        known = None if fresh else self._living.get(name)
        if known is not None and not _expired(known.chain, self._store.now()):
            return known
        standing = await self._store.chain(token_sha256=name)
        cause = _cause(standing, self._store.now())
        if cause is not None:
            self._living.drop(lambda one: one.chain[-1].token_sha256 == name)
            self.refusals.token(cause, tuple(one.issued.grant for one in standing))
            raise Unauthenticated(_refused(cause, standing))
        principal = known or principal_of([one.issued for one in standing])
        self._living.put(name, principal)
        self._chains.put(principal.grant, principal.chain)
        return principal

    async def standing(self, token: str) -> Sequence[StandingGrant]:
        """Return the chain of a token, dead or alive, the first grant first; empty if it is not known."""
        return await self._store.chain(token_sha256=fingerprint(token))

    async def chain(self, grant: str) -> tuple[GrantIssued, ...]:
        """Return a grant and those above it, the first one first, dead or alive; empty if it is not known."""
        known = self._chains.get(grant)
        if known is None:
            known = tuple(one.issued for one in await self._store.chain(grant=grant))
            if known:
                self._chains.put(grant, known)
        return known

    def forget(self, grant: str) -> None:
        """Answer no more from memory for a grant that was found dead, or for any below it."""
        self._living.drop(lambda one: grant in one.custody)

    async def close(self) -> None:
        """Stop recording refusals."""
        await self.refusals.close()


def _cause(standing: Sequence[StandingGrant], now: datetime) -> Cause | None:
    """Tell why a token is not alive; None if it is."""
    if not standing:
        return "unknown"
    if any(one.revoked for one in standing):
        return "revoked"
    if _expired([one.issued for one in standing], now):
        return "expired"
    return "suspended" if suspended(standing) is not None else None


def _refused(cause: Cause, standing: Sequence[StandingGrant]) -> str:
    if cause != "suspended":
        return NOT_ALIVE
    return (
        f"Grant {suspended(standing)} is suspended, and with it this token. Nothing was done; it is alive again "
        "once a person whose grant is above it has resumed it."
    )


def _expired(chain: Sequence[GrantIssued], now: datetime) -> bool:
    return any(grant.expires_at is not None and grant.expires_at <= now for grant in chain)
