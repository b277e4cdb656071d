"""Commands about the keys of a ledger's log and its checkpoint outside. Rules as in `cli.py`.

But for `log end`, they work on files and need no database: a service that runs reads its keys again by itself.
`intentledger verify` compares a checkpoint with the ledger.
"""

from itertools import count
from typing import TYPE_CHECKING, Any

from cyclopts import App

from gateway.command import NO_FLAGS, OK, Flags, Json, answer, run, settings_of, table, verifier_keys
from ledger.errors import Misconfigured

if TYPE_CHECKING:
    from gateway.log_settings import LogSettings
    from gateway.settings import Settings
    from ledger.log.keys import Keyring

log = App(name="log", help="The keys that sign the log's checkpoints, and the newest checkpoint outside the database.")


@log.command
def keys(flags: Flags = NO_FLAGS, *, json: Json = False) -> int:
    """List the keys of the log, oldest first, as others need them to verify what it signs."""
    from ledger.log.keys import read_keys  # noqa: PLC0415

    settings = _settings(flags)
    shown = _shown(read_keys(settings.keys))
    if json:
        answer({"origin": settings.origin, "file": str(settings.keys), "keys": shown}, "", as_json=True)
    elif shown:
        table(("key", "", "verifier key"), [(one["id"], one["state"], one["verifier_key"]) for one in shown])
    else:
        answer(None, f"There are no keys in {settings.keys}. `serve` or `init` makes the first one.", as_json=False)
    return OK


@log.command
def rotate(flags: Flags = NO_FLAGS, *, known: str | None = None, json: Json = False) -> int:
    """Make a new key. From now on it signs every checkpoint, beside those that sign already.

    The first key of a log is made by `serve` or `init`. Hand the new one's verifier key to whoever verifies, witnesses
    too; when they have it, retire the old one.

    Parameters
    ----------
    known
        The verifier key of one that has signed before and whose private part is lost.
    """
    import os  # noqa: PLC0415

    from gateway.data_directory import claim  # noqa: PLC0415
    from ledger.log.keys import changing, read_keys, write_keys  # noqa: PLC0415
    from ledger.log.signed_note import SEED_BYTES, SigningKey  # noqa: PLC0415

    claim(settings_of(flags).data)
    settings = _settings(flags)
    lost = verifier_keys("--known", [known] if known is not None else [], "Nothing was changed.")
    made = SigningKey(settings.origin, os.urandom(SEED_BYTES))
    if known is None and not read_keys(settings.keys).verifiers:
        raise Misconfigured(
            f"There are no keys of the log in {settings.keys}. Nothing was made; put the file back where it was, or "
            "name the key that is lost with --known. `serve` or `init` makes the first key of a log that has none."
        )
    with changing(settings.keys):
        before = read_keys(settings.keys)
        for key in lost:
            before = before.knowing(key)
        after = before.with_new(made).of(settings.origin, settings.keys)
        write_keys(settings.keys, after)
    words = [f"Made the key {made.verifier.key_id.hex()}. Its verifier key:", f"  {made.verifier}"]
    words += [f"It signs beside {_ids(before)}, until you retire that." if before.signing else "It signs alone."]
    answer(
        {"origin": settings.origin, "made": made.verifier.key_id.hex(), "keys": _shown(after)}, "\n".join(words), json
    )
    return OK


@log.command
def retire(key: str, flags: Flags = NO_FLAGS, *, json: Json = False) -> int:
    """Destroy the private part of a key. It signs no more; what it has signed goes on being verified.

    Parameters
    ----------
    key
        Its id, as `log keys` shows it.
    """
    from ledger.log.keys import changing, read_keys, write_keys  # noqa: PLC0415

    settings = _settings(flags)
    read_keys(settings.keys).without(key)
    with changing(settings.keys):
        after = read_keys(settings.keys).without(key)
        write_keys(settings.keys, after)
    words = f"Retired the key {key}; {_ids(after)} signs. Copies of the file {settings.keys} may still hold it."
    answer({"origin": settings.origin, "retired": key, "keys": _shown(after)}, words, json)
    return OK


@log.command
def checkpoint(flags: Flags = NO_FLAGS, *, json: Json = False) -> int:
    """Show the newest checkpoint that lies outside the database, after verifying its signatures."""
    import base64  # noqa: PLC0415

    from ledger.log.checkpoint import parse_checkpoint  # noqa: PLC0415
    from ledger.log.directory import Directory  # noqa: PLC0415
    from ledger.log.keys import read_keys  # noqa: PLC0415
    from ledger.log.signed_note import verify_note  # noqa: PLC0415

    settings = _settings(flags)
    place = Directory(settings.directory)
    note = place.read()
    if note is None:
        raise Misconfigured(f"There is no checkpoint at {place.name}; it is written where the log is kept.")
    keys = read_keys(settings.keys).verifiers
    verify_note(note, keys)  # that a witness has cosigned it does not make it the log's
    verified = verify_note(note, [*keys, *(one.key for one in settings.witnesses)])
    said = parse_checkpoint(note.text)
    value = {
        "origin": said.origin,
        "size": said.size,
        "root_hash": base64.b64encode(said.root).decode(),
        "signed_by": [{"name": one.name, "key": one.key_id.hex()} for one in verified],
        "note": str(note),
    }
    answer(value, str(note).rstrip("\n"), json)
    return OK


@log.command
def end(origin: str, flags: Flags = NO_FLAGS, *, json: Json = False) -> int:
    """End a log that can never go on, because the newer database that it tells of is lost for good.

    Its newest checkpoint and its keys stay beside where they were, as evidence. The next `serve` begins another log,
    under the origin that [log] names by then: who has verified the old one is to be told.

    Parameters
    ----------
    origin
        The origin of the log that ends, as `log checkpoint` shows it.
    """
    from ledger.log.keys import changing  # noqa: PLC0415

    settings = _settings(flags)
    if settings.origin == origin:
        raise Misconfigured(
            f"The next log would be called {origin!r} too, and pass for the one that ends. Nothing was changed; set "
            "another origin in [log] first."
        )
    with changing(settings.keys):
        run(_ended(settings_of(flags), settings, origin))
        kept = _put_aside(settings)
    words = f"The log {origin!r} has ended; the next `serve` begins {settings.origin!r}."
    evidence = "\n".join(f"Kept: {file}" for file in kept)
    answer({"ended": origin, "begins": settings.origin, "kept": kept}, f"{words}\n{evidence}", json)
    return OK


async def _ended(settings: "Settings", log_settings: "LogSettings", origin: str) -> None:
    """Take the log out of the database, as the owner of its tables. Raises `Misconfigured` where there is another."""
    from gateway.database import database  # noqa: PLC0415
    from ledger.database import answering, connect  # noqa: PLC0415
    from ledger.log.checkpoint import parse_checkpoint  # noqa: PLC0415
    from ledger.log.directory import Directory  # noqa: PLC0415
    from ledger.log.tree import end as end_log  # noqa: PLC0415

    outside = Directory(log_settings.directory).read()
    known = parse_checkpoint(outside.text).origin if outside is not None else None
    if known not in {None, origin}:
        raise Misconfigured(f"The checkpoint in {log_settings.directory} is of {known!r}. Nothing was changed.")
    async with database(settings, shared=True, existing=True) as dsn:
        connection = await connect(dsn)
        try:
            with answering():
                found = await end_log(connection, settings.ledger, origin)
        finally:
            await connection.close()
    if found not in {None, origin}:
        raise Misconfigured(f"The log of this ledger is {found!r}, not {origin!r}. Nothing was changed.")


def _put_aside(settings: "LogSettings") -> list[str]:
    """Rename what belongs to the log that ended, so that nothing takes it for the next one's."""
    from ledger.log.directory import CHECKPOINT  # noqa: PLC0415
    from ledger.whole_file import sync_directory  # noqa: PLC0415

    kept = []
    for file in (settings.directory / CHECKPOINT, settings.keys):
        try:
            if file.exists():
                aside = next(one for n in count(1) if not (one := file.with_name(f"{file.name}.ended-{n}")).exists())
                kept.append(str(file.rename(aside)))
                sync_directory(file.parent)
        except OSError as error:
            raise Misconfigured(
                f"The log has ended in the database, and {file} cannot be put aside: {error.strerror}. Give the "
                "command again when it can."
            ) from error
    return kept


def _settings(flags: Flags) -> "LogSettings":
    from gateway.log_settings import log_settings  # noqa: PLC0415

    return log_settings(settings_of(flags))


def _shown(keyring: "Keyring") -> list[dict[str, Any]]:
    listed = [*((key, "retired") for key in keyring.retired), *((key.verifier, "signs") for key in keyring.signing)]
    return [{"id": key.key_id.hex(), "state": state, "verifier_key": str(key)} for key, state in listed]


def _ids(keyring: "Keyring") -> str:
    return " and ".join(key.verifier.key_id.hex() for key in keyring.signing)
