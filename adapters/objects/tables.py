"""What `intentledger.toml` says about a bucket, and the operations that follow from it.

    [adapters.<name>]
    type, bucket, region, endpoint         endpoint is left out for AWS
    prefix            what agents name lies below it; records what the adapter itself keeps there
    versioned         true: the bucket keeps versions, so that everything can be undone exactly, and things deleted
    credentials       { access_key_id, secret_access_key, session_token }, by reference

Which operations there are is not the operator's to say, only which of them anybody is granted: what they promise
follows from what S3 does, and from whether the bucket keeps versions.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PositiveInt, model_validator

from adapters.contract import Operation
from adapters.facts import FactType
from adapters.reading import reading
from adapters.tables import TIMEOUT_SECONDS_DEFAULT, Secret, Table, TimeoutSeconds
from ledger.intents import Guarantee, Undo

CONTENT_BYTES: Final = 128 * 1024  # half of what an intent may weigh; who has more puts it elsewhere and names it
OBJECT_LENGTH: Final = 512
NAME_BYTES: Final = 1024  # S3's own limit on a key

_NAME: Final = r"^[^\x00-\x1f\x7f]*$"
_TYPE: Final = r"^[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}(; ?charset=[A-Za-z0-9._-]{1,32})?$"
_ETAG: Final = r"^[A-Za-z0-9-]{1,128}$"

FACTS: Final[Mapping[str, FactType]] = {"exists": "boolean", "size": "integer", "etag": "string"}

_OBJECT: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": OBJECT_LENGTH, "pattern": _NAME}
_SEEN: Final[dict[str, Any]] = {"type": "string", "pattern": _ETAG}
_CONTENT: Final[dict[str, Any]] = {
    "text": {"type": "string", "maxLength": CONTENT_BYTES},
    "base64": {"type": "string", "maxLength": CONTENT_BYTES * 4 // 3 + 4, "contentEncoding": "base64"},
    "content_type": {"type": "string", "pattern": _TYPE},
}


class CredentialsTable(Table):
    """Who the adapter is to the store; each part by reference."""

    access_key_id: Secret
    secret_access_key: Secret
    session_token: Secret | None = None


class ObjectsTable(Table):
    """`[adapters.<name>]` with `type = "objects"`."""

    type: Literal["objects"]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
    endpoint: str | None = None
    addressing: Literal["virtual", "path"] = "virtual"
    allow_private: bool = False  # plain http, to a store in a network of one's own
    credentials: CredentialsTable
    prefix: Annotated[str, Field(max_length=256, pattern=r"^([^/\x00-\x1f\x7f]+/)*$")] = ""
    records: Annotated[str, Field(max_length=256, pattern=r"^([^/\x00-\x1f\x7f]+/)+$")] = ".intentledger/"
    versioned: bool = False
    hold_seconds: PositiveInt | None = None  # below the age at which the bucket's rules end unfinished uploads
    key_lifetime_seconds: PositiveInt | None = None  # below the age at which they remove records
    undo_window_seconds: PositiveInt | None = None  # below the age at which they remove older versions
    connections: Annotated[int, Field(ge=1, le=256)] = 16
    timeout_seconds: TimeoutSeconds = TIMEOUT_SECONDS_DEFAULT

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.endpoint is not None:
            parts = urlsplit(self.endpoint)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
                raise ValueError("endpoint is https://host or https://host:port; it is left out for AWS")
            if parts.username is not None or parts.password is not None:
                raise ValueError("endpoint carries no credentials; they stand under credentials, by reference")
            if parts.scheme == "http" and not self.allow_private:
                raise ValueError("endpoint is https, unless allow_private = true says the network between is yours")
        if self.undo_window_seconds is not None and not self.versioned:
            raise ValueError("undo_window_seconds needs versioned = true; without versions nothing can be undone")
        return self


def operations(name: str, table: ObjectsTable) -> Mapping[str, Operation]:
    """Return what an adapter of that name offers; see `adapter.py` for why each promises what it does."""

    def operation(verb: str, guarantee: Guarantee, params: dict[str, Any]) -> Operation:
        atomic = guarantee is Guarantee.ATOMIC
        return Operation(
            name=f"{name}.{verb}",
            params=params,
            guarantee=guarantee,
            undo=Undo.EXACT if table.versioned else Undo.NONE,
            undo_window_seconds=table.undo_window_seconds,
            hold_seconds=table.hold_seconds if atomic else None,
            key_lifetime_seconds=None if atomic else table.key_lifetime_seconds,
            facts=tuple(FACTS),
            fact_types=FACTS,
            money=False,
            summary=f"{verb} object {{object}}",
        )

    def looking(verb: str, facts: Mapping[str, FactType]) -> Operation:
        summary = f"{verb} at object {{object}}" if verb == "look" else f"{verb} of object {{object}}"
        params = _params({"object": _OBJECT})
        return reading(f"{name}.{verb}", params, facts=tuple(facts), fact_types=facts, summary=summary)

    offered = [
        operation("put", Guarantee.ATOMIC, _writing({"object": _OBJECT})),
        operation("create", Guarantee.IDEMPOTENT, _writing({"object": _OBJECT})),
        operation("replace", Guarantee.IDEMPOTENT, _writing({"object": _OBJECT, "etag": _SEEN})),
        looking("look", FACTS),
        looking("uploads", {"uploads": "integer"}),
    ]
    if table.versioned:
        offered.append(looking("history", {"versions": "integer", "markers": "integer"}))
        params = _params({"object": _OBJECT}, {"etag": _SEEN})
        offered.append(operation("delete", Guarantee.IDEMPOTENT, params))
    return {one.name: one for one in offered}


def _writing(required: Mapping[str, Any]) -> dict[str, Any]:
    either = [{"required": ["text"]}, {"required": ["base64"]}]
    return {**_params(required, _CONTENT), "oneOf": either}


def _params(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def misnamed(table: ObjectsTable, name: str) -> str | None:
    """Say what is wrong with the name that an agent gave to an object, or nothing."""
    full = table.prefix + name
    if len(full.encode()) > NAME_BYTES:
        return f"the name is longer than {NAME_BYTES} bytes"
    if any(part in {"", ".", ".."} for part in re.split("[/\\\\]", name)):
        return "a name has no empty part and no step up"
    if full.startswith(table.records):
        return f"what lies below {table.records} are the adapter's own records"
    return None
