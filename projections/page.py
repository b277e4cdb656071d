"""A page of a list that is read from a view."""

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")
Cursor = TypeVar("Cursor", int, str)


class Page(msgspec.Struct, Generic[T, Cursor], frozen=True):
    """Some of a list, in its order, and the cursor of the page after it; None where there is none."""

    items: tuple[T, ...]
    next: Cursor | None
