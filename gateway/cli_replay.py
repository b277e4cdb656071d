"""The command that makes views and inline tables anew from the events: `intentledger replay`. Rules as in `cli.py`.

It reads the database itself and believes no service. The work is in `projections/replay.py` and
`projections/inline_replay.py`; here is where it is sent, and what is shown of it.
"""

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.command import FOUND_WRONG, NO_FLAGS, OK, Flags, Json, Yes, answer, progress, run, settings_of
from ledger.errors import Conflict, Misconfigured, NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from asyncpg import Record

    from gateway.settings import Settings
    from ledger.database import Pool
    from projections.comparison import Difference
    from projections.projection import Projection
    from projections.replay import Replayed

_POSITION: Final = re.compile(r"\d{1,15}")
_SHOWN: Final = 300  # characters of each side of a difference, on one line; --json has all of it


@dataclass(frozen=True)
class _Wanted:
    """What the command line asks for."""

    views: tuple[str, ...]
    swap: bool
    at: "int | datetime | None"
    into: str | None
    rows: bool
    quiet: bool


def replay(
    flags: Flags = NO_FLAGS,
    *,
    view: Sequence[str] = (),
    swap: Yes = False,
    at: str | None = None,
    into: str | None = None,
    rows: Yes = False,
    json: Json = False,
) -> int:
    """Rebuild views and inline tables from the events beside the live ones; exit 1 if they are not equal.

    Parameters
    ----------
    view
        A view or an inline table to rebuild; may be repeated. All of them by default.
    swap
        Put the rebuilt rows in the place of the live ones. For inline tables INTENTLEDGER_DSN must name their owner.
    at
        Make the views as they were at this position, or at this time (RFC 3339); nothing is compared or swapped.
    into
        The DSN of another database, which gets the views and their checkpoints, and no events.
    rows
        Write every row of the rebuilt views to standard output, one JSON object a line, and the outcome beside it.
    """
    if swap and (at is not None or into is not None):
        raise Misconfigured("--swap puts the newest rows in place here; it goes with neither --at nor --into.")
    wanted = _Wanted(tuple(view), swap, _moment(at), into, rows, json or rows)
    found = run(_replayed(settings_of(flags), wanted))
    words = "\n".join([_words(one, elsewhere=into is not None) for one in found])
    if rows:
        sys.stderr.write(words + "\n")
    else:
        answer([_shown(one) for one in found], words, json)
    return OK if all(one.equal for one in found) else FOUND_WRONG


def _moment(at: str | None) -> "int | datetime | None":
    """Read a position or a time. Raises `Misconfigured`."""
    from datetime import UTC, datetime  # noqa: PLC0415

    if at is None:
        return None
    if _POSITION.fullmatch(at):
        return int(at)
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Misconfigured(
            f"--at {at!r} is neither a position nor a time with its zone, such as 2026-11-23T08:00Z. Nothing was done."
        )
    if moment > datetime.now(UTC):
        raise NotFound(f"--at {at!r} is yet to come; there is no state of then. Nothing was done.")
    return moment


async def _replayed(settings: "Settings", wanted: _Wanted) -> "list[Replayed]":
    from gateway.database import database  # noqa: PLC0415
    from gateway.replay_parts import Part, processes_for, replay_in_parts  # noqa: PLC0415
    from ledger.database import open_pool  # noqa: PLC0415
    from ledger.postgres_store import PostgresStore  # noqa: PLC0415
    from projections.moment import position_at  # noqa: PLC0415
    from projections.replay import replay as replay_now  # noqa: PLC0415

    projections, inline = _chosen(wanted)
    async with AsyncExitStack() as parts:
        dsn = await parts.enter_async_context(database(settings, shared=True, existing=True))
        pool = await open_pool(dsn, 3)
        parts.push_async_callback(pool.close)
        head = await PostgresStore(pool, settings.ledger).head()  # never started: it only reads
        if not head:
            raise NotFound(f"There are no events of a ledger {settings.ledger!r} here. Nothing was done.")
        at = wanted.at
        if at is not None and not isinstance(at, int):
            at = await position_at(pool, settings.ledger, at)
        there = await _other(wanted.into, parts)
        if wanted.swap:
            await _alone(pool, settings.ledger, parts)
        found: list[Replayed] = []
        if projections:
            processes = 1 if wanted.rows else processes_for(head if at is None else at, projections)
            with progress(quiet=wanted.quiet, what="events into views") as bar:
                if processes > 1:
                    part = Part(dsn=dsn, ledger=settings.ledger, swap=wanted.swap, at=at, into=wanted.into)
                    found += await replay_in_parts(part, projections, bar, processes)
                else:
                    found += await replay_now(
                        pool,
                        settings.ledger,
                        projections,
                        bar,
                        swap=wanted.swap,
                        into=there,
                        at=at,
                        show=_write if wanted.rows else None,
                    )
        if inline:
            found += await _inline(dsn, settings.ledger, inline, wanted)
    return found


def _chosen(wanted: _Wanted) -> "tuple[tuple[Projection[Any], ...], frozenset[str]]":
    """Tell which views and which inline tables are meant. Raises `Misconfigured`."""
    from projections.catalogue import PROJECTIONS  # noqa: PLC0415
    from projections.inline_replay import INLINE  # noqa: PLC0415

    known = {projection.name: projection for projection in PROJECTIONS}
    elsewhere = wanted.at is not None or wanted.into is not None or wanted.rows
    for name in wanted.views:
        if name not in known and name not in INLINE:
            raise Misconfigured(
                f"There is no view {name!r}. There are: {', '.join(known)}; and the inline tables {', '.join(INLINE)}. "
                "Nothing was done."
            )
        if elsewhere and name not in known:
            raise Misconfigured(f"{name} is an inline table: it is only ever of now and here. Nothing was done.")
    chosen = wanted.views or (*known, *(() if elsewhere else INLINE))
    return tuple([known[one] for one in known if one in chosen]), frozenset(chosen) & frozenset(INLINE)


async def _alone(pool: "Pool", ledger: str, parts: AsyncExitStack) -> None:
    """Be the only one to swap until the end. Raises `Conflict`."""
    from ledger.database import connection  # noqa: PLC0415
    from projections.rebuild import alone  # noqa: PLC0415

    held = await parts.enter_async_context(connection(pool))
    if not await parts.enter_async_context(alone(held, ledger)):
        raise Conflict(
            f"Another process puts rebuilt views of the ledger {ledger!r} in place just now: a replay, or one that "
            "serves. Nothing was changed; wait for it, or replay without --swap."
        )


async def _other(into: str | None, parts: AsyncExitStack) -> "Pool | None":
    """Open the other database, and bring it to this release."""
    from ledger.database import open_pool  # noqa: PLC0415
    from ledger.migrations import migrate  # noqa: PLC0415

    if into is None:
        return None
    await migrate(into)
    pool = await open_pool(into, 2)
    parts.push_async_callback(pool.close)
    return pool


async def _inline(dsn: str, ledger: str, names: frozenset[str], wanted: _Wanted) -> "list[Replayed]":
    from ledger.database import connect  # noqa: PLC0415
    from projections.inline_replay import replay_inline  # noqa: PLC0415

    connection = await connect(dsn)
    try:
        with progress(quiet=wanted.quiet, what="events into inline tables") as bar:
            found = await replay_inline(connection, ledger, bar, swap=wanted.swap)
    finally:
        await connection.close()
    return [one for one in found if one.name in names]


def _write(view: str, records: "Sequence[Record]") -> None:
    """Write rows as they are in the view, one JSON object a line."""
    import msgspec  # noqa: PLC0415

    encode: Callable[[Any], bytes] = msgspec.json.encode
    lines = [encode({"view": view, **record}) for record in records]
    sys.stdout.write(b"".join([line + b"\n" for line in lines]).decode())


def _shown(one: "Replayed") -> dict[str, Any]:
    import msgspec  # noqa: PLC0415

    return {**msgspec.structs.asdict(one), "seconds": round(one.seconds, 6), "equal": one.equal}


def _words(one: "Replayed", *, elsewhere: bool) -> str:
    place = f"position {one.position:,}" + (f", {one.behind:,} before the ledger's end" if one.behind else "")
    if one.failure is not None:
        return f"{one.name}: STOPPED, {one.failure}"
    if one.stopped is not None:
        return f"{one.name}: STOPPED, {_stopped(one, elsewhere=elsewhere)}"
    if one.difference is not None:
        done = "; the rebuilt rows are in its place now" if one.swapped else ""
        return f"{one.name}: DIFFERS at {place}, first in {_told(one.difference)}{done}"
    rate = (
        f", {one.events:,} events, {one.events / one.seconds:,.0f} a second" if one.seconds > 0 and one.events else ""
    )
    done = "; in place there" if elsewhere and one.swapped else ""  # here, what is equal was left as it is
    what = "is" if one.live_digest is None else "equal"
    return f"{one.name}: {what} at {place}, {one.digest} ({one.rows:,} rows{rate}){done}"


def _stopped(one: "Replayed", *, elsewhere: bool) -> str:
    """Say of a live view that stands still how far it is right, and that nothing is said of what comes then."""
    if one.difference is None:
        found = f"It is equal up to position {one.position:,}"
    else:
        found = f"It DIFFERS at position {one.position:,}, first in {_told(one.difference)}"
    if one.behind:
        found += f"; the {one.behind:,} events after it are not in it"
    then = "It is tried again by the next process that serves, and after --swap."
    if one.swapped:
        where = "there" if elsewhere else "in its place now, and whoever serves tries to go on"
        then = f"The rebuilt rows are {where}."
    return f"{str(one.stopped).rstrip('.')}. {found}. {then}"


def _told(difference: "Difference") -> str:
    """Tell the first row that differs: the columns as they are in the live view, and as they should be."""
    import msgspec  # noqa: PLC0415

    row = f"the row {', '.join(map(str, difference.key))}"
    live, rebuilt = difference.live, difference.rebuilt
    if live is None or rebuilt is None:
        return f"{row}, which is {'missing' if live is None else 'too much'}"
    columns = [name for name in live if live[name] != rebuilt.get(name)]
    is_so, should = (_cut(msgspec.json.encode([side.get(one) for one in columns]).decode()) for side in (live, rebuilt))
    return f"{row}: {', '.join(columns)} are {is_so} and should be {should}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
