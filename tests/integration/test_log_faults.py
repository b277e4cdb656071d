"""Whatever single operation fails, and in whichever way, an honest log comes back by itself and contradicts nothing.

A log goes through its whole life: its first key, checkpoints in a directory, a bucket and at a witness, a new key, the
old one retired, an end in order, a restart, the end of the log and the beginning of another. Then it does so again for
each operation that the first life had, with that one failing. Nothing is done about it but what an operator does: start
again what has ended, and give a command again that has failed.
"""

import asyncio
import pprint
from collections import Counter
from contextlib import AsyncExitStack, suppress
from functools import partial
from uuid import uuid4

import pytest
from doorway import eventually
from failing import Bucket, Crash, Run, Session, fail_database, fail_files, faults_of, note_what_is_signed

from gateway import cli_log
from gateway.command import Flags
from gateway.log_keeping import LogKeeping
from gateway.log_objects import Objects
from gateway.log_settings import log_settings
from gateway.log_witness import WitnessClient
from gateway.settings import load
from gateway.witness import Witness, witnessing
from gateway.witness_shelf import origin_hash, shelf
from ledger import bounds
from ledger import events as e
from ledger.database import open_pool
from ledger.errors import LedgerError
from ledger.log import tree as log_tree
from ledger.log.checkpoint import parse_checkpoint
from ledger.log.keys import read_keys
from ledger.log.merkle import Tree
from ledger.log.signed_note import COSIGNATURE, SigningKey, parse_note
from ledger.log.verify import verify_log
from ledger.postgres_store import PostgresStore
from ledger.store import Append, Appended

FIRST, SECOND = "example.com/log", "example.com/next"
WITNESS = SigningKey("witness.example/w1", b"w" * 32, COSIGNATURE)
LIVES = (
    ("begin", "end_in_order"),
    ("begin", "rotate", "end_in_order"),
    ("begin", "rotate", "retire", "end_in_order"),
    ("begin", "begin_another"),
)
AT_ONCE = 4
SECONDS = 30  # until it is back, on a busy machine

CONFIG = """
[log]
origin = "{origin}"
keys = "{home}/keys/main.key"
directory = "{home}/places/log"

[log.objects]
bucket = "checkpoints"
region = "eu-central-1"
prefix = "{origin}/"
credentials = {{ access_key_id = {{ env = "LOG_KEY_ID" }}, secret_access_key = {{ env = "LOG_SECRET" }} }}

[[log.witnesses]]
url = "{witness}"
key = "{key}"
"""


class Life:
    """One ledger, the process that keeps its log, and the places outside."""

    def __init__(self, phases, run, ledger, dsn):
        self.phases, self.run, self.ledger, self.dsn, self.home = phases, run, ledger, dsn, run.home
        self.origin = FIRST
        self.objects = {}
        self.witnessed = {FIRST: [], SECOND: []}
        self.retired = []
        self.parts = self.keeper = None
        self.flags = Flags(config=self.home / "log.toml", data=self.home / "data", ledger=ledger)

    async def live(self):
        async with AsyncExitStack() as parts:
            self.pool = await open_pool(self.dsn, 4)
            parts.callback(self.pool.terminate)
            self.store = PostgresStore(self.pool, self.ledger)
            await self.store.start()
            parts.push_async_callback(self.store.stop)
            parts.push_async_callback(self.over)
            self.run.enter()
            for phase in self.phases:
                await self.append()
                await self.through(phase)
            await self.over()
            await self.judge()

    async def through(self, phase):
        """Go through a phase of its life, as often as an operator has to."""
        self.run.phase = phase
        for _ in range(3):
            try:
                await getattr(self, phase)()
            except Crash:
                with suppress(Crash):
                    await self.end()
                self.run.dead = False
            except LedgerError:
                if not self.run.fired:
                    raise
            else:
                return
        raise AssertionError("It does not come back.")

    # ── its phases, each of which can be begun again ─────────────────────────────────────────────────────────────

    async def append(self):
        append = Append(stream=f"test/{uuid4().hex}", expected_version=0, events=(e.IntentAborted(),) * 3)
        with self.run.outside():
            assert isinstance(await self.store.append(append), Appended)

    async def begin(self):
        await self.open()
        await self.settled()

    async def rotate(self):
        await self.open()
        if len(self.keys().signing) == 1:
            cli_log.rotate(self.flags)
        await self.settled()

    async def retire(self):
        await self.open()
        old, *more = self.keys().signing
        if more:
            self.retired.append(old.secret)
            cli_log.retire(old.verifier.key_id.hex(), self.flags)
        await self.settled()

    async def end_in_order(self):
        await self.open()
        await self.end()
        await self.begin()

    async def begin_another(self):
        await self.end()
        self.origin = SECOND
        self.configure("http://127.0.0.1:9")
        if any(key.verifier.name == FIRST for key in self.keys().signing):
            await asyncio.to_thread(cli_log.end, FIRST, self.flags)
        await self.open()
        await self.settled()
        await self.end()

    # ── the process ──────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self):
        """Start what keeps the log, and its witness, unless they run."""
        if self.parts is not None:
            return
        self.parts = AsyncExitStack()
        try:
            opened = self.parts.enter_context(shelf(self.home / "witness", WITNESS.verifier.name, lambda _: b"w" * 32))
            witness = Witness(opened, self.witnessed)
            self.configure(await self.parts.enter_async_context(witnessing(witness, "127.0.0.1", 0)))
            pool = await open_pool(self.dsn, 3)
            self.parts.push_async_callback(pool.close)
            keeping = LogKeeping(pool, self.ledger, self.settings())
            await keeping.open(lambda size: uuid4().bytes * (size // 16))
            await keeping.start()
            self.parts.push_async_callback(keeping.stop)
            self.keeper = keeping.keeper
        except BaseException:
            await self.end()
            raise

    async def end(self):
        """End the process, in order or after a crash."""
        parts, self.parts = self.parts, None
        if parts is not None:
            with suppress(Crash):
                await parts.aclose()
        if self.run.dead:
            raise Crash

    async def over(self):
        """End for good: what fails now is no part of the life that is judged."""
        self.run.phase = "over"
        with suppress(Crash):
            await self.end()

    def configure(self, witness):
        with self.run.outside():
            self.home.mkdir(exist_ok=True)
            text = CONFIG.format(origin=self.origin, home=self.home, witness=witness, key=WITNESS.verifier)
            (self.home / "log.toml").write_text(text)

    def settings(self):
        with self.run.outside():
            environment = {"INTENTLEDGER_DATA": str(self.home / "data"), "INTENTLEDGER_LEDGER": self.ledger}
            return log_settings(load(environment | {"INTENTLEDGER_CONFIG": str(self.home / "log.toml")}, self.home))

    # ── what is seen from outside ────────────────────────────────────────────────────────────────────────────────

    def keys(self):
        with self.run.outside():
            return read_keys(self.home / "keys" / "main.key")

    def notes(self):
        """Return the notes in the directory, in the bucket and at the witness."""
        data = self.objects.get(f"{self.origin}/{self.ledger}/checkpoint", (b"",))[0]
        found = [data.decode()]
        with self.run.outside():
            for name in ("places/log/checkpoint", f"witness/{origin_hash(self.origin)}.checkpoint"):
                file = self.home / name
                found.append(file.read_text() if file.exists() else "")
        return [parse_note(text) if text else None for text in found]

    async def settled(self):
        """Wait until every place has the newest checkpoint, by every key that signs and no other of the log's."""
        head = await self.store.head()
        try:
            await eventually(partial(self.is_settled, head), SECONDS)
        except TimeoutError:
            raise AssertionError(f"It does not get on: {[str(note) for note in self.notes()]}") from None

    async def is_settled(self, head):
        if self.run.dead:
            raise Crash
        assert self.keeper.failure is None, self.keeper.failure
        ours = {key.verifier for key in self.keys().signing}
        self.witnessed[self.origin][:] = [key for key in self.keys().verifiers if key.name == self.origin]
        notes = self.notes()
        if not ours or None in notes:
            return False
        heads = [parse_checkpoint(note.text) for note in notes]
        have = [{one.key_id for one in note.signatures if one.name == self.origin} for note in notes[:2]]
        return all((one.origin, one.size) == (self.origin, head) for one in heads) and all(
            ids == {key.key_id for key in ours} for ids in have
        )

    async def judge(self):
        """Compare all that was ever signed with what is true, and start once more."""
        with self.run.outside():
            self.configure("http://127.0.0.1:9")
            again = LogKeeping(self.pool, self.ledger, self.settings())
            await again.open(None)
            await again.stop()
            async with self.pool.acquire() as reader:
                tree, roots = Tree(), {}
                for leaf in await log_tree.leaves(reader, self.ledger, 0, 1_000):
                    tree.extend([leaf])
                    roots[tree.size] = tree.root()
                places = dict(enumerate(self.notes()))
                verified = await verify_log(reader, self.ledger, self.keys().verifiers, places)
            for text in self.run.signed:
                said = parse_checkpoint(text)
                assert said.root == roots[said.size], f"what was signed is not so: {text}"
            assert (verified.wrong, verified.proved) == (None, tree.size)
            for file in self.home.rglob("*"):
                if file.is_file():
                    assert not any(secret in file.read_text() for secret in self.retired), f"{file} has a retired key"


@pytest.fixture
def failing(monkeypatch, dsn):
    """Wait for nothing longer than needed, and let everything fail that belongs to a run."""
    for name, seconds in {"LOG_SECONDS": 0.01, "LOG_POLL_SECONDS": 0.01, "LOG_IDLE_SECONDS": 0.02}.items():
        monkeypatch.setattr(bounds, name, seconds)
    for name in ("LOG_RETRY_SECONDS", "LOG_RETRY_CAP_SECONDS"):
        monkeypatch.setattr(bounds, name, 0.02)
    monkeypatch.setattr(Objects, "pause_seconds", 0.0)
    monkeypatch.setattr(WitnessClient, "pause_seconds", 0.0)
    monkeypatch.setattr("gateway.logs.configure", lambda *_: None)
    monkeypatch.setattr("ledger.log.keeper._unexpected", lambda _: None)  # a crash is; to draw its trace takes longest
    for name in ("INTENTLEDGER_DSN", "LOG_KEY_ID", "LOG_SECRET"):
        monkeypatch.setenv(name, dsn)
    fail_files(monkeypatch)
    fail_database(monkeypatch)
    note_what_is_signed(monkeypatch)

    def bucket(_):
        life = lives[asyncio.current_task().get_name()]
        return Bucket(life.run, life.objects)

    lives = {}
    monkeypatch.setattr("gateway.log_places.new_bucket", bucket)
    monkeypatch.setattr("gateway.log_places.new_session", lambda: Session(lives[asyncio.current_task().get_name()].run))
    return lives


@pytest.mark.parametrize("nth", range(len(LIVES)))
async def test_whatever_fails_once_an_honest_log_comes_back(failing, dsn, tmp_path, nth):
    phases, before = LIVES[nth], {phase for phases in LIVES[:nth] for phase in phases}

    async def lived(nth, fault):
        name = f"ledger-{nth}"
        life = failing[name] = Life(phases, Run(tmp_path / name, fault), name, dsn)
        await asyncio.create_task(life.live(), name=name)
        return life.run

    faults = [fault for fault in faults_of(await lived(0, None)) if fault.phase not in {*before, "over"}]
    gate, wrong, fired = asyncio.Semaphore(AT_ONCE), {}, Counter()

    async def again(nth, fault):
        async with gate:
            try:
                fired[(await lived(nth, fault)).fired] += 1
            except BaseException as error:  # noqa: BLE001 - all of them are shown at once
                wrong[fault] = f"{type(error).__name__}: {error}"

    await asyncio.gather(*(again(nth, fault) for nth, fault in enumerate(faults, 1)))
    assert not wrong, pprint.pformat(wrong, width=300)
    assert fired[True] > 0.8 * len(faults) > 30, "what is not met is what a loop did once more the first time"
