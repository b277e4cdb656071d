"""The routes of the log: its newest checkpoint, and the proofs of what stands in it and that it only grew.

Everything here only reads, and nobody has to believe it: a checkpoint is signed, a proof verifies against one. Both are
for everybody who holds a token, agents too, since they tell of no event what is in it.
"""

import base64
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field

from gateway.door import Caller, Route, Visit
from gateway.models import Position, Query, checked_query, wrong_query
from gateway.render import Shown
from ledger.errors import InvalidRequest, NotFound, NotReady
from ledger.log.tree import Signed

_NOTE: Final = "text/plain; charset=utf-8"
_SIZE: Final = "Of the log, in events; the newest checkpoint's by itself."


class InclusionQuery(Query):
    """Which event, and in the log of which size."""

    position: Annotated[Position, Field(ge=1, description="Of the event.")]
    size: Annotated[Position, Field(ge=1)] | None = Field(default=None, description=_SIZE)


class ConsistencyQuery(Query):
    """The sizes of an older log and of a newer one."""

    from_size: Position = Field(alias="from", description="Of the older log, in events.")
    to_size: Position | None = Field(default=None, alias="to", description=_SIZE)


class InclusionProof(Shown, frozen=True):
    """The proof that an event is in the log (RFC 6962 §2.1.1): hashes in base64, the leaf's sibling first."""

    position: int
    size: int
    leaf_hash: str
    root_hash: str
    hashes: tuple[str, ...]


class ConsistencyProof(Shown, frozen=True, rename={"from_size": "from", "to_size": "to"}):
    """The proof that the log of one size goes on from that of another (RFC 6962 §2.1.2): hashes in base64."""

    from_size: int
    to_size: int
    from_root_hash: str
    to_root_hash: str
    hashes: tuple[str, ...]


async def checkpoint(visit: Visit) -> web.Response:
    """Show the newest checkpoint, as it was signed."""
    newest = await _newest(visit)
    return web.Response(body=str(newest.note).encode(), headers=visit.headers(_NOTE))


async def inclusion(visit: Visit) -> web.Response:
    """Prove that an event is in the log."""
    query: InclusionQuery = visit.query or checked_query(InclusionQuery, ())
    size = await _size(visit, query.size, query.position, "position", "size")
    log = visit.service.log
    return visit.answer(
        InclusionProof(
            position=query.position,
            size=size,
            leaf_hash=_text(await log.leaf(query.position)),
            root_hash=_text(await log.root(size)),
            hashes=tuple(map(_text, await log.inclusion(query.position, size))),
        )
    )


async def consistency(visit: Visit) -> web.Response:
    """Prove that the log has only grown."""
    query: ConsistencyQuery = visit.query or checked_query(ConsistencyQuery, ())
    size = await _size(visit, query.to_size, query.from_size, "from", "to")
    log = visit.service.log
    return visit.answer(
        ConsistencyProof(
            from_size=query.from_size,
            to_size=size,
            from_root_hash=_text(await log.root(query.from_size)),
            to_root_hash=_text(await log.root(size)),
            hashes=tuple(map(_text, await log.consistency(query.from_size, size))),
        )
    )


async def _newest(visit: Visit) -> Signed:
    newest = await visit.service.log.newest()
    if newest is None:
        raise NotFound("No checkpoint of this log was signed yet.")
    return newest


async def _size(visit: Visit, asked: int | None, position: int, name: str, size_name: str) -> int:
    """Return the size that is asked about, the newest checkpoint's by itself, in which `position` stands.

    Raises `NotFound` beyond what is covered, and `InvalidRequest` if the parameters `name` and `size_name` disagree.
    """
    covered = (await _newest(visit)).size
    if asked is not None and position > asked <= covered:
        raise wrong_query(f"/{name}", f"Input should not be above `{size_name}`.")
    wanted = position if asked is None else asked
    if wanted > covered:
        raise NotFound(f"The newest checkpoint of the log covers {covered} events, and {wanted} was asked about.")
    return covered if asked is None else asked


def _text(one: bytes) -> str:
    return base64.b64encode(one).decode()


LOG_ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/log/checkpoint",
        name="get_log_checkpoint",
        summary="The newest checkpoint of the log, a C2SP signed note",
        handler=checkpoint,
        answers={200: None},
        media=("text/plain",),
        errors=(NotFound, NotReady),
        caller=Caller.HOLDER,
    ),
    Route(
        method="GET",
        path="/v1/log/proofs/inclusion",
        name="prove_inclusion",
        summary="Prove that an event is in the log",
        handler=inclusion,
        query=InclusionQuery,
        answers={200: InclusionProof},
        errors=(InvalidRequest, NotFound, NotReady),
        caller=Caller.HOLDER,
    ),
    Route(
        method="GET",
        path="/v1/log/proofs/consistency",
        name="prove_consistency",
        summary="Prove that the log has only grown",
        handler=consistency,
        query=ConsistencyQuery,
        answers={200: ConsistencyProof},
        errors=(InvalidRequest, NotFound, NotReady),
        caller=Caller.HOLDER,
    ),
)
