"""The keys of a log: made once, replaced side by side, and refused where they cannot be used."""

import asyncio
import os

import pytest
from doorway import eventually
from kept_log import ORIGIN

from ledger.errors import Misconfigured, Tampered
from ledger.log.keys import Keyring, read_keys, write_first_key, write_keys
from ledger.log.signed_note import SigningKey, verify_note


async def test_keys_are_replaced_while_old_and_new_sign_side_by_side(kept):
    await kept.append(2)
    await kept.begin()
    old = read_keys(kept.keys)
    write_keys(kept.keys, old.with_new(SigningKey(ORIGIN, b"n" * 32)))
    both = read_keys(kept.keys)

    async def signed_by_both():
        note = kept.directory.read()
        return note if note is not None and len(note.signatures) == 2 else None

    note = await eventually(signed_by_both)
    for key in both.verifiers:
        assert verify_note(note, [key]), "who trusts either key can go on"
    retired = both.without(old.signing[0].verifier.key_id.hex())
    write_keys(kept.keys, retired)
    await kept.append(1)
    note = await kept.published(3)
    with pytest.raises(Tampered, match="No key"):
        verify_note(note, old.verifiers)
    assert verify_note(note, retired.verifiers)
    await kept.again()


async def test_the_last_key_that_signs_cannot_be_retired():
    keys = Keyring((SigningKey(ORIGIN, b"k" * 32),))
    with pytest.raises(Misconfigured, match="Only"):
        keys.without(keys.signing[0].verifier.key_id.hex())


@pytest.mark.parametrize(("content", "match"), [("nonsense\n", "cannot be used"), ("", None)])
async def test_keys_that_cannot_be_used_are_refused(kept, content, match):
    await kept.append(1)
    await kept.begin()
    await kept.published(1)
    kept.keys.write_text(content)
    await kept.refused(Misconfigured, match or "put the file of the keys back")
    kept.keys.chmod(0o640)
    await kept.refused(Misconfigured, "Others may read")


async def test_keys_that_are_gone_for_a_while_stop_the_log_for_as_long(kept):
    await kept.begin()
    await kept.append(1)
    await kept.published(1)
    elsewhere = kept.keys.rename(kept.keys.with_suffix(".elsewhere"))
    await kept.append(1)

    async def late():
        return kept.keeper.uncovered == 1 and kept.keeper.behind_seconds > 0.1

    await eventually(late)
    elsewhere.chmod(0o640)
    elsewhere.rename(kept.keys)
    await eventually(late)
    assert kept.keeper.failure is None, "the ledger and the log agree"
    kept.keys.chmod(0o600)
    await kept.published(2)


async def test_keys_that_cannot_be_used_do_not_hide_what_waits_for_them(kept):
    await kept.begin()
    await kept.append(1)
    await kept.published(1)
    await kept.keeper.stop()
    kept.keeper = kept.new_keeper()
    await kept.keeper.open(None)
    kept.keys.chmod(0o640)
    await kept.keeper.start()
    await kept.append(2)

    async def noticed():
        return kept.keeper.uncovered == 2

    await eventually(noticed)


async def test_the_keys_of_another_log_are_refused(kept):
    """What they sign, nobody could verify: a log's keys have its name."""
    write_keys(kept.keys, Keyring((SigningKey("example.com/another", b"k" * 32),)))
    with pytest.raises(Misconfigured, match=r"is of the log 'example\.com/another'"):
        await kept.keeper.open(os.urandom)


async def test_processes_that_begin_together_on_one_directory_have_one_key(kept):
    keepers = [kept.new_keeper() for _ in range(4)]
    await asyncio.gather(*(one.open(os.urandom) for one in keepers))
    assert len({str(one._keys.verifiers) for one in keepers}) == 1
    assert sorted(path.name for path in kept.keys.parent.iterdir()) == ["main.key"]


def test_the_first_key_never_replaces_another(tmp_path):
    for number in (1, 2):
        write_first_key(tmp_path / "main.key", SigningKey(ORIGIN, bytes([number]) * 32))
    assert read_keys(tmp_path / "main.key").signing[0].secret == SigningKey(ORIGIN, b"\x01" * 32).secret
