"""What every command shares: exit codes, settings from flags, how to run and how to answer.

* Answers go to standard output: words for people, or JSON with `--json`. Everything else goes to standard error.
* What is heavy is imported inside functions, so that `--help` and a mistyped command answer at once.
"""

import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from cyclopts import Parameter

from ledger.errors import Malformed, Misconfigured

if TYPE_CHECKING:
    from adapters.registry import Registry
    from gateway.client import Client
    from gateway.settings import Settings
    from ledger.log.signed_note import VerifierKey

OK: Final = 0
FOUND_WRONG: Final = 1
BAD_USAGE: Final = 2
UNAVAILABLE: Final = 3
_PIPE_COLUMNS: Final = 240
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it

T = TypeVar("T")
Json = Annotated[bool, Parameter(name="--json", negative="", help="Answer in JSON.")]
Yes = Annotated[bool, Parameter(negative="")]  # a flag that is given or not


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Flags:
    """Settings that a command line may give; each wins over its INTENTLEDGER_ variable."""

    config: Annotated[Path | None, Parameter(help="The adapters' file.")] = None
    data: Annotated[Path | None, Parameter(help="The directory of the embedded PostgreSQL and the token.")] = None
    ledger: Annotated[str | None, Parameter(help="The ledger to work on.")] = None
    log_level: Annotated[str | None, Parameter(help="debug, info, warning or error.")] = None
    log_format: Annotated[str | None, Parameter(help="auto, json or text.")] = None


NO_FLAGS: Final = Flags()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Reach:
    """How a person's command reaches the service; each wins over its INTENTLEDGER_ variable."""

    url: Annotated[str | None, Parameter(help="Where the service is; on this machine by default.")] = None
    token_file: Annotated[Path | None, Parameter(help="Your token; the operator's by default.")] = None
    data: Annotated[Path | None, Parameter(help="The directory of the operator's token.")] = None
    ledger: Annotated[str | None, Parameter(help="The ledger of the operator's token.")] = None


NO_REACH: Final = Reach()


def settings_of(flags: Flags | Reach, **more: Any) -> "Settings":
    """Read the settings, flags first, and set up logging. Raises `Misconfigured`."""
    from gateway import logs  # noqa: PLC0415
    from gateway.settings import load  # noqa: PLC0415

    settings = load(os.environ, Path.cwd(), **asdict(flags), **more)
    logs.configure(settings.log_level, settings.log_format)
    return settings


def config_of(flags: Flags) -> Path:
    """Return where the adapters' file is. Raises `Misconfigured` if nothing says so."""
    config = settings_of(flags).config
    if config is None:
        raise Misconfigured("No adapters are configured; --config or INTENTLEDGER_CONFIG names their file.")
    return config


def adapters_for(name: str, config: Path, environment: Mapping[str, str]) -> "Registry":
    """Return the adapters that can be used, for a command about one. Raises `Misconfigured` if that one cannot."""
    from adapters.configuration import load_sound  # noqa: PLC0415

    registry = load_sound(config, environment)
    if name in registry.faults:
        raise Misconfigured(f"The adapter {name} is misconfigured. Nothing was tried.", errors=registry.faults[name])
    return registry


def verifier_keys(flag: str, given: Sequence[str], undone: str) -> "tuple[VerifierKey, ...]":
    """Read the verifier keys that a flag names. Raises `Misconfigured`; `undone` says what was not done then."""
    from ledger.log.signed_note import parse_verifier_key  # noqa: PLC0415

    try:
        return tuple(parse_verifier_key(one) for one in given)
    except Malformed as error:
        raise Misconfigured(f"{flag} cannot be used: {error.message} {undone}") from None


def ask(reach: Reach, question: "Callable[[Client], Awaitable[T]]") -> T:
    """Put one question to the service, as the person whose token it is. Raises `Misconfigured`, `Unavailable`."""
    from gateway.client import Client  # noqa: PLC0415

    client = Client(settings_of(reach))

    async def main() -> T:
        async with client:
            return await question(client)

    return run(main())


def terminal() -> bool:
    """Tell whether a person sits there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(prompt: str, instead: str) -> bool:
    """Ask a person at a terminal. Raises `Misconfigured` where nobody can be asked, saying what to do `instead`."""
    if not terminal():
        raise Misconfigured(f"There is no terminal to ask at. Nothing was changed; look at the above, then {instead}.")
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end on an event loop that is quick."""
    import uvloop  # noqa: PLC0415

    return uvloop.run(work)


def answer(value: Any, words: str, as_json: bool) -> None:
    """Answer in words, or with a value in JSON."""
    if as_json:
        import msgspec  # noqa: PLC0415

        words = msgspec.json.encode(value).decode()
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


class OutputEnded(Exception):
    """Standard output takes no more; its cause says why. No `OSError`, which whoever reads a database takes for its."""


def write_part(part: bytes) -> None:
    """Write a part of a long answer to standard output. Raises `OutputEnded`."""
    try:
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputEnded from error


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, to_stderr: bool = False) -> None:
    """Answer with a table, or show it beside an answer."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(*headings, box=None)
    for row in rows:
        shown.add_row(*map(Text, row))  # as text: what an adapter is called is no markup
    console = Console(stderr=to_stderr)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS  # whoever reads it from a file or a pipe wants a row in one line
    console.print(shown)


@contextmanager
def progress(*, quiet: bool, what: str = "events") -> "Generator[Callable[[int, int], None]]":
    """Yield a function that shows how far long work has come and how fast; only on a terminal."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text  # noqa: PLC0415

    class Rate(ProgressColumn):
        """How many a second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
