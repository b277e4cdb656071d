"""Natural logarithms of whole numbers, in whole numbers: the same bits on every machine. Pure.

Floating-point logarithms differ in their last bit from one C library to the next, and a view must be rebuilt byte for
byte. ln n = b ln 2 + 2 artanh((x - 1) / (x + 1)), where x = n / 2^b lies between 1 and 2, by its power series.
"""

from typing import Final

UNIT: Final = 1 << 40  # what stands for 1
_LN_2: Final = 762_123_384_786  # ln 2 x UNIT, rounded


def ln(number: int) -> int:
    """Return the natural logarithm of a whole number of at least 1, in units of 2^-40, a few of them off at most."""
    exponent = number.bit_length() - 1
    x = (number << 40) >> exponent
    power = ((x - UNIT) << 40) // (x + UNIT)
    square = (power * power) >> 40
    total, odd = 0, 1
    while power:
        total += power // odd
        power = (power * square) >> 40
        odd += 2
    return 2 * total + exponent * _LN_2
