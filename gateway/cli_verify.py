"""The command that verifies what is recorded. Rules as in `cli.py`.

`verify` reads the database itself and believes no service, and of the log it believes only keys and checkpoints that
are not in that database. It changes nothing.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.command import (
    FOUND_WRONG,
    NO_FLAGS,
    OK,
    UNAVAILABLE,
    Flags,
    Json,
    Yes,
    answer,
    progress,
    run,
    settings_of,
    verifier_keys,
)
from ledger.errors import Corrupt, LedgerError, Misconfigured

if TYPE_CHECKING:
    from gateway.log_places import Answer
    from gateway.settings import Settings
    from ledger.database import Pool
    from ledger.log.signed_note import VerifierKey
    from ledger.sealing import DataKey

_WORTH_A_RATE: Final = 10_000  # events; of fewer the start is what is measured


def verify(
    flags: Flags = NO_FLAGS,
    *,
    decisions: Yes = False,
    key: Sequence[str] = (),
    checkpoint: Sequence[Path] = (),
    json: Json = False,
) -> int:
    """Verify what is recorded, reading the database itself and changing nothing; exit 1 if something is not true.

    Every event is hashed again, and compared with the log's tiles and with every signed checkpoint that is kept:
    those in the database, those in the log's directory, in its bucket and at its witnesses, and those that are named
    here. Exit 3 if nothing is wrong and one of these places could not be asked.

    Parameters
    ----------
    decisions
        Instead, give every verdict again from the events alone, and check every decision to commit against it.
    key
        A verifier key to trust in the place of the log's own file of keys; may be repeated.
    checkpoint
        A file with a checkpoint that was kept elsewhere; may be repeated.
    """
    settings = settings_of(flags)
    if decisions:
        found = run(_decisions(settings, quiet=json))
        answer(found, _decisions_words(found), json)
    else:
        found = run(_log(settings, key, checkpoint, quiet=json))
        answer(found, _log_words(found), json)
    if found["wrong"] is not None:
        return FOUND_WRONG
    return UNAVAILABLE if any(one["failure"] is not None for one in found.get("places", ())) else OK


# ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def _log(settings: "Settings", keys: Sequence[str], files: Sequence[Path], *, quiet: bool) -> dict[str, Any]:
    """Walk the whole ledger against its log."""
    from msgspec.structs import asdict  # noqa: PLC0415

    from gateway.database import existing_pool  # noqa: PLC0415
    from gateway.log_places import ask_places  # noqa: PLC0415
    from gateway.log_settings import log_settings  # noqa: PLC0415
    from ledger.database import connection  # noqa: PLC0415
    from ledger.log.verify import verify_log  # noqa: PLC0415

    log = log_settings(settings)
    trusted = _trusted(keys, log.keys)
    answers = _answers(files)
    async with existing_pool(settings, 1) as pool:
        answers = [*await ask_places(pool, settings.ledger, log), *answers]  # before the ledger, which goes on
        outside = {one.place: one.note for one in answers if one.note is not None}
        async with connection(pool) as reader, reader.transaction(isolation="repeatable_read", readonly=True):
            began = time.perf_counter()
            with progress(quiet=quiet) as show:
                verified = await verify_log(reader, settings.ledger, trusted, outside, show)
            seconds = time.perf_counter() - began
    wrong = None if verified.wrong is None else asdict(verified.wrong)
    rate = round(verified.position / seconds) if seconds > 0 else 0
    places = [_place(one) for one in answers]
    return {
        "ledger": settings.ledger,
        **asdict(verified),
        "wrong": wrong,
        "places": places,
        "events_a_second": rate,
    }


def _trusted(keys: Sequence[str], file: Path) -> "tuple[VerifierKey, ...]":
    """Return the keys to trust: those that were named, else the log's own."""
    from ledger.log.keys import read_keys  # noqa: PLC0415

    if keys:
        return verifier_keys("--key", keys, "Nothing was verified.")
    found = read_keys(file).verifiers
    if not found:
        raise Misconfigured(
            f"There are no keys of the log in {file}, so nothing that is signed can be believed. Nothing was verified; "
            "name a verifier key with --key."
        )
    return found


def _answers(files: Sequence[Path]) -> "list[Answer]":
    """Read the checkpoints in files that were named."""
    from gateway.log_places import Answer  # noqa: PLC0415
    from ledger.log.signed_note import NOTE_BYTES, parse_note  # noqa: PLC0415

    found = []
    for file in files:
        try:
            with file.open(encoding="utf-8", newline="") as opened:
                found.append(Answer(str(file), parse_note(opened.read(NOTE_BYTES + 1))))
        except (OSError, UnicodeDecodeError, LedgerError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise Misconfigured(f"{file} cannot be read as a checkpoint: {why}. Nothing was verified.") from None
    return found


def _place(answered: "Answer") -> dict[str, Any]:
    from ledger.log.checkpoint import parse_checkpoint  # noqa: PLC0415

    size = None if answered.note is None else parse_checkpoint(answered.note.text).size
    return {"place": answered.place, "size": size, "failure": answered.failure}


def _log_words(found: Mapping[str, Any]) -> str:
    unasked = [
        f"Not known: what {one['place']} has. {one['failure']}" for one in found["places"] if one["failure"] is not None
    ]
    return "\n".join([_walk_words(found), *unasked])


def _walk_words(found: Mapping[str, Any]) -> str:
    ledger, proved, last = f"the ledger {found['ledger']!r}", found["proved"], found["position"]
    if found["wrong"] is not None:
        at = found["wrong"]["position"]
        beside = " all the same" if at <= proved else ""
        return (
            f"WRONG at position {at:,} of {ledger}: {found['wrong']['sentence']}\n"
            f"The events up to {proved:,} are those that the log signed{beside}."
        )
    rate = f", {found['events_a_second']:,} events a second" if last >= _WORTH_A_RATE else ""
    signed = (
        f"All {proved:,} events up to position {proved:,} of {ledger} are those that the log signed, "
        f"under {found['checkpoints']:,} checkpoints{rate}."
    )
    lines = [signed]
    if last > proved:
        lines.append(f"The newest {last - proved:,} have no checkpoint yet.")
    compared = [f"{one['place']} ({one['size']:,})" for one in found["places"] if one["size"] is not None]
    lines.append(
        f"Compared with the checkpoints outside the database: {', '.join(compared)}."
        if compared
        else "No checkpoint from outside was compared: that nothing was cut off at the end, this does not show."
    )
    return "\n".join(lines)


# ── verdicts and decisions ───────────────────────────────────────────────────────────────────────────────────────


async def _decisions(settings: "Settings", *, quiet: bool) -> dict[str, Any]:
    """Read the ledger up to where it is now and check every verdict and decision, until one is wrong."""
    from msgspec.structs import asdict  # noqa: PLC0415

    from authority.verification import AuthorityWalk  # noqa: PLC0415
    from gateway.database import existing_pool  # noqa: PLC0415
    from ledger.bounds import REPLAY_BATCH_EVENTS  # noqa: PLC0415
    from ledger.postgres_store import PostgresStore  # noqa: PLC0415

    wrong = None
    async with existing_pool(settings, 1) as pool:
        walk = AuthorityWalk(await _subject_keys(settings, pool))
        store = PostgresStore(pool, settings.ledger)  # never started: it only reads
        head = await store.head()
        with progress(quiet=quiet) as show:
            while wrong is None and walk.position < head:
                limit = min(REPLAY_BATCH_EVENTS, head - walk.position)
                page = await store.read_all(walk.position, limit)
                wrong = next(filter(None, map(walk.take, page)), None)
                if not page:
                    raise Corrupt(f"The ledger ends at {walk.position}, and its head says {head}. Nothing was done.")
                show(walk.position, head)
    return {
        "ledger": settings.ledger,
        "position": walk.position,
        "verdicts": walk.verdicts,
        "decisions": walk.decisions,
        "sealed": walk.sealed,
        "wrong": None if wrong is None else asdict(wrong),
    }


def _decisions_words(found: Mapping[str, Any]) -> str:
    from ledger.visible_text import visible  # noqa: PLC0415

    checked = f"{found['verdicts']:,} verdicts and {found['decisions']:,} decisions to commit"
    if found["sealed"]:
        checked += f" ({found['sealed']:,} of them on personal data that were erased, and taken as they are)"
    where = f"position {found['position']:,} of the ledger {found['ledger']!r}"
    if found["wrong"] is None:
        return f"{checked} up to {where} were given again from its events alone, and are the same."
    return f"WRONG at {where}: {visible(found['wrong']['sentence'])}\nBefore it, {checked} were right."


async def _subject_keys(settings: "Settings", pool: "Pool") -> "Mapping[str, DataKey]":
    """Return the keys of data subjects that are left, so that what policy saw can be judged again."""
    from gateway.keyring_file import keyring_of  # noqa: PLC0415
    from ledger.subject_keys import StoredSubjectKeys  # noqa: PLC0415

    keyring = keyring_of(settings, os.urandom)
    return await StoredSubjectKeys(pool, settings.ledger, keyring, os.urandom).all_living()
