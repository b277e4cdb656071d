"""The keeper of a ledger's log: hashes new events into the Merkle tree, signs checkpoints, and has them published.

    look at the head ─► hash what is new ─► store tiles and checkpoint, in one statement ─► offer it to every place

* One process keeps the log at a time: whoever holds an advisory lock, on the connection through which it also writes.
  When that connection breaks, another one takes over from what is stored, after the same comparison as at start-up.
* A checkpoint is signed LOG_SECONDS after an event was noticed, or when LOG_EVENTS have been. Nothing waits for it: an
  append never does, and a place that is away never makes a checkpoint late. Old ones are thinned once in a while.
* It never signs what does not go on from what it signed before. Where the ledger and the log disagree it stops, says
  so in `failure`, and signs nothing more until a person has looked.
* Keys are read again whenever their file changes. A log that was begun with keys which are not here is only watched.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

import sql
from ledger import bounds
from ledger.background import rest
from ledger.database import connection, session_lock
from ledger.errors import Corrupt, LedgerError, Misconfigured, Unavailable
from ledger.log import tree as log_tree
from ledger.log.check import check, shorter, signed_by
from ledger.log.checkpoint import Checkpoint
from ledger.log.keys import Keyring, read_keys, stamp, write_first_key
from ledger.log.merkle import Tree
from ledger.log.publisher import Place, Publisher
from ledger.log.signed_note import SEED_BYTES, Note, SigningKey
from ledger.log.tree import Log, Signed

if TYPE_CHECKING:
    from ledger.database import Connection, Pool

_HEAD: Final = sql.query("read.head")
_KEEP: Final = sql.query("log.keep")
_LET_GO: Final = sql.query("log.let_go")

_LOOK_SECONDS: Final = 0.005  # between two looks at the head, at least

_log = structlog.get_logger(__name__)


class Keeper:
    """One process's keeper of the log of one ledger."""

    def __init__(self, pool: "Pool", ledger: str, origin: str, keys: Path, places: Sequence[Place] = ()) -> None:
        """`origin` names the log, and its keys; `places` are told of every checkpoint. Touches nothing yet."""
        self._pool = pool
        self._ledger = ledger
        self._origin = origin
        self._keys_file = keys
        self.log = Log(pool, ledger)
        self.publishers = [Publisher(place, self.log, self._cosigned) for place in places]
        self.failure: str | None = None  # why nothing is signed any more
        self.uncovered = 0  # events without a checkpoint, when last looked
        self._uncovered_since: float | None = None
        self._covered = 0
        self._looked = (0, 0.0)  # at the head: where it was, and when
        self._thinned = (0, 0.0)  # up to which size, and when
        self._keys = Keyring()
        self._stamp: tuple[int, int] | None = None
        self._tree = Tree()
        self._newest: Signed | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def behind_seconds(self) -> float:
        """Return for how long events have been without a checkpoint; 0 while every event has one."""
        if self._uncovered_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._uncovered_since

    async def open(self, entropy: Callable[[int], bytes] | None) -> None:
        """Compare the ledger with every checkpoint known outside; `entropy` makes the first key of a log without one.

        Raises `Corrupt` where they disagree, `Misconfigured` where the keys cannot be used, and `Unavailable`.
        """
        known = await self._known()
        if entropy is not None and not known and await self.log.newest() is None:
            make_first_key(self._keys_file, self._origin, entropy)
        self._read_keys()
        async with connection(self._pool) as reader:
            await check(reader, self._ledger, self._origin, self._keys, known)

    async def start(self) -> None:
        """Begin to keep the log, or to watch whoever keeps it; what is new now has its checkpoint when this returns."""
        for publisher in self.publishers:
            publisher.start()
        opened = asyncio.Event()
        self._task = asyncio.create_task(self._keep_on(opened), name=f"keeper of the log of {self._ledger}")
        self._task.add_done_callback(self._ended)
        await opened.wait()

    async def stop(self) -> None:
        """Cover what there is, have it published, and let go, so that another process can go on at once."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=bounds.LOG_STOP_SECONDS)
            self._task.cancel()
            await asyncio.wait([self._task])
        for publisher in self.publishers:
            await publisher.stop()

    # ── one at a time ────────────────────────────────────────────────────────────────────────────────────────────

    async def _keep_on(self, opened: asyncio.Event) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    await self._keep(opened)
                    opened.set()
                    await rest(bounds.LOG_SECONDS, self._stopping)
                except (Unavailable, Misconfigured) as error:  # the database is away, or the keys are: until it is back
                    _log.warning("log_waits", ledger=self._ledger, reason=error.message)
                    opened.set()
                    await rest(bounds.LOG_RETRY_SECONDS, self._stopping)
                except LedgerError:
                    raise
                except Exception:  # noqa: BLE001 - a defect of ours or a library's; only a disagreement ends the log
                    _log.exception("log_failed", ledger=self._ledger, consequence="it is taken up again")
                    opened.set()
                    await rest(bounds.LOG_RETRY_CAP_SECONDS, self._stopping)
        finally:
            opened.set()

    async def _keep(self, opened: asyncio.Event) -> None:
        """Keep the log for as long as the connection lasts; watch it if another process keeps it."""
        async with connection(self._pool) as held:
            if not await self._may_sign(held):
                await self._watch(held)
                return
            async with session_lock(held, _KEEP, _LET_GO, self._ledger) as kept:
                if kept:
                    await self._keep_with(held, opened)
                else:
                    await self._watch(held)

    async def _keep_with(self, held: "Connection", opened: asyncio.Event) -> None:
        """Keep the log on the connection that holds it."""
        known = await self._known()
        await check(held, self._ledger, self._origin, self._keys, known)
        await self._take_over(held)
        _log.info("log_kept_here", ledger=self._ledger, size=self._tree.size)
        await self._step(held)
        opened.set()
        while not self._stopping.is_set():
            await self._turn(held)
        await self._step(held)

    async def _may_sign(self, reader: "Connection") -> bool:
        """Tell whether the log is ours to go on with."""
        newest = await log_tree.newest(reader, self._ledger)
        try:
            self._read_keys()
        except Misconfigured:
            await self._watch(reader)  # so that it is known how much waits for them
            raise
        return bool(self._keys.signing) and (newest is None or signed_by(self._keys, newest.note))

    async def _take_over(self, held: "Connection") -> None:
        """Begin where the log stands."""
        self._newest = await log_tree.newest(held, self._ledger)
        self._tree = await log_tree.tree(held, self._ledger, 0 if self._newest is None else self._newest.size)
        if self._newest is not None:
            self._offer(self._newest)

    async def _watch(self, reader: "Connection") -> None:
        """See how far behind the log is, whoever keeps it."""
        newest = await log_tree.newest(reader, self._ledger)
        self._notice(await reader.fetchval(_HEAD, self._ledger) or 0, 0 if newest is None else newest.size)

    # ── what it does ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _turn(self, held: "Connection") -> None:
        """Look whether a checkpoint is due, and make it or wait a little."""
        clock = asyncio.get_running_loop().time
        head = await held.fetchval(_HEAD, self._ledger) or 0
        if head < self._tree.size:
            raise shorter(self._ledger, head, "its log", self._tree.size)
        before, self._looked = self._looked, (head, clock())
        self._notice(head, self._tree.size)
        late = self.behind_seconds >= bounds.LOG_SECONDS or self.uncovered >= bounds.LOG_EVENTS
        changed = stamp(self._keys_file) != self._stamp
        if changed:
            self._read_keys()
        if changed or late:
            started = clock()
            await self._step(held)
            if self.uncovered > bounds.LOG_STEP_EVENTS:  # far behind, after an upgrade or an import: others work too
                await rest(clock() - started, self._stopping)
        else:
            await self._thin_now_and_then(held)
            came, seconds = head - before[0], self._looked[1] - before[1]
            await rest(pause(self.uncovered, came / seconds if seconds > 0 else 0.0), self._stopping)

    async def _step(self, held: "Connection") -> None:
        """Hash at most LOG_STEP_EVENTS, store what has changed, and sign where the log stands now."""
        before, filled = self._tree.size, []
        while self._tree.size - before < bounds.LOG_STEP_EVENTS:
            leaves = await log_tree.leaves(held, self._ledger, self._tree.size, bounds.LOG_SLICE_EVENTS)
            filled += self._tree.extend(leaves)
            if len(leaves) < bounds.LOG_SLICE_EVENTS:
                break
        if self._newest is not None and self._tree.size == self._newest.size and self._signs(self._newest.note):
            return
        if not self._tree.size:
            return
        grown = {0} | {tile.level + 1 for tile in filled} if self._tree.size > before else set()
        changed = [*filled, *(tile for tile in self._tree.edge() if tile.level in grown)]
        note, checkpoint = self._signed()
        at = await log_tree.extend(held, self._ledger, changed, self._tree.size, note)
        self._newest = Signed(checkpoint, note, at)
        self._notice(max(self._tree.size, before + self.uncovered), self._tree.size)
        self._offer(self._newest)

    async def _thin_now_and_then(self, held: "Connection") -> None:
        size, at = self._thinned
        now = asyncio.get_running_loop().time()
        if now >= at + bounds.LOG_THIN_SECONDS:
            self._thinned = (await log_tree.thin(held, self._ledger, size), now)

    def _signs(self, note: Note) -> bool:
        """Tell whether the keys of the log that have signed a note are those that sign now."""
        have = {key for key in self._keys.verifiers if any(key.signed(signature) for signature in note.signatures)}
        return have == {key.verifier for key in self._keys.signing}

    def _signed(self) -> tuple[Note, Checkpoint]:
        """Sign the tree as it is, with every key that signs; cosignatures of the same size stay."""
        checkpoint = Checkpoint(self._origin, self._tree.size, self._tree.root())
        text = checkpoint.text
        own = tuple(key.sign(text) for key in self._keys.signing)
        if not own:
            raise Misconfigured(
                f"The keys of the log are gone from {self._keys_file}. Nothing more is signed; put the file back."
            )
        kept = () if self._newest is None or self._newest.checkpoint != checkpoint else self._newest.note.signatures
        ours = {key.name for key in self._keys.verifiers}
        return Note(text, (*own, *(signature for signature in kept if signature.name not in ours))), checkpoint

    def _notice(self, head: int, size: int) -> None:
        self.uncovered = max(0, head - size)
        if not self.uncovered:
            self._uncovered_since = None
        elif self._uncovered_since is None or size > self._covered:
            self._uncovered_since = asyncio.get_running_loop().time()
        self._covered = size

    # ── places, keys, faults ─────────────────────────────────────────────────────────────────────────────────────

    def _offer(self, signed: Signed) -> None:
        for publisher in self.publishers:
            publisher.offer(signed)

    def _cosigned(self, signed: Signed) -> None:
        if self._newest is not None and self._newest.checkpoint == signed.checkpoint:
            self._newest = signed
            self._offer(signed)

    async def _known(self) -> dict[str, Note]:
        """Ask every place for its checkpoint; one that does not answer soon is left out."""
        answers = await asyncio.gather(*(self._asked(publisher.place) for publisher in self.publishers))
        return {name: note for name, note in answers if note is not None}

    async def _asked(self, place: Place) -> tuple[str, Note | None]:
        try:
            async with asyncio.timeout(bounds.LOG_ASK_SECONDS):
                return place.name, await place.known()
        except (Unavailable, TimeoutError) as error:
            reason = error.message if isinstance(error, Unavailable) else "It did not answer in time."
            _log.warning("log_place_away", place=place.name, reason=reason, consequence="it is not compared now")
            return place.name, None

    def _read_keys(self) -> None:
        self._stamp = stamp(self._keys_file)
        self._keys = read_keys(self._keys_file).of(self._origin, self._keys_file)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        self.failure = error.message if isinstance(error, LedgerError) else repr(error)
        _log.error("log_stopped", ledger=self._ledger, reason=self.failure, exc_info=_unexpected(error))


def pause(uncovered: int, each_second: float) -> float:
    """Return for how long not to look at the head: at most until LOG_EVENTS are uncovered, if as many come as did."""
    if not uncovered:
        return bounds.LOG_IDLE_SECONDS
    room = max(0, bounds.LOG_EVENTS - uncovered)
    return min(bounds.LOG_POLL_SECONDS, max(_LOOK_SECONDS, room / max(1.0, each_second)))


def make_first_key(file: Path, origin: str, entropy: Callable[[int], bytes]) -> None:
    """Make the file of the keys unless it is there. Raises `Misconfigured`."""
    if stamp(file) is None:
        write_first_key(file, SigningKey(origin, entropy(SEED_BYTES)))


def _unexpected(error: BaseException) -> BaseException | None:
    """Return what deserves a trace in the log: not what we say ourselves."""
    return None if isinstance(error, Corrupt | Misconfigured) else error
