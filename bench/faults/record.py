"""The independent reader: what the outside systems recorded, from their own files and from nothing else.

It knows the journal of `examples/payments.py` and the account of an action. It does not know who asked, under which
key, how often, or what happened to the asker; so it cannot be talked into anything.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

BACK = "-back"  # money that returns goes from "account-back"


class Found(msgspec.Struct, frozen=True):
    """What one account has seen."""

    effects: int  # money out, each time it went
    undone: int  # money back, each time it came
    held: int  # reserved, neither confirmed nor released

    @property
    def standing(self) -> int:
        """Return how often the effect is in the world."""
        return self.effects - self.undone


def found(journal: Path, account: str) -> Found:
    """Read what a journal says about an account."""
    lines = [json.loads(line) for line in journal.read_bytes().splitlines() if line]
    held = _keys_held(lines, account)
    confirmed = [line["key"] for line in lines if line["what"] == "confirm" and line["key"] in held]
    released = {line["key"] for line in lines if line["what"] == "release"}
    credited = {line["id"] for line in lines if line["what"] == "credit" and line["account"] == account}
    refunded = {held[key] for key in confirmed}
    reversals = sum(line["what"] == "reverse" and line["of"] in credited | refunded for line in lines)
    return Found(
        effects=len(confirmed) + len(credited) + _transfers(lines, account),
        undone=reversals + _transfers(lines, account + BACK),
        held=len(held.keys() - released - set(confirmed)),
    )


def _keys_held(lines: list[dict[str, Any]], account: str) -> dict[str, str]:
    return {line["key"]: line["id"] for line in lines if line["what"] == "hold" and line["charge"] == account}


def _transfers(lines: list[dict[str, Any]], account: str) -> int:
    return sum(line["what"] == "transfer" and line["account"] == account for line in lines)
