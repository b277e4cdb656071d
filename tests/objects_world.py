"""A bucket of an S3-speaking server in another process: the outside system of the objects adapter."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from adapter_worlds import SECRET
from lossy_proxy import Proxy
from servers.moto import moto, somebody_else, truth

from adapters.contract import Adapter
from adapters.credentials import credential
from adapters.objects.adapter import KIND
from adapters.objects.tables import ObjectsTable
from ledger.intents import Verb

OBJECT = "report.txt"
ENVIRONMENT = {"S3_KEY_ID": "ledger", "S3_SECRET": SECRET}
_EFFECT = {"delete": "DELETE {path} HTTP"}
_LOST = {
    Verb.PREPARE: '"state":"begun"',  # in the record, which is what makes it a hold
    Verb.COMMIT: "POST {path}?uploadId=",
    Verb.ABORT: "DELETE {path}?uploadId=",
    Verb.COMPENSATE: "DELETE {path}?versionId=",
}


class ObjectsOutside:
    """One bucket with `report.txt` in it, unless that is to be created."""

    def __init__(self, verb: str, *, versioned: bool = True) -> None:
        self.verb = verb
        self.versioned = versioned
        self.operation = f"files.{verb}"
        self.bucket = f"bucket-{uuid4().hex}"
        self._adapters: list[Adapter] = []

    async def start(self) -> "ObjectsOutside":
        somebody_else().create_bucket(
            Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        if self.versioned:
            somebody_else().put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        etag = None if self.verb == "create" else self.write(b"what stood there")
        self.params: dict[str, Any] = {"object": OBJECT}
        if self.verb != "delete":
            self.params["text"] = "what is wanted"
        if self.verb == "replace":
            self.params["etag"] = etag
        self.refusable = self.params | {"object": "../elsewhere"}
        self.facts = {"exists": etag is not None, "size": 16 if etag else 0, "etag": etag or ""}
        where = urlsplit(moto())
        self.proxy = Proxy((where.hostname, where.port))
        self.proxy.resets = self.verb in {"create", "delete"}  # some see a reset, the others an orderly end
        await self.proxy.start()
        self.adapter = await self.another()
        return self

    def table(self, **changed: Any) -> ObjectsTable:
        table = {
            "type": "objects",
            "bucket": self.bucket,
            "region": "eu-central-1",
            "endpoint": f"http://127.0.0.1:{self.proxy.port}",
            "addressing": "path",
            "allow_private": True,
            "credentials": {"access_key_id": {"env": "S3_KEY_ID"}, "secret_access_key": {"env": "S3_SECRET"}},
            "versioned": self.versioned,
            "timeout_seconds": 5,
        }
        return ObjectsTable.model_validate_json(json.dumps(table | changed))

    async def another(self, **changed: Any) -> Adapter:
        adapter = KIND.build("files", self.table(**changed), partial(credential, "here", ENVIRONMENT))
        await adapter.open()
        self._adapters.append(adapter)
        return adapter

    def write(self, data: bytes) -> str:
        """Let somebody else write the object, past us, and return its ETag."""
        return somebody_else().put_object(Bucket=self.bucket, Key=OBJECT, Body=data)["ETag"].strip('"')

    async def truth(self) -> dict[str, Any]:
        """Return what happened in the bucket; the proxy must not wait while we look."""
        return await asyncio.to_thread(truth, self.bucket)

    async def happened(self) -> list[dict[str, Any]]:
        """List the requests that were answered with an effect that others can see; a repeated answer is no other."""
        path = f"/{self.bucket}/{OBJECT}"
        done = [one for one in (await self.truth())["answered"] if one["path"] == path and one["status"] < 300]
        if self.verb == "delete":
            did = [one for one in done if one["method"] == "DELETE" and not one["query"]]
        else:
            did = [one for one in done if one["method"] == "POST" and one["query"].startswith("uploadId=")]
        return list({one["version"]: one for one in did}.values())

    async def effects(self) -> int:
        return len(await self.happened())

    async def undone(self) -> int:
        there = {one["version"] for one in (await self.truth())["versions"]}
        return sum(one["version"] not in there for one in await self.happened())

    async def holds(self) -> int:
        return len([one for one in (await self.truth())["uploads"] if one["key"] == OBJECT])

    async def shown(self) -> Any:
        found = somebody_else().list_objects_v2(Bucket=self.bucket, Prefix=OBJECT).get("Contents", [])
        return [(one["Key"], one["ETag"], one["Size"]) for one in found]

    async def change_a_fact(self) -> None:
        self.write(b"what somebody else wants")

    async def lose_answer(self, verb: Verb) -> None:
        pattern = _EFFECT[self.verb] if verb is Verb.COMMIT and self.verb in _EFFECT else _LOST[verb]
        written = pattern.replace("{path}", f"/{self.bucket}/{OBJECT}")
        self.proxy.lose_after = written.encode()

    async def break_down(self) -> None:
        await self.proxy.stop()

    async def stop(self) -> None:
        for adapter in self._adapters:
            await adapter.close()
        await self.proxy.stop()


@asynccontextmanager
async def buckets() -> AsyncIterator[Callable[..., Awaitable[ObjectsOutside]]]:
    """Yield what makes a bucket for one operation; all of them end together."""
    made: list[ObjectsOutside] = []

    async def begin(verb: str, **config: Any) -> ObjectsOutside:
        made.append(ObjectsOutside(verb, **config))
        return await made[-1].start()

    yield begin
    for world in made:
        await world.stop()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
