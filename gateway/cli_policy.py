"""Commands of people about policy: keep, activate, try and list policy sets. Rules as in `cli.py`.

`policy` speaks to a running service.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclopts import App

from gateway.command import (
    NO_REACH,
    OK,
    Json,
    Reach,
    Yes,
    answer,
    ask,
    table,
)
from ledger.errors import Misconfigured

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


# ── what they share ──────────────────────────────────────────────────────────────────────────────────────────────


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
