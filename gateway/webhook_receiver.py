"""Who is told of approvals: one address, and the keys that sign what is sent there. Pure.

The address must be https, so that nobody on the way reads or swallows a message; plain http only goes to this machine.
Neither the address nor the keys are ever shown: an address is often a secret of its own.
"""

import base64
import binascii
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ledger.bounds import WEBHOOK_KEY_BYTES, WEBHOOK_KEY_BYTES_MAX, WEBHOOK_KEYS

_PREFIX: Final = "whsec_"


class Receiver(msgspec.Struct, frozen=True):
    """Where messages go, and the keys that sign them."""

    url: str
    keys: tuple[bytes, ...]

    def __repr__(self) -> str:
        """Show nothing of it."""
        return "Receiver(...)"


def keys(text: str) -> tuple[bytes, ...]:
    """Read signing keys, one a line: base64, with `whsec_` before it or not. Two are in force while one replaces one.

    Raises `ValueError` with a sentence that shows nothing of them.
    """
    found = tuple([_key(line.strip()) for line in text.splitlines() if line.strip()])
    if not 1 <= len(found) <= WEBHOOK_KEYS:
        raise ValueError(f"it must hold 1 to {WEBHOOK_KEYS} keys, one a line, and holds {len(found)}")
    return found


def check_address(url: str) -> None:
    """Refuse an address to which nothing should be sent. Raises `ValueError` with a sentence that does not show it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("it is not a URL") from None
    if not host or parts.scheme not in {"http", "https"} or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("it must be a URL that begins with https://")
    if parts.username is not None or parts.password is not None or "#" in url:
        raise ValueError("it must have no user, password or fragment in it")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("plain http only goes to this machine; it must begin with https://")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(line: str) -> bytes:
    encoded = line.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("each line must be a key in base64") from None
    if not WEBHOOK_KEY_BYTES <= len(key) <= WEBHOOK_KEY_BYTES_MAX:
        raise ValueError(f"a key must be {WEBHOOK_KEY_BYTES} to {WEBHOOK_KEY_BYTES_MAX} bytes, written in base64")
    return key
