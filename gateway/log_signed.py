"""The log as the door shows it: only checkpoints that its own keys have signed, as far as this process can tell.

Checkpoints stand in the database, whose owner can put others there. Whoever gets one verifies it; what is shown here is
not to make them find out. A process without any keys of the log cannot tell, and shows what there is.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.log_settings import LogSettings
from ledger.errors import Corrupt, Misconfigured, NotReady
from ledger.log.check import signed_by
from ledger.log.keys import Keyring, read_keys, stamp
from ledger.log.signed_note import Note
from ledger.log.tree import Log, Signed

if TYPE_CHECKING:
    from ledger.database import Pool

_REMEMBERED: Final = 256  # notes that were verified; each is asked for again and again while it is the newest


class SignedLog(Log):
    """The log of one ledger. Of what it shows, everything raises `Corrupt` or `NotReady` if it cannot be believed."""

    def __init__(self, pool: "Pool", ledger: str, settings: LogSettings) -> None:
        """Read no key yet."""
        super().__init__(pool, ledger)
        self._origin = settings.origin
        self._file: Path = settings.keys
        self._stamp: tuple[int, int] | None = None
        self._keys = Keyring()
        self._verified: dict[Note, None] = {}  # the oldest first

    async def newest(self) -> Signed | None:
        """Return the newest checkpoint; None before the first."""
        return self._believed(await super().newest())

    async def best_covering(self, position: int) -> Signed | None:
        """Do as the log does, and believe it no more than the newest."""
        return self._believed(await super().best_covering(position))

    def _believed(self, signed: Signed | None) -> Signed | None:
        self._read_keys()
        if signed is None or signed.note in self._verified or not self._keys.verifiers:
            return signed
        if signed.checkpoint.origin != self._origin:
            raise Corrupt(f"The stored checkpoint of {signed.size} is of the log {signed.checkpoint.origin!r}.")
        if not signed_by(self._keys, signed.note):
            raise NotReady(
                f"No key of the log that is known here has signed its checkpoint of {signed.size}, so it is not shown. "
                "Nothing was changed; whoever runs the service brings it the keys of the process that keeps the "
                "log, and where they are the same already, has `intentledger verify` look."
            )
        self._verified[signed.note] = None
        if len(self._verified) > _REMEMBERED:
            del self._verified[next(iter(self._verified))]
        return signed

    def _read_keys(self) -> None:
        now = stamp(self._file)
        if now != self._stamp:
            try:
                self._keys, self._stamp = read_keys(self._file), now
            except Misconfigured as error:
                raise NotReady(
                    "The keys of the log cannot be used, so nothing that they have signed is shown. Nothing was "
                    "changed; whoever runs the service finds in what it logs what is the matter with them."
                ) from error
            self._verified.clear()
