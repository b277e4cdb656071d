"""The keys of a ledger's log: one file outside the database, readable by nobody else.

    PRIVATE+KEY+intent-ledger/main+9a…+AQ…      signs every checkpoint from now on, with all others that do
    intent-ledger/main+c7…+AR…                  has signed before it was retired; its private part is gone

While a key is replaced, the old one and the new one sign side by side, so that whoever trusts the old one learns of the
new one from a note that both have signed. The file is written whole and on disk before it counts. It is never made
where a log was already signed by other keys: `ledger/log/keeper.py` knows that, and this file does not.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ledger.bounds import LOG_KEYS
from ledger.errors import Malformed, Misconfigured
from ledger.log.signed_note import SigningKey, VerifierKey, parse_signing_key, parse_verifier_key
from ledger.whole_file import alone, make_directory, write_first, write_whole

_FILE_BYTES: Final = 1024 * 1024  # some thousand retired keys; without them, what they signed cannot be verified


class Keyring(msgspec.Struct, frozen=True):
    """The keys of one log, the oldest first."""

    signing: tuple[SigningKey, ...] = ()
    retired: tuple[VerifierKey, ...] = ()

    def of(self, origin: str, file: Path) -> "Keyring":
        """Return these keys of a file if all of them are this log's. Raises `Misconfigured`."""
        other = next((key.name for key in self.verifiers if key.name != origin), None)
        if other is not None:
            raise Misconfigured(
                f"A key in {file} is of the log {other!r}, and this one is {origin!r}: nobody could verify what it "
                "signs. Nothing was started or changed; give each log a file of its own, and end the one before with "
                "`intentledger log end`."
            )
        return self

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        """Return what verifies everything that this log has ever signed."""
        return (*self.retired, *(key.verifier for key in self.signing))

    def with_new(self, key: SigningKey) -> "Keyring":
        """Add a key that signs from now on."""
        if len(self.signing) >= LOG_KEYS:
            raise Misconfigured(f"{LOG_KEYS} keys sign already. Nothing was changed; retire some of them.")
        return Keyring((*self.signing, key), self.retired)

    def knowing(self, key: VerifierKey) -> "Keyring":
        """Add a key that has signed before, and whose private part is not here."""
        return self if key in self.verifiers else Keyring(self.signing, (*self.retired, key))

    def without(self, key_id: str) -> "Keyring":
        """Retire a key by its id in hex: it signs no more. Raises `Misconfigured` if it does not sign, or alone."""
        leaving = [key for key in self.signing if key.verifier.key_id.hex() == key_id]
        staying = tuple(key for key in self.signing if key not in leaving)
        if not leaving:
            raise Misconfigured(f"No key {key_id} signs this log. Nothing was changed; `log keys` lists those that do.")
        if not staying:
            raise Misconfigured(f"Only {key_id} signs this log. Nothing was changed; `log rotate` first.")
        return Keyring(staying, (*self.retired, *(key.verifier for key in leaving)))


def read_keys(file: Path) -> Keyring:
    """Read the keys; no file, no keys. Raises `Misconfigured` if others may read it or it holds anything else."""
    try:
        mode = file.stat().st_mode
        with file.open(encoding="utf-8") as opened:
            lines = opened.read(_FILE_BYTES).split("\n")
    except FileNotFoundError:
        return Keyring()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"The log's keys in {file} cannot be read: {error}. Nothing was started.") from error
    if mode & 0o077:
        raise Misconfigured(
            f"Others may read the log's keys in {file}. Nothing was started; if nobody has, forbid it with: "
            f"chmod 600 {file}; otherwise replace them (`intentledger log rotate`, then retire the old ones)."
        )
    try:
        return _parsed(line.strip() for line in lines)
    except Malformed as error:
        raise Misconfigured(f"The log's keys in {file} cannot be used: {error.message} Nothing was started.") from None


@contextmanager
def changing(file: Path) -> Iterator[None]:
    """Let nobody else change the keys meanwhile, and make their directory. Raises `Misconfigured`.

    Of two changes at once one would be lost: a key is handed on and never signs, or one that was retired goes on.
    """
    with ExitStack() as changing:
        try:
            make_directory(file.parent, 0o700)
            changing.enter_context(alone(file))
        except BlockingIOError:
            raise Misconfigured(f"Somebody else is changing {file} now. Nothing was changed; try again.") from None
        except OSError as error:
            raise Misconfigured(f"{file} cannot be changed: {error.strerror}. Nothing was changed.") from error
        yield


def write_keys(file: Path, keys: Keyring) -> None:
    """Replace the file, whole and on disk or not at all, within `changing` it. Raises `Misconfigured`."""
    lines = [*(str(key) for key in keys.retired), *(key.secret for key in keys.signing)]
    try:
        make_directory(file.parent, 0o700)
        write_whole(file, "".join(f"{line}\n" for line in lines), 0o600)
    except OSError as error:
        raise Misconfigured(
            f"The log's keys cannot be written to {file}, or not brought to disk: {error.strerror}. `intentledger log "
            "keys` shows which they are now."
        ) from error


def write_first_key(file: Path, key: SigningKey) -> None:
    """Make the file with its first key, unless there is one by then. Raises `Misconfigured`."""
    try:
        make_directory(file.parent, 0o700)
        write_first(file, f"{key.secret}\n", 0o600)
    except OSError as error:
        raise Misconfigured(
            f"The log's keys cannot be written to {file}: {error.strerror}. Nothing was started."
        ) from error


def stamp(file: Path) -> tuple[int, int] | None:
    """Return what changes whenever the file is replaced; None while there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _parsed(lines: Iterable[str]) -> Keyring:
    present = [line for line in lines if line]
    secrets = [line for line in present if line.startswith("PRIVATE+KEY+")]
    return Keyring(
        tuple(parse_signing_key(line) for line in secrets),
        tuple(parse_verifier_key(line) for line in present if line not in secrets),
    )
