"""Which addresses may be called: only public ones, unless the operator says that a system of his own is meant.

A name is judged by what it resolves to, and the connection goes to exactly that address: the resolver here is the only
one its connector asks, so a name that changes its mind in between (DNS rebinding) gains nothing.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


class ForbiddenAddressError(OSError):
    """The name leads to an address that must not be called."""


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses every name that leads to an address that is not public."""

    def __init__(self) -> None:
        """Ask the system's resolver."""
        self._system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name; raises `ForbiddenAddressError` if any of them is not public."""
        found = await self._system.resolve(host, port, family)
        for one in found:
            if not is_public(one["host"]):
                raise ForbiddenAddressError(
                    f"{host} leads to {one['host']}, which is not a public address; "
                    "set allow_private = true if it is meant"
                )
        return found

    async def close(self) -> None:
        """Let go of the system's resolver."""
        await self._system.close()


def is_public(address: str) -> bool:
    """Tell whether an address is one of the public Internet, looking through addresses that carry another inside."""
    parsed = ip_address(address.partition("%")[0])
    while isinstance(parsed, IPv6Address):
        inner = _inside(parsed)
        if inner is None:
            return parsed.is_global and not parsed.is_multicast and not parsed.is_site_local
        parsed = inner
    return parsed.is_global and not parsed.is_multicast


def private_address(url: str) -> str | None:
    """Return the host of a URL if it is written as an address, so that no resolver ever sees it, and is not public."""
    host = urlsplit(url).hostname or ""
    try:
        return None if is_public(host) else host
    except ValueError:
        return None  # a name


def _inside(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64) or (int(address) >> 32 == 0 and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFF_FFFF)  # NAT64 (RFC 6052) and IPv4-compatible ones
    return None
