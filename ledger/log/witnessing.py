"""What a witness decides about a checkpoint that a log asks it to cosign (C2SP tlog-witness). Pure.

A witness believes nobody. It cosigns a checkpoint only if the log has signed it and a proof shows that it goes on from
the one it cosigned last, so that two histories of one log are never both cosigned. Who asks does not matter: the log's
signature is all that counts. A refusal is a value; the numbers are HTTP's, as the specification gives them.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ledger.bounds import WITNESS_TEXT_BYTES
from ledger.errors import Malformed, Tampered
from ledger.log.checkpoint import Checkpoint, parse_checkpoint
from ledger.log.merkle import EMPTY_ROOT, verify_consistency
from ledger.log.signed_note import Note, VerifierKey, parse_note, verify_note
from ledger.log.witness_request import parse_request

BAD: Final = 400
UNKNOWN_KEY: Final = 403
UNKNOWN_LOG: Final = 404
OTHER_SIZE: Final = 409
INCONSISTENT: Final = 422

Logs = Mapping[str, Sequence[VerifierKey]]  # the keys of each log that is witnessed, by its origin


class Asked(msgspec.Struct, frozen=True):
    """A request that the log has signed."""

    checkpoint: Checkpoint
    note: Note  # with no signatures but the log's own, verified, one of each key
    old_size: int
    proof: tuple[bytes, ...]


class Refused(msgspec.Struct, frozen=True):
    """Nothing was cosigned."""

    status: int
    reason: str
    cosigned_size: int | None = None  # what the log must go on from, where it went on from something else


def read(body: str, logs: Logs) -> Asked | Refused:
    """Read a request and check that a log which is witnessed here has signed it."""
    try:
        request = parse_request(body)
        note = parse_note(request.note)
        checkpoint = parse_checkpoint(note.text)
    except Malformed as error:
        return Refused(BAD, error.message)
    if checkpoint.origin not in logs:
        return Refused(UNKNOWN_LOG, "This log is not witnessed here.")
    try:
        signatures = verify_note(note, logs[checkpoint.origin])
    except Tampered as error:
        return Refused(UNKNOWN_KEY, error.message)
    if request.old_size > checkpoint.size:
        return Refused(BAD, f"A checkpoint of {checkpoint.size} cannot go on from one of {request.old_size}.")
    if len(note.text.encode()) > WITNESS_TEXT_BYTES:
        return Refused(BAD, f"The text of a checkpoint has at most {WITNESS_TEXT_BYTES} bytes here.")
    once = {signature.key_id: signature for signature in signatures}  # what is kept must have room for ours
    return Asked(checkpoint, Note(note.text, tuple(once.values())), request.old_size, request.proof)


def judge(asked: Asked, last: Checkpoint | None) -> Refused | None:
    """Say why the checkpoint is not cosigned after `last`, the one of that log that was; None: it is.

    Between this look and the record that it was cosigned, `last` must not change.
    """
    old = last or Checkpoint(asked.checkpoint.origin, 0, EMPTY_ROOT)
    new = asked.checkpoint
    if asked.old_size != old.size:
        return Refused(OTHER_SIZE, f"The checkpoint that was cosigned last is one of {old.size}.", old.size)
    empty = new.size > 0 or new.root == EMPTY_ROOT
    if not empty or not verify_consistency(old.size, new.size, old.root, new.root, asked.proof):
        return Refused(
            INCONSISTENT,
            f"The proof does not show that this checkpoint of {new.size} goes on from the one of {old.size} that was "
            "cosigned: events before it were changed, or the proof is wrong.",
        )
    return None
