"""A ledger with its log, for tests that look at it from outside: events, tiles, signed checkpoints, and the newest of
them kept elsewhere. Written as the keeper would, and as somebody would who owns the database."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.log_keeping import LogKeeping
from gateway.log_settings import LogSettings
from ledger.log import tree as log_tree
from ledger.log.checkpoint import Checkpoint
from ledger.log.merkle import Tile, Tree
from ledger.log.signed_note import COSIGNATURE, Note, SigningKey

ORIGIN = "intent-ledger/main"
KEY = SigningKey(ORIGIN, b"k" * 32)
WITNESS = SigningKey("witness.example/w1", b"w" * 32, COSIGNATURE)
ATTACKER = SigningKey(ORIGIN, b"a" * 32)


def signed(size: int, root: bytes, *keys: SigningKey, origin: str = ORIGIN) -> Note:
    text = Checkpoint(origin, size, root).text
    return Note(text, tuple(key.sign(text) if key is not WITNESS else key.cosign(text, 1_800_000_000) for key in keys))


async def logged(connection: Any, sizes: Sequence[int], *keys: SigningKey, ledger: str = "main") -> list[Note]:
    """Grow the log from what is stored to each of these sizes, signing each; returns the checkpoints."""
    newest = await log_tree.newest(connection, ledger)
    tree = Tree() if newest is None else await log_tree.tree(connection, ledger, newest.size)
    notes = []
    for size in sizes:
        changed: dict[tuple[int, int], Tile] = {}
        for tile in tree.extend(await log_tree.leaves(connection, ledger, tree.size, size - tree.size)):
            changed[tile.level, tile.number] = tile
        changed |= {(tile.level, tile.number): tile for tile in tree.edge()}
        notes.append(signed(size, tree.root(), *(keys or (KEY,))))
        await log_tree.extend(connection, ledger, list(changed.values()), size, notes[-1])
    return notes


@asynccontextmanager
async def kept(service: Any, directory: Path) -> AsyncIterator[None]:
    """Keep the log of a service, as a process that serves does."""
    settings = LogSettings(origin=ORIGIN, keys=directory / "log.key", directory=directory / "log")
    keeping = LogKeeping(service.pool, service.store.ledger, settings)
    await keeping.open(os.urandom)
    await keeping.start()
    try:
        yield
    finally:
        await keeping.stop()


async def forget_log(connection: Any, ledger: str = "main") -> None:
    """Throw the stored log away, as only the database's owner can."""
    await connection.execute("delete from intent_ledger.log_tiles where ledger = $1", ledger)
    await connection.execute("delete from intent_ledger.log_checkpoints where ledger = $1", ledger)
