"""`intentledger serve` with authority left out, by which its cost is measured: `python -m bench.bare serve`.

The same process, but for four things: a token is looked up in a dictionary, every verdict is one and the same value,
no append carries a guard of authority, and no limit is charged. It lives in the benchmark because the product has no
switch for it, and must never have one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from authority.authority import Authority
from authority.grants import Principal
from authority.policy import DEFAULT
from coordinator import runner
from coordinator.coordinator import Coordinator
from gateway import app, cli
from ledger.events import IntentSubmitted, PolicyEvaluated
from ledger.ids import intent_stream
from ledger.intents import JSON
from ledger.store import Append, Guard, KeyUnused, Store, Take

_ALLOWED = PolicyEvaluated(effect="allow", policies=DEFAULT.policies, policy_set=DEFAULT.digest)


class Unasked(Authority):
    """Knows its callers by heart, and allows everything."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._callers: dict[str, Principal] = {}

    async def authenticate(self, token: str, *, fresh: bool = True) -> Principal:
        if token not in self._callers:
            self._callers[token] = await super().authenticate(token, fresh=fresh)
        return self._callers[token]

    async def verdict(self, submitted: IntentSubmitted, facts: Mapping[str, JSON], at: datetime) -> PolicyEvaluated:
        del submitted, facts, at
        return _ALLOWED


class Unguarded(Coordinator):
    """Takes an intent in without asking whether the grant is alive or another policy set is active."""

    async def _first_append(self, principal: Principal, first: IntentSubmitted, in_vain: Sequence[str]) -> Append:
        del in_vain
        return Append(
            stream=intent_stream(first.intent),
            expected_version=0,
            events=(first, await self._authority.verdict(first, {}, self._store.now())),
            guards=(KeyUnused(principal.namespace, first.idempotency_key, first.request_digest),),
            work=Take(self._worker.name, self._lease_seconds),
        )


def _no_guards(*_: object) -> tuple[Guard, ...]:
    return ()


def main() -> None:
    """Put the parts in the places of those of the product, and run its command line."""
    vars(app).update(Authority=Unasked, Coordinator=Unguarded)
    vars(runner).update(guards_of=_no_guards)
    cli.main()


if __name__ == "__main__":
    main()
