"""Money in words: minor units in the digits of their currency."""

from collections.abc import Mapping
from typing import Final

_WITHOUT_MINOR_UNITS: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_WITH_THREE_DIGITS: Final = "BHD IQD JOD KWD LYD OMR TND"
_MINOR_DIGITS: Final[Mapping[str, int]] = {  # ISO 4217; every other currency has two
    **dict.fromkeys(_WITHOUT_MINOR_UNITS.split(), 0),
    **dict.fromkeys(_WITH_THREE_DIGITS.split(), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def money(minor: int, currency: str) -> str:
    """Write minor units in the digits of their currency: 4200 and "USD" are "42.00 USD", and "JPY" "4200 JPY"."""
    code = currency.upper()
    digits = _MINOR_DIGITS.get(code, 2)
    sign, number = ("-" if minor < 0 else ""), str(abs(minor)).rjust(digits + 1, "0")
    return f"{sign}{number[:-digits]}.{number[-digits:]} {code}" if digits else f"{sign}{number} {code}"
