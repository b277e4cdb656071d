"""Messages on a stream of NATS JetStream: published once under their key, which the stream remembers for a while.

An operation is one publish with `Nats-Msg-Id`, which is the action's key: sent again within the stream's
`duplicate_window`, it is acknowledged with the sequence of the first. So it is `idempotent` for as long as
`key_lifetime_seconds`. That promise is the stream's, so it is looked at before every publish, and nothing is published
where it is not kept:

    duplicate_window    at least key_lifetime_seconds
    storage             file: a stream in memory forgets ids, and messages, when its server ends
    retention           limits: where readers remove messages, a server that starts again forgets their ids with them
    subjects            cover the one that is published to

A message that was published cannot be called back. Its undo is `semantic`: a second message, which the operator words,
under a key of its own.

Asked what became of a key, the adapter looks through the last messages of the subject. That shows what was published
for certain; that something was not it can only say of a stream from which nothing was ever removed.
"""

from collections.abc import Mapping
from typing import Final

from adapters.answers import Senseless, parse, pointed
from adapters.contract import (
    Absent,
    Applied,
    Call,
    Operation,
    Prepared,
    Preview,
    Refused,
    Result,
    Standing,
    Unknown,
    Vote,
)
from adapters.credentials import Reveal
from adapters.facts import checked_facts
from adapters.kinds import Kind
from adapters.messages.server import Server, Stream, weight
from adapters.messages.tables import Look, Message, MessagesTable, looks, publications
from adapters.references import Unrenderable, render_body
from ledger import bounds
from ledger.canonical import canonical
from ledger.errors import Permanent, Transient
from ledger.intents import JSON, Verb

_SOUGHT: Final = 1_000  # messages that are looked through for a key, a third of a millisecond each


class MessagesAdapter:
    """One stream and the operations configured for it."""

    def __init__(self, name: str, table: MessagesTable, server: Server) -> None:
        """Compile the operator's messages; raises `Misconfigured`. Connects to nothing."""
        self.name = name
        self._table = table
        self._server = server
        self._publications = publications(name, table)
        reads = looks(name, table)
        self._looks = {key: one.look for key, one in self._publications.items() if one.look} | reads
        self.operations: Mapping[str, Operation] = {
            key: one.operation for offered in (self._publications, reads) for key, one in offered.items()
        }

    async def open(self) -> None:
        """Connect when the first call comes; the server may be down."""
        self._server.open()

    async def close(self) -> None:
        """Close the connection."""
        await self._server.close()

    async def preview(self, call: Call) -> Preview:
        """Look at the last message of the preview's subject, and show what would be published (law 11)."""
        after = None
        if call.operation in self._publications:
            subject, data = _rendered(self._publications[call.operation].message, call, {})
            after = {"stream": self._table.stream, "subject": subject, "bytes": len(data)}
        look = self._looks.get(call.operation)
        if look is None:
            return Preview(after=after)
        facts, before = await self._look(look, call)
        return Preview(facts, before or None, after)

    async def prepare(self, call: Call) -> Vote:
        """See whether the message can be written and would be taken, once; nothing leaves (laws 1, 4)."""
        try:
            preview = await self.preview(call)
            subject, data = _rendered(self._publications[call.operation].message, call, {})
        except Permanent as error:
            return Refused(error.message)
        unkept = self._unkept(await self._server.stream(), subject, weight(self._headers(call), data))
        return Refused(f"The message cannot be published: {unkept}.") if unkept else Prepared(None, preview)

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Publish under the key (law 5)."""
        del receipt
        return await self._publish(self._publications[call.operation].message, call, {})

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """There is no hold."""

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Publish the operator's follow-up under the compensation's own key (law 8)."""
        del receipt
        follow_up = self._publications[call.operation].follow_up
        if follow_up is None:
            raise Permanent(f"{call.operation} cannot be undone: no follow_up is configured. Nothing was published.")
        return await self._publish(follow_up, call, {"result": result})

    async def inquire(self, call: Call) -> Standing:
        """Look for the key among the last messages of the subject (law 9)."""
        publication = self._publications[call.operation]
        message = publication.follow_up if call.verb is Verb.COMPENSATE else publication.message
        stream = await self._server.stream()
        if message is None or stream is None:
            return Unknown("There is no such stream to look at." if message else "There is no follow_up to look for.")
        try:
            subject = message.subject(call.params)
        except Unrenderable:
            return Absent()
        sequence = max(stream.first, stream.last + 1 - _SOUGHT)
        while (found := await self._server.next(subject, sequence)) is not None:
            if found.key == call.key:
                return Applied(self._result(subject, found.sequence))
            sequence = found.sequence + 1
        if stream.whole and stream.last < _SOUGHT:
            return Absent()
        return Unknown(f"It is not among the last {_SOUGHT} messages of the stream, and others are gone.")

    # ── publishing and looking ───────────────────────────────────────────────────────────────────────────────────

    async def _publish(self, message: Message, call: Call, more: JSON) -> Result:
        subject, data = _rendered(message, call, more)
        headers = self._headers(call)
        unkept = self._unkept(await self._server.stream(), subject, weight(headers, data))
        if unkept is not None:  # said of this moment: what may have been published before stays in doubt
            raise Transient(f"The message is not published: {unkept}.")
        return self._result(subject, await self._server.publish(subject, data, headers))

    def _headers(self, call: Call) -> Mapping[str, str]:
        headers = {"Nats-Msg-Id": call.key, "Nats-Expected-Stream": self._table.stream}
        if call.traceparent:
            headers["traceparent"] = call.traceparent
        return headers | {"Content-Type": "application/json"}

    def _unkept(self, stream: Stream | None, subject: str, length: int) -> str | None:
        """Say which promise the stream does not keep, or nothing."""
        name, wanted = self._table.stream, self._table.key_lifetime_seconds
        if stream is None:
            return f"there is no stream {name}"
        if stream.duplicate_window_seconds < wanted:
            seconds = stream.duplicate_window_seconds
            return f"the stream {name} remembers ids for {seconds:g} seconds, and {wanted} are declared"
        if not stream.on_disk:
            return f"the stream {name} is in memory, so it forgets ids when its server ends"
        if not stream.kept_by_limits:
            return f"readers remove messages from the stream {name}, so it may forget their ids"
        if stream.sealed:
            return f"the stream {name} is sealed"
        if not any(_covers(pattern, subject) for pattern in stream.subjects):
            return f"the stream {name} does not keep the subject {subject}"
        if length > stream.longest_bytes:
            return f"it is longer than the {stream.longest_bytes} bytes that the stream {name} takes"
        return None

    async def _look(self, look: Look, call: Call) -> tuple[JSON, JSON]:
        try:
            subject = look.subject(call.params)
        except Unrenderable as error:
            raise Permanent(f"The preview cannot be made: {error}.") from error
        data = await self._last(subject) if look.table.facts or look.table.before else {}
        facts = {fact: pointed(data, pointer) for fact, pointer in look.table.facts.items()}
        if look.table.count:
            facts[look.table.count] = await self._server.count(subject)
        missing = [fact for fact, value in facts.items() if value is None]
        if missing:
            raise Permanent(f"The last message on {subject} says nothing about {', '.join(missing)}.")
        before = {name: pointed(data, pointer) for name, pointer in look.table.before.items()}
        if len(canonical([facts, before])) > bounds.PREVIEW_BYTES:
            raise Permanent(f"The preview of {call.operation} is longer than {bounds.PREVIEW_BYTES} bytes.")
        return checked_facts(call.operation, facts, look.operation.fact_types), before

    async def _last(self, subject: str) -> JSON:
        found = await self._server.last(subject)
        if found is None:
            raise Permanent(f"There is no message on {subject}.")
        try:
            return parse(found.data)
        except Senseless as error:
            raise Permanent(f"The last message on {subject} has no meaning: {error}.") from error

    def _result(self, subject: str, sequence: int) -> Result:
        return Result({"stream": self._table.stream, "subject": subject, "sequence": sequence})


def _rendered(message: Message, call: Call, more: JSON) -> tuple[str, bytes]:
    """Write the subject and the body; raises `Permanent`."""
    try:
        values = {**call.params, "params": call.params, "key": call.key, **more}
        return message.subject(call.params), canonical(render_body(message.body, values))
    except Unrenderable as error:
        raise Permanent(f"The message cannot be written: {error}. Nothing was published.") from error


def _covers(pattern: str, subject: str) -> bool:
    """Tell whether a stream's pattern covers a subject: `*` is one word, `>` is all the rest, and there is some."""
    wanted, words = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        return len(words) >= len(wanted) and _covers(".".join(wanted[:-1]), ".".join(words[: len(wanted) - 1]))
    return len(wanted) == len(words) and all(w in {"*", word} for w, word in zip(wanted, words, strict=True))


def _build(name: str, table: MessagesTable, reveal: Reveal) -> MessagesAdapter:
    token = reveal("token", table.token) if table.token else None
    password = reveal("password", table.password) if table.password else None
    return MessagesAdapter(name, table, Server(name, table, token, password))


KIND: Final = Kind(MessagesTable, _build)
