"""The composition root: the one place where the parts of a process are made, wired, started and let go.

    listen ─► reach the database (as long as it takes) ─► open the parts ─► serve ─► a signal ─► drain ─► close

The door listens from the first moment: until the database has been reached it answers 503, and says why at /readyz.
What was opened is closed in reverse, whatever happens.
"""

import asyncio
import importlib.metadata
import os
import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from adapters.configuration import load_sound
from adapters.registry import Registry
from authority.authority import Authority
from authority.subjects import Subjects
from coordinator.coordinator import Coordinator
from coordinator.reconciler import Changed, Reconciler
from gateway import opening
from gateway.behaviour_settings import BehaviourSettings, load_behaviour
from gateway.census import Census
from gateway.configuration_record import described, record_configuration
from gateway.data_directory import claim, token_file
from gateway.database import database, patiently
from gateway.door import Door, Limits, Service
from gateway.keyring_file import KeyringFile, keyring_of
from gateway.log_keeping import LogKeeping
from gateway.log_settings import LogSettings, log_settings
from gateway.log_signed import SignedLog
from gateway.metrics import Metrics
from gateway.openapi import document
from gateway.operator_token import ensure_operator
from gateway.reconciliation import Reconciliation, reconcile_table
from gateway.render import encode
from gateway.routes import ROUTES
from gateway.server import listening
from gateway.settings import Settings
from gateway.telemetry import export_spans
from gateway.watch import Watch
from gateway.webhook_sender import Sender
from ledger import bounds
from ledger.database import open_pool
from ledger.log.tree import Log
from ledger.migrations import migrate
from ledger.outbox import Outbox
from ledger.postgres_store import PostgresStore
from ledger.subject_keys import StoredSubjectKeys
from projections.catalogue import PROJECTIONS
from projections.custody import Custody
from projections.digest import ViewStatuses
from projections.follower import Follower

if TYPE_CHECKING:
    from ledger.database import Pool

log = structlog.get_logger(__name__)

_AWAY: Final = "The database does not answer yet, or is being migrated."


class Opened(msgspec.Struct, frozen=True):
    """A process that serves: where it listens, and the file with the operator's token if it holds a living one."""

    url: str
    token_file: Path | None


async def serve(
    settings: Settings, *, stop: asyncio.Event, opened: Callable[[Opened], None], limits: Limits | None = None
) -> None:
    """Serve until `stop` is set, then drain; `opened` is called once everything works.

    Raises `Misconfigured` and `Corrupt` before anything is served; a database that is away is waited for instead.
    """
    registry = _registry(settings)
    door = new_door(limits or Limits())
    async with AsyncExitStack() as parts, listening(door, settings.host, settings.port) as url:
        log.info("listening", url=url)
        opening = asyncio.create_task(_open(parts, door, settings, registry))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opened(Opened(url, opening.result()))
                await stopping
        finally:
            log.info("draining", in_progress=door.in_progress)
            door.drain()
            await _cancelled(opening, stopping)
        await _answered(door)
        await parts.aclose()  # while the door still answers /healthz
    log.info("stopped")


async def work(settings: Settings, *, stop: asyncio.Event) -> None:
    """Work on due intents without a door until `stop` is set, then drain.

    Raises `Misconfigured` and `Corrupt`; a database that is away is waited for instead.
    """
    registry = _registry(settings)
    async with AsyncExitStack() as parts:
        opening = asyncio.create_task(_begin_work(parts, settings, registry))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
                log.info("working", ledger=settings.ledger)
                await stopping
        finally:
            await _cancelled(opening, stopping)
    log.info("stopped")


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT; a second one of them ends the process at once."""
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)


def new_door(limits: Limits) -> Door:
    """Make a door with every route and no service behind it yet."""
    return Door(ROUTES, _described(), limits, Metrics(), secrets.token_hex(4), opened=opening.opened)


@cache
def _described() -> bytes:
    """Write the document of every route, once: it takes as long as a hundred answers."""
    return encode(document(ROUTES, importlib.metadata.version("intentledger")))


async def open_service(
    parts: AsyncExitStack,
    dsn: str,
    ledger: str,
    registry: Registry,
    lease_seconds: float = bounds.LEASE_SECONDS,
    *,
    notify: bool = False,
    keyring: KeyringFile | None = None,
    behaviour: BehaviourSettings | None = None,
    log_of: LogSettings | None = None,
) -> Service:
    """Open every part on a migrated database; `parts` closes them in reverse. Raises `Unavailable`.

    `behaviour`: what is done about what is odd; without it, that is noted.
    `keyring`: without one nothing personal is taken, sealed or opened.
    `log_of`: how the log is kept, so that none of its checkpoints is shown that its keys have not signed.
    `notify`: there is a receiver of webhooks, so that what it must be told goes into the outbox.
    """
    pool = await open_pool(dsn, bounds.POOL_CONNECTIONS)
    parts.push_async_callback(_close, pool)
    store = PostgresStore(pool, ledger)
    await store.start()
    parts.push_async_callback(store.stop)
    await registry.open()
    parts.push_async_callback(registry.close)
    for adapter, sentences in registry.faults.items():
        for sentence in sentences:
            log.error("adapter_misconfigured", adapter=adapter, reason=sentence)
    keys = None if keyring is None else await subject_keys(pool, ledger, keyring)
    authority = Authority(store)
    parts.push_async_callback(authority.close)
    follower = Follower(pool, store, PROJECTIONS)
    await follower.start()
    parts.push_async_callback(follower.stop)
    name = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
    coordinator = Coordinator(
        store, registry, authority, os.urandom, name, lease_seconds=lease_seconds, notify=notify, keys=keys
    )
    watch = Watch(pool, store, authority, follower, behaviour or BehaviourSettings(), notify=notify)
    authority.anomalies = watch.of
    return Service(
        store=store,
        registry=registry,
        authority=authority,
        coordinator=coordinator,
        follower=follower,
        view_statuses=ViewStatuses(pool, ledger, PROJECTIONS),
        custody=Custody(pool, ledger),
        log=Log(pool, ledger) if log_of is None else SignedLog(pool, ledger, log_of),
        subjects=Subjects(store, authority, keys),
        subject_keys=keys,
        watch=watch,
        pool=pool,
    )


async def _open(parts: AsyncExitStack, door: Door, settings: Settings, registry: Registry) -> Path | None:
    """Reach the database, open everything, and let the door serve; return where the operator's token lies."""
    door.reason = _AWAY
    service, keeping = await _reach(parts, settings, registry)
    file = token_file(settings.data, settings.ledger)
    known = await patiently(lambda: ensure_operator(service.authority, file, secrets.token_bytes))
    _begin(parts, service, settings, door.metrics)
    await keeping.start()
    keeping.watched_by(door.metrics)
    door.remarks.append(keeping.remarks)
    census = Census(service.pool, settings.ledger)
    census.start()
    parts.push_async_callback(census.stop)
    door.metrics.collect(census)
    door.open(service)
    return file if known else None


async def _begin_work(parts: AsyncExitStack, settings: Settings, registry: Registry) -> None:
    """Reach the database, open everything, and begin to work on intents without a door."""
    service, keeping = await _reach(parts, settings, registry, shared=True)
    _begin(parts, service, settings, Metrics())
    await keeping.start()


async def _reach(
    parts: AsyncExitStack, settings: Settings, registry: Registry, *, shared: bool = False
) -> tuple[Service, LogKeeping]:
    """Open every part, waiting for a database that is away and migrating it first.

    Nothing is appended before the ledger was compared with its checkpoints outside. `shared`: beside a process that
    serves, which makes the keys and the directory; this one makes none.
    """
    entropy = None if shared else os.urandom
    configured = described(registry)
    dsn = await parts.enter_async_context(database(settings, shared=shared))
    await patiently(lambda: migrate(dsn))

    async def attempt() -> Service:
        async with AsyncExitStack() as opened:
            service = await open_service(
                opened,
                dsn,
                settings.ledger,
                registry,
                settings.lease_seconds,
                notify=settings.receiver is not None,
                behaviour=load_behaviour(settings.config),
                keyring=keyring_of(settings, entropy),
                log_of=log_settings(settings),
            )
            parts.push_async_exit(opened.pop_all())
            return service

    service = await patiently(attempt)
    if not shared:
        claim(settings.data)
    keeping = LogKeeping(service.pool, settings.ledger, log_settings(settings))
    await patiently(lambda: keeping.open(entropy))
    parts.push_async_callback(keeping.stop)  # after everything that appends
    await patiently(lambda: record_configuration(service.store, configured))
    return service, keeping


def _begin(parts: AsyncExitStack, service: Service, settings: Settings, metrics: Metrics) -> None:
    service.watch.start()
    parts.push_async_callback(service.watch.stop)
    service.coordinator.start()
    parts.push_async_callback(service.coordinator.drain, bounds.DRAIN_SECONDS)
    comparing = reconciliation(service, settings)
    comparing.start()
    parts.push_async_callback(comparing.stop)
    if settings.receiver is not None:
        outbox = Outbox(service.pool, settings.ledger)
        sender = Sender(outbox, service.store, settings.receiver, metrics.told)
        sender.start()
        parts.push_async_callback(sender.stop)  # before the coordinator: what it still does is told by the next start
    export_spans(parts, service, settings, metrics)


def reconciliation(service: Service, settings: Settings) -> Reconciliation:
    """Make what compares the ledger with the outside, through the same calls as the coordinator's."""

    def reconciler(moved: Changed) -> Reconciler:
        return Reconciler(service.store, service.registry, service.coordinator.calls, moved)

    table = reconcile_table(settings.config)
    return Reconciliation(service.pool, service.store, service.follower, reconciler, table)


def _registry(settings: Settings) -> Registry:
    reconcile_table(settings.config)  # what is wrong there is said before anything is served
    log_settings(settings)
    load_behaviour(settings.config)
    return load_sound(settings.config, os.environ) if settings.config else Registry([])


async def _answered(door: Door) -> None:
    """Stop accepting connections, and give the requests in progress half of the time we have to be answered."""
    await door.stop_accepting()
    with suppress(TimeoutError):
        async with asyncio.timeout(bounds.DRAIN_SECONDS / 2):
            await door.idle.wait()


async def _cancelled(*tasks: "asyncio.Task[object]") -> None:
    """End tasks that are still running, and wait until they have."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def subject_keys(pool: "Pool", ledger: str, keyring: KeyringFile) -> StoredSubjectKeys:
    """Bind the ledger to its keyring, made now if there never was one. Raises `Misconfigured`, `Unavailable`."""
    keys = StoredSubjectKeys(pool, ledger, keyring, os.urandom)
    if keyring.ensure(needed=await keys.bound()):
        await keys.start()
    return keys


async def _close(pool: "Pool") -> None:
    """Close connections politely, but not for ever."""
    try:
        async with asyncio.timeout(bounds.CONNECT_SECONDS):
            await pool.close()
    except TimeoutError:
        pool.terminate()
