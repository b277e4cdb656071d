"""How far something has come that takes long, for whoever wants to be shown."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Hears how much is done, and how much there is in all."""


def unseen(_done: int, _all: int) -> None:
    """Show nobody."""
