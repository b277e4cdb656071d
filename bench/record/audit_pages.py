"""Pages of the audit of a big ledger, each asked for with a combination of filters drawn by chance.

None to all of the filters at once, each with a common, a middling or a rare value of its own, or with one that nothing
has; from the newest entry on or from anywhere; with and without bounds in time. What is measured is what the door does
for it: `list_audit`, entries rendered and encoded. The worst page is shown with its filters.
"""

import random
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec

from ledger.database import open_pool
from ledger.progress import Progress
from projections.audit.forms import entry_json
from projections.audit.search import AuditFilter, list_audit

LEDGER: Final = "main"
_ARRAYS: Final = {"operation": "unnest(operations)", "policy": "unnest(policies)", "grant": "unnest(custody)"}
_FIELDS: Final = ("agent", "commissioned_by", "task", "operation", "policy", "outcome", "kind", "by", "grant")
_LIMIT: Final = 50


async def values_of(connection: Any, field: str) -> list[str]:
    """Return a common, a middling and a rare value of a field, and one that nothing has."""
    column = _ARRAYS.get(field, field)
    counted = await connection.fetch(
        f"select value from (select {column} as value from intent_ledger.audit where ledger = $1) as entry"
        " where value is not null group by value order by count(*) desc",
        LEDGER,
        timeout=120,
    )
    known = [record["value"] for record in counted]
    return [known[0], known[len(known) // 2], known[-1], "nothing-has-it"]


def drawn(chance: random.Random, values: dict[str, list[str]], begin: datetime, end: datetime) -> AuditFilter:
    """Draw a combination of filters."""
    chosen = chance.sample(_FIELDS, chance.choice((0, 1, 1, 2, 2, 3, 4, len(_FIELDS))))
    wanted: dict[str, Any] = {field: chance.choices(values[field], (6, 3, 2, 1))[0] for field in chosen}
    if chance.random() < 0.3:
        wanted["since"] = begin + (end - begin) * chance.random()
    if chance.random() < 0.3:
        wanted["until"] = wanted.get("since", begin) + timedelta(days=chance.choice((0.1, 3, 60)))
    return AuditFilter(**wanted)


async def read_pages(dsn: str, pages: int, show: Progress) -> dict[str, Any]:
    """Read so many pages and return how long they took."""
    chance = random.Random(44)
    plain = await asyncpg.connect(dsn)
    values = {field: await values_of(plain, field) for field in _FIELDS}
    begin, end, entries, newest = (
        await plain.fetch(
            "select min(at), max(at), count(*), max(position) from intent_ledger.audit where ledger = $1",
            LEDGER,
            timeout=60,
        )
    )[0]
    await plain.close()
    pool = await open_pool(dsn, 2)
    took: list[tuple[float, int, AuditFilter, int | None]] = []
    for number in range(pages):
        show(number, pages)
        wanted = drawn(chance, values, begin, end)
        after = chance.randint(1, newest) if chance.random() < 0.3 else None
        started = time.perf_counter()
        async with pool.acquire() as connection:
            page = await list_audit(connection, LEDGER, wanted, after, _LIMIT)
        msgspec.json.encode([entry_json(entry) for entry in page.items])
        took.append((time.perf_counter() - started, len(page.items), wanted, after))
    await pool.close()
    return {"entries": entries, "positions": newest, "pages": pages} | told(took)


def told(took: Sequence[tuple[float, int, AuditFilter, int | None]]) -> dict[str, Any]:
    """Return the milliseconds at some quantiles, by how many filters were asked for, and the worst page."""
    worst = max(took, key=lambda one: one[0])
    shown = {name: value for name, value in msgspec.structs.asdict(worst[2]).items() if value is not None}
    by_count: dict[str, Any] = {}
    for count in sorted({sum(term is not None for term in wanted.terms) for _, _, wanted, _ in took}):
        chosen = [one for one in took if sum(term is not None for term in one[2].terms) == count]
        by_count[f"{count} filters"] = quantiles([seconds for seconds, *_ in chosen])
    empty = quantiles([seconds for seconds, found, *_ in took if not found])
    of_worst = {"ms": round(worst[0] * 1000, 1), "entries": worst[1], "after": worst[3], "filters": shown}
    return {"ms": quantiles([one[0] for one in took]), "ms_of_empty": empty, "by_filters": by_count, "worst": of_worst}


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the longest, in milliseconds."""
    ordered = sorted(seconds)
    at = {name: ordered[min(int(len(ordered) * part), len(ordered) - 1)] for name, part in _QUANTILES.items()}
    return {name: round(value * 1000, 1) for name, value in at.items()} | {"pages": len(ordered)}


_QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
