"""What is measured when the load is over: the views catching up, a replay of the whole ledger, store and policy alone.

A replay folds every event into every view at once, and compares each of them with the live one, row by row; it must
find them equal, or there is no figure. The store alone is `bench/append.py`, in a process and a ledger of its own;
policy alone is `bench/policies.py`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.request import Request, urlopen

import msgspec

from bench.engines import Service

_CATCH_UP_SECONDS: Final = 300
_POLL_SECONDS: Final = 0.2


class Afterwards(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    catch_up_seconds: float  # from the last answer until every view had every event
    replayed_events: int
    replayed_per_second: float  # all views at once, equality proven
    store: Mapping[str, Any]  # of bench/append.py
    policy: Mapping[str, Mapping[str, Mapping[str, float]]]  # of bench/policies.py

    @property
    def appended_per_second(self) -> float:
        """Return events a second in appends of a hundred."""
        return float(self.store["batches"]["events_per_second"])


async def measure_afterwards(ours: Service, dsn: str, seconds: float) -> Afterwards:
    """Wait for the views, replay them, then measure the store alone, each of its figures for some seconds."""
    catch_up = await caught_up(ours)
    replayed = json.loads(await _output([*ours.command, "replay", "--json"], ours))
    unequal = [view["name"] for view in replayed if not view["equal"]]
    if unequal:
        raise RuntimeError(f"The views {unequal} are not what the events say.")
    slowest = max(replayed, key=lambda view: view["seconds"])
    store = json.loads(await _output([sys.executable, "-m", "bench.append", dsn, "--seconds", str(seconds)], ours))
    policy = json.loads(await _output([sys.executable, "-m", "bench.policies"], ours))
    return Afterwards(
        catch_up_seconds=catch_up,
        replayed_events=slowest["events"],
        replayed_per_second=slowest["events"] / slowest["seconds"],
        store=store,
        policy=policy["microseconds"],
    )


async def caught_up(ours: Service) -> float:
    """Wait until every view has every event; return the seconds that took."""
    begin = time.perf_counter()
    while time.perf_counter() < begin + _CATCH_UP_SECONDS:
        views = (await asyncio.to_thread(_get, ours, "/v1/projections"))["items"]
        if all(view["lag"] == 0 for view in views):
            return time.perf_counter() - begin
        await asyncio.sleep(_POLL_SECONDS)
    raise RuntimeError(f"The views have not caught up within {_CATCH_UP_SECONDS} seconds.")


def _get(ours: Service, path: str) -> Any:
    request = Request(ours.url + path, headers={"Authorization": f"Bearer {ours.token}"})
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


async def _output(command: Sequence[str], ours: Service) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=dict(ours.environment)
    )
    answer, words = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{words[-2000:].decode(errors='replace')}")
    return answer
