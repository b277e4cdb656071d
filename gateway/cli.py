"""The command line: `intentledger`.

Rules of this file:

  * A command reads settings, calls one function of another file and shows what it answers. Nothing is decided here.
  * What a command needs is imported inside it, so that `--help` and a mistyped command answer at once.
  * Answers go to standard output: words for people, or JSON with `--json`. Everything else goes to standard error.
  * Exit codes: 0 ok; 1 found wrong; 2 bad usage or settings; 3 unavailable, try again.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from cyclopts import App, CycloptsError, Parameter

from ledger.errors import LedgerError, Misconfigured, Unavailable

if TYPE_CHECKING:
    from gateway.settings import Settings
    from projections.replay import Replayed

OK: Final = 0
FOUND_WRONG: Final = 1
BAD_USAGE: Final = 2
UNAVAILABLE: Final = 3
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it

T = TypeVar("T")
Json = Annotated[bool, Parameter(name="--json", negative="", help="Answer in JSON.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Flags:
    """Settings that a command line may give; each wins over its INTENTLEDGER_ variable."""

    config: Annotated[Path | None, Parameter(help="The adapters' file.")] = None
    data: Annotated[Path | None, Parameter(help="The directory of the embedded PostgreSQL and the token.")] = None
    ledger: Annotated[str | None, Parameter(help="The ledger to work on.")] = None
    log_level: Annotated[str | None, Parameter(help="debug, info, warning or error.")] = None
    log_format: Annotated[str | None, Parameter(help="auto, json or text.")] = None


_NO_FLAGS: Final = Flags()


def _version() -> str:
    import importlib.metadata  # noqa: PLC0415

    return importlib.metadata.version("intentledger")


app = App(
    name="intentledger",
    help="The transactional fence around AI agents. Settings are INTENTLEDGER_* variables; see README.",
    version=_version,
    result_action="return_value",
)


@app.command
def serve(flags: Flags = _NO_FLAGS, *, host: str | None = None, port: int | None = None, json: Json = False) -> int:
    """Serve the HTTP API, with a PostgreSQL of its own unless INTENTLEDGER_DSN names one.

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port to listen on; 0 takes any free one.
    """
    from gateway.app import Opened, stop_on_signals  # noqa: PLC0415
    from gateway.app import serve as serve_until  # noqa: PLC0415

    settings = _settings(flags, host=host, port=port)

    def opened(process: Opened) -> None:
        token = str(process.token_file) if process.token_file else None
        words = f"Serving the ledger {settings.ledger!r} at {process.url}\n" + (
            f"The operator's token is in {token}" if token else "The operator's token is where it was first made."
        )
        _answer({"url": process.url, "token_file": token}, words, json)

    async def main() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await serve_until(settings, stop=stop, opened=opened)

    _run(main())
    return OK


@app.command
def work(flags: Flags = _NO_FLAGS) -> int:
    """Work on due intents without a door, beside any number of other processes, until SIGTERM."""
    from gateway.app import stop_on_signals  # noqa: PLC0415
    from gateway.app import work as work_until  # noqa: PLC0415

    settings = _settings(flags)

    async def main() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await work_until(settings, stop=stop)

    _run(main())
    return OK


@app.command
def init(flags: Flags = _NO_FLAGS, *, json: Json = False) -> int:
    """Prepare the database and make the operator's grant; harmless when that is done already."""
    settings = _settings(flags)

    async def main() -> tuple[list[str], Path | None]:
        from gateway.database import database  # noqa: PLC0415
        from ledger.migrations import migrate as migrate_now  # noqa: PLC0415

        async with database(settings, shared=True) as dsn:
            return await migrate_now(dsn), await _make_operator(settings, dsn)

    applied, file = _run(main())
    answer = {"ledger": settings.ledger, "applied": applied, "token_file": str(file) if file else None}
    where = f"The operator's token is in {file}" if file else "Its operator was made elsewhere, where the token is too."
    _answer(answer, f"The ledger {settings.ledger!r} is ready. {where}", json)
    return OK


@app.command
def migrate(flags: Flags = _NO_FLAGS, *, json: Json = False) -> int:
    """Bring the database to this release."""
    settings = _settings(flags)

    async def main() -> list[str]:
        from gateway.database import database  # noqa: PLC0415
        from ledger.migrations import migrate as migrate_now  # noqa: PLC0415

        async with database(settings, shared=True) as dsn:
            return await migrate_now(dsn)

    applied = _run(main())
    _answer({"applied": applied}, "\n".join(f"applied {one}" for one in applied) or "Nothing was missing.", json)
    return OK


@app.command
def replay(
    flags: Flags = _NO_FLAGS,
    *,
    view: Sequence[str] = (),
    swap: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Rebuild views from the events beside the live ones and prove them equal; exit 1 if they are not.

    Parameters
    ----------
    view
        A view to rebuild; may be repeated. All of them by default.
    swap
        Put the rebuilt rows in the place of the live ones.
    """
    settings = _settings(flags)
    found = _run(_replayed(settings, view, swap=swap, quiet=json))
    _answer([_replayed_json(one) for one in found], "\n".join(map(_replayed_words, found)), json)
    return OK if all(one.equal for one in found) else FOUND_WRONG


@app.command
def demo(*, keep: Annotated[bool, Parameter(negative="")] = False) -> int:
    """See it work: five intents over HTTP, the coordinator killed -9 twice, and what the outside systems really hold.

    Parameters
    ----------
    keep
        Leave everything running at the end, until Control-C.
    """
    from examples.demo.play import main as play  # noqa: PLC0415

    return play(keep=keep)


@app.command
def adapters(flags: Flags = _NO_FLAGS, *, json: Json = False) -> int:
    """List the operations that the configured adapters offer, and what each one guarantees."""
    from adapters.configuration import load  # noqa: PLC0415
    from gateway.render import encode, show_operation  # noqa: PLC0415

    settings = _settings(flags)
    offered = list(load(settings.config, os.environ).operations.values()) if settings.config else []
    if json:
        sys.stdout.write(encode([show_operation(one) for one in offered]).decode() + "\n")
    elif offered:
        _table(
            ("operation", "guarantee", "undo", "hold", "does"),
            [
                (
                    one.name,
                    str(one.guarantee),
                    str(one.undo) + (f" within {one.undo_window_seconds} s" if one.undo_window_seconds else ""),
                    f"{one.hold_seconds} s" if one.hold_seconds else "",
                    one.summary or "",
                )
                for one in offered
            ],
        )
    else:
        sys.stdout.write("No adapters are configured; INTENTLEDGER_CONFIG names their file.\n")
    return OK


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(_code(sys.argv[1:] if arguments is None else arguments))


def _code(arguments: Sequence[str]) -> int:
    try:
        code = app(arguments, exit_on_error=False)
    except CycloptsError:
        return BAD_USAGE  # cyclopts has said why
    except LedgerError as error:
        sys.stderr.write(f"{error.message}\n")
        for fault in error.extras.get("errors", ()):
            sys.stderr.write(f"  {fault}\n")
        return next((code for kind, code in _CODES.items() if isinstance(error, kind)), FOUND_WRONG)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # whoever read our answer has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code if isinstance(code, int) else OK


_CODES: Final[dict[type[LedgerError], int]] = {Misconfigured: BAD_USAGE, Unavailable: UNAVAILABLE}  # and what is below


# ── what the commands share ──────────────────────────────────────────────────────────────────────────────────────


def _settings(flags: Flags, **more: Any) -> "Settings":
    from gateway import logs  # noqa: PLC0415
    from gateway.settings import load  # noqa: PLC0415

    settings = load(os.environ, Path.cwd(), **asdict(flags), **more)
    logs.configure(settings.log_level, settings.log_format)
    return settings


def _run(work: Coroutine[Any, Any, T]) -> T:
    import uvloop  # noqa: PLC0415

    # Nearly everything we make is freed by its count of references; looking for cycles after each 700 objects, as
    # Python does by itself, costs a busy process a tenth of its time.
    gc.set_threshold(50_000, 20, 50)
    return uvloop.run(work)


def _answer(value: Any, words: str, as_json: bool) -> None:
    if as_json:
        import msgspec  # noqa: PLC0415

        words = msgspec.json.encode(value).decode()
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*headings, box=None)
    for row in rows:
        table.add_row(*map(Text, row))  # as text: what an adapter is called is no markup
    Console().print(table)


async def _make_operator(settings: "Settings", dsn: str) -> Path | None:
    """Make the operator's grant if there is none; return the file of its token, None if it is not here."""
    import secrets  # noqa: PLC0415

    from authority.authority import Authority  # noqa: PLC0415
    from gateway.operator_token import ensure_operator, token_file  # noqa: PLC0415
    from ledger.database import open_pool  # noqa: PLC0415
    from ledger.postgres_store import PostgresStore  # noqa: PLC0415

    file = token_file(settings.data, settings.ledger)
    async with AsyncExitStack() as parts:
        pool = await open_pool(dsn, 2)
        parts.push_async_callback(pool.close)
        store = PostgresStore(pool, settings.ledger)
        await store.start()
        parts.push_async_callback(store.stop)
        return file if await ensure_operator(Authority(store), file, secrets.token_bytes) else None


async def _replayed(settings: "Settings", views: Sequence[str], *, swap: bool, quiet: bool) -> "list[Replayed]":
    from gateway.database import database  # noqa: PLC0415
    from ledger.database import open_pool  # noqa: PLC0415
    from projections.catalogue import chosen  # noqa: PLC0415
    from projections.replay import replay as replay_now  # noqa: PLC0415

    try:
        projections = chosen(tuple(views))
    except LookupError as error:
        raise Misconfigured(f"{error.args[0]} Nothing was done.") from None
    async with AsyncExitStack() as parts:
        dsn = await parts.enter_async_context(database(settings, shared=True))
        pool = await open_pool(dsn, len(projections) + 1)
        parts.push_async_callback(pool.close)
        progress = parts.enter_context(_progress(quiet=quiet))
        return await replay_now(pool, settings.ledger, projections, progress, swap=swap)


@contextmanager
def _progress(*, quiet: bool) -> "Generator[Callable[[int, int], None]]":
    """Yield a function that shows how far long work has come, on a terminal; elsewhere it shows nothing."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("events", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _replayed_json(one: "Replayed") -> dict[str, Any]:
    import msgspec  # noqa: PLC0415

    return {**msgspec.structs.asdict(one), "equal": one.equal}


def _replayed_words(one: "Replayed") -> str:
    if one.failure is not None:
        return f"{one.name}: STOPPED, {one.failure}"
    if one.difference is not None:
        key = ", ".join(map(str, one.difference.key))
        repaired = "; the rebuilt rows are in its place now" if one.swapped else ""
        return f"{one.name}: DIFFERS at position {one.position}, first in the row {key}{repaired}"
    rate = f", {one.events / one.seconds:,.0f} events a second" if one.seconds > 0 and one.events else ""
    return f"{one.name}: equal at position {one.position}, {one.digest} ({one.events:,} events{rate})"
