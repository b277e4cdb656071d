"""One step of the record in a process of its own, so that its memory and its processor time are its own:
`python -m bench.record.steps STEP DSN HOME`, more words as the step asks for.

Prints JSON: what was measured, with `seconds`, and `cpu_seconds` and `peak_bytes` of this process and its children; on
standard error how far it has come, as `DONE WHOLE`. A step whose outcome is not right raises: there is no figure then.
"""

import gc
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import asyncpg
import msgspec
import uvloop

from bench.record import audit_pages, log
from bench.record import ledger as big
from bench.record.ledger import LEDGER
from gateway import logs
from ledger import moving
from ledger.database import connect, open_pool
from ledger.export_file import lines_of
from ledger.log.directory import Directory
from ledger.log.keys import read_keys
from ledger.log.verify import verify_log
from ledger.migrations import migrate
from ledger.progress import Progress
from projections.catalogue import PROJECTIONS, chosen
from projections.digest import digest_of
from projections.inline_replay import fill_inline
from projections.replay import Replayed, replay
from projections.table import Table

_SHOWN_SECONDS: Final = 0.2
_SEED: Final = 1
_HEAD: Final = "select position from intent_ledger.heads where ledger = $1"

# One row of each view that a text of its own is changed in; a view without rows has none.
_FORGED: Final = """
    update intent_ledger.{view}
    set {column} = 'forged'
    where ctid = (select ctid from intent_ledger.{view} where ledger = $1 order by {key} offset $2 limit 1)
"""
_TEXT: Final = {
    "intents": "agent",
    "audit": "agent",
    "exposure": "agent",
    "behaviour": "state",
    "anomalies": "sentence",
    "divergences": "summary",
    "timeline": "agent",
}

Step = Callable[[str, Path, Progress, list[str]], Awaitable[dict[str, Any]]]


async def write(dsn: str, _home: Path, show: Progress, words: list[str]) -> dict[str, Any]:
    """Write the events."""
    return await big.write(dsn, _SEED, int(words[0]), show)


async def inline(dsn: str, _home: Path, _show: Progress, _words: list[str]) -> dict[str, Any]:
    """Make the inline tables."""
    return await big.fill_inline_tables(dsn)


async def views(dsn: str, _home: Path, show: Progress, _words: list[str]) -> dict[str, Any]:
    """Make the views."""
    return await big.fill_views(dsn, show)


async def cover(dsn: str, home: Path, show: Progress, _words: list[str]) -> dict[str, Any]:
    """Make the log."""
    return await log.cover(dsn, LEDGER, home, show)


async def append(dsn: str, home: Path, show: Progress, words: list[str]) -> dict[str, Any]:
    """Append beside the log's keeper, and see how far it is behind."""
    with tempfile.TemporaryDirectory(dir=home) as own:
        return await log.append_beside(dsn, Path(own), 2, float(words[0]), show)


async def pages(dsn: str, _home: Path, show: Progress, words: list[str]) -> dict[str, Any]:
    """Read pages of the audit."""
    return await audit_pages.read_pages(dsn, int(words[0]), show)


async def verify(dsn: str, home: Path, show: Progress, _words: list[str]) -> dict[str, Any]:
    """Verify everything against the keys and the checkpoint outside, as `intentledger verify` does."""
    note = Directory(home / LEDGER).read()
    if note is None:
        raise RuntimeError("The log has published no checkpoint.")
    keys, reader = read_keys(home / f"{LEDGER}.key").verifiers, await connect(dsn)
    async with reader.transaction(isolation="repeatable_read", readonly=True):
        found = await verify_log(reader, LEDGER, keys, {"the directory": note}, show)
    await reader.close()
    if found.wrong is not None or found.proved != found.position:
        raise RuntimeError(f"The ledger does not verify: {found}")
    return {"events": found.position, "checkpoints": found.checkpoints}


async def export(dsn: str, home: Path, show: Progress, words: list[str]) -> dict[str, Any]:
    """Write the ledger to a file."""
    pool = await open_pool(dsn, 4)
    with _opened(words[0], "wb") as opened:
        moved = await moving.export(pool, LEDGER, read_keys(home / f"{LEDGER}.key").verifiers, opened.write, show)
        opened.flush()
        os.fsync(opened.fileno())
        size = opened.tell()
    await pool.close()
    return {"events": moved.size, "bytes": size}


async def prove(_dsn: str, home: Path, show: Progress, words: list[str]) -> dict[str, Any]:
    """Prove the file, without a database."""
    with _opened(words[0], "rb") as opened:
        moved = moving.prove(lines_of(opened), read_keys(home / f"{LEDGER}.key").verifiers, show)
    return {"events": moved.size}


async def bring_in(dsn: str, home: Path, show: Progress, words: list[str]) -> dict[str, Any]:
    """Import the file into an empty database, with what stands beside the events."""
    await migrate(dsn)
    writer, keys = await connect(dsn), read_keys(home / f"{LEDGER}.key").verifiers
    with _opened(words[0], "rb") as opened:
        moved = await moving.import_lines(
            writer, lines_of(opened), LEDGER, keys=keys, beside=fill_inline, progress=show
        )
    await writer.close()
    return {"events": moved.size}


async def replay_audit(dsn: str, _home: Path, show: Progress, _words: list[str]) -> dict[str, Any]:
    """Rebuild the audit and compare."""
    pool = await open_pool(dsn, 2)
    (one,) = await replay(pool, LEDGER, chosen(("audit",)), show)
    await pool.close()
    if not one.equal:
        raise RuntimeError(f"The audit is not what the events say: {one}")
    return _told([one])


async def replay_at(dsn: str, _home: Path, show: Progress, words: list[str]) -> dict[str, Any]:
    """Make the audit as it was at a position; at the last one it must be the live one."""
    pool = await open_pool(dsn, 2)
    async with AsyncExitStack() as parts:
        parts.push_async_callback(pool.close)
        (one,) = await replay(pool, LEDGER, chosen(("audit",)), show, at=int(words[0]))
        head = await pool.fetchval(_HEAD, LEDGER)
        if one.position == head and one.digest != await _live_digest(pool, "audit"):
            raise RuntimeError("The audit at the last position is not the live one.")
    return _told([one])


async def replay_all(dsn: str, _home: Path, show: Progress, _words: list[str]) -> dict[str, Any]:
    """Forge a row of each view, then rebuild all of them and swap; afterwards each has the digest of its rebuild."""
    pool, owner = await open_pool(dsn, 2), await asyncpg.connect(dsn)
    forged = set()
    for view in PROJECTIONS:
        rows = await owner.fetchval(f"select count(*) from intent_ledger.{view.name} where ledger = $1", LEDGER)
        statement = _FORGED.format(view=view.name, column=_TEXT[view.name], key=", ".join(view.key))
        if await owner.execute(statement, LEDGER, rows // 2) != "UPDATE 0":
            forged.add(view.name)
    found = await big.replay_and_swap(dsn, await pool.fetchval(_HEAD, LEDGER), show)
    if forged != {one.name for one in found if one.difference is not None} or not all(one.swapped for one in found):
        raise RuntimeError(f"Forged were {sorted(forged)}, and found: {found}")
    wrong = [one.name for one in found if await _live_digest(pool, one.name) != one.digest]
    if wrong:
        raise RuntimeError(f"After the swap {wrong} are not what was rebuilt.")
    await owner.close()
    await pool.close()
    return _told(found) | {"forged": sorted(forged)}


def _opened(file: str, mode: str) -> BinaryIO:
    return cast("BinaryIO", Path(file).open(mode))


async def _live_digest(pool: asyncpg.Pool, view: str) -> str:
    (projection,) = chosen((view,))
    async with pool.acquire() as connection, connection.transaction():
        return await digest_of(Table(projection).every(connection, LEDGER))


def _told(found: list[Replayed]) -> dict[str, Any]:
    return {
        "events": found[0].events,
        "folding_seconds": round(found[0].seconds, 3),
        "rows": {one.name: one.rows for one in found},
        "digests": {one.name: one.digest for one in found},
    }


STEPS: Final[dict[str, Step]] = {
    step.__name__: step
    for step in (
        *(write, inline, views, cover, append, pages, verify),
        *(export, prove, bring_in, replay_audit, replay_at, replay_all),
    )
}


def _shower() -> Progress:
    """Return what writes down how far a step has come, now and then."""
    told = 0.0

    def show(done: int, whole: int) -> None:
        nonlocal told
        if time.perf_counter() > told + _SHOWN_SECONDS:
            told = time.perf_counter()
            sys.stderr.write(f"{done} {whole}\n")
            sys.stderr.flush()

    return show


_WHO: Final = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)  # those that have ended; of memory, the largest


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in _WHO]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Read the command line, do the step and print what was measured."""
    name, dsn, home, *words = sys.argv[1:]
    logs.configure("warning", "json")
    gc.set_threshold(50_000, 20, 50)  # as the command line has it
    started, cpu = time.perf_counter(), _cpu_seconds()
    found = uvloop.run(STEPS[name](dsn, Path(home), _shower(), words))
    found |= {
        "seconds": round(time.perf_counter() - started, 3),
        "cpu_seconds": round(_cpu_seconds() - cpu, 3),
        "peak_bytes": max(resource.getrusage(who).ru_maxrss for who in _WHO) * 1024,
    }
    sys.stdout.buffer.write(msgspec.json.encode(found, enc_hook=str))


if __name__ == "__main__":
    main()
