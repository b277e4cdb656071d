"""Notes signed by one or more keys, as in C2SP signed-note, with Ed25519.

    <text, ends with a newline>
    <empty line>
    — <key name> <base64 of key id and signature>

A key is known by its *verifier key* (`name+id+base64`), which may be shown to everybody. Two kinds are known here: the
plain signature (type 1) of a log, and the timestamped cosignature (type 4, C2SP tlog-cosignature) of a witness.
Signatures of keys that nobody asked about are passed over; one of a known key that is wrong spoils the whole note.

Pure: what the text says is not looked at (`ledger/log/checkpoint.py`), and where keys lie is not known.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.errors import Malformed, Tampered

PLAIN: Final = 1
COSIGNATURE: Final = 4
NOTE_BYTES: Final = 128 * 1024  # as many signatures, or sixteen of the longest that there are (5 kB, post-quantum)
SIGNATURES: Final = 64
SEED_BYTES: Final = 32

_KEY_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999; the specification has room for more
_NAME = re.compile(r"[^\s+\x00-\x1f]+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


class Signature(msgspec.Struct, frozen=True):
    """One signature line: who says that they signed, and what."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """Return the line as it stands in a note, without its newline."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.signature).decode()}"

    @property
    def timestamp(self) -> int:
        """Return when a cosignature was given, in seconds since 1970. Only of a cosignature that was verified."""
        return int.from_bytes(self.signature[:_TIME_BYTES], "big")


class VerifierKey(msgspec.Struct, frozen=True):
    """What everybody may know of a key: enough to verify what it signed."""

    name: str
    algorithm: int  # PLAIN or COSIGNATURE
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Return the four bytes that stand in front of each signature."""
        return sha256(self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        """Return the verifier key as people hand it on."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.algorithm]) + self.public).decode()}"

    def signed(self, signature: Signature) -> bool:
        """Tell whether a signature says that it is by this key."""
        return (signature.name, signature.key_id) == (self.name, self.key_id)

    def verifies(self, text: str, signature: Signature) -> bool:
        """Tell whether the signature is by this key and over this text; a cosignature says when, too."""
        if not self.signed(signature):
            return False
        signed, message = signature.signature, text.encode()
        if self.algorithm == COSIGNATURE:
            if not 0 < signature.timestamp <= _LAST_SECOND:
                return False
            signed, message = signed[_TIME_BYTES:], _cosigned(text, signature.timestamp)
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signed, message)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key. Its seed is never shown but by `secret`."""

    def __init__(self, name: str, seed: bytes, algorithm: int = PLAIN) -> None:
        """`seed`: 32 random bytes. The name is without spaces and plus signs. Raises `Malformed` for others."""
        if _NAME.fullmatch(name) is None or len(seed) != SEED_BYTES or algorithm not in {PLAIN, COSIGNATURE}:
            raise Malformed("A signing key has a name without spaces and '+', and a seed of 32 bytes. None was made.")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._seed = seed
        self.verifier = VerifierKey(name, algorithm, self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> Signature:
        """Sign a text that ends with a newline."""
        return Signature(self.verifier.name, self.verifier.key_id, self._key.sign(text.encode()))

    def cosign(self, text: str, timestamp: int) -> Signature:
        """Cosign a checkpoint's text as seen at `timestamp`, in seconds since 1970. With a key of that algorithm."""
        signature = timestamp.to_bytes(_TIME_BYTES, "big") + self._key.sign(_cosigned(text, timestamp))
        return Signature(self.verifier.name, self.verifier.key_id, signature)

    @property
    def secret(self) -> str:
        """Return the key as it is kept in a file: whoever reads this can sign."""
        algorithm = bytes([self.verifier.algorithm])
        return (
            f"PRIVATE+KEY+{self.verifier.name}+{self.verifier.key_id.hex()}"
            f"+{base64.b64encode(algorithm + self._seed).decode()}"
        )


class Note(msgspec.Struct, frozen=True):
    """A text and the signatures below it, none of them verified."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        """Return the note as it is stored and sent."""
        return f"{self.text}\n" + "".join(f"{signature.line}\n" for signature in self.signatures)


def parse_note(raw: str) -> Note:
    """Read a signed note. Raises `Malformed` if it is none; nothing of it is verified yet."""
    text, separator, below = raw.rpartition("\n\n")
    text += "\n"
    if len(raw.encode("utf-8", "surrogatepass")) > NOTE_BYTES or not separator or _CONTROL.search(raw):
        raise Malformed(f"This is not a signed note: at most {NOTE_BYTES} bytes, an empty line before its signatures.")
    if not below.endswith("\n") or below.count("\n") > SIGNATURES:
        raise Malformed(f"This is not a signed note: 1 to {SIGNATURES} lines of signatures at its end, each complete.")
    return Note(text, tuple(parse_signature(line) for line in below[:-1].split("\n")))


def parse_signature(line: str) -> Signature:
    """Read one signature line, without its newline. Raises `Malformed` if it is none."""
    match = _LINE.fullmatch(line)
    decoded = _base64(match[2]) if match else b""
    if match is None or len(decoded) <= _KEY_ID_BYTES:
        raise Malformed("A signature of the note is not of the form '— name base64'.")
    return Signature(match[1], decoded[:_KEY_ID_BYTES], decoded[_KEY_ID_BYTES:])


def parse_verifier_key(vkey: str) -> VerifierKey:
    """Read a verifier key. Raises `Malformed` if it is none, is not Ed25519, or does not have the id it claims."""
    name, algorithm, public, key_id = _parse_key(vkey)
    key = VerifierKey(name, algorithm, public)
    if key.key_id != key_id:
        raise Malformed(f"The key {name} does not have the id that stands in it: a character is wrong or missing.")
    return key


def parse_signing_key(secret: str) -> SigningKey:
    """Read a private key as `SigningKey.secret` writes it. Raises `Malformed`, without showing it, if it is none."""
    if not secret.startswith("PRIVATE+KEY+"):
        raise Malformed("This is not a private key: it begins with PRIVATE+KEY+.")
    name, algorithm, seed, key_id = _parse_key(secret.removeprefix("PRIVATE+KEY+"))
    key = SigningKey(name, seed, algorithm)
    if key.verifier.key_id != key_id:
        raise Malformed(f"The private key {name} does not have the id that stands in it: it was changed or cut off.")
    return key


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> tuple[Signature, ...]:
    """Return the signatures of the note that are by these keys, all verified.

    Raises `Tampered` if one of them is wrong, or if there is none.
    """
    found = tuple((key, signature) for key in keys for signature in note.signatures if key.signed(signature))
    for key, signature in found:
        if not key.verifies(note.text, signature):
            raise Tampered(f"The signature of {key.name} does not fit the text above it: one of them was changed.")
    if not found:
        raise Tampered("No key that is known here has signed this. Nothing of it can be believed.")
    return tuple(signature for _, signature in found)


def _parse_key(text: str) -> tuple[str, int, bytes, bytes]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    material = _base64(encoded)
    well_formed = _NAME.fullmatch(name) and re.fullmatch(r"[0-9a-f]{8}", key_id)
    if not well_formed or len(material) != 1 + SEED_BYTES or material[0] not in {PLAIN, COSIGNATURE}:
        raise Malformed("This is not an Ed25519 key of the form name+id+base64 (C2SP signed-note).")
    return name, material[0], material[1:], bytes.fromhex(key_id)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _cosigned(text: str, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()
