"""The command line: `intentledger`.

Rules of this file and of `cli_authority.py` and `cli_policy.py` beside it:

  * A command reads settings, calls one function of another file and shows what it answers. Nothing is decided here.
  * What a command needs is imported inside it, so that `--help` and a mistyped command answer at once.
  * Answers go to standard output: words for people, or JSON with `--json`. Everything else goes to standard error.
  * Exit codes: 0 ok; 1 found wrong, or refused; 2 bad usage or settings; 3 unavailable, try again.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App, CycloptsError, Parameter

from gateway.cli_adapters import adapters
from gateway.cli_audit import audit
from gateway.cli_authority import approve, grant, grants, reject, resume, revoke, suspend
from gateway.cli_bench import bench
from gateway.cli_log import log
from gateway.cli_moving import export, import_
from gateway.cli_policy import policy
from gateway.cli_receipt import receipt
from gateway.cli_reconcile import reconcile
from gateway.cli_replay import replay
from gateway.cli_subjects import subjects
from gateway.cli_undo import undo
from gateway.cli_verify import verify
from gateway.cli_witness import witness
from gateway.command import (
    BAD_USAGE,
    FOUND_WRONG,
    INTERRUPTED,
    NO_FLAGS,
    OK,
    UNAVAILABLE,
    Flags,
    Json,
    OutputEnded,
    Yes,
    answer,
    run,
    settings_of,
)
from ledger.errors import LedgerError, Misconfigured, Unavailable

if TYPE_CHECKING:
    from gateway.settings import Settings


def _version() -> str:
    import importlib.metadata  # noqa: PLC0415

    return importlib.metadata.version("intentledger")


def _worth_telling(default: object) -> str | None:
    """Return what help says of a default: nothing where it only says that a flag was not given."""
    return None if default in (None, False, ()) else str(default)


app = App(
    name="intentledger",
    help="The transactional fence around AI agents. Settings are INTENTLEDGER_* variables; see README.",
    version=_version,
    result_action="return_value",
    default_parameter=Parameter(negative_iterable=(), show_default=_worth_telling),  # no --empty-key beside each --key
)
app.command(grant, version_flags=())  # --version is the agent's there
app.command(adapters)
app.command(audit)
app.command(receipt)
app.command(log)
app.command(subjects)
app.command(import_, name="import")
app.command(bench)
for one in (replay, grants, revoke, suspend, resume, approve, reject, undo, policy, export, reconcile, verify, witness):
    app.command(one)


@app.command
def serve(flags: Flags = NO_FLAGS, *, host: str | None = None, port: int | None = None, json: Json = False) -> int:
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

    settings = settings_of(flags, host=host, port=port)

    def opened(process: Opened) -> None:
        token = str(process.token_file) if process.token_file else None
        words = f"Serving the ledger {settings.ledger!r} at {process.url}\n" + (
            f"The operator's token is in {token}" if token else "The operator's token is where it was first made."
        )
        answer({"url": process.url, "token_file": token}, words, json)

    async def main() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await serve_until(settings, stop=stop, opened=opened)

    run(main())
    return OK


@app.command
def work(flags: Flags = NO_FLAGS) -> int:
    """Work on due intents without a door, beside any number of other processes, until SIGTERM."""
    from gateway.app import stop_on_signals  # noqa: PLC0415
    from gateway.app import work as work_until  # noqa: PLC0415

    settings = settings_of(flags)

    async def main() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await work_until(settings, stop=stop)

    run(main())
    return OK


@app.command
def init(flags: Flags = NO_FLAGS, *, json: Json = False) -> int:
    """Prepare the database and make the operator's grant; harmless when that is done already."""
    settings = settings_of(flags)

    async def main() -> tuple[list[str], Path | None]:
        from gateway.database import database  # noqa: PLC0415
        from ledger.migrations import migrate as migrate_now  # noqa: PLC0415

        async with database(settings, shared=True) as dsn:
            return await migrate_now(dsn), await _make_operator(settings, dsn)

    applied, file = run(main())
    made = {"ledger": settings.ledger, "applied": applied, "token_file": str(file) if file else None}
    where = f"The operator's token is in {file}" if file else "Its operator was made elsewhere, where the token is too."
    answer(made, f"The ledger {settings.ledger!r} is ready. {where}", json)
    return OK


@app.command
def migrate(flags: Flags = NO_FLAGS, *, json: Json = False) -> int:
    """Bring the database to this release."""
    settings = settings_of(flags)

    async def main() -> list[str]:
        from gateway.database import database  # noqa: PLC0415
        from ledger.migrations import migrate as migrate_now  # noqa: PLC0415

        async with database(settings, shared=True) as dsn:
            return await migrate_now(dsn)

    applied = run(main())
    answer({"applied": applied}, "\n".join(f"applied {one}" for one in applied) or "Nothing was missing.", json)
    return OK


@app.command
def demo(*, keep: Yes = False) -> int:
    """See it work: two kill -9, a policy, a person, a revoked agent, and what the outside systems really hold.

    Parameters
    ----------
    keep
        Leave everything running at the end, until Control-C.
    """
    from examples.demo.play import main as play  # noqa: PLC0415

    return play(keep=keep)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    # Nearly everything we make is freed by its count of references; looking for cycles after each 700 objects, as
    # Python does by itself, costs a busy process a tenth of its time, and one that begins a tenth of its start.
    gc.set_threshold(50_000, 20, 50)
    _open_what_was_closed()
    sys.exit(_code(sys.argv[1:] if arguments is None else arguments))


def _code(arguments: Sequence[str]) -> int:
    try:
        code = app(arguments, exit_on_error=False)
    except CycloptsError:
        return BAD_USAGE  # cyclopts has said why
    except LedgerError as error:
        sys.stderr.write(f"{error.message}\n")
        for fault in error.extras.get("errors", ()):
            sys.stderr.write(f"  {_fault(fault)}\n")
        return next((code for kind, code in _CODES.items() if isinstance(error, kind)), FOUND_WRONG)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (OSError, OutputEnded) as error:
        return _ended(error)
    return code if isinstance(code, int) else OK


def _ended(error: Exception) -> int:
    """Say what the system refused; nothing where whoever read our answer has read enough."""
    cause = error.__cause__ if isinstance(error, OutputEnded) else error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at its end
    if isinstance(cause, BrokenPipeError):
        return OK
    sys.stderr.write(f"The answer could not be written, or a file not used: {cause}. What you have is not the whole.\n")
    return UNAVAILABLE


def _open_what_was_closed() -> None:
    """Give back what a shell has closed (`>&-`): its number would be taken by a file or a connection of ours."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w"))


def _fault(fault: Any) -> str:
    """Write one place that is wrong: {"path", "message"}, {"line", "column", "message"}, or words."""
    if not isinstance(fault, dict):
        return str(fault)
    place = fault.get("path") or ", ".join(f"{name} {fault[name]}" for name in ("line", "column") if name in fault)
    return f"{place}: {fault.get('message')}" if place else str(fault.get("message"))


_CODES: Final[dict[type[LedgerError], int]] = {Misconfigured: BAD_USAGE, Unavailable: UNAVAILABLE}  # and what is below


# ── what the commands share ──────────────────────────────────────────────────────────────────────────────────────


async def _make_operator(settings: "Settings", dsn: str) -> Path | None:
    """Make the operator's grant if there is none; return the file of its token, None if it is not here."""
    import secrets  # noqa: PLC0415

    from authority.authority import Authority  # noqa: PLC0415
    from gateway.data_directory import claim, token_file  # noqa: PLC0415
    from gateway.log_keeping import LogKeeping  # noqa: PLC0415
    from gateway.log_settings import log_settings  # noqa: PLC0415
    from gateway.operator_token import ensure_operator  # noqa: PLC0415
    from ledger.database import open_pool  # noqa: PLC0415
    from ledger.postgres_store import PostgresStore  # noqa: PLC0415

    file = token_file(settings.data, settings.ledger)
    async with AsyncExitStack() as parts:
        claim(settings.data)
        pool = await open_pool(dsn, 3)
        parts.push_async_callback(pool.close)
        store = PostgresStore(pool, settings.ledger)
        await store.start()
        parts.push_async_callback(store.stop)
        keeping = LogKeeping(pool, settings.ledger, log_settings(settings))
        parts.push_async_callback(keeping.stop)
        await keeping.open(os.urandom)
        return file if await ensure_operator(Authority(store), file, secrets.token_bytes) else None
