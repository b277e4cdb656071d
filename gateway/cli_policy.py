"""Commands of people about policy: keep, activate, try and list policy sets, and verify the past. Rules as in `cli.py`.

`policy` speaks to a running service. `verify` reads the database itself and believes no service; it changes nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from gateway.command import (
    FOUND_WRONG,
    NO_FLAGS,
    NO_REACH,
    OK,
    Flags,
    Json,
    Reach,
    Yes,
    answer,
    ask,
    progress,
    run,
    settings_of,
    table,
)
from ledger.errors import Corrupt, Misconfigured

if TYPE_CHECKING:
    from gateway.settings import Settings

policy = App(name="policy", help="Keep, activate, try and list policy sets, which give the verdict on every intent.")


@policy.command
def add(file: Path, *, reach: Reach = NO_REACH, activate: Yes = False, json: Json = False) -> int:
    """Check a policy set and keep it under its digest.

    Parameters
    ----------
    file
        Policies in Cedar, each with its own @id.
    activate
        Put it in force as well.
    """
    cedar = _text(file)
    kept = ask(reach, lambda client: client.post("/v1/policies", {"cedar": cedar, "activate": activate}))
    force = (
        "It is in force." if kept["active"] else "It is not in force; activate it with `intentledger policy activate`."
    )
    answer(kept, f"Kept {kept['digest']} ({_policies(kept)}). {force}", json)
    return OK


@policy.command(name="activate")
def put_in_force(digest: str, *, reach: Reach = NO_REACH, json: Json = False) -> int:
    """Put a policy set that was kept in force; every verdict from then on is its.

    Parameters
    ----------
    digest
        As `policy add` and `policy list` show it.
    """
    from gateway.client import part  # noqa: PLC0415

    active = ask(reach, lambda client: client.post(f"/v1/policies/{part(digest)}/activate", {}))
    answer(active, f"In force: {active['digest']} ({_policies(active)}).", json)
    return OK


@policy.command(name="list")
def policies(*, reach: Reach = NO_REACH, json: Json = False) -> int:
    """List the policy sets that are kept, and which one is in force."""
    from ledger.visible_text import visible  # noqa: PLC0415

    kept = ask(reach, lambda client: client.pages("/v1/policies"))
    if json:
        answer(kept, "", as_json=True)
    elif kept:
        rows = [
            (
                "in force" if one["active"] else "",
                one["digest"],
                visible(", ".join(one["policies"])),
                one["added_at"] or "",
                visible(one["added_by"] or ""),
            )
            for one in kept
        ]
        table(("", "digest", "policies", "added", "by"), rows)
    else:
        answer(None, "No policy set was added; the built-in one, which allows, is in force.", as_json=False)
    return OK


@policy.command(name="test")
def rehearse(
    file: Path, *, reach: Reach = NO_REACH, since: str | None = None, limit: int | None = None, json: Json = False
) -> int:
    """Try a policy set on the past: whose verdict would have been another. Nothing is kept or changed.

    Parameters
    ----------
    file
        Policies in Cedar.
    since
        Only intents decided at or after this time (RFC 3339).
    limit
        At most so many past verdicts.
    """
    body = {"cedar": _text(file), **({"since": since} if since else {}), **({"limit": limit} if limit else {})}
    tried = ask(reach, lambda client: client.post("/v1/policies/test", body))
    answer(tried, "\n".join(_tried(tried)), json)
    return OK


def verify(flags: Flags = NO_FLAGS, *, decisions: Yes = False, json: Json = False) -> int:
    """Verify what is recorded, reading the database itself and changing nothing; exit 1 if something is not true.

    Parameters
    ----------
    decisions
        Give every verdict again from the events alone, and check every decision to commit against it.
    """
    if not decisions:
        raise Misconfigured("Say what to verify: --decisions. Nothing was done.")
    found = run(_verified(settings_of(flags), quiet=json))
    answer(found, _verified_words(found), json)
    return OK if found["wrong"] is None else FOUND_WRONG


# ── what they share ──────────────────────────────────────────────────────────────────────────────────────────────


async def _verified(settings: "Settings", *, quiet: bool) -> dict[str, Any]:
    """Read the ledger up to where it is now and check every verdict and decision, until one is wrong."""
    from contextlib import AsyncExitStack  # noqa: PLC0415

    from msgspec.structs import asdict  # noqa: PLC0415

    from authority.verification import Verification  # noqa: PLC0415
    from gateway.database import database  # noqa: PLC0415
    from ledger.bounds import REPLAY_BATCH_EVENTS  # noqa: PLC0415
    from ledger.database import open_pool  # noqa: PLC0415
    from ledger.postgres_store import PostgresStore  # noqa: PLC0415

    verification, wrong = Verification(), None
    async with AsyncExitStack() as parts:
        dsn = await parts.enter_async_context(database(settings, shared=True))
        pool = await open_pool(dsn, 1)
        parts.push_async_callback(pool.close)
        store = PostgresStore(pool, settings.ledger)  # never started: it only reads
        show = parts.enter_context(progress(quiet=quiet))
        head = await store.head()
        while wrong is None and verification.position < head:
            page = await store.read_all(verification.position, min(REPLAY_BATCH_EVENTS, head - verification.position))
            wrong = next(filter(None, map(verification.take, page)), None)
            if not page:
                raise Corrupt(
                    f"The ledger ends at {verification.position}, and its head says {head}. Nothing was done."
                )
            show(verification.position, head)
    return {
        "ledger": settings.ledger,
        "position": verification.position,
        "verdicts": verification.verdicts,
        "decisions": verification.decisions,
        "wrong": None if wrong is None else asdict(wrong),
    }


def _verified_words(found: Mapping[str, Any]) -> str:
    from ledger.visible_text import visible  # noqa: PLC0415

    checked = f"{found['verdicts']:,} verdicts and {found['decisions']:,} decisions to commit"
    where = f"position {found['position']:,} of the ledger {found['ledger']!r}"
    if found["wrong"] is None:
        return f"{checked} up to {where} were given again from its events alone, and are the same."
    return f"WRONG at {where}: {visible(found['wrong']['sentence'])}\nBefore it, {checked} were right."


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"The policies in {file} cannot be read: {error}. Nothing was done.") from None


def _policies(kept: Mapping[str, Any]) -> str:
    from ledger.visible_text import visible  # noqa: PLC0415

    return visible(", ".join(kept["policies"]))


def _tried(tried: Mapping[str, Any]) -> list[str]:
    """Say what another policy set would have changed: how many intents, how much money, how many answers of people."""
    from ledger.money import money  # noqa: PLC0415
    from ledger.visible_text import visible  # noqa: PLC0415

    of = f"the newest {tried['looked_at']:,}" if tried["more"] else f"{tried['looked_at']:,}"
    lines = [f"{tried['differing']:,} of {of} past verdicts would differ under {tried['digest']}."]
    lines += [f"  {one['was']} -> {one['would_be']}: {one['intents']:,}" for one in tried["turns"]]
    lines += [f"  money newly to {one['would_be']}: {money(one['amount'], one['currency'])}" for one in tried["money"]]
    lines.append(f"  answers of people: {tried['approvals_added']:,} more, {tried['approvals_removed']:,} fewer")
    if tried["not_looked_at"]:
        lines.append(f"  of release 0.1, and not looked at: {tried['not_looked_at']:,}")
    for one in tried["differences"]:
        task = f", task {one['task']}" if one["task"] else ""
        why = "; ".join([", ".join(one["policies"]), *one["reasons"]])
        lines.append(visible(f"{one['intent']}  {one['agent']}{task}: {one['was']} -> {one['would_be']} ({why})"))
    return lines
