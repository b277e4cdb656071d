"""Gathers what a run has left behind, only from HTTP and from what the outside systems recorded themselves.

What each outside system writes is turned into traces here: hold, release, apply, undo, each under a key of the intent
log. The CRM's own table knows no keys; its rows carry a tag that the client chose, and the log says whose tag it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
from traces import Trace

from examples.journal import read

Event = Mapping[str, Any]

PAYMENT_TRACES = {
    "hold": "hold",
    "release": "release",
    "confirm": "apply",
    "credit": "apply",
    "transfer": "apply",
    "reverse": "undo",
}


def payment_traces(record: Path) -> Iterator[Trace]:
    money: dict[str, tuple[int, str]] = {}  # a confirmation names only the hold
    for line in read(record):
        if line["what"] in PAYMENT_TRACES:
            if "amount" in line:
                money[line["key"]] = (line["amount"], line["currency"])
            at = datetime.fromisoformat(line["at"])
            yield Trace("payments", line["key"], PAYMENT_TRACES[line["what"]], at, money.get(line["key"]))


def mail_traces(record: Path, keys: Mapping[str, str]) -> Iterator[Trace]:
    """Yield a trace for each message; `keys` says of each key what it does."""
    for line in read(record):
        key = line["headers"]["message-id"].strip("<>").partition("@")[0]
        yield Trace("mailbox", key, keys.get(key, "apply"), datetime.fromisoformat(line["at"]))


async def crm_traces(connection: asyncpg.Connection, tags: Mapping[str, Mapping[str, str]]) -> list[Trace]:
    """Return the changes of the CRM at the moment when they became visible, under the keys of their tags."""
    rows = await connection.fetch(
        "select tag, what, pg_xact_commit_timestamp(xmin) as at from public.changes order by at"
    )
    return [Trace("crm", tags.get(row["tag"], {}).get(row["what"], row["tag"]), row["what"], row["at"]) for row in rows]


async def crm_held(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    """Return what is still prepared; the key stands in the name of a prepared transaction."""
    rows = await connection.fetch("select gid from pg_prepared_xacts where database = current_database()")
    return [("crm", row["gid"].split(":")[2]) for row in rows]


def planned(events: Sequence[Event]) -> Iterator[Mapping[str, Any]]:
    """Yield every action as its intent planned it."""
    for event in events:
        if event["type"] == "IntentSubmitted":
            yield from event["body"]["actions"]


def keys_of(events: Sequence[Event]) -> dict[str, str]:
    """Say of every key in the log whether it applies or undoes."""
    actions = list(planned(events))
    return {a["key"]: "apply" for a in actions} | {a["undo_key"]: "undo" for a in actions}


def tags_of(events: Sequence[Event]) -> dict[str, dict[str, str]]:
    """Say of every tag that a client chose under which keys it applies and undoes."""
    return {
        a["params"]["tag"]: {"apply": a["key"], "undo": a["undo_key"]} for a in planned(events) if "tag" in a["params"]
    }
