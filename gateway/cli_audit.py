"""The command that takes the audit out: `intentledger audit export`. Rules as in `cli.py`.

It reads the database itself, as of one moment, so that what leaves is whole and no service need run. What is sealed
stays sealed.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from gateway.command import NO_FLAGS, OK, Flags, progress, run, settings_of, write_part
from ledger.errors import InvalidRequest, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings import Settings
    from projections.audit.entry import AuditRow
    from projections.audit.search import AuditFilter
    from projections.page import Page

audit = App(name="audit", help="Take the audit out, for those who keep or search it elsewhere.")
Write = Callable[[bytes], Any]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which entries, as `GET /v1/audit` has it."""

    agent: str | None = None
    commissioned_by: str | None = None
    task: str | None = None
    operation: str | None = None
    policy: Annotated[str | None, Parameter(help="The name of a policy, or the digest of a set.")] = None
    outcome: str | None = None
    kind: str | None = None
    by: str | None = None
    grant: Annotated[str | None, Parameter(help="Anywhere in the custody chain.")] = None
    since: Annotated[str | None, Parameter(help="From this time on: 14:00, 2h, 2026-01-31T12:00:00Z.")] = None
    until: Annotated[str | None, Parameter(help="Before this time.")] = None


_ALL = Filters()


@audit.command
def export(
    flags: Flags = NO_FLAGS,
    filters: Filters = _ALL,
    *,
    format: Literal["json", "ndjson", "csv", "ocsf", "cloudevents"] = "ndjson",  # noqa: A002  the flag's name
    output: Path | None = None,
) -> int:
    """Write the audit as of now, newest first, to a file or to standard output; how far it is, to standard error.

    Parameters
    ----------
    format
        JSON array, JSON lines, CSV, OCSF (API Activity, as lines) or CloudEvents (a batch).
    output
        The file to write, which appears only once it is whole. Standard output by default.
    """
    settings = settings_of(flags)
    wanted = _wanted(filters)
    with _written_to(output) as write:
        entries, position = run(_export(settings, wanted, format, write, quiet=output is None and sys.stdout.isatty()))
    sys.stderr.write(f"{entries:,} entries, as of position {position} of the ledger {settings.ledger!r}.\n")
    return OK


def _wanted(filters: Filters) -> "AuditFilter":
    """Check the filters as the door does. Raises `Misconfigured`."""
    from datetime import datetime  # noqa: PLC0415

    from gateway.models import AuditQuery, checked_query  # noqa: PLC0415
    from gateway.routes_audit import wanted_by  # noqa: PLC0415
    from gateway.undo_sheet import moment  # noqa: PLC0415

    now = datetime.now().astimezone()
    given: dict[str, str] = {name: text for name, text in asdict(filters).items() if text is not None}
    times = {name: moment(given[name], now).isoformat() for name in ("since", "until") if name in given}
    try:
        return wanted_by(checked_query(AuditQuery, (given | times).items()))
    except InvalidRequest as error:
        raise Misconfigured("The filters make no sense. Nothing was written.", errors=error.extras["errors"]) from None


@contextmanager
def _written_to(output: Path | None) -> "Iterator[Write]":
    """Yield a function that writes to standard output, or to a file that takes its name once all of it is there."""
    if output is None:
        yield write_part
        return
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)
    except OSError as error:
        raise Misconfigured(f"{output} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)


async def _export(
    settings: "Settings", wanted: "AuditFilter", form: str, write: Write, *, quiet: bool
) -> tuple[int, int]:
    """Write everything that is wanted; return how many entries, and of which position they are."""
    from gateway.database import existing_pool  # noqa: PLC0415
    from ledger.database import connection  # noqa: PLC0415
    from projections.audit.export import Form, written  # noqa: PLC0415
    from projections.audit.search import list_audit, moment, span_of  # noqa: PLC0415

    ledger, entries = settings.ledger, 0
    async with AsyncExitStack() as parts:
        pool = await parts.enter_async_context(existing_pool(settings, 1))
        reader = await parts.enter_async_context(connection(pool))
        position = await parts.enter_async_context(moment(reader, ledger))
        span = await span_of(reader, ledger, wanted)
        show = parts.enter_context(progress(quiet=quiet, what="positions"))

        async def page_after(after: int | None) -> "Page[AuditRow, int]":
            return await list_audit(reader, ledger, wanted, after, _PAGE)

        def wrote(items: "Sequence[AuditRow]", after: int | None) -> None:
            nonlocal entries
            entries += len(items)
            everything = max(span.newest - span.oldest + 1, 0)
            show(everything if after is None else span.newest - after + 1, everything)

        async for chunk in written(Form(form), ledger, page_after, progress=wrote):
            write(chunk)
    return entries, position


_PAGE = 500
