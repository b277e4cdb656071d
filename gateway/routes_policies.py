"""The routes of policy sets: keep one, put it in force, see which one is, and try one on the past. For people.

A rehearsal gathers the past page by page and judges it again off the event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final

from aiohttp import web

from adapters.registry import Registry
from authority import rehearsal
from authority.policy import PolicySet
from authority.schema import OperationShape
from gateway.door import Route, Service, Visit
from gateway.models_authority import NewPolicySet, PoliciesQuery, TryPolicySet
from gateway.render import encode
from gateway.shapes_authority import KeptPolicies, PolicyPage, PolicyText, Rehearsal, ShownPolicySet, show_rehearsal
from ledger import bounds
from ledger.database import connection
from ledger.errors import Conflict, Erased, InvalidPolicy, InvalidRequest, NotFound
from ledger.events import GrantIssued, PolicyEvaluated
from ledger.state import IntentState
from projections.intents import IntentFilter, list_intents
from projections.policies import list_policy_sets

_PAGE: Final = 50  # intents folded between two looks at the event loop, some 5 ms


async def add(visit: Visit) -> web.Response:
    """Check a policy set against the catalogue, keep it, and put it in force if that is asked."""
    new, _ = await visit.body(NewPolicySet)
    service = visit.service
    found = await service.authority.add_policy(
        visit.principal, new.cedar, shapes(service.registry), activate=new.activate
    )
    active = new.activate or (await service.authority.active()).digest == found.digest
    headers = visit.headers()
    headers["Location"] = f"/v1/policies/{found.digest}"
    shown = KeptPolicies(digest=found.digest, policies=found.policies, active=active)
    return web.Response(body=encode(shown), status=201, headers=headers)


async def policies(visit: Visit) -> web.Response:
    """List the policy sets that are kept."""
    query: PoliciesQuery = visit.query or PoliciesQuery()
    service = visit.service
    activated = {one.digest: one for one in await service.authority.policies()}
    async with connection(service.pool) as reader:
        page = await list_policy_sets(reader, service.store.ledger, query.after, query.limit)
    items = []
    for kept in page.items:
        last = activated.get(kept.digest)
        items.append(
            ShownPolicySet(
                digest=kept.digest,
                policies=kept.policies,
                active=last is not None and last.active,
                added_at=kept.added_at,
                added_by=kept.added_by,
                activated_at=last.activated_at if last else None,
                activated_by=last.activated_by if last else None,
            )
        )
    return visit.answer({"items": items, "next": page.next})


async def active(visit: Visit) -> web.Response:
    """Show the policy set in force."""
    found = await visit.service.authority.active()
    return visit.answer(PolicyText(digest=found.digest, policies=found.policies, active=True, cedar=found.text))


async def policy(visit: Visit) -> web.Response:
    """Show a policy set as it was written."""
    authority = visit.service.authority
    found = await authority.policy(visit.id)
    in_force = (await authority.active()).digest == found.digest
    return visit.answer(PolicyText(digest=found.digest, policies=found.policies, active=in_force, cedar=found.text))


async def activate(visit: Visit) -> web.Response:
    """Put a policy set in force."""
    found = await visit.service.authority.activate(visit.principal, visit.id)
    return visit.answer(KeptPolicies(digest=found.digest, policies=found.policies, active=True))


async def rehearse(visit: Visit) -> web.Response:
    """Judge past intents again under a candidate, and show whose verdict would have been another."""
    tried, _ = await visit.body(TryPolicySet)
    policy_set = await visit.service.authority.candidate(tried.cedar, shapes(visit.service.registry))
    report, more = await _rehearsed(visit.service, policy_set, tried.since, tried.limit)
    return visit.answer(show_rehearsal(policy_set, report, more=more))


def shapes(registry: Registry) -> Sequence[OperationShape]:
    """Describe the catalogue in the plain values against which policy sets are checked."""
    return [OperationShape(one.name, one.params, one.fact_types) for one in registry.operations.values()]


async def _rehearsed(
    service: Service, policy_set: PolicySet, since: datetime | None, limit: int
) -> tuple[rehearsal.Report, bool]:
    """Judge the newest `limit` judged intents again, none submitted before `since`; tell whether there were more.

    What is judged at once is held in memory at once, so it ends at REHEARSAL_BYTES too.
    """
    past: list[rehearsal.Past] = []
    chains: dict[str, tuple[GrantIssued, ...]] = {}
    more, size = False, 0
    async for state in _newest(service, since):
        if state.policy is None:
            continue
        if len(past) == limit or size > bounds.REHEARSAL_BYTES:
            more = True
            break
        grant = state.submitted.grant
        if grant not in chains:
            chains[grant] = tuple([one.issued for one in await service.store.chain(grant=grant)])
            size += len(encode(chains[grant]))
        size += len(encode(state.submitted)) + len(encode(state.policy))
        past.append(await _past(service, state, chains[grant], state.policy))
    return await asyncio.to_thread(rehearsal.rehearse, policy_set, past), more


async def _past(
    service: Service, state: IntentState, chain: tuple[GrantIssued, ...], verdict: PolicyEvaluated
) -> rehearsal.Past:
    """Return what policy saw then; what it saw of somebody who was erased since cannot be judged again."""
    seal = await service.coordinator.seal_of(state)
    try:
        submitted, verdict = (state.submitted, verdict) if seal is None else seal.opened((state.submitted, verdict))
    except Erased:
        return rehearsal.Past(chain, state.submitted, None)
    return rehearsal.Past(chain, submitted, verdict)


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


POLICY_ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/policies",
        name="add_policy_set",
        summary="Keep a policy set, and perhaps put it in force",
        notes="An invalid one is neither kept nor activated, and each place is named by line and column.",
        handler=add,
        body=NewPolicySet,
        answers={201: KeptPolicies},
        errors=(InvalidRequest, InvalidPolicy, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/policies",
        name="list_policy_sets",
        summary="The policy sets that are kept, by digest",
        handler=policies,
        query=PoliciesQuery,
        answers={200: PolicyPage},
    ),
    Route(
        method="GET",
        path="/v1/policies/active",
        name="get_active_policy_set",
        summary="The policy set in force",
        handler=active,
        answers={200: PolicyText},
    ),
    Route(
        method="GET",
        path="/v1/policies/{digest}",
        name="get_policy_set",
        summary="A policy set as it was written",
        handler=policy,
        answers={200: PolicyText},
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/policies/{digest}/activate",
        name="activate_policy_set",
        summary="Put a policy set in force for every decision from now on",
        handler=activate,
        answers={200: KeptPolicies},
        errors=(NotFound, Conflict),
    ),
    Route(
        method="POST",
        path="/v1/policies/test",
        name="rehearse_policy_set",
        summary="Try a policy set on past intents: whose verdict would have been another",
        notes="The newest intents are judged again, as they were then. Nothing is kept and nothing happens.",
        handler=rehearse,
        body=TryPolicySet,
        answers={200: Rehearsal},
        errors=(InvalidRequest, InvalidPolicy),
    ),
)
