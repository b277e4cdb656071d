"""One bucket of an S3-speaking store: single requests, and exactly what each error says about them.

    | what happens to a request | a reading one | one that may have an effect |
    |---|---|---|
    | no connection | Transient | Transient |
    | the store refuses who we are, or the clock (401, 403, codes below) | Transient | Transient |
    | the store says no in its own words (any other 4xx) | StoreRefused | StoreRefused |
    | 5xx, a redirect, an answer that makes no sense, no whole answer | Transient | InDoubt |

What a `StoreRefused` means for an action is for the caller to say. Nothing is repeated here: the library's own retries
are off. Credentials are asked for at each signature, so they may rotate.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from functools import cache
from typing import Any, Final

import aiohttp
import msgspec
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ParamValidationError,
    ProxyConnectionError,
    SSLError,
)
from botocore.loaders import Loader

from adapters.answers import AWAY
from adapters.credentials import Credential
from adapters.objects.tables import ObjectsTable
from ledger import bounds
from ledger.errors import AdapterError, InDoubt, Transient

_NO_CONNECTION: Final = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError)
_NEVER_MADE: Final = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.ConnectionTimeoutError)
_NOT_NOW: Final = (  # as the store names it; an answer without a body is named by its status
    "AccessDenied AllAccessDisabled AccountProblem ExpiredToken InvalidAccessKeyId InvalidToken NoSuchBucket "
    "RequestTimeTooSkewed SignatureDoesNotMatch SlowDown TokenRefreshRequired 401 403 429"
)
_IDLE_SECONDS: Final = 3  # shorter than stores wait, so that they seldom close what we are about to use
_VERSIONS_WALKED: Final = 50  # of one object, above the one that was seen; more writers at once are not told apart
_UPLOADS_SHOWN: Final = 50  # of one object; each takes a request
_RECORD_BYTES: Final = 2 * bounds.ANSWER_BYTES


class StoreRefused(Transient):
    """The store said no to one request, in its own words. That request had no effect."""

    def __init__(self, status: int, code: str, words: str) -> None:
        self.status = status
        self.code = code
        self.words = words
        super().__init__(f"{words} Nothing was changed by that.")

    @property
    def unmet(self) -> bool:
        """Tell whether a condition did not hold, or somebody else wrote at the same moment."""
        return self.status in {409, 412} or self.code == "NoSuchKey"  # If-Match where nothing stands any more


class Seen(msgspec.Struct, frozen=True):
    """An object, or one version of it, as the store shows it."""

    etag: str
    size: int
    version: str | None
    content_type: str
    key: str | None  # of the action that wrote it


class Version(msgspec.Struct, frozen=True):
    """One entry in the history of an object: a version, or the mark that it was deleted."""

    version: str
    etag: str | None  # None: a delete marker


class _Rotating(AioCredentials):  # type: ignore[misc]  # the library has no types
    """Credentials as they are at the moment of each signature."""

    def __init__(self, access: Credential, secret: Credential, token: Credential | None) -> None:
        super().__init__("", "")
        self._parts = (access, secret, token)

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        access, secret, token = self._parts
        return ReadOnlyCredentials(access(), secret(), token() if token else None, None)


class _Once(AIOHTTPSession):  # type: ignore[misc]  # the library has no types
    """Connections on which nothing is repeated: what is below would, by itself, when one breaks without an answer."""

    async def _get_session(self, proxy_url: str | None) -> Any:
        session = await super()._get_session(proxy_url)
        session._retry_connection = False  # noqa: SLF001 - there is no other way to say it to a session of theirs
        return session


class Bucket:
    """A bucket, from `open` to `close`."""

    def __init__(
        self, name: str, table: ObjectsTable, access: Credential, secret: Credential, token: Credential | None
    ) -> None:
        """Remember where it is and who we are there. Connects to nothing."""
        self._name = name
        self._table = table
        self._credentials = _Rotating(access, secret, token)
        self._open = AsyncExitStack()
        self._client: Any = None

    async def open(self) -> None:
        """Make the client; the store may be down."""
        table = self._table
        session = AioSession()
        session.register_component("data_loader", _loader())
        session._credentials = self._credentials  # noqa: SLF001 - else it would look for others' in the environment
        config = AioConfig(
            retries={"total_max_attempts": 1},
            connect_timeout=table.timeout_seconds,
            read_timeout=table.timeout_seconds,
            max_pool_connections=table.connections,
            connector_args={"keepalive_timeout": _IDLE_SECONDS},
            http_session_cls=_Once,
            s3={"addressing_style": table.addressing},
            request_checksum_calculation="when_required",  # parts carry Content-MD5, which every store checks
            response_checksum_validation="when_required",
            ignore_configured_endpoint_urls=True,
        )
        plain = table.endpoint is not None and table.endpoint.startswith("http:")
        client = session.create_client(
            "s3",
            region_name=table.region,
            endpoint_url=table.endpoint,
            verify=False if plain else None,  # without TLS there are no certificates to read, either
            config=config,
        )
        self._client = await self._open.enter_async_context(client)

    async def close(self) -> None:
        """Close the client. Uploads and objects stay."""
        self._client = None
        await self._open.aclose()

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def keeps_versions(self) -> bool:
        """Tell whether the bucket keeps versions of what is written from now on."""
        answer = await self._look("get_bucket_versioning")
        return str(answer.get("Status")) == "Enabled"

    async def seen(self, key: str, version: str | None = None) -> Seen | None:
        """Return an object, or one version of it, as it is now; None: there is none, or it is deleted."""
        chosen = {} if version is None else {"VersionId": version}
        try:
            found = await self._look("head_object", Key=key, **chosen)
        except StoreRefused as error:
            if error.status == 404 or (version is not None and error.status in {400, 405}):
                return None  # 405: that version is a delete marker; 400: it never was one
            raise
        return Seen(
            etag=found["ETag"].strip('"'),
            size=found["ContentLength"],
            version=found.get("VersionId") if self._table.versioned else None,
            content_type=found.get("ContentType", ""),
            key=found.get("Metadata", {}).get("intentledger-key"),
        )

    async def history(self, key: str) -> AsyncIterator[Version]:
        """List what became of an object, the newest first. It ends early, with `Transient`, where it is very long."""
        place: dict[str, str] = {}
        for _ in range(_VERSIONS_WALKED):  # one at a time: in a page versions and markers are not in one order
            page = await self._look("list_object_versions", Prefix=key, MaxKeys=1, **place)
            for one in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                if one["Key"] != key:
                    return
                etag = one.get("ETag")
                yield Version(one["VersionId"], etag.strip('"') if etag else None)
            if not page.get("IsTruncated"):
                return
            place = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
        raise Transient(f"The history of the object has more than {_VERSIONS_WALKED} entries; nothing was sent.")

    async def read(self, key: str) -> tuple[bytes, str] | None:
        """Return the bytes of a small object and its ETag; None: there is none."""
        try:
            found = await self._look("get_object", Key=key)
            async with found["Body"] as body:
                data = await body.read(_RECORD_BYTES)
        except StoreRefused as error:
            if error.status == 404:
                return None
            raise
        except (HTTPClientError, OSError, TimeoutError) as error:
            raise Transient(f"The store did not tell: {type(error).__name__}.", silent=True) from error
        return data, found["ETag"]

    async def parts(self, key: str, upload: str) -> Mapping[int, str] | None:
        """Return the ETags of what an upload holds, by part number; None: it can no longer be completed."""
        try:
            page = await self._look("list_parts", Key=key, UploadId=upload)
        except StoreRefused as error:
            if error.status == 404:
                return None
            raise
        return {part["PartNumber"]: part["ETag"].strip('"') for part in page.get("Parts", ())}

    async def uploads(self, key: str) -> Mapping[str, Mapping[int, str]]:
        """Return the uploads of an object that stand, by id, with what they hold; of many, the first ones."""
        page = await self._look("list_multipart_uploads", Prefix=key)
        ids = [one["UploadId"] for one in page.get("Uploads", ()) if one["Key"] == key]
        found = {one: await self.parts(key, one) for one in ids[:_UPLOADS_SHOWN]}
        return {one: parts for one, parts in found.items() if parts is not None}

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def write(self, key: str, data: bytes, over: str | None) -> str | None:
        """Write a small object over the one with that ETag, or where there is none; None: it is otherwise."""
        condition = {"IfNoneMatch": "*"} if over is None else {"IfMatch": over}
        try:
            written = await self._act("put_object", Key=key, Body=data, ContentType="application/json", **condition)
        except StoreRefused as error:
            if error.unmet or error.status == 404:
                return None
            raise
        return str(written["ETag"])

    async def begin(self, key: str, content_type: str, mark: str) -> str:
        """Begin an upload, which nobody sees until it is completed, and return its id."""
        answer = await self._look(  # an upload whose id never arrived cannot be completed by anybody: no effect
            "create_multipart_upload", Key=key, ContentType=content_type, Metadata={"intentledger-key": mark}
        )
        return str(answer["UploadId"])

    async def part(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Send the whole content as the one part of an upload, and return its ETag."""
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        answer = await self._look(
            "upload_part", Key=key, UploadId=upload, PartNumber=number, Body=data, ContentMD5=digest
        )
        return str(answer["ETag"])

    async def complete(
        self, key: str, upload: str, part: tuple[int, str], condition: Mapping[str, str]
    ) -> tuple[str, str | None]:
        """Make an upload the object, if the condition holds: once, or never. Return its ETag and its version."""
        parts = {"Parts": [{"PartNumber": part[0], "ETag": part[1]}]}
        done = await self._act(
            "complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload=parts, **condition
        )
        return done["ETag"].strip('"'), self._version(done)

    async def drop(self, key: str, upload: str) -> bool:
        """End an upload for good; False: there was none any more, completed or dropped."""
        try:
            await self._act("abort_multipart_upload", Key=key, UploadId=upload)
        except StoreRefused as error:
            if error.status == 404:
                return False
            raise
        return True

    async def delete(self, key: str, etag: str) -> str | None:
        """Put a delete marker over the version with that ETag, and return the marker's id."""
        answer = await self._act("delete_object", Key=key, IfMatch=etag)
        return self._version(answer)

    async def remove(self, key: str, version: str) -> None:
        """Take one version, or one delete marker, out of the history. Repeated it changes nothing."""
        await self._act("delete_object", Key=key, VersionId=version)

    def _version(self, answer: Any) -> str | None:
        """Return the version that a write has made; none of its own where the bucket has stopped keeping them."""
        version = answer.get("VersionId")
        return version if self._table.versioned and version != "null" else None

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _look(self, verb: str, **params: Any) -> Any:
        try:
            return await self._act(verb, **params)
        except InDoubt as error:
            raise Transient(f"{error.message} Nothing was changed.", silent=error.silent) from error

    async def _act(self, verb: str, **params: Any) -> Any:
        if self._client is None:
            raise Transient(f"Adapter {self._name} is closed; nothing was sent.")
        try:
            return await getattr(self._client, verb)(Bucket=self._table.bucket, **params)
        except ClientError as error:
            raise _refused(error) from error
        except _NO_CONNECTION as error:
            raise _unreached(error) from error
        except ParamValidationError as error:
            raise StoreRefused(400, "InvalidArgument", "The request cannot be written.") from error
        except (BotoCoreError, OSError, TimeoutError) as error:
            raise InDoubt(f"The store gave no whole answer ({type(error).__name__}).", silent=True) from error


def _unreached(error: Any) -> AdapterError:
    """Tell a connection that was never made from one that was reset later; the library gives both one name."""
    reason = f"The store cannot be reached ({type(error).__name__}"
    if isinstance(error.kwargs.get("error"), _NEVER_MADE):
        return Transient(f"{reason}); nothing was sent.", silent=True)
    return InDoubt(f"{reason}), and the connection broke after something was sent.", silent=True)


def _refused(error: ClientError) -> Exception:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = error.response.get("Error", {})
    code = "".join(c for c in str(said.get("Code", "")) if c.isalnum())[:64]
    words = f"The store answered {status} {code}"
    if 400 <= status <= 499 and code in _NOT_NOW.split():
        return Transient(f"{words}; nothing was changed.")
    if 400 <= status <= 499 and code != "RequestTimeout":
        return StoreRefused(status, code, f"{words}.")
    return InDoubt(f"{words}.", silent=status in AWAY)


@cache
def _loader() -> Loader:
    """Keep the library's description of S3, which takes long to read, once for all adapters."""
    return Loader()
