"""An audit entry as a CloudEvent (CloudEvents 1.0, structured mode, JSON). Pure.

`source` is the ledger and `id` names one state of one entry: an entry that has come out differently since is another
event, with the same `sequence`, and whoever has seen an `id` of a `source` has seen the event.
"""

from typing import Any, Final
from urllib.parse import quote

from projections.audit.entry import AuditRow
from projections.audit.forms import entry_json

SPECIFICATION: Final = "1.0"


def cloud_event(ledger: str, entry: AuditRow) -> dict[str, Any]:
    """Return an entry as a CloudEvent whose data is the entry as `GET /v1/audit` shows it."""
    return {
        "specversion": SPECIFICATION,
        "id": f"{entry.position}.{entry.outcome_position}",
        "source": f"urn:intent-ledger:ledger:{quote(ledger, safe='')}",
        "type": f"intent-ledger.audit.{entry.kind}",
        "subject": entry.stream,
        "time": entry.outcome_at,
        "sequence": f"{entry.position:016d}",  # of the extension of that name: its order as text is the entries'
        "datacontenttype": "application/json",
        "data": entry_json(entry),
    }
