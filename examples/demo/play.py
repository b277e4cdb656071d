"""Playing the demo: a directory of its own, the story, an honest exit code, and nothing left behind.

Exit codes: 0 everything outside is what the ledger says; 1 something differs, or the story could not be played to its
end; 130 interrupted.
"""

import asyncio
import logging
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
from rich.console import Console

from examples.demo.client import NotAnsweredError
from examples.demo.processes import StoppedEarlyError
from examples.demo.story import Story
from ledger.errors import LedgerError

_WIDTH: Final = 140  # where there is no terminal to ask
INTERRUPTED: Final = 130


def main(*, keep: bool) -> int:
    """Play the demo and return the exit code; `keep` leaves everything running until Control-C."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console = Console(soft_wrap=True, highlight=False, width=_WIDTH)
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        return asyncio.run(_play(console, keep=keep))
    return INTERRUPTED


async def _play(console: Console, *, keep: bool) -> int:
    _end_on_sigterm()
    directory = _directory()
    story = Story(console, directory)
    started = time.monotonic()
    try:
        agreed = await story.tell()
        words = (
            "Everything outside is what the ledger says."
            if agreed
            else "Something outside is NOT what the ledger says."
        )
        colour = "green" if agreed else "red"
        console.print(f"\n[bold {colour}]{words}[/] Played in {time.monotonic() - started:.0f} seconds.")
        _where_next(console, story, keep=keep)
        if keep:
            await asyncio.Event().wait()
    except (NotAnsweredError, StoppedEarlyError, LedgerError, OSError) as error:
        console.print(f"\n[bold red]The story could not go on.[/] {error}")
        if story.service is not None:
            console.print(story.service.last_words(), markup=False)
        return 1
    else:
        return 0 if agreed else 1
    finally:
        await story.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="il-demo-"))
    directory.chmod(0o711)  # PostgreSQL runs as another user when we are root, and must pass through
    return directory


def _where_next(console: Console, story: Story, *, keep: bool) -> None:
    if not keep or story.service is None:
        console.print(
            "Look closer: intentledger demo --keep. The reasons: docs/ARCHITECTURE.md. Your own: docs/adapters.md."
        )
        return
    console.print("\nIt keeps running; Control-C ends it and removes everything. Look at it from another terminal:")
    console.print(f'  TOKEN="Authorization: Bearer $(cat {story.token_file})"', markup=False)
    for path in ("/v1/intents", "/v1/audit", "/v1/events", "/v1/exposure", "/v1/operations"):
        console.print(f'  curl -s {story.service.url}{path} -H "$TOKEN"', markup=False)
    console.print(
        f"  {story.stage.payments.record} and {story.stage.mailbox.record}: the records outside", markup=False
    )


def _end_on_sigterm() -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
