"""The cells of the matrix: a fault (row), what the outside systems promise and whether the client comes back (column).

The work is the same in every cell: 42.00 USD twice, at the system *left* and then at the system *right*, both or
neither. A package that has no notion of several calls that belong together does only the first half, and the rows that
need the second are not applicable to it.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

AMOUNT_MINOR: Final = 4200
CURRENCY: Final = "USD"
LEFT: Final = "left"
RIGHT: Final = "right"


class Row(StrEnum):
    """When what happens."""

    BEFORE = "crash before the effect leaves"
    LANDED = "crash after it landed"
    RECORDED = "crash after it was recorded"
    PAUSED = "worker paused past its lease"
    TWO_RECOVERERS = "two recoverers at once"
    LOST_ANSWER = "lost answer"
    CANCELLED = "cancelled client"
    DATABASE = "database restart"
    COMPENSATION = "kill in compensation"
    BETWEEN = "kill between two commits"


class Guarantee(StrEnum):
    """What both outside systems offer: the column."""

    ATOMIC = "atomic"  # hold, then confirm or release; all under a key
    IDEMPOTENT = "idempotent"  # one shot, recognised by its key
    VERIFIABLE = "verifiable"  # one shot, every call moves money, found by its reference
    BLIND = "blind"  # one shot, every call moves money, nobody can ask


class Client(StrEnum):
    """Whether the client repeats its request under its key after the fault."""

    RETURNS = "client returns"
    NEVER = "never returns"


class Cell(msgspec.Struct, frozen=True):
    """One cell."""

    row: Row
    guarantee: Guarantee
    client: Client

    def __str__(self) -> str:
        return f"{self.row}, {self.guarantee}, {self.client}"


ALL: Final = tuple(Cell(row, guarantee, client) for row in Row for guarantee in Guarantee for client in Client)
NEED_TWO: Final = frozenset({Row.COMPENSATION, Row.BETWEEN})


class Action(msgspec.Struct, frozen=True):
    """One half of the work; `account` is whose money it is, and names nobody else in the records."""

    system: str
    account: str


class Work(msgspec.Struct, frozen=True):
    """What a client asks for, under `key`."""

    key: str
    guarantee: Guarantee
    actions: tuple[Action, ...]


def work_of(number: int, cell: Cell, *, both: bool) -> Work:
    """Return the work of a cell; `number` keeps it apart from that of every other cell of a run."""
    key = f"cell{number:03d}"
    systems = (LEFT, RIGHT) if both else (LEFT,)
    return Work(key, cell.guarantee, tuple(Action(system, f"{key}-{system}") for system in systems))


def patient_first(cells: Iterable[Cell]) -> list[Cell]:
    """Put what takes longest first, so that nobody waits for it alone at the end."""
    return sorted(cells, key=lambda cell: cell.guarantee is not Guarantee.VERIFIABLE)
