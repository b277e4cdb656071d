"""A witness cosigns what goes on from what it cosigned last, and nothing else (C2SP tlog-witness)."""

import base64

import pytest

from ledger.bounds import WITNESS_TEXT_BYTES
from ledger.errors import Malformed
from ledger.log.checkpoint import Checkpoint
from ledger.log.merkle import EMPTY_ROOT, Tree, consistency_ranges, leaf_hash, range_hash, tiles_of
from ledger.log.signed_note import COSIGNATURE, Note, SigningKey
from ledger.log.witness_request import WitnessRequest, parse_request, write_request
from ledger.log.witnessing import Asked, Refused, judge, read

LOG = SigningKey("example.com/log", b"l" * 32)
NEXT = SigningKey("example.com/log", b"m" * 32)
OTHER = SigningKey("example.com/other", b"o" * 32)
LOGS = {"example.com/log": (LOG.verifier, NEXT.verifier)}


def tree(size: int, fork: str = "") -> Tree:
    grown = Tree()
    for number in range(size):
        grown.extend([leaf_hash(f"{number}{fork if number > 5 else ''}".encode())])
    return grown


def head(size: int, fork: str = "") -> Checkpoint:
    return Checkpoint("example.com/log", size, tree(size, fork).root())


def proof(old: int, size: int, fork: str = "") -> tuple[bytes, ...]:
    tiles = {(tile.level, tile.number): tile.hashes for tile in tree(size, fork).edge()}
    ranges = consistency_ranges(old, size)
    assert tiles_of(ranges) <= tiles.keys()
    return tuple(range_hash(one, tiles) for one in ranges)


def asking(checkpoint: Checkpoint, old: int, hashes: tuple[bytes, ...], *keys: SigningKey) -> str:
    signatures = tuple(key.sign(checkpoint.text) for key in keys or (LOG,))
    return write_request(WitnessRequest(old, hashes, str(Note(checkpoint.text, signatures))))


def answer(body: str, last: Checkpoint | None) -> int:
    """Return the status that a witness answers with."""
    asked = read(body, LOGS)
    refused = asked if isinstance(asked, Refused) else judge(asked, last)
    return refused.status if refused else 200


@pytest.mark.parametrize(("old", "size"), [(0, 0), (0, 1), (0, 7), (1, 2), (4, 8), (3, 7), (6, 200), (7, 7)])
def test_a_checkpoint_that_goes_on_from_the_last_is_cosigned(old, size):
    assert answer(asking(head(size), old, proof(old, size)), head(old) if old else None) == 200


def test_a_log_may_sign_with_an_old_and_a_new_key():
    for keys in ((LOG, NEXT), (NEXT,), (OTHER, LOG)):
        asked = read(asking(head(3), 0, (), *keys), LOGS)
        assert isinstance(asked, Asked)
        assert {one.key_id for one in asked.note.signatures} == {k.verifier.key_id for k in keys} - {
            OTHER.verifier.key_id
        }


@pytest.mark.parametrize(
    ("body", "last", "status"),
    [
        (asking(head(9, "fork"), 7, proof(7, 9, "fork")), head(7), 422),  # a rewritten history
        (asking(head(7, "fork"), 7, ()), head(7), 422),  # another one of the same size
        (asking(Checkpoint("example.com/log", 7, tree(7).root(), ("x" * WITNESS_TEXT_BYTES,)), 0, ()), None, 400),
        (asking(head(9), 7, proof(7, 9)[:-1]), head(7), 422),
        (asking(head(9), 7, (*proof(7, 9), b"x" * 32)), head(7), 422),
        (asking(head(7), 7, (b"x" * 32,)), head(7), 422),
        (asking(head(9), 0, (b"x" * 32,)), None, 422),  # nothing is proved from nothing
        (asking(Checkpoint("example.com/log", 0, b"x" * 32), 0, ()), None, 422),
        (asking(head(9), 6, proof(6, 9)), head(7), 409),
        (asking(head(9), 0, ()), head(7), 409),  # as if it had never been seen
        (asking(head(9), 7, proof(7, 9)), None, 409),
        (asking(head(6), 6, ()), head(7), 409),  # back to an older one
        (asking(head(6), 7, ()), head(7), 400),
        (asking(head(9), 0, (), OTHER), None, 403),
        (asking(Checkpoint("example.com/other", 3, EMPTY_ROOT), 0, (), OTHER), None, 404),
        ("old 0\n\n", None, 400),
        ("", None, 400),
    ],
)
def test_what_does_not_go_on_is_refused_with_the_status_that_logs_know(body, last, status):
    assert answer(body, last) == status


def test_the_size_to_go_on_from_is_told():
    asked = read(asking(head(9), 6, proof(6, 9)), LOGS)
    assert isinstance(asked, Asked)
    refused = judge(asked, head(7))
    assert refused is not None
    assert refused.cosigned_size == 7
    fork = read(asking(head(7, "fork"), 7, ()), LOGS)
    assert isinstance(fork, Asked)
    refused = judge(fork, head(7))
    assert refused is not None
    assert refused.cosigned_size is None, "there is nothing to go on from"


def test_a_signature_of_a_known_key_that_is_wrong_is_refused_even_beside_a_right_one():
    body = asking(head(3), 0, (), LOG, NEXT)
    right, wrong = NEXT.sign(head(3).text).line, NEXT.sign(head(4).text).line
    assert right in body
    assert answer(body.replace(right, wrong), None) == 403


@pytest.mark.parametrize(
    "body",
    [
        "old 01\n\nx\n",
        "old -1\n\nx\n",
        "old 1 \n\nx\n",
        "size 1\n\nx\n",
        "old 1\nnot base64\n\nx\n",
        "old 1\n" + base64.b64encode(b"short").decode() + "\n\nx\n",
        "old 1\n" + (base64.b64encode(b"x" * 32).decode() + "\n") * 64 + "\nx\n",
        "old 1\n" + base64.b64encode(b"x" * 32).decode()[:-2] + "l=\n\nx\n",  # another spelling of the same bytes
        "old 1",
    ],
)
def test_a_body_that_is_no_request_is_refused(body):
    with pytest.raises(Malformed):
        parse_request(body)
    assert answer(body, None) == 400


def test_what_is_written_is_read():
    request = WitnessRequest(7, proof(7, 100), "a note\n\n— somebody abc\n")
    assert parse_request(write_request(request)) == request


def test_the_cosignature_is_over_the_text_and_its_time():
    key = SigningKey("witness.example/w1", b"w" * 32, COSIGNATURE)
    cosignature = key.cosign(head(3).text, 1_700_000_000)
    assert cosignature.timestamp == 1_700_000_000
    assert key.verifier.verifies(head(3).text, cosignature)
    assert not key.verifier.verifies(head(4).text, cosignature)
