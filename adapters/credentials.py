"""Credentials: secrets by reference, as they are at the moment they are used.

An adapter keeps the `Credential`, never the secret, and calls it for each request or new connection. So a secret that
is rotated in its file is used from then on, without a restart. A variable of the environment cannot change while the
service runs; who rotates uses a file.

What is said when something is wrong names the reference, never what stands there.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from adapters.tables import Secret
from ledger.errors import Misconfigured, Transient

Credential = Callable[[], str]
"""Return the secret as it is now. Raises `Transient` if it cannot be read now: nothing was sent with it."""

Reveal = Callable[[str, Secret], Credential]
"""From the key under which a secret stands in the table, for sentences, and its reference."""

SECRET_BYTES: Final = 16 * 1024  # a longer one is the wrong file


def credential(where: str, environment: Mapping[str, str], key: str, secret: Secret) -> Credential:
    """Return the credential that is referred to in the table `where`; raises `Misconfigured` if there is none now."""
    if secret.file is not None:
        return _InFile(where, key, secret.file)
    value = environment.get(secret.env or "")
    if not value:
        raise Misconfigured(f"{where}: {key} needs the environment variable {secret.env}, which is not set.")
    return lambda: value


class _InFile:
    """The text of a file, without its last line break, read again when another one lies there or it was written."""

    def __init__(self, where: str, key: str, file: Path) -> None:
        self._what = f"{where}: {key}"
        self._file = file
        self._seen = self._stamp()
        self._text = self._read()

    def __call__(self) -> str:
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._text = self._read()
                self._seen = stamp
        except Misconfigured as error:
            raise Transient(f"{error.message} Nothing was sent.") from error
        return self._text

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._file.stat()
        except OSError:
            raise Misconfigured(f"{self._what} needs the file {self._file}, which does not exist.") from None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> str:
        try:
            with self._file.open("rb") as opened:
                text = opened.read(SECRET_BYTES + 1).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"{self._what} cannot be read from {self._file}: {type(error).__name__}.") from error
        if not text or len(text) > SECRET_BYTES:
            raise Misconfigured(f"{self._what} needs a secret in {self._file}, which is empty or far too long.")
        return text
