"""What names a call: its key and its epoch, as the `http` adapter of Intent Ledger sends them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

KEY_LENGTH: Final = 64
EPOCH_MAX: Final = 2**63 - 1
_FOLLOWING: Final = ("-commit", "-abort")  # what the adapter puts behind the key of a hold that it confirms or releases


class NotNamed(ValueError):
    """The request has no key that can be used. Nothing was done; answer 400."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call. Every repetition has the same key; the epoch grows with each process that takes the call over."""

    key: str
    epoch: int = 0

    def __post_init__(self) -> None:
        """Refuse what would not come back from the table as it went in."""
        if not (0 < len(self.key) <= KEY_LENGTH and self.key.isascii() and self.key.isprintable()):
            raise NotNamed(f"A key has 1 to {KEY_LENGTH} printable ASCII characters.")
        if not 0 <= self.epoch <= EPOCH_MAX:
            raise NotNamed("An epoch is a whole number, not negative.")

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """Read `Idempotency-Key`, which for a confirm or a release names the hold, and `Intent-Epoch`."""
        key = (headers.get("Idempotency-Key") or "").strip('"')
        for suffix in _FOLLOWING:
            key = key.removesuffix(suffix)
        epoch = headers.get("Intent-Epoch", "0")
        if not (epoch.isascii() and epoch.isdecimal() and len(epoch) < 20):
            raise NotNamed("Intent-Epoch is a whole number.")
        return cls(key, int(epoch))
