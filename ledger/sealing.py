"""A personal value at rest: sealed under the key of the person it is about, and gone once that key is.

    sealed.v1.<key id>.<intent id>.<base64url of nonce, ciphertext and tag>.

The dot at the end keeps what follows it in a sentence, a hyphen say, from being taken for a part of it.
AES-256-GCM (NIST SP 800-38D). The associated data are the ledger, the intent and the key's id, so that a token opens
nowhere but where it was sealed. The nonce is an HMAC of what is sealed: the same value in the same intent is the same
token, so that digests which people approve stay what they are; nothing else can be told from two tokens. What is sealed
is padded, so that a token's length does not tell yes from no.

A data key has three uses, each under a key of its own that is derived from it: sealing, nonces, fingerprints. Pure; it
knows nothing of events, of files or of who may look.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.canonical import canonical

MARK: Final = "sealed.v1."
ERASED: Final = "[erased]"
"""What is shown in place of a value whose key is gone."""
VEILED: Final = "[sealed]"
"""What is shown in place of a value to whoever may not see it."""
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_BLOCK: Final = 16  # what is sealed is padded to a multiple of it
_FORM: Final = r"sealed\.v1\.(k[0-9a-f]{20})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([A-Za-z0-9_-]{40,})\."
TOKEN: Final = re.compile(_FORM)
_IN_JSON: Final = re.compile(rb'(?<!\\)"' + _FORM.encode() + rb'"(?!:)|' + _FORM.encode())


class DataKey(msgspec.Struct, frozen=True):
    """The key under which everything personal of one subject is sealed. Its id is a pseudonym, and stands in events."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        """Show the id only."""
        return f"DataKey({self.id})"

    def seal(self, ledger: str, intent: str, value: Any) -> str:
        """Return the token of a JSON value."""
        plain = canonical(value)
        plain = plain.ljust(-(-len(plain) // _BLOCK) * _BLOCK)  # JSON does not mind spaces after it
        bound = _bound(ledger, intent, self.id)
        nonce = hmac.digest(self._derived("nonce"), bound + plain, hashlib.sha256)[:_NONCE_BYTES]
        sealed = nonce + AESGCM(self._derived("seal")).encrypt(nonce, plain, bound)
        return f"{MARK}{self.id}.{intent}.{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}."

    def open(self, ledger: str, intent: str, blob: str) -> Any:
        """Return the JSON value of a token's last part. Raises `ValueError` for what was not sealed there."""
        sealed = base64.urlsafe_b64decode(blob + "=" * (-len(blob) % 4))
        bound = _bound(ledger, intent, self.id)
        try:
            plain = AESGCM(self._derived("seal")).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
        except InvalidTag:
            raise ValueError("This was not sealed here.") from None
        return msgspec.json.decode(plain)

    def fingerprint(self, text: str) -> bytes:
        """Return what tells two texts apart, and says nothing of them once the key is gone."""
        return hmac.digest(self._derived("fingerprint"), text.encode(), hashlib.sha256)

    def _derived(self, use: str) -> bytes:
        return hmac.digest(self.secret, b"intent-ledger " + use.encode(), hashlib.sha256)


def is_sealed(value: Any) -> bool:
    """Tell whether a value is a token, whole."""
    return isinstance(value, str) and value.startswith(MARK) and TOKEN.fullmatch(value) is not None


def each_text(value: Any, change: Callable[[str], Any], number: Callable[[float], Any] = lambda one: one) -> Any:
    """Return a JSON value or struct with every text in it changed, names of members included.

    `number` changes the numbers that are members or items; the rest stays as it is.
    """

    def inner(member: Any) -> Any:
        return number(member) if type(member) in {int, float} else each_text(member, change, number)

    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {str(each_text(name, change)): inner(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([inner(member) for member in value])
    if isinstance(value, msgspec.Struct):
        found = {name: getattr(value, name) for name in value.__struct_fields__}
        changed = {name: each_text(one, change, number) for name, one in found.items()}
        return msgspec.structs.replace(value, **changed)
    return value


def open_text(text: str, opener: Callable[[re.Match[str]], Any]) -> Any:
    """Return a text with its tokens opened: a text that is nothing but a token becomes the value, of whatever type."""
    if MARK not in text:
        return text
    whole = TOKEN.fullmatch(text)
    if whole is not None:
        return opener(whole)
    return TOKEN.sub(lambda match: words(opener(match)), text)


def open_json(encoded: bytes, opener: Callable[[str, str, str], Any]) -> bytes:
    """Return a JSON text with its tokens opened, without reading it: nothing in a token needs an escape.

    `opener` is given the three parts of a token.
    """

    def opened(match: re.Match[bytes]) -> bytes:
        whole = match[1] is not None
        key, intent, blob = (part.decode() for part in (match.groups()[:3] if whole else match.groups()[3:]))
        value = opener(key, intent, blob)
        return msgspec.json.encode(value) if whole else msgspec.json.encode(words(value))[1:-1]

    return _IN_JSON.sub(opened, encoded)


def tokens(encoded: bytes) -> set[tuple[str, str]]:
    """Return the key and the intent of every token in a JSON text."""
    return {(match[1], match[2]) for match in TOKEN.finditer(encoded.decode())}


def veiled(text: str) -> str:
    """Return a text in which every token is replaced: for who is shown none."""
    return TOKEN.sub(VEILED, text) if MARK in text else text


def shortened(text: str, length: int) -> str:
    """Return at most so many characters of a text, its tokens left out of account and whole."""
    if len(text) <= length:
        return text
    if MARK not in text:
        return text[:length]
    kept, end = "", 0
    for match in TOKEN.finditer(text):
        before = text[end : match.start()][:length]
        kept, end, length = kept + before, match.end(), length - len(before)
        if not length:
            return kept
        kept += match[0]
    return kept + text[end:][:length]


def words(value: Any) -> str:
    """Write a value as it stands within a sentence."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _bound(ledger: str, intent: str, key: str) -> bytes:
    return f"{MARK}\n{ledger}\n{intent}\n{key}\n".encode()
