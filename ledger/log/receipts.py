"""The receipt of an intent: a file that proves, offline, what the ledger recorded of it. Pure.

A receipt is one proof (`ledger/log/tlog_proof.py`) for each event of the intent, all of them leading to one checkpoint.
The `extra` of each proof is the event's entry (`ledger/log/entry.py`), which the leaf is the hash of. What is believed
in the end: the log's signature, the cosignatures of witnesses that were asked for, and SHA-256; not the service, not
the database, not who handed the receipt over.

What it shows is the beginning of the intent's stream, without a gap. That nothing was recorded after its last event, no
receipt can show: later events are not in it, and whoever hands it over can cut off the end.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from ledger.bounds import RECEIPT_EVENTS
from ledger.errors import Malformed, Tampered
from ledger.log.checkpoint import Checkpoint, parse_checkpoint
from ledger.log.entry import Entry, read_entry
from ledger.log.merkle import Range, TilePlace, inclusion_ranges, leaf_hash, range_hash, tiles_of, verify_inclusion
from ledger.log.signed_note import VerifierKey, parse_note, verify_note
from ledger.log.tlog_proof import FIRST_LINE, TlogProof, parse_proofs, write_proofs


class Proven(msgspec.Struct, frozen=True):
    """What a receipt proves."""

    checkpoint: Checkpoint
    events: tuple[Entry, ...]  # of one stream, versions 1, 2, 3 …
    cosigned: Mapping[str, int]  # by which witnesses, and when, in seconds since 1970


def receipt_tiles(positions: Iterable[int], size: int) -> set[TilePlace]:
    """Return the places of the tiles that the receipt of these positions is made from, in a log of `size`."""
    return tiles_of({one for position in positions for one in inclusion_ranges(position - 1, size)})


def write_receipt(entries: Mapping[int, bytes], size: int, note: str, tiles: Mapping[TilePlace, bytes]) -> str:
    """Write a receipt of entries, by position, that leads to a signed checkpoint of `size`.

    Raises `Corrupt` if one of `receipt_tiles` is missing.
    """
    known: dict[Range, bytes] = {}  # neighbours share most of their proofs

    def hash_of(leaves: Range) -> bytes:
        if leaves not in known:
            known[leaves] = range_hash(leaves, tiles)
        return known[leaves]

    return write_proofs(
        TlogProof(position - 1, tuple(map(hash_of, inclusion_ranges(position - 1, size))), note, entries[position])
        for position in sorted(entries)
    )


def verify_receipt(
    text: str, log_keys: Sequence[VerifierKey], witness_keys: Sequence[VerifierKey] = (), quorum: int | None = None
) -> Proven:
    """Return what a receipt proves to whoever trusts these keys.

    `quorum` of the witnesses, by default all of them, must have cosigned. Raises `Malformed` for what is no receipt and
    `Tampered` for one that proves nothing: the message says which part is wrong.
    """
    if text.count(FIRST_LINE) > RECEIPT_EVENTS:
        raise Malformed(f"A receipt has at most {RECEIPT_EVENTS} events; this has more.")
    proofs = parse_proofs(text)
    if len({proof.note for proof in proofs}) != 1:
        raise Tampered("Its proofs lead to different checkpoints; those of one receipt lead to one.")
    checkpoint, cosigned = _signed(proofs[0].note, log_keys, witness_keys, quorum)
    return Proven(checkpoint, _stream([_event(proof, checkpoint) for proof in proofs]), cosigned)


def _signed(
    note_text: str, log_keys: Sequence[VerifierKey], witness_keys: Sequence[VerifierKey], quorum: int | None
) -> tuple[Checkpoint, Mapping[str, int]]:
    """Return the checkpoint, signed by the log whose origin it names and by enough witnesses."""
    note = parse_note(note_text)
    checkpoint = parse_checkpoint(note.text)
    own = [key for key in log_keys if key.name == checkpoint.origin]
    if not own:
        names = ", ".join(sorted({key.name for key in log_keys})) or "none"
        raise Tampered(f"It is of the log {checkpoint.origin}, and the keys that are trusted are of: {names}.")
    verify_note(note, own)
    cosigned: dict[bytes, tuple[str, int]] = {}  # a key counts once, whatever it is called
    for key in witness_keys:
        for signature in filter(key.signed, note.signatures):
            verify_note(msgspec.structs.replace(note, signatures=(signature,)), [key])
            cosigned[key.public] = (key.name, signature.timestamp)
    needed = len({key.public for key in witness_keys}) if quorum is None else quorum
    if len(cosigned) < needed:
        raise Tampered(f"{len(cosigned)} of the trusted witnesses have cosigned its checkpoint; {needed} have to.")
    return checkpoint, dict(cosigned.values())


def _event(proof: TlogProof, checkpoint: Checkpoint) -> Entry:
    """Return the event whose entry goes with a proof, which leads to the checkpoint."""
    at = f"The event at index {proof.index}"
    if not verify_inclusion(leaf_hash(proof.extra), proof.index, checkpoint.size, proof.hashes, checkpoint.root):
        raise Tampered(f"{at} is not in the log: it, its place or its proof was changed.")
    try:
        event = read_entry(proof.extra)
    except Malformed as error:
        raise Malformed(f"{at} is in the log, and is no event of Intent Ledger: {error.message}") from error
    if event.written != proof.extra:  # one reading of its bytes, for everybody
        raise Malformed(f"{at} is in the log, and is no event of Intent Ledger: it is not written as entries are.")
    if event.position != proof.index + 1:
        raise Tampered(f"{at} says that it is at position {event.position}; the log disagrees with itself.")
    return event


def _stream(events: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the events if they are the beginning of one stream. Raises `Tampered` if one is missing or is not its."""
    if len({(event.ledger, event.stream) for event in events}) != 1:
        raise Tampered("Its events are not of one intent.")
    if [event.version for event in events] != list(range(1, len(events) + 1)):
        raise Tampered("An event of the intent is left out or stands twice; each from its first on must be there.")
    if any(later.position <= earlier.position for earlier, later in pairwise(events)):
        raise Tampered("Its events are not in the order in which they happened.")
    return tuple(events)
