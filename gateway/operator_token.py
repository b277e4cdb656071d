"""The operator's token: made once, kept in a file that only the operator can read, known to the ledger by its SHA-256.

The file is written and on disk before the grant is recorded: a crash in between leaves a token that is used at the next
start, never a grant whose token nobody has.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from authority.authority import Authority
from authority.grants import TOKEN_BYTES, token_of
from gateway.data_directory import claim
from ledger.errors import Misconfigured
from ledger.whole_file import write_first

_TOKEN_FILE_BYTES: Final = 512


async def ensure_operator(authority: Authority, file: Path, entropy: Callable[[int], bytes]) -> bool:
    """Make sure that the ledger has an operator; return whether `file` holds a living token.

    False when the grant was made elsewhere, so that only its maker has the token, and when it was revoked: without
    the file, the next start makes another. Raises `Unavailable`.
    """
    made_now = _write_once(file, token_of(entropy(TOKEN_BYTES)))
    token = _read(file)
    standing = await authority.standing(token)
    if standing:
        return not standing[-1].revoked
    if await authority.ensure_operator(token):
        return True
    if made_now:
        _forget(file)
    return False


def _write_once(file: Path, token: str) -> bool:
    """Write the file unless it is there; whole and on disk or not at all, even if two processes try."""
    claim(file.parent)
    if file.exists():
        return False
    return write_first(file, token + "\n", 0o600)


def _read(file: Path) -> str:
    if file.stat().st_mode & 0o077:
        raise Misconfigured(
            f"Others may read the operator's token in {file}. Nothing was started; if nobody has, forbid it with: "
            f"chmod 600 {file}"
        )
    with file.open() as opened:
        token = opened.read(_TOKEN_FILE_BYTES).strip()
    if not token:
        raise Misconfigured(f"The operator's token in {file} is empty. Nothing was started; remove the file.")
    return token


def _forget(file: Path) -> None:
    """Remove the file that we have just written in vain."""
    file.unlink(missing_ok=True)
