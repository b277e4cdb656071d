"""Comparing two tables of one view: a digest of each, and the first row, in key order, that is not the same.

Both are read once, side by side, a page at a time, so that memory does not grow with their number of rows. Pages that
are the same are taken whole; from the first that is not, row is held against row.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec
from asyncpg import Record

from projections.digest import line_of, lines_of, shown


class Difference(msgspec.Struct, frozen=True):
    """The first row, in key order, that is not the same; None on the side where there is none."""

    key: tuple[Any, ...]
    live: Mapping[str, Any] | None
    rebuilt: Mapping[str, Any] | None


class Compared(msgspec.Struct, frozen=True):
    """What came of it."""

    live_digest: str
    digest: str  # of what was rebuilt
    rows: int  # rebuilt
    difference: Difference | None


async def compare(
    live: AsyncIterator[list[Record]], rebuilt: AsyncIterator[list[Record]], key: tuple[str, ...]
) -> Compared:
    """Compare the pages of two tables, both in key order."""
    digests, rows = (hashlib.sha256(), hashlib.sha256()), 0
    difference: Difference | None = None
    ours, theirs = _Rows(live), _Rows(rebuilt)
    async for alike in _while_alike(ours, theirs):
        page = lines_of(alike)
        for digest in digests:
            digest.update(page)
        rows += len(alike)
    async for one, other in _side_by_side(ours, theirs, key):
        lines = _line(one), _line(other)
        digests[0].update(lines[0])
        digests[1].update(lines[1])
        rows += other is not None
        if difference is None and lines[0] != lines[1]:
            difference = _difference(key, one, other)
    return Compared(shown(digests[0]), shown(digests[1]), rows, difference)


async def _while_alike(ours: "_Rows", theirs: "_Rows") -> AsyncIterator[list[Record]]:
    """Yield the pages that both have, and leave both at the first that is not the same."""
    while True:
        page, other = await ours.page(), await theirs.page()
        if not page or page != other:
            ours.put_back(page)
            theirs.put_back(other)
            return
        yield page


async def _side_by_side(
    ours: "_Rows", theirs: "_Rows", key: tuple[str, ...]
) -> AsyncIterator[tuple[Record | None, Record | None]]:
    """Pair the rows of two tables by key, both in key order; None on the side where a key is missing."""
    a, b = await ours.next(), await theirs.next()
    while a is not None or b is not None:
        order = _order(a, b, key)
        yield (a if order <= 0 else None), (b if order >= 0 else None)
        if order <= 0:
            a = await ours.next()
        if order >= 0:
            b = await theirs.next()


class _Rows:
    """Rows one by one from pages of them."""

    def __init__(self, pages: AsyncIterator[list[Record]]) -> None:
        self._pages = pages
        self._page: Iterator[Record] = iter(())

    async def page(self) -> list[Record]:
        return await anext(self._pages, [])

    def put_back(self, page: list[Record]) -> None:
        self._page = iter(page)

    async def next(self) -> Record | None:
        for record in self._page:
            return record
        self._page = iter(await self.page())
        return next(self._page, None)


def _order(a: Record | None, b: Record | None, key: tuple[str, ...]) -> int:
    """Compare two rows by key as PostgreSQL orders them under collation "C"; a missing row comes last."""
    if a is None or b is None:
        return (a is None) - (b is None)
    left, right = ([record[column] for column in key] for record in (a, b))
    return (left > right) - (left < right)


def _line(record: Record | None) -> bytes:
    return b"" if record is None else line_of(record)


def _difference(key: tuple[str, ...], live: Record | None, rebuilt: Record | None) -> Difference:
    named = live if live is not None else rebuilt
    return Difference(
        key=tuple(named[column] for column in key) if named is not None else (),
        live=dict(live) if live is not None else None,
        rebuilt=dict(rebuilt) if rebuilt is not None else None,
    )
