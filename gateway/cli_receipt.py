"""The command that verifies receipts. Rules as in `cli.py`; it reads one file, and reaches no database and no net."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from gateway.command import FOUND_WRONG, OK, Json, answer, verifier_keys
from ledger.errors import Malformed, Misconfigured, Tampered

if TYPE_CHECKING:
    from ledger.log.receipts import Proven
    from ledger.log.signed_note import VerifierKey

receipt = App(name="receipt", help="Verify what the service handed out as proof of an intent.")


@receipt.command
def verify(
    file: Path,
    *,
    key: Sequence[str],
    witness: Sequence[str] = (),
    quorum: int | None = None,
    json: Json = False,
) -> int:
    """Verify a receipt, offline, with no more than the keys that you trust; exit 1 if it proves nothing.

    Parameters
    ----------
    file
        The receipt, as GET /v1/intents/{id}/receipt answers.
    key
        The log's verifier key, as `intentledger log keys` shows it; may be repeated.
    witness
        The verifier key of a witness that must have cosigned; may be repeated.
    quorum
        How many of these witnesses must have; all of them by default.
    """
    from ledger.bounds import RECEIPT_BYTES  # noqa: PLC0415
    from ledger.log.receipts import verify_receipt  # noqa: PLC0415
    from ledger.log.signed_note import COSIGNATURE, PLAIN  # noqa: PLC0415

    log_keys, witnesses = _keys("--key", key, PLAIN), _keys("--witness", witness, COSIGNATURE)
    if quorum is not None and not 0 <= quorum <= len(witnesses):
        raise Misconfigured(f"--quorum {quorum} of {len(witnesses)} witnesses cannot be. Nothing was verified.")
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            text = opened.read(RECEIPT_BYTES + 1)
    except OSError as error:
        raise Misconfigured(f"The receipt in {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"What is in {file} is no text, and so no receipt.") from None
    if len(text) > RECEIPT_BYTES:
        raise Misconfigured(f"The file {file} is longer than any receipt.")
    try:
        proven = verify_receipt(text, log_keys, witnesses, quorum)
    except (Malformed, Tampered) as error:
        why = f"This receipt proves nothing. {error.message}"
        if not json:
            raise type(error)(why) from None
        answer({"proven": False, "reason": why}, "", json)
        return FOUND_WRONG
    shown = _json(proven)
    answer(shown, _words(shown), json)
    return OK


def _keys(flag: str, vkeys: Sequence[str], algorithm: int) -> "tuple[VerifierKey, ...]":
    """Read verifier keys of one kind: a log's signature says nothing as a witness's, and the other way round."""
    keys = verifier_keys(flag, vkeys, "Nothing was verified.")
    other = next((one.name for one in keys if one.algorithm != algorithm), None)
    if other is not None:
        raise Misconfigured(f"{flag} cannot be used: the key of {other} is of the other kind, log or witness.")
    return keys


def _json(proven: "Proven") -> dict[str, Any]:
    from datetime import UTC, datetime  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    first = proven.events[0]
    times = {name: datetime.fromtimestamp(at, UTC).isoformat() for name, at in sorted(proven.cosigned.items())}
    return {
        "proven": True,
        "ledger": first.ledger,
        "stream": first.stream,
        "phase": _phase(proven),
        "checkpoint": {"origin": proven.checkpoint.origin, "size": proven.checkpoint.size},
        "cosigned": {name: at.replace("+00:00", "Z") for name, at in times.items()},
        "events": [msgspec.json.decode(one.written) for one in proven.events],
    }


def _phase(proven: "Proven") -> str | None:
    """Return the intent's phase after these events; None if this release cannot read one of them."""
    from ledger.errors import Corrupt  # noqa: PLC0415
    from ledger.events import Recorded, decode  # noqa: PLC0415
    from ledger.state import fold  # noqa: PLC0415

    try:
        state = fold(
            Recorded(
                ledger=one.ledger,
                position=one.position,
                stream=one.stream,
                version=one.version,
                at=one.at,
                event=decode(one.type, bytes(one.body)),
                body=bytes(one.body),
            )
            for one in proven.events
        )
    except Corrupt:
        return None
    return None if state is None else str(state.phase)


def _words(shown: dict[str, Any]) -> str:
    from ledger.visible_text import visible  # noqa: PLC0415

    log = shown["checkpoint"]
    witnesses = "".join(f"\n  cosigned by {name} at {at}" for name, at in shown["cosigned"].items())
    events = "".join(f"\n  {one['position']:>9,}  {one['at']}  {visible(one['type'])}" for one in shown["events"])
    phase = f"; after them it is {shown['phase']}" if shown["phase"] else ""
    return (
        f"PROVEN: the log {log['origin']} has recorded {len(shown['events'])} events of {visible(shown['stream'])} "
        f"under its checkpoint of {log['size']:,}{phase}.{events}{witnesses}"
    )
