"""The commands that move a ledger: out into a file that proves itself, and in from one. Rules as in `cli.py`."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from gateway.command import NO_FLAGS, OK, Flags, Json, Yes, answer, progress, run, settings_of, verifier_keys
from ledger.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from gateway.settings import Settings
    from ledger.log.signed_note import VerifierKey
    from ledger.moving import Moved
    from ledger.progress import Progress

_COVER_SECONDS: Final = 30.0  # for the log to cover what there is when an export begins
_POLL_SECONDS: Final = 0.05


def export(file: Path, flags: Flags = NO_FLAGS, *, subject_keys: Yes = False, json: Json = False) -> int:
    """Write the whole ledger to a file, with the checkpoints that prove it; whoever can hash can check it.

    Nothing is changed, and the ledger goes on meanwhile: the file ends with the newest checkpoint. Tokens and the keys
    of the log are never in it.

    Parameters
    ----------
    file
        Where to; it must not exist yet.
    subject_keys
        Also the keys of data subjects, still wrapped under the master key, without which nobody can read them.
    """
    if file.exists():
        raise Misconfigured(f"{file} exists already. Nothing was written; choose another name.")
    moved = run(_exported(file, settings_of(flags), subjects=subject_keys, quiet=json))
    answer(_shown(moved), f"{moved.ledger!r} up to position {moved.size:,} is in {file}.\n{moved.note}", json)
    return OK


def import_(
    file: Path, flags: Flags = NO_FLAGS, *, key: Sequence[str] = (), check: Yes = False, json: Json = False
) -> int:
    """Put an exported ledger into a database that has none of it; if anything of it cannot be proved, nothing.

    Afterwards grants, limits, work in flight and all views are as the events say, and the log goes on from where it
    was, with the same keys: put their file in its place before `serve` (docs/moving.md).

    Parameters
    ----------
    file
        What `intentledger export` wrote.
    key
        The verifier key by which the last checkpoint must be signed; may be repeated. By default those of the log's
        own keys if their file is here, and otherwise those that the file names, which are then only as good as it is.
    check
        Only prove the file; no database is needed.
    """
    settings = settings_of(flags)
    keys = _keys(settings, key)
    moved = run(_checked(file, keys, quiet=json) if check else _imported(file, settings, keys, quiet=json))
    shown = _shown(moved) | {"imported": not check, "trusted": bool(keys)}
    done = "is proved; nothing was imported" if check else "is imported"
    whose = "" if keys else f"\nNobody but the file itself says that its keys are right: {', '.join(moved.keys)}"
    answer(shown, f"{moved.ledger!r} up to position {moved.size:,} {done}.{whose}", json)
    return OK


def _shown(moved: "Moved") -> dict[str, Any]:
    import msgspec  # noqa: PLC0415

    return msgspec.structs.asdict(moved)


def _keys(settings: "Settings", given: Sequence[str]) -> "tuple[VerifierKey, ...]":
    """Return whom to believe: those given, else those of the log's own keys. Raises `Misconfigured`."""
    from gateway.log_settings import log_settings  # noqa: PLC0415
    from ledger.log.keys import read_keys  # noqa: PLC0415

    keys = verifier_keys("--key", given, "Nothing was imported.")
    return keys or read_keys(log_settings(settings).keys).verifiers


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _exported(file: Path, settings: "Settings", *, subjects: bool, quiet: bool) -> "Moved":
    from gateway.database import existing_pool  # noqa: PLC0415
    from gateway.log_settings import log_settings  # noqa: PLC0415
    from ledger.log.keeper import Keeper  # noqa: PLC0415
    from ledger.log.keys import read_keys  # noqa: PLC0415
    from ledger.moving import export as export_now  # noqa: PLC0415

    log = log_settings(settings)
    async with AsyncExitStack() as parts:
        pool = await parts.enter_async_context(existing_pool(settings, 4))
        keeper = Keeper(pool, settings.ledger, log.origin, log.keys)
        await keeper.open(os.urandom)
        await keeper.start()  # where no process serves, nobody else would cover what is new
        parts.push_async_callback(keeper.stop)
        await _covered(pool, settings.ledger)
        show = parts.enter_context(progress(quiet=quiet))
        unfinished = file.with_name(f".{file.name}.part")
        with _begun(unfinished) as opened:
            parts.callback(unfinished.unlink, missing_ok=True)
            keys = read_keys(log.keys).verifiers
            moved = await export_now(pool, settings.ledger, keys, opened.write, show, subjects=subjects)
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.rename(file)
    return moved


def _begun(unfinished: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise Misconfigured(
            f"Nothing can be written in {unfinished.parent}: {error.strerror}. Nothing was exported."
        ) from None


async def _covered(pool: Any, ledger: str) -> None:
    """Wait until the log covers every event there is now. Raises `Unavailable`."""
    from ledger.log.tree import Log  # noqa: PLC0415
    from ledger.postgres_store import PostgresStore  # noqa: PLC0415

    head = await PostgresStore(pool, ledger).head()
    try:
        async with asyncio.timeout(_COVER_SECONDS):
            while (newest := await Log(pool, ledger).newest()) is None or newest.size < head:  # noqa: ASYNC110 - another process may keep the log
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise Unavailable(
            f"The log does not cover the {head:,} events of the ledger {ledger!r}. Nothing was written; a process that "
            "serves, and has the keys of the log, covers them."
        ) from None


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _checked(file: Path, keys: "Sequence[VerifierKey]", *, quiet: bool) -> "Moved":
    from ledger.moving import prove  # noqa: PLC0415

    with _lines(file) as lines, progress(quiet=quiet) as show:
        return prove(lines, keys, show)


async def _imported(file: Path, settings: "Settings", keys: "Sequence[VerifierKey]", *, quiet: bool) -> "Moved":
    from gateway.database import database  # noqa: PLC0415
    from ledger.database import connect, open_pool  # noqa: PLC0415
    from ledger.migrations import migrate  # noqa: PLC0415
    from ledger.moving import import_lines  # noqa: PLC0415
    from projections.inline_replay import fill_inline  # noqa: PLC0415

    async with AsyncExitStack() as parts:
        lines = parts.enter_context(_lines(file))
        dsn = await parts.enter_async_context(database(settings, shared=True))
        await migrate(dsn)
        writer = await connect(dsn)
        parts.push_async_callback(writer.close)
        with progress(quiet=quiet) as show:
            moved = await import_lines(writer, lines, settings.ledger, keys=keys, beside=fill_inline, progress=show)
        pool = await open_pool(dsn, 4)
        parts.push_async_callback(pool.close)
        with progress(quiet=quiet, what="views") as show:
            await _viewed(pool, moved, show)
    return moved


@contextmanager
def _lines(file: Path) -> "Iterator[Iterator[bytes]]":
    """Open an export and yield its lines. Raises `Misconfigured`."""
    from ledger.export_file import lines_of  # noqa: PLC0415

    try:
        opened = file.open("rb")
    except OSError as error:
        raise Misconfigured(f"{file} cannot be read: {error.strerror}. Nothing was imported.") from None
    with opened:
        yield lines_of(opened)


async def _viewed(pool: Any, moved: "Moved", show: "Progress") -> None:
    """Bring every view up to what was imported. Raises `Unavailable` where one stops, saying why."""
    from ledger.postgres_store import PostgresStore  # noqa: PLC0415
    from projections.catalogue import PROJECTIONS  # noqa: PLC0415
    from projections.follower import Follower  # noqa: PLC0415

    store = PostgresStore(pool, moved.ledger)
    await store.start()
    follower = Follower(pool, store, PROJECTIONS)
    await follower.start()
    try:
        stopped = await follower.has(moved.size, progress=show)
        if stopped is not None:
            raise Unavailable(f"The ledger is imported. {stopped}")
    finally:
        await follower.stop()
        await store.stop()
