"""Notes are signed and verified as C2SP signed-note and tlog-cosignature say, and what is changed is found."""

import base64

import pytest

from ledger.errors import Malformed, Tampered
from ledger.log.checkpoint import Checkpoint, parse_checkpoint
from ledger.log.signed_note import (
    COSIGNATURE,
    Note,
    Signature,
    SigningKey,
    parse_note,
    parse_signature,
    parse_signing_key,
    parse_verifier_key,
    verify_note,
)

# The example of C2SP signed-note.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# The keys and note of Go's golang.org/x/mod/sumdb/note.
GO_SECRET = (
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"  # published with the example
)
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
TEXT = "intent-ledger/main\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"


def key(number=1, name="intent-ledger/main", algorithm=1):
    return SigningKey(name, bytes([number]) * 32, algorithm)


def signed(*keys, text=TEXT):
    return Note(text, tuple(each.sign(text) for each in keys))


def test_the_example_of_the_specification_verifies():
    note = parse_note(NOTE)
    (signature,) = verify_note(note, [parse_verifier_key(VKEY)])
    assert (note.text, signature.name) == ("This is an example message.\n", "example.com/foo")
    assert str(note) == NOTE
    assert str(parse_verifier_key(VKEY)) == VKEY


def test_a_key_of_go_signs_here_what_it_signs_there():
    go = parse_signing_key(GO_SECRET)
    assert (str(go.verifier), go.secret) == (GO_VKEY, GO_SECRET)
    assert go.sign(GO_TEXT).line == GO_LINE


def test_what_was_signed_verifies_and_comes_back_the_same():
    note = parse_note(str(signed(key())))
    assert verify_note(note, [key().verifier]) == note.signatures
    assert parse_signing_key(key().secret).verifier == parse_verifier_key(str(key().verifier))


@pytest.mark.parametrize("place", [0, len(TEXT) - 2])
def test_a_changed_text_is_found(place):
    other = TEXT[:place] + "x" + TEXT[place + 1 :]
    with pytest.raises(Tampered, match="was changed"):
        verify_note(Note(other, signed(key()).signatures), [key().verifier])


def test_signatures_of_unknown_keys_are_passed_over_but_one_must_be_known():
    note = signed(key(2), key(1), key(3, "another"))
    assert verify_note(note, [key(1).verifier]) == (note.signatures[1],)
    with pytest.raises(Tampered, match="No key that is known"):
        verify_note(note, [key(4).verifier])


def test_one_wrong_signature_of_a_known_key_spoils_the_note():
    note = Note(TEXT, (*signed(key(1)).signatures, *signed(key(2), text="something else\n").signatures))
    with pytest.raises(Tampered):
        verify_note(note, [key(1).verifier, key(2).verifier])


def test_a_cosignature_says_when_and_is_no_plain_signature():
    witness = key(7, "witness.example/w1", COSIGNATURE)
    signature = parse_signature(witness.cosign(TEXT, 1679315147).line)
    assert verify_note(Note(TEXT, (signature,)), [witness.verifier])[0].timestamp == 1679315147
    later = parse_signature(
        "— witness.example/w1 "
        + base64.b64encode(signature.key_id + (1679315148).to_bytes(8, "big") + signature.signature[8:]).decode()
    )
    assert not witness.verifier.verifies(TEXT, later)
    assert not key(7, "witness.example/w1").verifier.signed(signature)


@pytest.mark.parametrize("time", [0, 253_402_300_800, 2**63, 2**64 - 1])
def test_a_cosignature_of_no_time_that_there_is_says_nothing(time):
    witness = key(7, "witness.example/w1", COSIGNATURE)
    assert not witness.verifier.verifies(TEXT, witness.cosign(TEXT, time))


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 63, 71, 73])
def test_a_signature_of_another_length_is_wrong_and_nothing_worse(length):
    for algorithm in (1, COSIGNATURE):
        one = key(7, "witness.example/w1", algorithm).verifier
        assert not one.verifies(TEXT, Signature(one.name, one.key_id, bytes(length)))


def test_sixteen_signatures_of_the_longest_kind_are_read():
    """As many must be, says the specification, and those that no quantum computer forges have nearly 5 kB."""
    long = tuple(Signature(f"witness.example/{nth}", b"long", bytes(5_000)) for nth in range(15))
    note = Note(TEXT, (*signed(key()).signatures, *long))
    assert verify_note(parse_note(str(note)), [key().verifier])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\u3000b", "a\x00b", "a\x08", "a\x1fb", "a\nb"])
def test_a_key_has_no_name_that_a_note_could_not_carry(name):
    with pytest.raises(Malformed):
        key(name=name)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "no signatures\n",
        "no empty line\n— a AAAAAAAA\n",
        "cut off\n\n— a AAAAAAAA",
        "not base64\n\n— a AAAA*AAA\n",
        "too short\n\n— a AAAA\n",
        "no dash\n\n- a AAAAAAAA\n",
        "plus\n\n— a+b AAAAAAAA\n",
        "control\x07\n\n— a AAAAAAAA\n",
        "return\r\n\n— a AAAAAAAA\n",
        "long\n\n" + "— a AAAAAAAA\n" * 65,
        "x" * 140_000 + "\n\n— a AAAAAAAA\n",
    ],
)
def test_what_is_no_note_is_malformed(raw):
    with pytest.raises(Malformed):
        parse_note(raw)


def test_texts_may_have_empty_lines():
    note = signed(key(), text="first\n\nsecond\n")
    assert parse_note(str(note)) == note


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a+b",
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("+Ae", "+Be"),
        VKEY[:-4],
        VKEY.replace("foo", "f o"),
    ],
)
def test_what_is_no_key_is_malformed(vkey):
    with pytest.raises(Malformed):
        parse_verifier_key(vkey)
    with pytest.raises(Malformed):
        parse_signing_key("PRIVATE+KEY+" + vkey)


def test_a_secret_is_not_shown_in_what_is_said_about_it():
    with pytest.raises(Malformed) as raised:
        parse_signing_key(GO_SECRET.replace("c74f20a3", "c74f20a4"))
    assert "AYEKF" not in str(raised.value)


def test_a_checkpoint_comes_back_as_it_was_written():
    checkpoint = Checkpoint("example.com/behind-the-sofa", 20852163, bytes(range(32)))
    assert parse_checkpoint(checkpoint.text) == checkpoint
    assert checkpoint.text.split("\n")[1] == "20852163"
    more = Checkpoint("o", 0, bytes(32), ("extension", "another"))
    assert parse_checkpoint(more.text) == more


ROOT = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n",
        "o\n1\n",
        f"o\n1\n{ROOT}",
        f"\n1\n{ROOT}\n",
        f"o\n01\n{ROOT}\n",
        f"o\n-1\n{ROOT}\n",
        f"o\n1e3\n{ROOT}\n",
        f"o\n\u0661\n{ROOT}\n",
        f"o\n99999999999999999999\n{ROOT}\n",
        "o\n1\nAAAA\n",
        f"o\n1\n{ROOT[:-1]}!\n",
        f"o\n1\n{ROOT}\n\n",
        f"o\n1\n{ROOT}\nx\n\ny\n",
    ],
)
def test_what_is_no_checkpoint_is_malformed(text):
    with pytest.raises(Malformed):
        parse_checkpoint(text)
