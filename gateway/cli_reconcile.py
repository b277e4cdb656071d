"""The command that compares the ledger with the outside, once. Rules as in `cli.py`."""

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from gateway.command import FOUND_WRONG, NO_FLAGS, OK, Flags, Json, answer, config_of, progress, run, settings_of

if TYPE_CHECKING:
    from adapters.registry import Registry
    from coordinator.reconciler import Passed

_SHOWN: Final = 20  # divergences named in words; JSON has them all


def reconcile(
    flags: Flags = NO_FLAGS,
    *,
    since: str | None = None,
    rate: Annotated[float | None, Parameter(name="--rate")] = None,
    json: Json = False,
) -> int:
    """Ask the outside systems whether they still show what the ledger did there; changes nothing outside.

    What is found to differ is recorded, once, and shown here and by GET /v1/divergences. Exit code 1 while anything
    differs.

    Parameters
    ----------
    since
        About what came to rest since then: 14:00, 2h, 2026-01-31T12:00:00Z; the configured window by default.
    rate
        At most so many calls a second, to all systems together.
    """
    from ledger.errors import Misconfigured  # noqa: PLC0415

    if rate is not None and not 0 < rate <= 1_000:
        raise Misconfigured("--rate is a number above 0 and up to 1000. Nothing was asked.")
    passed = run(_passed(flags, since, rate, quiet=json))
    shown = {
        "intents": passed.intents,
        "calls": passed.calls,
        "agreed": passed.agreed,
        "diverged": passed.diverged,
        "untold": passed.untold,
        "found": passed.found,
        "gone": passed.gone,
        "standing": passed.standing,
    }
    answer(shown, _words(passed), json)
    return FOUND_WRONG if passed.standing else OK


async def _passed(flags: Flags, since: str | None, rate: float | None, *, quiet: bool) -> "Passed":
    """Open what a pass needs, beside whatever else runs, and run it."""
    import os  # noqa: PLC0415
    from datetime import datetime  # noqa: PLC0415

    from coordinator.calls import Calls  # noqa: PLC0415
    from coordinator.reconciler import Reconciler  # noqa: PLC0415
    from coordinator.seals import Seals  # noqa: PLC0415
    from gateway.app import subject_keys  # noqa: PLC0415
    from gateway.database import existing_pool  # noqa: PLC0415
    from gateway.keyring_file import keyring_of  # noqa: PLC0415
    from gateway.reconciliation import Reconciliation, reconcile_table  # noqa: PLC0415
    from gateway.undo_sheet import moment  # noqa: PLC0415
    from ledger.postgres_store import PostgresStore  # noqa: PLC0415
    from projections.catalogue import PROJECTIONS  # noqa: PLC0415
    from projections.follower import Follower  # noqa: PLC0415

    settings, config = settings_of(flags), config_of(flags)
    began = None if since is None else moment(since, datetime.now().astimezone())
    table, registry = reconcile_table(config), _asked(config)
    async with AsyncExitStack() as parts:
        pool = await parts.enter_async_context(existing_pool(settings, 4))
        store = PostgresStore(pool, settings.ledger)
        await store.start()
        parts.push_async_callback(store.stop)
        await registry.open()
        parts.push_async_callback(registry.close)
        follower = Follower(pool, store, PROJECTIONS)
        await follower.start()
        parts.push_async_callback(follower.stop)
        keyring = keyring_of(settings, os.urandom)
        keys = await subject_keys(pool, settings.ledger, keyring)
        calls = Calls(store, registry, Seals(settings.ledger, keys, registry))
        show = parts.enter_context(progress(quiet=quiet, what="intents"))
        part = Reconciliation(pool, store, follower, lambda moved: Reconciler(store, registry, calls, moved), table)
        return await part.now(began, rate, show)


def _asked(config: Path) -> "Registry":
    """Return the adapters that can be asked from here: what lives in the memory of another process cannot."""
    import os  # noqa: PLC0415

    from adapters.configuration import load_sound  # noqa: PLC0415
    from adapters.reference import ReferenceAdapter  # noqa: PLC0415
    from adapters.registry import Registry  # noqa: PLC0415

    sound = load_sound(config, os.environ)
    elsewhere = [one.name for one in sound.adapters if isinstance(one, ReferenceAdapter)]
    if elsewhere:
        names = ", ".join(elsewhere)
        sys.stderr.write(f"Not asked, because they live in the memory of the process that serves: {names}.\n")
    return Registry(
        [one for one in sound.adapters if one.name not in elsewhere], sound.limits, sound.faults, marks=sound.marks
    )


def _words(passed: "Passed") -> str:
    counts = (
        f"Asked about {passed.intents:,} intents with {passed.calls:,} calls: {passed.agreed:,} aspects agree, "
        f"{passed.diverged:,} differ, {passed.untold:,} could not be told."
    )
    lines = [counts, *_lines("Found", passed.found), *_lines("Gone", passed.gone)]
    old = [one for one in passed.standing if one not in passed.found]
    return "\n".join([*lines, *_lines("Still", old)])


def _lines(heading: str, events: Sequence[Any]) -> list[str]:
    from ledger.visible_text import visible  # noqa: PLC0415

    lines = [f"{heading}: {_named(one)}: {visible(one.reason)}" for one in events[:_SHOWN]]
    return [*lines, f"… and {len(events) - _SHOWN:,} more"] if len(events) > _SHOWN else lines


def _named(event: Any) -> str:
    action = "" if event.action is None else f" {event.action}"
    return f"{event.intent}{action}, {event.aspect}"
