"""A witness over HTTP: what it cosigned it remembers through crashes, and it never cosigns two histories of one log."""

import asyncio
import json
import os
import threading
from contextlib import asynccontextmanager, suppress
from hashlib import sha256

import aics_tlog
import aiohttp
import pytest
from commands import COMMAND, environment

from gateway.witness import Witness, logs_of, witnessing
from gateway.witness_shelf import Shelf, shelf
from ledger.bounds import WITNESS_BODY_BYTES
from ledger.errors import Corrupt, Misconfigured
from ledger.log.checkpoint import Checkpoint
from ledger.log.merkle import EMPTY_ROOT, Tree, consistency_ranges, leaf_hash, range_hash
from ledger.log.signed_note import COSIGNATURE, SIGNATURES, Note, SigningKey, parse_note, parse_signature
from ledger.log.witness_request import WitnessRequest, write_request

LOG = SigningKey("example.com/log", b"l" * 32)
OTHER = SigningKey("example.com/other", b"o" * 32)
WHERE = "/" + sha256(b"example.com/log").hexdigest() + "/checkpoint"


def tree(size: int, fork: str = "") -> Tree:
    grown = Tree()
    grown.extend([leaf_hash(f"{number}{fork}".encode()) for number in range(size)])
    return grown


def request(old: int, size: int, fork: str = "", key: SigningKey = LOG) -> str:
    grown = tree(size, fork)
    text = Checkpoint(key.verifier.name, size, grown.root()).text
    tiles = {(tile.level, tile.number): tile.hashes for tile in grown.edge()}
    proof = tuple(range_hash(one, tiles) for one in consistency_ranges(old, size))
    return write_request(WitnessRequest(old, proof, str(Note(text, (key.sign(text),)))))


class Client:
    def __init__(self, url: str, session: aiohttp.ClientSession, witness: Witness | None = None) -> None:
        self.url, self.session, self.witness = url, session, witness

    async def add(self, body: str | bytes) -> tuple[int, str, str]:
        async with self.session.post(self.url + "/add-checkpoint", data=body) as response:
            return response.status, await response.text(), response.headers["Content-Type"]

    async def last(self) -> tuple[int, str]:
        async with self.session.get(self.url + WHERE) as response:
            return response.status, await response.text()


@asynccontextmanager
async def served(directory, *keys: SigningKey):
    with shelf(directory, "witness.example/w1", os.urandom) as opened:
        witness = Witness(opened, logs_of([key.verifier for key in keys or (LOG,)]))
        async with witnessing(witness, "127.0.0.1", 0) as url, aiohttp.ClientSession() as session:
            yield Client(url, session, witness)


async def test_it_cosigns_what_goes_on_and_shows_it(tmp_path):
    async with served(tmp_path / "w") as witness:
        assert (await witness.last())[0] == 404
        status, line, _ = await witness.add(request(0, 5))
        assert status == 200
        status, note = await witness.last()
        assert status == 200
        assert line in note
        key = witness.witness._shelf.key.verifier
        assert key.verifies(parse_note(note).text, parse_signature(line.rstrip("\n")))
        trusted = aics_tlog.parse_vkey(str(LOG.verifier)), [aics_tlog.parse_vkey(str(key))]
        believed = aics_tlog.verify_checkpoint(
            aics_tlog.parse_note(note.encode()), *trusted, quorum=1, max_age_seconds=60
        )
        assert believed.ok
        assert (await witness.add(request(5, 9)))[0] == 200
        assert (await witness.last())[1].split("\n")[1] == "9"


async def test_it_refuses_forks_and_rollbacks_for_ever(tmp_path):
    async with served(tmp_path / "w") as witness:
        assert (await witness.add(request(0, 7)))[0] == 200
    async with served(tmp_path / "w") as witness:  # as it was
        kept = (await witness.last())[1]
        assert (await witness.add(request(7, 9, "fork")))[0] == 422
        assert (await witness.add(request(7, 7, "fork")))[0] == 422
        assert await witness.add(request(0, 9, "fork")) == (409, "7\n", "text/x.tlog.size")
        assert await witness.add(request(0, 3)) == (409, "7\n", "text/x.tlog.size")
        assert (await witness.add(request(0, 3, key=OTHER)))[0] == 404
        assert (await witness.add(b"old 0\n\n\xff"))[0] == 400
        assert (await witness.add("x" * (WITNESS_BODY_BYTES + 1)))[0] == 413
        assert (await witness.last())[1] == kept
        assert (await witness.add(request(7, 7)))[0] == 200


async def test_of_many_that_go_on_at_once_one_is_cosigned(tmp_path, monkeypatch):
    async with served(tmp_path / "w") as witness:
        assert (await witness.add(request(0, 4)))[0] == 200
        keep, meeting = Shelf.keep, threading.Barrier(2)

        def keep_when_two_have_come(*about):
            with suppress(threading.BrokenBarrierError):
                meeting.wait(0.2)  # in vain: nobody else may look before this one is kept
            keep(*about)

        monkeypatch.setattr(Shelf, "keep", keep_when_two_have_come)
        answers = await asyncio.gather(*(witness.add(request(4, size)) for size in range(5, 25)))
        statuses = [status for status, _, _ in answers]
        assert statuses.count(200) == 1
        assert statuses.count(409) == 19
        assert 5 + statuses.index(200) == int((await witness.last())[1].split("\n")[1])


async def test_nobody_can_have_it_keep_what_it_could_not_read_again(tmp_path):
    """Whoever has seen a checkpoint can send it with its signature as often as a note has room."""
    text = Checkpoint("example.com/log", 5, tree(5).root()).text
    async with served(tmp_path / "w") as witness:
        often = write_request(WitnessRequest(0, (), str(Note(text, (LOG.sign(text),) * SIGNATURES))))
        assert (await witness.add(often))[0] == 200
        assert (await witness.add(request(5, 9)))[0] == 200
    async with served(tmp_path / "w") as witness:
        assert (await witness.add(request(9, 12)))[0] == 200


async def test_a_log_may_begin_empty(tmp_path):
    async with served(tmp_path / "w") as witness:
        text = Checkpoint("example.com/log", 0, EMPTY_ROOT).text
        empty = write_request(WitnessRequest(0, (), str(Note(text, (LOG.sign(text),)))))
        assert (await witness.add(empty))[0] == 200
        assert (await witness.add(request(0, 3)))[0] == 200


async def test_a_checkpoint_is_on_the_disk_before_anybody_is_told(tmp_path, monkeypatch):
    async with served(tmp_path / "w") as witness:
        assert (await witness.add(request(0, 4)))[0] == 200

        def full(*_):
            raise OSError("no space left on device")

        monkeypatch.setattr("gateway.witness_shelf.write_whole", full)
        assert (await witness.add(request(4, 6)))[:2] == (
            500,
            "This witness cannot use its directory. Nothing was cosigned.\n",
        )
        monkeypatch.undo()
        assert (await witness.last())[1].split("\n")[1] == "4"
        assert (await witness.add(request(4, 6, "")))[0] == 200


async def test_a_checkpoint_that_it_did_not_cosign_stops_it(tmp_path):
    async with served(tmp_path / "w") as witness:
        assert (await witness.add(request(0, 4)))[0] == 200
    file = tmp_path / "w" / (sha256(b"example.com/log").hexdigest() + ".checkpoint")
    right = file.read_text()
    for wrong in ("", right[:40], right.replace("\n4\n", "\n3\n"), request(0, 4).split("\n\n", 1)[1]):
        file.write_text(wrong)
        with pytest.raises(Corrupt, match="put the file back"):
            async with served(tmp_path / "w"):
                pass
    file.write_text(right)
    file.rename(file.with_name(sha256(b"example.com/other").hexdigest() + ".checkpoint"))
    with pytest.raises(Corrupt, match="of another log"):
        async with served(tmp_path / "w", LOG, OTHER):
            pass


def test_its_directory_is_its_own(tmp_path):
    with shelf(tmp_path / "w", "witness.example/w1", os.urandom) as opened:
        key = str(opened.key.verifier)
        assert (tmp_path / "w" / "witness.key").stat().st_mode & 0o777 == 0o600
        with (
            pytest.raises(Misconfigured, match="Another witness"),
            shelf(tmp_path / "w", "witness.example/w1", os.urandom),
        ):
            pass
        text = Checkpoint("example.com/log", 0, EMPTY_ROOT).text
        opened.keep("example.com/log", Note(text, (opened.key.cosign(text, 1),)))
    with shelf(tmp_path / "w", "witness.example/w1", os.urandom) as opened:
        assert str(opened.key.verifier) == key
    with pytest.raises(Misconfigured, match="that of"), shelf(tmp_path / "w", "witness.example/w2", os.urandom):
        pass
    (tmp_path / "w" / "witness.key").unlink()
    with (
        pytest.raises(Misconfigured, match="put the file back"),
        shelf(tmp_path / "w", "witness.example/w1", os.urandom),
    ):
        pass


def test_only_keys_of_logs_are_witnessed():
    for keys in ([], [SigningKey("witness.example/w1", b"w" * 32, COSIGNATURE).verifier]):
        with pytest.raises(Misconfigured):
            logs_of(keys)


async def started(directory) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *("witness", "--json", "--name", "witness.example/w1", "--data", directory, "--port", "0"),
        *("--log", str(LOG.verifier)),
        env=environment({}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(30):
        said = json.loads(await process.stdout.readline())
    assert said["logs"] == ["example.com/log"]
    return process, said["url"]


async def test_a_witness_that_is_killed_remembers(tmp_path):
    async with aiohttp.ClientSession() as session:
        process, url = await started(tmp_path / "w")
        assert (await Client(url, session).add(request(0, 7)))[0] == 200
        process.kill()
        await process.wait()
        process, url = await started(tmp_path / "w")
        assert (await Client(url, session).add(request(7, 9, "fork")))[0] == 422
        assert (await Client(url, session).add(request(7, 9)))[0] == 200
        process.terminate()
        async with asyncio.timeout(30):
            assert await process.wait() == 0
