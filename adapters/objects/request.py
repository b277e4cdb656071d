"""What one call asks of a bucket: which object, which content, under which condition, and how it is told. Pure."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from adapters.contract import Call, Preview
from adapters.objects.bucket import Seen
from adapters.objects.records import Record
from adapters.objects.tables import CONTENT_BYTES, ObjectsTable, misnamed
from ledger.intents import JSON

_BINARY: Final = "application/octet-stream"
_TEXT: Final = "text/plain; charset=utf-8"
_PARTS: Final = 10_000  # numbers that S3 has for parts; they need not begin with 1


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A call, read once."""

    verb: str  # of the operation: put, create, replace, delete; look, uploads, history
    named: str  # the object as the agent calls it
    object: str  # its key in the bucket
    wanted: str | None = None  # the ETag that must stand
    content: bytes | None = None  # None: nothing is written
    content_type: str = _BINARY
    wrong: str | None = None  # why it can never be done, whatever the store says
    part: int = 1  # the number of the one part of its upload

    @property
    def holds(self) -> bool:
        """Tell whether prepare holds an upload."""
        return self.verb == "put"

    @property
    def condition(self) -> Mapping[str, str]:
        """Return under what condition its upload is completed, in S3's words."""
        match self.verb:
            case "create":
                return {"IfNoneMatch": "*"}
            case "replace":
                return {"IfMatch": f'"{self.wanted}"'}
            case _:
                return {}

    def left(self, parts: Mapping[int, str]) -> bool:
        """Tell whether an upload with these parts is one that this action began and had no time to record.

        S3 shows nothing else of an upload. So its one part has a number that follows from the key, and its content is
        what this action writes.
        """
        content = self.content or b""
        return dict(parts) == {self.part: hashlib.md5(content, usedforsecurity=False).hexdigest()}

    def unmet(self, seen: Seen | None) -> str | None:
        """Say which condition does not hold of what stands there, or nothing."""
        if self.verb == "create" and seen is not None:
            return f"{self.named} is there already."
        if self.verb in {"replace", "delete"} and seen is None:
            return f"There is no {self.named}."
        if self.wanted is not None and seen is not None and seen.etag != self.wanted:
            return f"{self.named} has changed since; its ETag is now {seen.etag}."
        return None

    def preview(self, seen: Seen | None) -> Preview:
        """Show what stands there, and what would."""
        facts = {"exists": seen is not None, "size": seen.size if seen else 0, "etag": seen.etag if seen else ""}
        before = None
        if seen is not None:
            before = {"size": seen.size, "etag": seen.etag, "content_type": seen.content_type}
            if seen.version is not None:
                before["version"] = seen.version
        after: JSON | None = {"exists": False} if self.verb == "delete" else None
        if self.content is not None:
            digest = hashlib.sha256(self.content).hexdigest()
            after = {"size": len(self.content), "sha256": digest, "content_type": self.content_type}
        return Preview(facts, before, after)

    def done(self, record: Record, etag: str | None, version: str | None) -> JSON:
        """Tell what happened: the version, or the delete marker, and what stood there before."""
        told = {"object": self.named, "etag": etag, "version": version, "stood": record.stood}
        return {name: value for name, value in told.items() if value is not None}

    def undone(self, target: str) -> JSON:
        """Tell which version, or delete marker, was taken out of the history."""
        return {"object": self.named, "removed": target}


def request(table: ObjectsTable, call: Call) -> Request:
    """Read a call, whose parameters are valid against the operation's schema."""
    params, verb = call.params, call.operation.rpartition(".")[2]
    content, wrong = _content(params)
    misname = misnamed(table, params["object"])
    if misname is not None:
        wrong = f"The object cannot be called that: {misname}."
    return Request(
        verb=verb,
        named=params["object"],
        object=table.prefix + params["object"],
        wanted=params.get("etag"),
        content=content,
        content_type=params.get("content_type") or (_TEXT if "text" in params else _BINARY),
        wrong=wrong,
        part=1 + int.from_bytes(hashlib.sha256(call.key.encode()).digest()) % _PARTS,
    )


def _content(params: JSON) -> tuple[bytes | None, str | None]:
    if "text" in params:
        content = str(params["text"]).encode()
    elif "base64" in params:
        try:
            content = base64.b64decode(params["base64"], validate=True)
        except (binascii.Error, ValueError):
            return None, "What stands under base64 is not base64."
    else:
        return None, None
    too_long = len(content) > CONTENT_BYTES
    return content, f"The content is longer than {CONTENT_BYTES} bytes." if too_long else None
