"""Master keys: they wrap what seals, rotate, and lie in a file that only its owner reads."""

import itertools

import pytest

from gateway.keyring_file import KeyringFile
from ledger.errors import Corrupt, Misconfigured, NotReady
from ledger.master_keys import new_keyring, parse_keyring

_numbers = itertools.count(1)


def entropy(count):
    return next(_numbers).to_bytes(count, "big")


def test_a_keyring_is_what_was_written_down_and_shows_no_key():
    keyring = new_keyring(entropy).rotated(entropy)
    again = parse_keyring(keyring.text)
    assert again == keyring
    assert again.newest == keyring.newest
    assert keyring.index.hex() not in repr(keyring)


def test_what_an_older_master_key_wrapped_opens_after_a_rotation_and_not_once_that_is_gone():
    old = new_keyring(entropy)
    wrapped = old.wrap("main", "k1", b"s" * 32, entropy)
    rotated = old.rotated(entropy)
    assert rotated.unwrap("main", "k1", wrapped) == b"s" * 32
    assert rotated.wrap("main", "k1", b"s" * 32, entropy).master == rotated.newest != old.newest
    with pytest.raises(NotReady, match="has no master key"):
        rotated.without_old().unwrap("main", "k1", wrapped)
    assert rotated.without_old().mark("main", "88") == old.mark("main", "88")


def test_a_wrapped_key_opens_in_its_own_place_only():
    keyring = new_keyring(entropy)
    wrapped = keyring.wrap("main", "k1", b"s" * 32, entropy)
    for ledger, key in (("test", "k1"), ("main", "k2")):
        with pytest.raises(Corrupt):
            keyring.unwrap(ledger, key, wrapped)


def test_marks_differ_between_subjects_ledgers_and_keyrings():
    one, other = new_keyring(entropy), new_keyring(entropy)
    assert len({one.mark("main", "88"), one.mark("main", "89"), one.mark("test", "88"), other.mark("main", "88")}) == 4


@pytest.mark.parametrize("text", ["", "index AAAA\n", "master m1 x\n", "nonsense", f"index {'A' * 43}=\n"])
def test_what_is_no_keyring_is_refused_without_showing_it(text):
    with pytest.raises(Misconfigured) as refusal:
        parse_keyring(text)
    assert "AAAA" not in refusal.value.message


def test_a_file_is_made_once_for_its_owner_only_and_read_again_when_it_changes(tmp_path):
    path = tmp_path / "personal.keyring"
    file = KeyringFile(path, entropy)
    assert not KeyringFile(path).ensure(needed=False)
    with pytest.raises(Misconfigured, match="cannot be read"):
        file.ensure(needed=True)
    assert file.ensure(needed=False)
    made = file()
    assert path.stat().st_mode & 0o777 == 0o600
    assert KeyringFile(path, entropy).ensure(needed=False)
    assert file() == made
    KeyringFile(path, entropy).replace(made.rotated(entropy))
    assert file().newest != made.newest
    assert list(tmp_path.iterdir()) == [path]
    path.chmod(0o640)
    with pytest.raises(Misconfigured, match="Others may read"):
        KeyringFile(path, entropy)()
