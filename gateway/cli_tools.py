"""The command line's `adapters tools`: what an MCP server offers now, ready to be pinned."""

import os
from collections.abc import Mapping
from typing import Final

from gateway.command import NO_FLAGS, OK, Flags, Json, adapters_for, answer, config_of, run
from ledger.errors import AdapterError, Misconfigured, Unavailable
from ledger.intents import JSON

_START_SECONDS: Final = 60.0  # some servers are fetched when they are started for the first time


def tools(name: str, flags: Flags = NO_FLAGS, *, json: Json = False) -> int:
    """Show what an MCP server offers now, as tables to paste into the adapters' file and make narrower.

    It starts or asks the server, and calls no tool. Read what it prints before you trust it: the descriptions are the
    server's own words.

    Parameters
    ----------
    name
        The adapter, as in [adapters.<name>]; it needs no operations yet.
    """
    from adapters.mcp.skeleton import skeleton  # noqa: PLC0415
    from adapters.mcp.tools import pin  # noqa: PLC0415

    offered = run(_offered(name, flags))
    answer([{"pin": pin(tool), "tool": tool} for tool in offered.values()], skeleton(name, offered), json)
    return OK


async def _offered(name: str, flags: Flags) -> Mapping[str, JSON]:
    from adapters.mcp.adapter import McpAdapter  # noqa: PLC0415

    config = config_of(flags)
    found = next((one for one in adapters_for(name, config, os.environ).adapters if one.name == name), None)
    if not isinstance(found, McpAdapter):
        raise Misconfigured(f"{config} has no adapter {name} of type mcp.")
    await found.open()
    try:
        return await found.tools(_START_SECONDS)
    except AdapterError as error:
        raise Unavailable(f"The MCP server does not say what it offers: {error.message}") from error
    finally:
        await found.close()
