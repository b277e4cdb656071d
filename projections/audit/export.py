"""The audit as a whole, in the forms in which it leaves: written a page at a time, however long it is.

    json          an array of the entries as GET /v1/audit shows them
    ndjson        the same, one on a line
    csv           RFC 4180, with a line of headings
    ocsf          OCSF 1.8.0, API Activity, one event on a line
    cloudevents   CloudEvents 1.0, a batch

Every form has an end that a part of it lacks, or is cut off by whoever carries it, so that no part is taken for the
whole. Entries come newest first. What is sealed stays sealed.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from projections.audit.cloud_event import cloud_event
from projections.audit.entry import AuditRow
from projections.audit.forms import COLUMNS, csv_lines, csv_row, entry_json
from projections.audit.ocsf import ocsf_event
from projections.page import Page

NextPage = Callable[[int | None], Awaitable[Page[AuditRow, int]]]
"""Read the page after a position; the first for None."""

_encode: Final = msgspec.json.Encoder().encode


class Form(StrEnum):
    """A form in which the audit leaves."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    OCSF = "ocsf"
    CLOUDEVENTS = "cloudevents"


class _Shape(msgspec.Struct, frozen=True):
    """How a form is written: what stands before the first entry, between two of them and after the last."""

    media: str
    entry: Callable[[str, AuditRow], bytes]
    begin: bytes = b""
    between: bytes = b""
    end: bytes = b""


def _csv(_ledger: str, entry: AuditRow) -> bytes:
    return csv_lines([csv_row(entry)]).encode()


_SHAPES: Final = {
    Form.JSON: _Shape("application/json", lambda _, entry: _encode(entry_json(entry)), b"[\n", b",\n", b"\n]\n"),
    Form.NDJSON: _Shape("application/x-ndjson", lambda _, entry: _encode(entry_json(entry)) + b"\n"),
    Form.CSV: _Shape("text/csv", _csv, csv_lines([COLUMNS]).encode()),
    Form.OCSF: _Shape(
        "application/vnd.ocsf+x-ndjson", lambda ledger, entry: _encode(ocsf_event(ledger, entry)) + b"\n"
    ),
    Form.CLOUDEVENTS: _Shape(
        "application/cloudevents-batch+json",
        lambda ledger, entry: _encode(cloud_event(ledger, entry)),
        b"[\n",
        b",\n",
        b"\n]\n",
    ),
}
MEDIA: Final = {shape.media: form for form, shape in _SHAPES.items()}
"""The form of each media type."""


async def written(
    form: Form,
    ledger: str,
    next_page: NextPage,
    after: int | None = None,
    progress: Callable[[Sequence[AuditRow], int | None], None] = lambda _items, _next: None,
) -> AsyncGenerator[bytes]:
    """Yield everything after a position in a form, a page at a time; `progress` hears of each page."""
    shape = _SHAPES[form]
    if shape.begin:
        yield shape.begin
    first = True
    while True:
        page = await next_page(after)
        lines = [shape.entry(ledger, entry) for entry in page.items]
        if lines:
            yield (b"" if first else shape.between) + shape.between.join(lines)
            first = False
        progress(page.items, page.next)
        after = page.next
        if after is None:
            break
    if shape.end:
        yield shape.end
