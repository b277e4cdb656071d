"""Checkpoints reach buckets and witnesses, which a restored machine cannot take back; and the door shows and proves."""

import asyncio
import base64
import os
from datetime import UTC, datetime
from shutil import copy
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from doorway import doorway, eventually, intent
from servers.moto import moto, somebody_else

from gateway.app import serve
from gateway.log_keeping import LogKeeping
from gateway.log_objects import Objects, new_bucket
from gateway.log_settings import LogSettings, ObjectsPlace, WitnessPlace
from gateway.log_witness import WitnessClient, new_session
from gateway.settings import load
from gateway.witness import Witness, logs_of, witnessing
from gateway.witness_shelf import shelf
from ledger import bounds
from ledger import events as e
from ledger.database import open_pool
from ledger.errors import Corrupt, Unavailable
from ledger.log import merkle
from ledger.log.checkpoint import Checkpoint, parse_checkpoint
from ledger.log.directory import Directory
from ledger.log.keys import Keyring, read_keys, write_keys
from ledger.log.signed_note import COSIGNATURE, Note, SigningKey, parse_note, verify_note
from ledger.log.tree import Log, Signed
from ledger.postgres_store import PostgresStore
from ledger.store import Append, Appended

ORIGIN = "intent-ledger/main"
KEY = SigningKey(ORIGIN, b"k" * 32)
LIAR = SigningKey("w", b"w" * 32, COSIGNATURE)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    for name, seconds in {"LOG_SECONDS": 0.02, "LOG_POLL_SECONDS": 0.01, "LOG_IDLE_SECONDS": 0.02}.items():
        monkeypatch.setattr(bounds, name, seconds)
    monkeypatch.setattr(bounds, "LOG_RETRY_SECONDS", 0.05)


@pytest.fixture
def keys(tmp_path):
    write_keys(tmp_path / "log" / "main.key", Keyring((KEY,)))
    return tmp_path / "log" / "main.key"


def log_in(tmp_path, **more):
    return LogSettings(origin=ORIGIN, keys=tmp_path / "log" / "main.key", directory=tmp_path / "log" / "main", **more)


async def append(store, events=1):
    stream = f"test/{uuid4().hex}"
    written = await store.append(Append(stream=stream, expected_version=0, events=(e.IntentAborted(),) * events))
    assert isinstance(written, Appended)


def signed(size, origin=ORIGIN):
    text = Checkpoint(origin, size, bytes(32)).text
    return Signed(parse_checkpoint(text), Note(text, (KEY.sign(text),)), datetime.now(UTC))


def table(monkeypatch, bucket):
    monkeypatch.setenv("LOG_KEY_ID", "ledger")
    monkeypatch.setenv("LOG_SECRET", "secret")
    return ObjectsPlace(
        bucket=bucket,
        region="eu-central-1",
        endpoint=moto(),
        addressing="path",
        allow_private=True,
        prefix="logs/",
        credentials={"access_key_id": {"env": "LOG_KEY_ID"}, "secret_access_key": {"env": "LOG_SECRET"}},
    )


@pytest.fixture
def bucket():
    name = f"bucket-{uuid4().hex}"
    somebody_else().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return name


def stored(bucket):
    found = somebody_else().get_object(Bucket=bucket, Key="logs/main/checkpoint")
    return parse_note(found["Body"].read().decode())


@pytest.fixture
async def witness(tmp_path):
    """A witness of our log: its URL and its key."""
    with shelf(tmp_path / "witness", "witness.example/w1", os.urandom) as opened:
        async with witnessing(Witness(opened, logs_of([KEY.verifier])), "127.0.0.1", 0) as url:
            yield WitnessPlace(url, opened.key.verifier)


async def test_a_bucket_gets_every_newest_checkpoint_and_a_restored_machine_is_refused_by_it(
    pool, store, tmp_path, keys, bucket, monkeypatch
):
    monkeypatch.setattr(Objects, "pause_seconds", 0.0)
    settings = log_in(tmp_path, objects=table(monkeypatch, bucket))
    keeping = LogKeeping(pool, "main", settings)
    await keeping.open(os.urandom)
    await append(store)
    await keeping.start()
    for size in (3, 4):
        await append(store, size - await store.head())

        async def there(size=size):
            try:
                return parse_checkpoint(stored(bucket).text).size == size
            except somebody_else().exceptions.NoSuchKey:
                return False

        await eventually(there)
    await keeping.stop()
    assert verify_note(stored(bucket), [KEY.verifier])
    (settings.directory / "checkpoint").unlink()  # as after restoring this machine from a day when there was none
    somebody_else().put_object(Bucket=bucket, Key="logs/main/checkpoint", Body=str(signed(9).note).encode())
    with pytest.raises(Corrupt, match=r"ends at position 4.*bucket"):
        await LogKeeping(pool, "main", settings).open(os.urandom)


async def test_an_older_checkpoint_never_takes_the_place_of_a_newer_one(
    pool, store, tmp_path, keys, bucket, monkeypatch
):
    place_table, log = table(monkeypatch, bucket), Log(pool, "main")
    made = []
    for events in (5, 2, 1):
        await append(store, events)
        keeping = LogKeeping(pool, "main", log_in(tmp_path))
        await keeping.open(os.urandom)
        await keeping.start()
        await keeping.stop()
        made.append(await log.newest())
    five, seven, eight = made
    first, second = new_bucket(place_table), new_bucket(place_table)
    await first.open()
    await second.open()
    slow, quick = Objects(place_table, first, log), Objects(place_table, second, log)
    await slow.publish(five)
    await quick.publish(seven)
    await slow.publish(five)
    assert stored(bucket) == seven.note
    await slow.publish(eight)
    assert stored(bucket) == eight.note
    for other in (signed(9), signed(3)):
        somebody_else().put_object(Bucket=bucket, Key="logs/main/checkpoint", Body=str(other.note).encode())
        with pytest.raises(Corrupt, match="does not go on"):
            await slow.publish(eight)
        assert stored(bucket) == other.note, "what denies our log is left for a person to see"
    await first.close()
    with pytest.raises(Unavailable):
        await slow.publish(eight)
    await second.close()
    slow, quick = (Directory(tmp_path / "shared", log) for _ in range(2))
    await slow.publish(five)
    await quick.publish(seven)
    await slow.publish(five)
    assert slow.read() == seven.note, "another process keeps the log by now"
    await slow.publish(eight)
    assert slow.read() == eight.note
    for other in (signed(9), signed(3)):
        slow.file.write_text(str(other.note))
        with pytest.raises(Corrupt, match="does not go on"):
            await slow.publish(eight)
        assert slow.read() == other.note


async def test_a_witness_cosigns_checkpoints_and_its_cosignature_is_published(pool, store, tmp_path, keys, witness):
    settings = log_in(tmp_path, witnesses=(witness,))
    keeping = LogKeeping(pool, "main", settings)
    await append(store, 3)
    await keeping.open(os.urandom)
    await keeping.start()

    async def cosigned():
        try:
            note = parse_note((settings.directory / "checkpoint").read_text())
        except FileNotFoundError:
            return None
        signatures = verify_note(note, [KEY.verifier, witness.key])
        return note if len(signatures) == 2 else None

    note = await eventually(cosigned)
    assert parse_checkpoint(note.text).size == 3
    newest = await keeping.keeper.log.newest()
    assert newest.note == note, "what is stored is what is published"
    assert list(keeping.remarks()) == []
    await keeping.stop()
    idle = LogKeeping(pool, "main", settings)
    await idle.open(os.urandom)
    await idle.start()
    await idle.stop()
    assert (await idle.keeper.log.newest()).note == note, "it is not cosigned again at each start"
    restarted = LogKeeping(pool, "main", settings)
    await append(store, 300)
    await restarted.open(os.urandom)
    await restarted.start()

    async def cosigned_again():
        found = await eventually(cosigned)
        return parse_checkpoint(found.text).size == 303

    assert await eventually(cosigned_again), "a new process learns what the witness has cosigned last"
    await restarted.stop()


async def test_a_witness_refuses_a_restored_machine_that_lost_its_directory_too(
    make_database, template, pool, store, tmp_path, keys, witness
):
    settings = log_in(tmp_path, witnesses=(witness,))
    keeping = LogKeeping(pool, "main", settings)
    await append(store, 5)
    await keeping.open(os.urandom)
    await keeping.start()

    async def known():
        return await keeping.keeper.publishers[1].place.known()

    await eventually(known)
    await keeping.stop()
    (settings.directory / "checkpoint").unlink()
    emptied = await open_pool(await make_database(template), 5)
    begun = PostgresStore(emptied, "main")
    await begun.start()
    await append(begun, 2)
    with pytest.raises(Corrupt, match=r"ends at position 2.*witness"):
        await LogKeeping(emptied, "main", settings).open(os.urandom)
    await begun.stop()
    await asyncio.wait_for(emptied.close(), 10)


@pytest.mark.parametrize(
    ("status", "said", "error", "match"),
    [
        (
            200,
            lambda text: SigningKey("w", b"v" * 32, COSIGNATURE).cosign(text, 1).line,
            Unavailable,
            "without a signature",
        ),
        (200, lambda text: SigningKey("w", b"w" * 32).sign(text).line, Unavailable, "without a signature"),
        (200, lambda _: LIAR.cosign("another text\n", 1).line, Unavailable, "without a signature"),
        (200, lambda _: "nonsense", Unavailable, "no signature"),
        (409, lambda _: "9", Corrupt, "put back to an older state"),
        (409, lambda _: "nonsense", Unavailable, "answered 409"),
        (409, lambda _: "9" * 5_000, Unavailable, "answered 409"),
        (422, lambda _: "", Corrupt, "does not go on from"),
        (500, lambda _: "", Unavailable, "answered 500"),
        (302, lambda _: "", Unavailable, "answered 302"),
    ],
)
async def test_what_a_witness_answers_is_believed_as_far_as_it_can_be(pool, status, said, error, match):
    one = signed(5)

    async def answering(_):
        return web.Response(status=status, text=said(one.note.text) + "\n", headers={"Location": "/elsewhere"})

    application = web.Application()
    application.add_routes([web.post("/add-checkpoint", answering)])
    async with TestServer(application) as server, new_session() as session:
        place = WitnessPlace(str(server.make_url("")).rstrip("/"), LIAR.verifier)
        with pytest.raises(error, match=match):
            await WitnessClient(place, ORIGIN, Log(pool, "main"), session).publish(one)


@pytest.mark.parametrize("said", ["Another one of this size was cosigned.\n", "5\n"])
async def test_a_fork_of_the_very_size_that_a_witness_has_cosigned_is_told_as_one(pool, said):
    async def cosigned_another(request):
        known = (await request.text()).startswith("old 5\n")
        return web.Response(status=409, text=said if known else "5\n")

    application = web.Application()
    application.add_routes([web.post("/add-checkpoint", cosigned_another)])
    async with TestServer(application) as server, new_session() as session:
        place = WitnessPlace(str(server.make_url("")).rstrip("/"), LIAR.verifier)
        with pytest.raises(Corrupt, match="does not go on from"):
            await WitnessClient(place, ORIGIN, Log(pool, "main"), session).publish(signed(5))


async def test_a_witness_that_is_away_is_told_and_delays_nothing(pool, store, tmp_path, keys):
    away = WitnessPlace("http://127.0.0.1:9", SigningKey("w", b"w" * 32, COSIGNATURE).verifier)
    settings = log_in(tmp_path, witnesses=(away,))
    keeping = LogKeeping(pool, "main", settings)
    await append(store)
    await keeping.open(os.urandom)
    await keeping.start()

    async def published():
        return (settings.directory / "checkpoint").exists()

    await eventually(published)

    async def told():
        return list(keeping.remarks())

    assert "every place outside" in (await eventually(told))[0]
    await keeping.stop()


async def test_the_door_shows_the_checkpoint_and_proves_what_is_in_it(dsn, tmp_path):
    async with doorway(dsn) as door:
        _, said, _ = await door.get("/v1/log/proofs/inclusion?position=1")
        assert said["type"].endswith(":not-found"), "nothing is signed yet"
        keeping = LogKeeping(door.service.pool, "main", log_in(tmp_path))
        await keeping.open(os.urandom)
        await keeping.start()
        await door.submit(intent(("bank.post", "88", 1)))
        head = await door.head()

        async def covered():
            newest = await door.service.log.newest()
            return newest is not None and newest.size == head

        await eventually(covered)
        async with door.session.get(
            f"{door.url}/v1/log/checkpoint", headers={"Authorization": f"Bearer {door.token}"}
        ) as response:
            assert response.content_type == "text/plain"
            note = parse_note(await response.text())
        assert verify_note(note, read_keys(tmp_path / "log" / "main.key").verifiers)
        root = parse_checkpoint(note.text).root
        _, proof, _ = await door.get(f"/v1/log/proofs/inclusion?position=2&size={head}")
        leaf, hashes = binary(proof["leaf_hash"]), list(map(binary, proof["hashes"]))
        assert merkle.verify_inclusion(leaf, 1, head, hashes, root)
        _, proof, _ = await door.get("/v1/log/proofs/consistency?from=2")
        assert (proof["from"], proof["to"]) == (2, head)
        hashes, older = list(map(binary, proof["hashes"])), binary(proof["from_root_hash"])
        assert merkle.verify_consistency(2, head, older, root, hashes)
        await refusals(door, head)
        await keeping.stop()
        door.door.remarks.append(keeping.remarks)
        keeping.keeper.failure = "An event is missing."
        _, said, _ = await door.get("/readyz")
        assert said["ready"], "intents are taken all the same"
        assert "The log has stopped" in said["reasons"][0]


async def refusals(door, head):
    for path, status, place in [
        (f"inclusion?position=1&size={head + 1}", 404, None),
        (f"inclusion?position={head + 1}", 404, None),
        ("inclusion?position=3&size=2", 422, "/position"),
        ("inclusion?position=0", 422, "/position"),
        ("inclusion?position=1&size=0", 422, "/size"),
        ("inclusion?position=x", 422, "/position"),
        ("inclusion", 422, "/position"),
        ("consistency", 422, "/from"),
        (f"consistency?from=1&to={head + 1}", 404, None),
        ("consistency?from=3&to=2", 422, "/from"),
        ("consistency?from=-1", 422, "/from"),
        ("consistency?from=1&until=2", 422, "/until"),
    ]:
        found, said, _ = await door.get(f"/v1/log/proofs/{path}")
        assert (found, path) == (status, path)
        assert place is None or said["errors"][0]["path"] == place


def binary(text):
    return base64.b64decode(text, validate=True)


async def test_another_machine_keeps_the_log_with_keys_that_were_copied_to_it(dsn, tmp_path):
    def settings(name):
        data = str(tmp_path / name)
        return load({"INTENTLEDGER_DSN": dsn, "INTENTLEDGER_DATA": data, "INTENTLEDGER_PORT": "0"}, tmp_path)

    stop = asyncio.Event()
    await asyncio.wait_for(serve(settings("one"), stop=stop, opened=lambda _: stop.set()), 30)
    (tmp_path / "two").mkdir(mode=0o700)
    for file in ("log/main.key", "personal.keyring", "operator-main.token"):
        (tmp_path / "two" / file).parent.mkdir(exist_ok=True)
        copy(tmp_path / "one" / file, tmp_path / "two" / file)
    again = asyncio.Event()
    await asyncio.wait_for(serve(settings("two"), stop=again, opened=lambda _: again.set()), 30)
    assert (tmp_path / "two" / "log" / "main" / "checkpoint").exists()


async def test_serve_keeps_the_log_and_refuses_a_ledger_that_was_put_back(dsn, tmp_path):
    environment = {"INTENTLEDGER_DSN": dsn, "INTENTLEDGER_DATA": str(tmp_path / "data"), "INTENTLEDGER_PORT": "0"}
    settings = load(environment, tmp_path)
    file, stop = tmp_path / "data" / "log" / "main" / "checkpoint", asyncio.Event()
    await asyncio.wait_for(serve(settings, stop=stop, opened=lambda _: stop.set()), 30)
    assert parse_checkpoint(parse_note(file.read_text()).text).size >= 1, "the operator's grant is covered"
    owner = await asyncpg.connect(dsn)
    await owner.execute("alter table intent_ledger.events disable trigger all")
    await owner.execute("delete from intent_ledger.events")
    for table_name in ("log_tiles", "log_checkpoints", "heads", "grants"):
        await owner.execute(f"delete from intent_ledger.{table_name}")
    await owner.close()
    opened = []
    (tmp_path / "more.toml").write_text('[adapters.points]\ntype = "reference"\n')  # which would be recorded
    settings = load(environment | {"INTENTLEDGER_CONFIG": str(tmp_path / "more.toml")}, tmp_path)
    with pytest.raises(Corrupt, match="ends at position 0"):
        await asyncio.wait_for(serve(settings, stop=asyncio.Event(), opened=opened.append), 30)
    assert opened == []
    owner = await asyncpg.connect(dsn)
    assert await owner.fetchval("select count(*) from intent_ledger.events") == 0, "nothing was appended to it"
    await owner.close()
