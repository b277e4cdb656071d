"""The route of data subjects: erase one. For people who may do everything."""

from datetime import datetime
from typing import Final

from aiohttp import web

from gateway.door import Route, Visit
from gateway.models import Body, KeptReason
from gateway.render import Shown
from ledger.errors import InvalidRequest, NotFound


class EraseSubject(Body):
    """Destroy the key under which everything personal of somebody is sealed."""

    reason: KeptReason


class ShownErasure(Shown, frozen=True):
    """That it was done: under which pseudonym, where that is recorded, by whom and why."""

    key: str
    position: int
    at: datetime
    by: str
    reason: str


async def erase(visit: Visit) -> web.Response:
    """Erase what is personal of the subject in the address."""
    said, _ = await visit.body(EraseSubject)
    done = await visit.service.subjects.erase(visit.principal, visit.id, said.reason)
    return visit.answer(ShownErasure(key=done.key, position=done.position, at=done.at, by=done.by, reason=done.reason))


SUBJECT_ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/subjects/{id}/erase",
        name="erase_subject",
        summary="Erase what is personal of somebody, for ever",
        notes="Destroys the key under which it is sealed: nothing shows it afterwards, and nothing can bring it back. "
        "Erasing again answers the same. What is undecided with data of theirs is aborted; what is decided and not yet "
        "done asks for a person.",
        handler=erase,
        body=EraseSubject,
        answers={200: ShownErasure},
        errors=(NotFound, InvalidRequest),
    ),
)
