"""The file of the master keys: beside the database and never in it, made once, readable by its owner only.

A new one is made only for ledgers that were never bound to one: a keyring that is lost is restored from its copy, and
never replaced, for nothing that was sealed under it would open again. It is read anew whenever it has changed, so that
a rotation needs no restart.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.data_directory import claim, keyring_file
from ledger.errors import Misconfigured, NotReady
from ledger.master_keys import Keyring, new_keyring, parse_keyring
from ledger.whole_file import alone, write_first, write_whole

if TYPE_CHECKING:
    from gateway.settings import Settings

Stamp = tuple[int, int, int]


def keyring_of(settings: "Settings", entropy: Callable[[int], bytes] | None) -> "KeyringFile":
    """Return where the keyring lies, by the settings; without `entropy` it is never made."""
    return KeyringFile(settings.keyring or keyring_file(settings.data), entropy)


class KeyringFile:
    """Where a keyring lies; called, it answers with what is in it now. Raises `NotReady`, `Misconfigured`."""

    def __init__(self, path: Path, entropy: Callable[[int], bytes] | None = None) -> None:
        """Read nothing yet; without `entropy` it never makes one."""
        self.path = path
        self._entropy = entropy
        self._read: tuple[Stamp, Keyring] | None = None

    def __call__(self) -> Keyring:
        """Return the keyring."""
        try:
            found = self.path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._read is None or self._read[0] != stamp:
                if found.st_mode & 0o077:
                    raise Misconfigured(
                        f"Others may read the master keys in {self.path}. Nothing was opened; if nobody has, forbid it "
                        f"with: chmod 600 {self.path}"
                    )
                self._read = (stamp, parse_keyring(self.path.read_text()))
        except OSError as error:
            raise NotReady(
                f"The keyring {self.path} cannot be read: {error.strerror}. Personal data can be neither sealed nor "
                "opened without it; restore it from its copy, or name it with INTENTLEDGER_KEYRING."
            ) from None
        return self._read[1]

    def ensure(self, *, needed: bool) -> bool:
        """Tell whether there is a keyring; make one where it is not `needed` yet, for a ledger that has another.

        Raises `Misconfigured` where it is needed and not there, or is none.
        """
        if not self.path.exists() and not needed:
            if self._entropy is None:
                return False
            if not self.path.parent.exists():
                claim(self.path.parent)
            write_first(self.path, new_keyring(self._entropy).text, 0o600)  # whoever comes second uses the first one's
        try:
            self()
        except NotReady as error:
            raise Misconfigured(error.message) from None
        return True

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Let nobody else change the keyring meanwhile. Raises `NotReady` if somebody is at it.

        Of two rotations at once one's master key would be lost, and with it all that is wrapped under it by then.
        """
        with ExitStack() as changing:
            try:
                changing.enter_context(alone(self.path))
            except BlockingIOError:
                raise NotReady(
                    f"Somebody else is changing the keyring {self.path}. Nothing was changed; retry."
                ) from None
            yield

    def replace(self, keyring: Keyring) -> None:
        """Write another keyring in its place, whole and on disk or not at all; within `changing`."""
        write_whole(self.path, keyring.text, 0o600)
