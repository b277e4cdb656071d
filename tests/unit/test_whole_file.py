"""Small files and their directories are on disk when it is said that they are; one process at a time changes them."""

import os
from pathlib import Path

import pytest

from ledger.whole_file import alone, make_directory, write_whole


def test_a_directory_is_on_disk_with_all_that_was_missing_above_it(tmp_path, monkeypatch):
    """Without it, a power cut takes the key and leaves in the database what it has signed."""
    synced, fsync = [], os.fsync

    def noted(handle):
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    make_directory(tmp_path / "a" / "b" / "c", 0o700)
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    make_directory(tmp_path / "a" / "b" / "c", 0o700)
    assert len(synced) == 3, "what is there is there"
    assert (tmp_path / "a" / "b" / "c").stat().st_mode & 0o777 == 0o700


def test_one_at_a_time_changes_a_file_and_what_a_dead_one_left_is_removed(tmp_path):
    file = tmp_path / "main.key"
    write_whole(file, "a secret", 0o600)
    left, others = tmp_path / ".main.key.17.4711", tmp_path / ".other.key.17.4711"
    left.write_text("half a sec")
    others.write_text("")
    with alone(file):
        assert (left.exists(), others.exists()) == (False, True)
        with pytest.raises(BlockingIOError), alone(file):
            pass
    with alone(file):
        assert file.read_text() == "a secret"
