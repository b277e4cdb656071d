"""A witness, as the log sees it (C2SP tlog-witness): it is sent each checkpoint with a proof, and gives a cosignature.

A witness that knows a longer log than ours, or one that ours does not go on from, is believed: that is what it is for.
One that does not answer is asked again later. Nothing of its answers is believed, shown or kept without a cosignature
of its key: whoever stands between it and us can keep its answers from us, and no more.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import aiohttp
from yarl import URL

from gateway.answer_bytes import whole
from gateway.log_settings import WitnessPlace
from ledger.bounds import LOG_WITNESS_SECONDS
from ledger.errors import Corrupt, Malformed, Unavailable
from ledger.log.signed_note import NOTE_BYTES, Note, Signature, parse_note, parse_signature
from ledger.log.tree import Log, Signed
from ledger.log.witness_request import WitnessRequest, write_request

_SIZE: Final = re.compile(r"(0|[1-9][0-9]{0,18})\n?").fullmatch
_OK, _UNKNOWN_LOG, _OTHER_SIZE, _NO_PROOF = 200, 404, 409, 422
_TRIES: Final = 2  # the first may be needed to learn what the witness has cosigned last


class WitnessClient:
    """One witness of one log; keeps to `ledger.log.publisher.Place`."""

    cosigns = True
    pause_seconds = LOG_WITNESS_SECONDS

    def __init__(self, place: WitnessPlace, origin: str, log: Log, session: aiohttp.ClientSession) -> None:
        """Send nothing yet."""
        self.name = f"witness {place.key.name}"
        self._url = place.url
        self._monitoring_url = place.monitoring_url or place.url
        self._key = place.key
        self._origin = origin
        self._log = log
        self._session = session
        self._cosigned_size = 0  # as far as we know

    async def known(self) -> Note | None:
        """Return the checkpoint that it has cosigned last. Raises `Unavailable`, also for what is not its word."""
        origin = sha256(self._origin.encode()).hexdigest()
        status, body = await self._ask("GET", f"{self._monitoring_url}/{origin}/checkpoint", None)
        if status == _UNKNOWN_LOG:
            return None
        if status != _OK:
            raise Unavailable(f"The {self.name} answered {status}.")
        try:
            note = parse_note(body)
        except Malformed as error:
            raise Unavailable(f"What answers for the {self.name} shows no checkpoint.") from error
        if not any(self._key.verifies(note.text, one) for one in note.signatures):
            raise Unavailable(f"What answers for the {self.name} shows what that has not cosigned.")
        if note.text.split("\n", 1)[0] != self._origin:  # it cosigns other logs, too
            raise Unavailable(f"What answers for the {self.name} shows a checkpoint of another log.")
        return note

    async def publish(self, signed: Signed) -> Sequence[Signature]:
        """Have a checkpoint cosigned, once. Raises `Unavailable`, and `Corrupt` if it knows another log of the name."""
        if any(self._key.verifies(signed.note.text, one) for one in signed.note.signatures):
            return ()  # by a process before this one; a cosignature for each start would fill the note
        for _ in range(_TRIES):
            if self._cosigned_size > signed.size:
                newest = await self._log.newest()
                if newest is not None and newest.size >= self._cosigned_size:
                    return ()  # another process of ours has gone on
                raise Corrupt(
                    f"The {self.name} has cosigned {self._cosigned_size} events of this log, which has {signed.size}: "
                    "it was put back to an older state. A person must look."
                )
            proof = await self._log.consistency(self._cosigned_size, signed.size)
            request = WitnessRequest(self._cosigned_size, tuple(proof), str(signed.note))
            status, body = await self._ask("POST", f"{self._url}/add-checkpoint", write_request(request))
            if status == _OK:
                return self._cosignatures(signed, body)
            told = _SIZE(body)
            if status != _OTHER_SIZE or told is None:
                break
            self._cosigned_size = int(told[1])
        same_size = request.old_size == self._cosigned_size == signed.size
        if status == _NO_PROOF or (status == _OTHER_SIZE and same_size):
            raise Corrupt(f"The {self.name} has cosigned a log that this one does not go on from. A person must look.")
        raise Unavailable(f"The {self.name} answered {status} and cosigned nothing.")

    def _cosignatures(self, signed: Signed, body: str) -> Sequence[Signature]:
        try:
            given = [parse_signature(line) for line in body.splitlines()]
        except Malformed as error:
            raise Unavailable(f"The {self.name} answered with what is no signature.") from error
        ours = [one for one in given if self._key.verifies(signed.note.text, one)]
        if not ours:
            raise Unavailable(f"The {self.name} answered without a signature of its key.")
        self._cosigned_size = signed.size
        return ours[:1]

    async def _ask(self, method: str, url: str, body: str | None) -> tuple[int, str]:
        try:
            async with self._session.request(
                method, URL(url, encoded=True), data=body, allow_redirects=False
            ) as answer:
                return answer.status, (await whole(answer, NOTE_BYTES)).decode("utf-8", "replace")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"The {self.name} does not answer ({type(error).__name__}).") from error


def new_session() -> aiohttp.ClientSession:
    """Make the session that all witnesses of a log share; whoever asks for it closes it."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),  # one clock, the publisher's
        headers={"User-Agent": "intentledger", "Content-Type": "text/plain"},
        auto_decompress=False,
        trust_env=False,
    )
