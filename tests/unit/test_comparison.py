"""Comparing two tables page by page says what comparing them row by row would."""

import hashlib
import json
import random

import pytest

from projections.comparison import compare

KEY = ("subject", "number")


def table(chance, count):
    return [{"subject": f"s{n // 3}", "number": n % 3, "text": chance.choice("abc")} for n in range(count)]


async def pages(rows, size):
    for at in range(0, len(rows), size):
        yield rows[at : at + size]


def digest(rows):
    lines = [json.dumps([*row.values()], separators=(",", ":")) + "\n" for row in rows]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def changed(chance, rows):
    """Return the rows with some taken out, changed, or put in."""
    other = [dict(row) for row in rows]
    for _ in range(chance.choice((0, 1, 1, 2))):
        place = chance.randrange(len(other))
        match chance.choice(("gone", "changed", "more")):
            case "gone":
                del other[place]
            case "changed":
                other[place]["text"] = "z"
            case _:
                more = {"subject": other[place]["subject"] + "x", "number": 0, "text": "a"}
                other = sorted([*other, more], key=lambda row: [row[one] for one in KEY])
    return other


def first_difference(live, rebuilt):
    by_key = [{tuple(row[one] for one in KEY): row for row in rows} for rows in (live, rebuilt)]
    differing = [key for key in by_key[0].keys() | by_key[1].keys() if by_key[0].get(key) != by_key[1].get(key)]
    return min(differing, default=None)


@pytest.mark.parametrize("seed", range(60))
async def test_pages_that_are_alike_are_taken_whole_and_the_first_difference_is_found(seed):
    chance = random.Random(seed)
    rebuilt = sorted(table(chance, chance.choice((3, 7, 30))), key=lambda row: [row[one] for one in KEY])
    live = changed(chance, rebuilt)
    found = await compare(pages(live, 3), pages(rebuilt, chance.choice((3, 3, 4))), KEY)
    assert (found.live_digest, found.digest, found.rows) == (digest(live), digest(rebuilt), len(rebuilt))
    assert (None if found.difference is None else found.difference.key) == first_difference(live, rebuilt)
    assert (found.difference is None) == (found.live_digest == found.digest)
