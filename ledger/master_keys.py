"""The master keys: what wraps the keys of data subjects, and never lies in the database beside them.

A keyring holds the newest master key, under which keys are wrapped now; older ones, which still unwrap; and the index
key, under which a subject's name becomes the mark by which its key is found. The index key is never changed: with
another one nobody would be found again.

    index <base64>
    master <id> <base64>     the newest first

Pure: where the text of a keyring lies is known by `gateway/keyring_file.py`.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.errors import Corrupt, Misconfigured, NotReady
from ledger.sealing import KEY_BYTES

_NONCE_BYTES: Final = 12
Entropy = Callable[[int], bytes]


class Wrapped(msgspec.Struct, frozen=True):
    """A data key as the database keeps it."""

    master: str  # id of the master key under which it is wrapped
    wrapped: bytes


class Keyring(msgspec.Struct, frozen=True):
    """The master keys, by id, the newest first, and the index key."""

    index: bytes
    masters: Mapping[str, bytes]

    def __repr__(self) -> str:
        """Show the ids only."""
        return f"Keyring({', '.join(self.masters)})"

    @property
    def newest(self) -> str:
        """Return the id of the master key under which keys are wrapped now."""
        return next(iter(self.masters))

    def mark(self, ledger: str, subject: str) -> bytes:
        """Return what stands for a subject where its key is found."""
        return hmac.digest(self.index, f"{ledger}\n{subject}".encode(), hashlib.sha256)

    def wrap(self, ledger: str, key_id: str, secret: bytes, entropy: Entropy) -> Wrapped:
        """Wrap a data key under the newest master key."""
        nonce = entropy(_NONCE_BYTES)
        sealed = AESGCM(self.masters[self.newest]).encrypt(nonce, secret, _bound(ledger, key_id, self.newest))
        return Wrapped(self.newest, nonce + sealed)

    def unwrap(self, ledger: str, key_id: str, wrapped: Wrapped) -> bytes:
        """Return a data key. Raises `NotReady` without its master key, `Corrupt` if it was changed."""
        master = self.masters.get(wrapped.master)
        if master is None:
            raise NotReady(
                f"The keyring has no master key {wrapped.master}, under which the key {key_id} of a data subject is "
                "wrapped. Nothing was opened; put it back, or use the keyring that has it."
            )
        nonce, sealed = wrapped.wrapped[:_NONCE_BYTES], wrapped.wrapped[_NONCE_BYTES:]
        try:
            return AESGCM(master).decrypt(nonce, sealed, _bound(ledger, key_id, wrapped.master))
        except InvalidTag:
            raise Corrupt(f"The wrapped key {key_id} is not what was wrapped. Nothing was opened with it.") from None

    def rotated(self, entropy: Entropy) -> "Keyring":
        """Return a keyring with a new master key; the old ones still unwrap."""
        return Keyring(self.index, {**_new_master(entropy), **self.masters})

    def without_old(self) -> "Keyring":
        """Return a keyring with nothing but the newest master key."""
        return Keyring(self.index, {self.newest: self.masters[self.newest]})

    @property
    def text(self) -> str:
        """Write it down."""
        lines = [
            f"index {_base64(self.index)}",
            *(f"master {name} {_base64(key)}" for name, key in self.masters.items()),
        ]
        return "\n".join(lines) + "\n"


def new_keyring(entropy: Entropy) -> Keyring:
    """Make a keyring."""
    return Keyring(entropy(KEY_BYTES), _new_master(entropy))


def parse_keyring(text: str) -> Keyring:
    """Read a keyring that was written down. Raises `Misconfigured`, without a word of what stands there."""
    index: bytes | None = None
    masters: dict[str, bytes] = {}
    for line in text.splitlines():
        match line.split():
            case ["index", key] if index is None:
                index = _key(key)
            case ["master", name, key] if name not in masters:
                masters[name] = _key(key)
            case []:
                pass
            case _:
                raise _unreadable()
    if index is None or not masters:
        raise _unreadable()
    return Keyring(index, masters)


def _new_master(entropy: Entropy) -> dict[str, bytes]:
    return {f"m{entropy(4).hex()}": entropy(KEY_BYTES)}


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _unreadable() from None
    if len(key) != KEY_BYTES:
        raise _unreadable()
    return key


def _unreadable() -> Misconfigured:
    return Misconfigured("This is no keyring of master keys. Nothing was opened or started; restore it from its copy.")


def _base64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _bound(ledger: str, key_id: str, master: str) -> bytes:
    return f"wrapped.v1\n{ledger}\n{key_id}\n{master}\n".encode()
