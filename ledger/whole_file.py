"""Small files that are there whole and on disk or not at all: keys, tokens, checkpoints.

Each is written beside its place and takes its name when it is complete, so that whoever reads finds the old one or the
new one, also after a crash. What a file holds is not known here. Everything raises `OSError`; where the last step has
raised it, the new file may be there all the same.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident


def write_whole(file: Path, text: str, mode: int) -> None:
    """Make a file, or replace the one that is there."""
    with _unfinished(file, text, mode) as written:
        written.replace(file)
    sync_directory(file.parent)


def write_first(file: Path, text: str, mode: int) -> bool:
    """Make a file unless there is one by then, even if two processes try; tell whether it was made."""
    with _unfinished(file, text, mode) as written:
        try:
            file.hardlink_to(written)
        except FileExistsError:
            return False
    sync_directory(file.parent)
    return True


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Let nobody else change a file from its reading to its writing. Raises `BlockingIOError` if somebody is at it.

    What a process that was killed has left half-written beside the file is removed: it may hold a destroyed secret.
    """
    handle = os.open(
        file.with_name(f"{file.name}.lock"), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in file.parent.glob(f".{file.name}.*"):
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def make_directory(directory: Path, mode: int) -> None:
    """Make a directory and what is missing above it, unless it is there; its name is on disk when this returns."""
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    directory.mkdir(mode=mode, parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_directory(made.parent)


def sync_directory(directory: Path) -> None:
    """Bring to disk what its files are called."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _unfinished(file: Path, text: str, mode: int) -> Iterator[Path]:
    """Write the text beside the file, and remove what has not taken another name by the end."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.{get_ident()}")  # one that hangs spoils no other
    try:
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)
