"""A receipt proves what was recorded of an intent, and nothing that is not exactly that."""

import base64
import json
import random

import pytest
from logged import ATTACKER, KEY, ORIGIN, WITNESS, signed
from paper import paper

from gateway import cli
from ledger.errors import Malformed, Tampered
from ledger.log.merkle import inclusion_ranges, leaf_hash, range_hash
from ledger.log.receipts import receipt_tiles, verify_receipt, write_receipt
from ledger.log.signed_note import COSIGNATURE, SigningKey, parse_note
from ledger.log.tlog_proof import TlogProof, parse_proofs, write_proofs

LOG = paper()
SIZE = len(LOG.events)
STREAM = max((e.stream for e in LOG.events if e.stream.startswith("intent/")), key=lambda stream: len(LOG.of(stream)))
RECEIPT = LOG.receipt(STREAM, SIZE, KEY, WITNESS)
OURS = [KEY.verifier]
SECOND = SigningKey("witness.example/w2", b"2" * 32, COSIGNATURE)


def rewritten(*changed: TlogProof) -> str:
    by_index = {proof.index: proof for proof in parse_proofs(RECEIPT)} | {proof.index: proof for proof in changed}
    return write_proofs(by_index.values())


def proof_of(position: int, note: str = LOG.note(SIZE, KEY, WITNESS)) -> TlogProof:
    hashes = tuple(range_hash(one, LOG.tiles) for one in inclusion_ranges(position - 1, SIZE))
    return TlogProof(position - 1, hashes, note, LOG.entries[position])


def test_it_proves_every_event_of_the_intent():
    proven = verify_receipt(RECEIPT, OURS, [WITNESS.verifier])
    events = [event for event in LOG.events if event.stream == STREAM]
    assert [(e.position, e.version, e.type, bytes(e.body)) for e in proven.events] == [
        (e.position, e.version, e.type, e.body) for e in events
    ]
    assert len(events) > 5
    assert (proven.checkpoint.origin, proven.checkpoint.size) == (ORIGIN, SIZE)
    assert proven.cosigned == {"witness.example/w1": 1_800_000_000}


def test_it_is_made_from_the_tiles_that_it_asks_for_and_no_others():
    positions = LOG.of(STREAM)
    few = {place: LOG.tiles[place] for place in receipt_tiles(positions, SIZE)}
    assert write_receipt(positions, SIZE, LOG.note(SIZE, KEY, WITNESS), few) == RECEIPT


def test_its_end_can_be_cut_off_and_no_other_part():
    """Which is why it claims no more than that these events were the first."""
    proofs = parse_proofs(RECEIPT)
    whole = verify_receipt(RECEIPT, OURS).events
    for length in range(1, len(proofs)):
        assert verify_receipt(write_proofs(proofs[:length]), OURS).events == whole[:length]
        with pytest.raises(Tampered, match="left out"):
            verify_receipt(write_proofs(proofs[length:]), OURS)


def test_one_that_is_longer_than_any_is_refused_unread(monkeypatch):
    monkeypatch.setattr("ledger.log.receipts.RECEIPT_EVENTS", len(LOG.of(STREAM)) - 1)
    monkeypatch.setattr("ledger.log.receipts.parse_proofs", lambda _: pytest.fail("it was read"))
    with pytest.raises(Malformed, match="this has more"):
        verify_receipt(RECEIPT, OURS)


def test_it_may_lead_to_any_checkpoint_that_covers_it():
    for size in range(max(LOG.of(STREAM)), SIZE + 1, 37):
        assert verify_receipt(LOG.receipt(STREAM, size), OURS).checkpoint.size == size


def test_no_changed_character_proves_anything_else():
    chance = random.Random("a receipt")
    right = verify_receipt(RECEIPT, OURS)
    for _ in range(400):
        nth = chance.randrange(len(RECEIPT))
        changed = RECEIPT[:nth] + chance.choice("AZaz09+/=\n —.") + RECEIPT[nth + 1 :]
        try:
            proven = verify_receipt(changed, OURS)
        except (Malformed, Tampered):
            continue
        assert proven == right  # a cosignature that nobody asked about, or what was there before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (write_proofs(parse_proofs(RECEIPT)[1:]), "left out"),
        (write_proofs([*parse_proofs(RECEIPT)[:2], *parse_proofs(RECEIPT)[3:]]), "left out"),
        (write_proofs([*parse_proofs(RECEIPT), parse_proofs(RECEIPT)[-1]]), "stands twice"),
        (rewritten(proof_of(next(e.position for e in LOG.events if e.stream != STREAM))), "not of one intent"),
        (rewritten(proof_of(min(LOG.of(STREAM)), LOG.note(SIZE))), "different checkpoints"),
        (LOG.receipt(STREAM, SIZE, ATTACKER), "No key that is known here"),
        (RECEIPT.replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n"), "does not fit"),
        (LOG.receipt(STREAM).replace(LOG.note(SIZE), str(signed(SIZE, b"x" * 32, KEY))), "not in the log"),
        (LOG.receipt(STREAM).replace(LOG.note(SIZE), str(signed(SIZE, b"x" * 32, KEY, origin="else/where"))), "else"),
        ("", "does not begin"),
        ("hello", "does not begin"),
        (RECEIPT + "\n", "empty line behind its last proof"),
        (RECEIPT.replace("\n\nc2sp", "\n\n\nc2sp", 1), "more than one empty line between two proofs"),
        (RECEIPT.replace("\n", "\r\n"), "carriage return"),
        (RECEIPT.replace("\n\nc2sp", "\nc2sp", 1), "empty line between"),
        (RECEIPT.replace("index", "place", 1), "index"),
        (RECEIPT[: len(RECEIPT) // 2], "."),
    ],
)
def test_what_is_no_receipt_says_why(text, says):
    with pytest.raises((Malformed, Tampered), match=says):
        verify_receipt(text, OURS)


def test_a_leaf_that_is_no_event_proves_nothing():
    entry = LOG.entries[1].replace(b'"version":1', b'"version": 1')
    alone = type(LOG)([LOG.events[0]])
    alone.tiles[0, 0] = leaf_hash(entry)
    note = str(signed(1, alone.tiles[0, 0], KEY))
    with pytest.raises(Malformed, match="not written as entries are"):
        verify_receipt(write_receipt({1: entry}, 1, note, alone.tiles), OURS)


def test_witnesses_that_are_asked_for_must_have_cosigned():
    trusted = [WITNESS.verifier, SECOND.verifier]
    with pytest.raises(Tampered, match="1 of the trusted witnesses have cosigned its checkpoint; 2 have to"):
        verify_receipt(RECEIPT, OURS, trusted)
    assert verify_receipt(RECEIPT, OURS, trusted, quorum=1).cosigned.keys() == {"witness.example/w1"}
    with pytest.raises(Tampered, match="0 of the trusted"):
        verify_receipt(LOG.receipt(STREAM), OURS, [WITNESS.verifier])
    false = WITNESS.cosign("intent-ledger/main\n1\nnothing\n", 1).line
    line = next(line for line in RECEIPT.split("\n") if line.startswith("— witness"))
    with pytest.raises(Tampered, match=r"witness\.example/w1 does not fit"):
        verify_receipt(RECEIPT.replace(line, false), OURS, [WITNESS.verifier])


def test_one_key_under_two_names_is_one_witness():
    again = SigningKey("witness.example/again", b"w" * 32, COSIGNATURE)
    with pytest.raises(Tampered, match="1 of the trusted"):
        verify_receipt(RECEIPT, OURS, [WITNESS.verifier, again.verifier], quorum=2)


def test_a_cosignature_of_no_time_that_there_is_proves_nothing():
    false = WITNESS.cosign(parse_note(LOG.note(SIZE)).text, 2**63).line
    line = next(line for line in RECEIPT.split("\n") if line.startswith("— witness"))
    with pytest.raises(Tampered, match="does not fit"):
        verify_receipt(RECEIPT.replace(line, false), OURS, [WITNESS.verifier])


# ── at the command line, with no database and no network ─────────────────────────────────────────────────────────


def test_the_command_says_what_is_proven(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("it reached for a network"))
    file = tmp_path / "intent.tlog-proof"
    file.write_text(RECEIPT)
    keys = ["--key", str(KEY.verifier), "--witness", str(WITNESS.verifier)]
    assert cli._code(["receipt", "verify", str(file), *keys]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"PROVEN: the log {ORIGIN} has recorded {len(LOG.of(STREAM))} events of {STREAM} ")
    assert "cosigned by witness.example/w1 at 2027-01-15T08:00:00Z" in said
    assert cli._code(["receipt", "verify", str(file), *keys, "--json"]) == 0
    assert f'"stream":"{STREAM}"' in capsys.readouterr().out


def test_the_command_refuses_what_is_not(tmp_path, capsys):
    file = tmp_path / "intent.tlog-proof"
    file.write_text(RECEIPT.replace(base64.b64encode(LOG.entries[min(LOG.of(STREAM))]).decode()[:200], "A" * 200))
    assert cli._code(["receipt", "verify", str(file), "--key", str(KEY.verifier)]) == 1
    assert capsys.readouterr().err.startswith("This receipt proves nothing. ")
    assert cli._code(["receipt", "verify", str(file), "--key", str(KEY.verifier), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["proven"] is False
    assert cli._code(["receipt", "verify", str(file), "--key", str(KEY.verifier)[:-4]]) == 2
    assert cli._code(["receipt", "verify", str(tmp_path / "none"), "--key", str(KEY.verifier)]) == 2


def test_the_command_refuses_keys_of_the_wrong_kind_and_a_quorum_that_cannot_be(tmp_path, capsys):
    file = tmp_path / "intent.tlog-proof"
    file.write_text(RECEIPT)
    log, witness = str(KEY.verifier), str(WITNESS.verifier)
    for words in (
        ["--key", log, "--witness", log],
        ["--key", witness],
        ["--key", log, "--witness", witness, "--quorum", "2"],
        ["--key", log, "--witness", witness, "--quorum=-1"],
    ):
        assert cli._code(["receipt", "verify", str(file), *words]) == 2
        assert "cannot be" in capsys.readouterr().err
