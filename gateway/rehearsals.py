"""A candidate policy set on the past: gather what was judged, page by page, and judge it again off the event loop."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from authority.policy import PolicySet
from authority.rehearsal import Past, Report, rehearse
from gateway.door import Service
from ledger.database import connection
from ledger.events import GrantIssued
from ledger.state import IntentState
from projections.intents import IntentFilter, list_intents

_PAGE: Final = 50  # intents folded between two looks at the event loop, some 5 ms


async def rehearsed(service: Service, policy_set: PolicySet, since: datetime | None, limit: int) -> tuple[Report, bool]:
    """Judge the newest `limit` judged intents again, none submitted before `since`; tell too whether there were more.

    Raises `Unavailable`, `Corrupt`.
    """
    past: list[Past] = []
    chains: dict[str, tuple[GrantIssued, ...]] = {}
    more = False
    async for state in _newest(service, since):
        if state.policy is None:
            continue
        if len(past) == limit:
            more = True
            break
        grant = state.submitted.grant
        if grant not in chains:
            chains[grant] = tuple([one.issued for one in await service.store.chain(grant=grant)])
        past.append(Past(chains[grant], state.submitted, state.policy))
    return await asyncio.to_thread(rehearse, policy_set, past), more


async def _newest(service: Service, since: datetime | None) -> AsyncIterator[IntentState]:
    after: str | None = None
    while True:
        async with connection(service.pool) as reader:
            page = await list_intents(reader, service.store.ledger, IntentFilter(), after, _PAGE)
        for state in page.items:
            if since is not None and state.submitted_at < since:
                return
            yield state
        after = page.next
        if after is None:
            return
