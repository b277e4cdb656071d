"""Waiting for something to become true, with a deadline and the reason in the failure."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], object | Awaitable[object]], seconds: float, what: str) -> None:
    """Poll until `condition` (plain or async) is true; fails after `seconds`, naming what was waited for."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return
        assert asyncio.get_running_loop().time() < deadline, f"Waited {seconds} seconds in vain for {what}."
        await asyncio.sleep(0.05)
