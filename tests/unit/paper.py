"""A log on paper: the entries of some intents, their tree and tiles, and receipts of them; no database."""

from collections.abc import Mapping, Sequence

from histories import ledger_of
from logged import KEY, signed

from ledger.events import Recorded
from ledger.log.entry import entry
from ledger.log.merkle import TilePlace, Tree, leaf_hash
from ledger.log.receipts import write_receipt
from ledger.log.signed_note import SigningKey


class Paper:
    """What a log of these events is, at any size up to theirs."""

    def __init__(self, events: Sequence[Recorded]) -> None:
        self.events = events
        self.entries = {
            e.position: entry(e.ledger, e.position, e.stream, e.version, e.type, e.at, e.body) for e in events
        }
        self.tiles: dict[TilePlace, bytes] = {}
        tree = Tree()
        for tile in [*tree.extend([leaf_hash(self.entries[e.position]) for e in events]), *tree.edge()]:
            self.tiles[tile.level, tile.number] = tile.hashes

    def root(self, size: int) -> bytes:
        tree = Tree()
        tree.extend([leaf_hash(self.entries[position]) for position in range(1, size + 1)])
        return tree.root()

    def note(self, size: int, *keys: SigningKey) -> str:
        return str(signed(size, self.root(size), *(keys or (KEY,))))

    def of(self, stream: str) -> Mapping[int, bytes]:
        return {e.position: self.entries[e.position] for e in self.events if e.stream == stream}

    def receipt(self, stream: str, size: int | None = None, *keys: SigningKey) -> str:
        size = size or len(self.events)
        return write_receipt(self.of(stream), size, self.note(size, *keys), self.tiles)


def paper() -> Paper:
    return Paper(ledger_of(seed=7, intents=120))
