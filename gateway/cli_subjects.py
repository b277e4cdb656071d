"""Commands about data subjects: erase one, and rotate the master keys that wrap theirs. Rules as in `cli.py`."""

import os
import sys
from typing import TYPE_CHECKING, Final

from cyclopts import App

from gateway.command import FOUND_WRONG, NO_FLAGS, NO_REACH, OK, Flags, Json, Reach, Yes, answer, ask, confirmed, run
from gateway.command import settings_of as read_settings
from ledger.errors import Misconfigured

if TYPE_CHECKING:
    from gateway.keyring_file import KeyringFile
    from gateway.settings import Settings

_DESTROY: Final = "Destroy the master keys {} for ever? Only this database is wrapped anew before. [y/N] "

subjects = App(name="subjects", help="The people whose data are sealed: erase one, rotate the keys.")


@subjects.command
def erase(subject: str, *, reason: str, reach: Reach = NO_REACH, yes: Yes = False, json: Json = False) -> int:
    """Erase what is personal of somebody, everywhere and for ever. Nothing brings it back.

    Parameters
    ----------
    subject
        Their name, as actions give it: what stands in the parameter that names the data subject.
    reason
        For whoever reads the audit. Do not name them.
    yes
        Erase without being asked; needed where there is no terminal.
    """
    from urllib.parse import quote  # noqa: PLC0415

    if not yes and not confirmed("Erase everything personal of this subject, for ever? [y/N] ", "use --yes"):
        sys.stderr.write("Nothing was erased.\n")
        return FOUND_WRONG
    path = f"/v1/subjects/{quote(subject, safe='')}/erase"
    done = ask(reach, lambda client: client.post(path, {"reason": reason}))
    answer(done, f"Erased. The key {done['key']} was destroyed at position {done['position']} by {done['by']}.", json)
    return OK


@subjects.command
def rotate(flags: Flags = NO_FLAGS, *, json: Json = False) -> int:
    """Make a new master key and wrap every subject's key under it; the old master keys still open what they wrapped.

    Nothing that is sealed changes. Copy the keyring away afterwards; once every process of the ledger has it, retire
    the old ones.
    """
    settings, file = _settings(flags)
    with file.changing():
        file.replace(file().rotated(os.urandom))
        _, count = run(_rewrapped(settings, file))
        newest = file().newest
    answer(
        {"master": newest, "rewrapped": count}, f"Made the master key {newest}; {count:,} keys are under it now.", json
    )
    return OK


@subjects.command
def retire(flags: Flags = NO_FLAGS, *, yes: Yes = False, json: Json = False) -> int:
    """Destroy every master key but the newest, after wrapping what is left under it.

    What older copies of the database hold of anybody's key opens no more, of those who were erased above all. Neither
    does what another database holds that uses the same keyring.

    Parameters
    ----------
    yes
        Destroy them without being asked; needed where there is no terminal.
    """
    settings, file = _settings(flags)
    gone = list(file().masters)[1:]
    if gone and not yes and not confirmed(_DESTROY.format(", ".join(gone)), "use --yes"):
        sys.stderr.write("Nothing was destroyed.\n")
        return FOUND_WRONG
    with file.changing():
        before = file()
        ledgers, count = run(_rewrapped(settings, file))
        if not ledgers:
            raise Misconfigured(
                f"No ledger of this database uses the keyring {file.path}, so another database does. Nothing was "
                "destroyed; name that one with INTENTLEDGER_DSN."
            )
        file.replace(before.without_old())
    gone = [name for name in before.masters if name != before.newest]
    words = f"Destroyed {', '.join(gone) or 'nothing: there is one master key'}."
    answer({"master": before.newest, "retired": gone, "rewrapped": count, "ledgers": ledgers}, words, json)
    return OK


def _settings(flags: Flags) -> "tuple[Settings, KeyringFile]":
    from gateway.keyring_file import keyring_of  # noqa: PLC0415

    settings = read_settings(flags)
    file = keyring_of(settings, os.urandom)
    if not file.path.exists():
        raise Misconfigured(f"There is no keyring {file.path}. `serve` makes the first one. Nothing was changed.")
    return settings, file


async def _rewrapped(settings: "Settings", file: "KeyringFile") -> tuple[list[str], int]:
    """Wrap the keys of every ledger of the database under the newest master key; return which, and how many keys."""
    from gateway.database import existing_pool  # noqa: PLC0415
    from ledger.subject_keys import StoredSubjectKeys, bound_ledgers  # noqa: PLC0415

    count = 0
    async with existing_pool(settings, 1) as pool:
        ledgers = await bound_ledgers(pool, file())
        for ledger in ledgers:
            keys = StoredSubjectKeys(pool, ledger, file, os.urandom)
            await keys.start()  # destroys what came back with an older copy, before it is wrapped anew
            count += await keys.rewrap()
    return ledgers, count
