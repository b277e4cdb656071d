"""The directory in which one installation keeps what is its own: its database, its operator's token.

It owns the rules about that directory, and of what is kept in it knows only what the token is called:

  * It is made by us or held nothing when we first met it, but keys and tokens of another one; a marker file says so
    ever after.
  * It belongs to the user we run as and nobody else may write to it.
  * Nothing outside of it is ever created, except its missing parents, and no mode or owner of an existing directory is
    ever changed.
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ledger.errors import Misconfigured

_MARKER: Final = "INTENTLEDGER"
_MARKER_TEXT: Final = """\
This directory belongs to Intent Ledger, which made everything in it.
Stop the service before you copy or move it, and take it as a whole.
"""


def token_file(directory: Path, ledger: str) -> Path:
    """Return where the token of a ledger's operator lies."""
    return directory / f"operator-{ledger}.token"


def keyring_file(directory: Path) -> Path:
    """Return where the master keys of the personal data of every ledger lie."""
    return directory / "personal.keyring"


def default_data_directory(environment: Mapping[str, str]) -> Path:
    """Return /var/lib/intentledger for root, otherwise intentledger below $XDG_DATA_HOME or ~/.local/share.

    Root's home is no place for it: PostgreSQL runs as another user then, who may not pass through it.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/intentledger")
    data_home = Path(environment.get("XDG_DATA_HOME", ""))
    return (data_home if data_home.is_absolute() else Path.home() / ".local" / "share") / "intentledger"


def claim(directory: Path) -> Path:
    """Make the directory, or recognise it as ours, and return its absolute path.

    Raises `Misconfigured` when it is somebody else's, holds something else, or lets others write.
    """
    directory = directory.expanduser().absolute()
    try:
        if not directory.exists():
            directory.mkdir(parents=True)
            directory.chmod(0o711 if os.geteuid() == 0 else 0o700)  # as root: PostgreSQL's user must pass through
        directory = directory.resolve(strict=True)
        _check(directory)
        marker = directory / _MARKER
        if not marker.exists():
            marker.write_text(_MARKER_TEXT)
    except OSError as error:
        raise Misconfigured(
            f"The data directory {directory} cannot be used: {error.strerror}. Nothing was started; "
            "choose another one with INTENTLEDGER_DATA."
        ) from error
    return directory


def owner_name(uid: int) -> str:
    """Name a user for people."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _brought(entry: Path) -> bool:
    """Tell whether it is what people bring from another data directory: keys of logs, a keyring, a token."""
    return entry.name in {"log", "personal.keyring"} or entry.match(token_file(Path(), "*").name)


def _check(directory: Path) -> None:
    if not directory.is_dir():
        raise Misconfigured(
            f"The data directory {directory} is not a directory. Nothing was started or changed; "
            "choose another one with INTENTLEDGER_DATA."
        )
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise Misconfigured(
            f"The data directory {directory} belongs to {owner_name(found.st_uid)}, and this process runs as "
            f"{owner_name(os.geteuid())}. Nothing was started or changed; run it as its owner, or choose another "
            "directory with INTENTLEDGER_DATA."
        )
    if found.st_mode & 0o022:
        raise Misconfigured(
            f"Others may write to the data directory {directory} (mode {found.st_mode & 0o7777:o}). Nothing was "
            f"started or changed; forbid it with: chmod go-w {directory}"
        )
    if not (directory / _MARKER).exists() and not all(map(_brought, directory.iterdir())):
        raise Misconfigured(
            f"The data directory {directory} is not empty and was not made by Intent Ledger. Nothing was started or "
            "changed; choose an empty or new directory with INTENTLEDGER_DATA."
        )
