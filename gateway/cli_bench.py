"""The command that measures this installation: `intentledger bench`. Rules as in `cli.py`.

It starts a service of its own, as `serve` would, below a temporary directory, drives it by a process of its own over
HTTP (`gateway/load.py`), says what that saw and removes everything. The participants are in memory, so what is measured
is Intent Ledger, its PostgreSQL and the disk, on this machine, which the load shares. It compares with nothing:
`make bench` does.
"""

import asyncio
import itertools
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.command import OK, Json, answer, progress, run, table
from ledger.errors import Misconfigured

if TYPE_CHECKING:
    import asyncpg

    from gateway.load import Served

_IN_FLIGHT_MAX: Final = 512  # less than a service takes on at once
_SECONDS_MAX: Final = 3_600.0


def bench(
    *,
    seconds: float = 5.0,
    in_flight: tuple[int, ...] = (1, 32),
    dsn: str | None = None,
    directory: Path | None = None,
    json: Json = False,
) -> int:
    """Measure this installation: a short load on a service of its own, which is removed afterwards.

    Each intent has two actions on participants in memory, and is submitted over HTTP by a process beside the service:
    the figures are those of this machine, with the load on it, and of no outside system.

    Parameters
    ----------
    seconds
        How long each run lasts.
    in_flight
        How many intents are kept in flight; repeated, a run for each.
    dsn
        A PostgreSQL of yours to measure in the place of a temporary one. An empty database is brought to this release,
        one of an earlier release is refused; a new ledger, bench-…, stays in it.
    directory
        Where the temporary directory is made. In memory (tmpfs) nothing waits for a disk, and the figures flatter.
    """
    if not 0.1 <= seconds <= _SECONDS_MAX:
        raise Misconfigured(f"--seconds must be from 0.1 to {_SECONDS_MAX:g}. Nothing was started.")
    if not in_flight or not all(1 <= one <= _IN_FLIGHT_MAX for one in in_flight):
        raise Misconfigured(f"--in-flight must be from 1 to {_IN_FLIGHT_MAX}. Nothing was started.")
    with _ended_in_order():
        measured = run(_measured(seconds, in_flight, dsn, directory))
    if json:
        answer(measured, "", as_json=True)
        return OK
    table(
        ("in flight", "intents", "intents/s", "p50 ms", "p99 ms", "commits per intent"),
        [
            (
                str(one["in_flight"]),
                f"{one['intents']:,}",
                f"{one['intents_per_second']:,.0f}",
                f"{one['p50_ms']:.1f}",
                f"{one['p99_ms']:.1f}",
                "not known" if one["commits_per_intent"] is None else f"{one['commits_per_intent']:.2f}",
            )
            for one in measured["runs"]
        ],
    )
    where = f"PostgreSQL {measured['postgres']}; {measured['cores']} cores, shared with the load"
    if measured["fsync_us"] is not None:
        where += f"; an fsync takes {measured['fsync_us']:,} µs where the database lay"
    sys.stdout.write(f"{where}.\n" + (f"The ledger {measured['ledger']} stays in your database.\n" if dsn else ""))
    return OK


async def _measured(
    seconds: float, in_flight: tuple[int, ...], dsn: str | None, directory: Path | None
) -> dict[str, Any]:
    from gateway import logs  # noqa: PLC0415
    from gateway.load import POSTED, WARM_UP_SECONDS, adapters, served  # noqa: PLC0415
    from gateway.write_ahead_log import fsync_us  # noqa: PLC0415

    logs.configure("warning", "auto")
    ledger = f"bench-{secrets.token_hex(4)}"
    with _home(directory) as home:
        async with (
            _database(home, dsn) as database,
            served(home / "service", database.dsn, adapters(POSTED), ledger=ledger) as service,
        ):
            with _progress(len(in_flight) * (seconds + WARM_UP_SECONDS)):
                runs = [await _run(service, one, seconds, database) for one in in_flight]
        return {
            "seconds": seconds,
            "ledger": ledger,
            "postgres": database.version,
            "cores": len(os.sched_getaffinity(0)),
            "fsync_us": None if database.ours is None else fsync_us(home),
            "runs": runs,
        }


@contextmanager
def _ended_in_order() -> Generator[None]:
    """Let an order to end, or a terminal that is closed, remove everything too, as Control-C does."""
    ours = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for one in ours:
        signal.signal(one, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)


class _Database(NamedTuple):
    """Where the ledger is; `ours` speaks to a server that nobody else uses, so that its commits are the load's."""

    dsn: str
    version: str
    ours: "asyncpg.Connection[asyncpg.Record] | None"


@contextmanager
def _home(directory: Path | None) -> Generator[Path]:
    try:
        home = Path(tempfile.mkdtemp(prefix="intentledger-bench-", dir=directory))
    except OSError as error:
        raise Misconfigured(f"No directory can be made in {error.filename}: {error.strerror}.") from error
    home.chmod(0o711)  # PostgreSQL may run as another user
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@asynccontextmanager
async def _database(home: Path, dsn: str | None) -> AsyncGenerator[_Database]:
    """Yield a database: the one that was named, or one of our own for as long as this lasts. Raises `Unavailable`."""
    from gateway.embedded_postgres import EmbeddedPostgres  # noqa: PLC0415
    from gateway.write_ahead_log import keep_log  # noqa: PLC0415
    from ledger.database import connect  # noqa: PLC0415

    if dsn is not None:
        yield _Database(dsn, await _looked_at(dsn), None)
        return
    server = EmbeddedPostgres(home / "postgres")
    try:
        own = await server.start()
        connection = await connect(own)
        await keep_log(connection)
        yield _Database(own, str(await connection.fetchval(_VERSION)), connection)
        await connection.close()
    except Misconfigured as error:  # of its directory, which is chosen otherwise here
        raise Misconfigured(error.message.replace("INTENTLEDGER_DATA", "--directory")) from error
    finally:
        await server.stop()


async def _looked_at(dsn: str) -> str:
    """Return the version of somebody's PostgreSQL. Raises `Unavailable`: a service would wait for it, for ever.

    Raises `Misconfigured` for a database whose ledgers another release serves: bringing it to ours is nobody's aim who
    only measures.
    """
    from ledger.database import answering, connect  # noqa: PLC0415
    from ledger.migrations import behind  # noqa: PLC0415

    with answering():
        theirs = await connect(dsn)
        try:
            if await behind(theirs):
                raise Misconfigured(
                    "An earlier release has ledgers in this database, and measuring would bring them to this one. "
                    "Nothing was started; run `intentledger migrate` first, or name an empty database."
                )
            return str(await theirs.fetchval(_VERSION))
        finally:
            await theirs.close()


async def _run(service: "Served", in_flight: int, seconds: float, database: _Database) -> dict[str, Any]:
    """Load the service once; say what the load saw, and what it cost where that can be known."""
    from gateway.load import TOKEN_VARIABLE, load_command, loading  # noqa: PLC0415
    from gateway.write_ahead_log import log_position, written_between  # noqa: PLC0415

    command = load_command(service.url, in_flight, seconds)
    async with loading(command, {**os.environ, TOKEN_VARIABLE: service.token}) as load:
        begin = None if database.ours is None else await log_position(database.ours)
        seen = await load.run()
    count = len(seen.latencies)
    commits_each = bytes_each = None
    if database.ours is not None and begin is not None:
        commits, size = await written_between(database.ours, begin, await log_position(database.ours))
        commits_each, bytes_each = commits / count, size / count
    return {
        "in_flight": in_flight,
        "intents": count,
        "seconds": seen.seconds,
        "intents_per_second": seen.rate,
        "p50_ms": seen.milliseconds(50),
        "p99_ms": seen.milliseconds(99),
        "commits_per_intent": commits_each,
        "wal_bytes_per_intent": bytes_each,
    }


@contextmanager
def _progress(seconds: float) -> Generator[None]:
    """Show how much of the time is over."""

    async def tell(show: Callable[[int, int], None]) -> None:
        for elapsed in itertools.count():
            show(min(elapsed, int(seconds)), int(seconds))
            await asyncio.sleep(1)

    with progress(quiet=False, what="seconds of load") as show:
        telling = asyncio.ensure_future(tell(show))
        try:
            yield
        finally:
            telling.cancel()


_VERSION: Final = "select current_setting('server_version')"
