"""The door: every request passes here once, on one straight way, and leaves with an answer.

    find the route ─► admit or refuse ─► who is it? ─► query parameters ─► the route's handler ─► answer
          └──────────────┴──────────────────┴────────────────┴──────────────────┴──► problem (problems.py)

Rules of this file:

1. What is refused here is refused before acceptance: nothing was read, nothing was recorded.
2. Who may call a route stands in the table of routes and is checked here, once; a route that says nothing is for
   people. Which intents an agent may see is decided in `gateway/visibility.py`.
3. A handler returns an answer or raises an error of `ledger/errors.py`; only this file turns errors into answers.
4. Nothing waits without a bound, and what waits for long (`patience`) is let go when the service drains.

It sits directly on aiohttp's server: no application, no middleware, so that a request costs little Python. It knows
the parts that serve requests only as `Service`, and that there may be none yet.
"""

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import structlog
from aiohttp import web
from multidict import CIMultiDict
from pydantic import BaseModel

from adapters.registry import Registry
from authority.authority import Authority
from authority.grants import Principal
from authority.subjects import Subjects
from coordinator.coordinator import Coordinator
from gateway import gate
from gateway.forbidden import NOT_THEIRS, told_of
from gateway.metrics import Metrics
from gateway.models import NoQuery, Query, checked, checked_query
from gateway.problems import extra_headers, oauth_problem, problem
from gateway.render import Shown, encode
from gateway.watch import Watch
from ledger import bounds
from ledger.errors import (
    Forbidden,
    LedgerError,
    Malformed,
    NoSuchMethod,
    NotFound,
    NotReady,
    Overloaded,
    Rejected,
    Unauthenticated,
    Unavailable,
)
from ledger.log.tree import Log
from ledger.postgres_store import PostgresStore
from ledger.sealing import MARK
from ledger.subject_keys import SubjectKeys
from projections.custody import Custody
from projections.digest import ViewStatuses
from projections.follower import Follower

log = structlog.get_logger(__name__)

_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]{1,512}=*)", re.IGNORECASE).fullmatch
_SEALED: Final = MARK.encode()
_PLACE: Final = re.compile(r"\{[a-z]+\}")
_EVERYWHERE: Final[Mapping[str, str]] = {
    "Server": "intentledger",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class Caller(StrEnum):
    """Who may call a route."""

    EVERYBODY = "everybody"  # without a token, and while there is no database
    CLIENT = "client"  # whoever shows a token in the body, where the handler looks for it
    HOLDER = "holder"  # whoever holds a living token, a person or an agent
    PERSON = "person"  # whoever holds the living token of a person


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that serve requests, once the database has been reached."""

    store: PostgresStore
    registry: Registry
    authority: Authority
    coordinator: Coordinator
    follower: Follower
    view_statuses: ViewStatuses
    custody: Custody
    log: Log
    subjects: Subjects
    watch: Watch
    subject_keys: SubjectKeys | None  # None: nothing is sealed, and nothing sealed is opened
    pool: Any  # ledger.database.Pool, which exists for type checkers only


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the door takes on; the reasons stand in `ledger/bounds.py`."""

    requests: int = bounds.REQUESTS_IN_PROGRESS
    connections: int = bounds.CONNECTIONS_OPEN
    followers: int = bounds.FOLLOWERS_LIVE
    header_seconds: float = bounds.HEADER_SECONDS
    body_seconds: float = bounds.BODY_SECONDS
    write_seconds: float = bounds.WRITE_SECONDS
    heartbeat_seconds: float = bounds.HEARTBEAT_SECONDS


Handler = Callable[["Visit"], Awaitable[web.StreamResponse]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One address and method: what it does, what it takes, what it answers. `/openapi.json` is drawn from these."""

    method: str
    path: str  # with {id} or {digest} where one stands
    name: str
    summary: str
    handler: Handler
    query: type[Query] = NoQuery
    body: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()  # names of the request headers that matter here
    answers: Mapping[int, type[Shown] | None] = {}  # by status; None: not described by one of our shapes
    media: tuple[str, ...] = ("application/json",)
    errors: tuple[type[LedgerError], ...] = ()  # beside those that every route and every body may meet
    caller: Caller = Caller.PERSON
    refusal: type[Forbidden] = Forbidden  # what an agent is told where only a person may call
    guarded: bool = False  # what it appends checks the grant in the ledger, so a grant read a moment ago is enough here
    form: bool = False  # the body is a form, and refusals are written as OAuth clients read them
    as_stored: bool = False  # it shows the record, byte for byte: what is sealed there stays sealed
    notes: str | None = None  # what a client cannot see from the shapes


class Visit:
    """One request on its way through."""

    __slots__ = ("door", "id", "limits", "principal", "query", "request", "request_id", "service")

    door: "Door"
    id: str  # what stands for {id} in the address
    principal: Principal
    query: Any  # an instance of the route's query model
    request: web.BaseRequest
    request_id: str
    service: Service

    def __init__(self, door: "Door", request: web.BaseRequest, request_id: str) -> None:
        """Begin with what is known of any request."""
        self.door = door
        self.request = request
        self.request_id = request_id

    async def body(self, model: type[Any]) -> tuple[Any, Any]:
        """Return the body, checked against a model, and the value it was checked from."""
        value = await gate.read_json(self.request, self.door.limits.body_seconds)
        return checked(model, value), value

    async def form(self, model: type[Any]) -> Any:
        """Return the form in the body, checked against a model."""
        return checked(model, await gate.read_form(self.request, self.door.limits.body_seconds))

    def headers(self, content_type: str = "application/json") -> "CIMultiDict[str]":
        """Return the headers that every answer carries."""
        headers = CIMultiDict(_EVERYWHERE)
        headers["Content-Type"] = content_type
        headers["X-Request-Id"] = self.request_id
        return headers

    def answer(self, value: Any, status: int = 200) -> web.Response:
        """Answer with JSON."""
        return web.Response(body=encode(value), status=status, headers=self.headers())


Opener = Callable[[Visit, bytes], Awaitable[bytes]]


class Door:
    """One process's door."""

    def __init__(
        self,
        routes: Sequence[Route],
        document: bytes,
        limits: Limits,
        metrics: Metrics,
        process_name: str,
        *,
        opened: Opener | None = None,
    ) -> None:
        """`document` describes the routes; `process_name` begins every request id and must differ between processes.

        `opened` opens what is sealed in an answer (`gateway/opening.py`); without it that stays sealed.
        """
        self._opened = opened
        self.document = document
        self.limits = limits
        self.metrics = metrics
        self.service: Service | None = None
        self.reason = "The service is starting."  # why there is no service
        self.away: str | None = None  # what /readyz last found out about the database, and when
        self.asked_at = float("-inf")
        self.head = 0  # of the ledger, as it was then
        self.remarks: list[Callable[[], Iterator[str]]] = []  # what /readyz says although work is taken
        self.draining = False
        self.idle = asyncio.Event()  # draining, and nothing is in progress any more
        self.in_progress = 0
        self.followers = 0  # of them, live readers of the feed
        self.next_id: Callable[[], str] = (f"{process_name}-{number:x}" for number in itertools.count(1)).__next__
        self._static: dict[str, dict[str, Route]] = {}
        self._dynamic: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        self._patient: set[asyncio.Timeout] = set()
        self.stop_accepting: Callable[[], Awaitable[None]] = _nothing  # whoever listens for us says how it ends
        for path, methods in _by_path(routes).items():
            if "{" in path:
                self._dynamic.append((re.compile(_PLACE.sub("([^/]+)", path)), methods))
            else:
                self._static[path] = methods

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        visit = Visit(self, request, self.next_id())
        clock = asyncio.get_running_loop().time
        started = clock()
        name, form = "none", False
        self.in_progress += 1
        try:
            route, visit.id = self._find(request)
            name, form = route.name, route.form
            response = await self._serve(route, visit)
        except ConnectionError:  # the client is gone; there is nobody to answer
            raise
        except Exception as error:  # noqa: BLE001 the one place that answers whatever happened
            if isinstance(error, NOT_THEIRS):
                told_of(visit, name)
            response = self.problem(error, visit, form=form)
        finally:
            self.in_progress -= 1
            if self.draining and not self.in_progress:
                self.idle.set()
        self.metrics.answered(name, response.status, clock() - started)
        return response

    def problem(self, error: Exception, visit: Visit, *, form: bool = False) -> web.Response:
        """Turn an error into an answer (to a `form`: as OAuth clients read it), and log it if it is ours."""
        row, members = problem(error, visit.request_id)
        if isinstance(error, Unavailable):  # while a database is away there is one for each request
            log.debug("request_unavailable", request_id=visit.request_id, problem=row.slug, detail=error.message)
        elif row.status >= 500:
            log.error("request_failed", request_id=visit.request_id, problem=row.slug, exc_info=error)
        if form:
            status, media, members = oauth_problem(error, row, members)
        else:
            status, media = row.status, "application/problem+json"
        headers = visit.headers(media)
        headers.update(extra_headers(error))
        return web.Response(body=encode(members), status=status, headers=headers)

    def open(self, service: Service) -> None:
        """Serve from now on, and let the service be watched."""
        self.service = service
        self.metrics.watch("requests_in_progress", "Requests being answered now.", lambda: self.in_progress)
        self.metrics.watch("feed_followers", "Clients that follow the feed live.", lambda: self.followers)
        self.metrics.watch("intents_in_flight", "Intents this process runs.", lambda: service.coordinator.in_flight)
        self.metrics.watch_adapters(service.coordinator.statuses)
        self.metrics.watch_appends(service.store.took, service.store.appended)
        self.metrics.watch("views_position", "What every view has reached.", lambda: service.follower.position)
        self.metrics.watch("anomalies_standing", "Anomalies that policy sees now.", lambda: service.watch.standing)
        self.metrics.watch("views_stopped", "1 if a view stands still.", lambda: service.follower.failure is not None)

    @contextmanager
    def patience(self, timeout: asyncio.Timeout) -> Iterator[None]:
        """Let `timeout` end at once when the service drains."""
        self._patient.add(timeout)
        try:
            yield
        finally:
            self._patient.discard(timeout)

    def drain(self) -> None:
        """Refuse what comes from now on and let go of what waits."""
        self.draining = True
        if not self.in_progress:
            self.idle.set()
        now = asyncio.get_running_loop().time()
        for timeout in self._patient:
            timeout.reschedule(now)

    async def _serve(self, route: Route, visit: Visit) -> web.StreamResponse:
        request = visit.request
        if route.caller is not Caller.EVERYBODY:
            visit.service = self._admit()
            if route.caller is not Caller.CLIENT:
                visit.principal = await _admitted(route, visit, fresh=not route.guarded)
        asked = bool(request.rel_url.raw_query_string)
        if asked and "access_token" in request.query:  # RFC 6750 §2.3 allows it, and every log on the way keeps it
            raise Malformed("A token does not belong into an address. Nothing was recorded; revoke this one.")
        visit.query = checked_query(route.query, request.query.items()) if asked else None
        try:
            return await self._unsealed(route, visit, await route.handler(visit))
        except Rejected:
            if route.guarded:  # nothing was appended, so nobody has asked the ledger whether the grant is alive
                await _admitted(route, visit, fresh=True)
            raise

    async def _unsealed(self, route: Route, visit: Visit, response: web.StreamResponse) -> web.StreamResponse:
        """Open what is sealed in an answer in JSON, for who asked; an answer without any costs one look."""
        body = response.body if isinstance(response, web.Response) else None
        if self._opened is None or route.as_stored or not isinstance(body, bytes) or _SEALED not in body:
            return response
        if route.caller in {Caller.EVERYBODY, Caller.CLIENT}:  # nobody in particular asked
            return response
        if isinstance(response, web.Response) and response.content_type == "application/json":
            response.body = await self._opened(visit, body)
        return response

    def _admit(self) -> Service:
        if self.draining:
            raise Overloaded("The service is shutting down and takes nothing new. Nothing was recorded.")
        if self.in_progress > self.limits.requests:
            raise Overloaded
        if self.service is None:
            raise NotReady(f"{self.reason} Nothing was recorded.")
        return self.service

    def _find(self, request: web.BaseRequest) -> tuple[Route, str]:
        path = request.rel_url.raw_path
        methods = self._static.get(path)
        found_id = ""
        if methods is None:
            for pattern, candidates in self._dynamic:
                match = pattern.fullmatch(path)
                if match:
                    methods, found_id = candidates, match[1]
                    break
            else:
                raise NotFound("There is nothing at this address.")
        route = methods.get(request.method)
        if route is None:
            raise NoSuchMethod(allow=sorted(methods))
        return route, _named(found_id)


async def _admitted(route: Route, visit: Visit, *, fresh: bool) -> Principal:
    """Return who calls. Raises `Unauthenticated`, and the route's refusal where an agent calls and only people may."""
    principal = await visit.service.authority.authenticate(bearer(visit.request), fresh=fresh)
    visit.principal = principal
    if route.caller is Caller.PERSON and principal.subject.kind != "person":
        raise route.refusal(
            f"Only a person may do this, and {principal.subject.name!r} is none. Nothing was done; ask a person."
        )
    return principal


def _named(part: str) -> str:
    """Read the part of an address that names something. Raises `NotFound` for what no name can be."""
    try:
        name = unquote(part, errors="strict")
    except UnicodeDecodeError:
        name = "\0"
    if "\0" in name or len(name) > bounds.SUBJECT_LENGTH:
        raise NotFound("There is no such thing in this ledger.")
    return name


async def _nothing() -> None:
    return


def _by_path(routes: Sequence[Route]) -> dict[str, dict[str, Route]]:
    found: dict[str, dict[str, Route]] = {}
    for route in routes:
        methods = found.setdefault(route.path, {})
        methods[route.method] = route
        if route.method == "GET":
            methods["HEAD"] = route
    return found


def bearer(request: web.BaseRequest) -> str:
    """Return the token of the one Authorization header (RFC 6750 §2.1); no other place for a token is looked at."""
    shown = request.headers.getall("Authorization", ())
    if len(shown) > 1:
        raise Malformed("There are two Authorization headers. Nothing was recorded.")
    match = _BEARER(shown[0]) if shown else None
    if match is None:
        raise Unauthenticated("A bearer token is needed in the Authorization header. Nothing was recorded.")
    return match[1]
