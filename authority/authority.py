"""Authority as the rest of the system sees it: who holds this token, and what is the verdict on this intent."""

import asyncio
from collections.abc import Mapping
from typing import Final

from authority.grants import GRANTS_STREAM, Principal, fingerprint, operator_grant, principals
from authority.policy import evaluate
from ledger.errors import Unauthenticated, Unavailable
from ledger.events import IntentSubmitted, PolicyEvaluated
from ledger.intents import JSON
from ledger.store import Append, Appended, Store, VersionConflict

_REFRESH_SECONDS: Final = 1.0  # how often an unknown token may make us look for grants issued by another process


class Authority:
    """The grants and the policy of one ledger."""

    def __init__(self, store: Store) -> None:
        """Know nothing yet: grants are read when the first token is shown."""
        self._store = store
        self._principals: Mapping[str, Principal] = {}
        self._version = -1  # of the grants stream
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def ensure_operator(self, token: str) -> bool:
        """Make the operator's grant for `token` unless the ledger has one; False if it has.

        Raises `Unavailable` when it is not known whether the grant was recorded.
        """
        verdict = await self._store.append(
            Append(stream=GRANTS_STREAM, expected_version=0, events=(operator_grant(token),))
        )
        if isinstance(verdict, Appended):
            return True
        if isinstance(verdict, VersionConflict):
            return False
        raise Unavailable("Whether the operator's grant was recorded is not known. Start again.")

    async def authenticate(self, token: str) -> Principal:
        """Return who holds this token. Raises `Unauthenticated`; says no more about why."""
        name = fingerprint(token)
        found = self._principals.get(name)
        if found is None:
            await self._refresh()
            found = self._principals.get(name)
        if found is None:
            raise Unauthenticated("This token is not alive. Nothing was recorded.")
        return found

    def evaluate(self, submitted: IntentSubmitted, facts: Mapping[str, JSON]) -> PolicyEvaluated:
        """Give the verdict of the active policy set."""
        return evaluate(submitted, facts)

    async def _refresh(self) -> None:
        async with self._reading:
            now = asyncio.get_running_loop().time()
            if self._read_at is not None and now - self._read_at < _REFRESH_SECONDS:
                return
            recorded = await self._store.read(GRANTS_STREAM)
            if len(recorded) != self._version:
                self._principals = principals(recorded)
                self._version = len(recorded)
            self._read_at = now
