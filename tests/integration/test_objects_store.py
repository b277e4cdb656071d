"""What the objects adapter believes of a store, of names and of contents, and who it is there."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from adapter_worlds import call
from botocore.exceptions import ClientError
from objects_world import ENVIRONMENT, OBJECT, as_base64, buckets
from pydantic import ValidationError
from servers.moto import somebody_else

from adapters.contract import Refused
from adapters.credentials import credential
from adapters.objects.adapter import KIND
from adapters.objects.bucket import StoreRefused, _refused
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import Verb


@pytest.fixture
async def bucket():
    """`await bucket(verb)` makes a bucket for one operation, which ends with the test."""
    async with buckets() as made:
        yield made


@pytest.mark.parametrize("verb", ["create", "replace", "delete"])
async def test_a_store_that_takes_no_notice_of_conditions_is_found_out(bucket, verb: str) -> None:
    world = await bucket(verb)
    asking = world.adapter._bucket._act

    async def careless(what: str, **params: Any) -> Any:
        if what in {"complete_multipart_upload", "delete_object"}:
            params.pop("IfMatch", None)
            params.pop("IfNoneMatch", None)
        return await asking(what, **params)

    world.adapter._bucket._act = careless
    for verb_of_call in (world.adapter.prepare, partial(world.adapter.commit, receipt=None)):
        with pytest.raises(Transient, match="takes no notice of If-Match"):
            await verb_of_call(call(world, Verb.COMMIT))
    assert await world.effects() == 0


async def test_a_store_on_which_no_record_is_safe_is_found_out(bucket) -> None:
    world = await bucket("put")
    asking = world.adapter._bucket._act

    async def careless(what: str, **params: Any) -> Any:
        params.pop("IfNoneMatch", None)
        return await asking(what, **params)

    world.adapter._bucket._act = careless
    with pytest.raises(Transient, match="takes no notice of If-Match"):
        await world.adapter.prepare(call(world, Verb.PREPARE))


async def test_a_bucket_that_keeps_no_versions_though_it_should_is_given_nothing(bucket) -> None:
    world = await bucket("put", versioned=False)
    other = await world.another(versioned=True)
    with pytest.raises(Transient, match="keeps none"):
        await other.prepare(call(world, Verb.PREPARE))
    assert await world.holds() == 0


@pytest.mark.parametrize("name", ["../x", "a//b", "/a", "a/./b", "a/", "..", ".intentledger/files/k", "ü" * 512 + "x"])
async def test_no_name_leaves_the_prefix_or_reaches_the_records(bucket, name: str) -> None:
    world = await bucket("put")
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, object=name))
    assert isinstance(vote, Refused)
    wanted = {Verb.PREVIEW: world.adapter.preview, Verb.COMMIT: partial(world.adapter.commit, receipt=None)}
    for verb, asked in wanted.items():
        with pytest.raises(Permanent):
            await asked(call(world, verb, object=name))
    assert not [one for one in (await world.truth())["versions"] if "report" not in one["key"]]


async def test_bytes_arrive_as_they_are_below_the_prefix(bucket) -> None:
    world = await bucket("put")
    other = await world.another(prefix="reports/")
    data = bytes(range(256))
    params = {"text": None, "base64": as_base64(data), "content_type": "image/png"}
    wanted = {name: value for name, value in (world.params | params).items() if value is not None}
    world.params = wanted
    vote = await other.prepare(call(world, Verb.PREPARE))
    assert vote.preview.after["size"] == 256
    await other.commit(call(world, Verb.COMMIT), vote.receipt)
    found = somebody_else().get_object(Bucket=world.bucket, Key=f"reports/{OBJECT}")
    assert (found["Body"].read(), found["ContentType"]) == (data, "image/png")


@pytest.mark.parametrize("given", ["not base64", "AA=A", as_base64(b"x" * (128 * 1024 + 1))])
async def test_what_cannot_be_the_content_is_refused(bucket, given: str) -> None:
    world = await bucket("put")
    del world.params["text"]
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE, base64=given)), Refused)


async def test_a_key_that_is_rotated_signs_from_then_on(bucket, tmp_path: Path) -> None:
    world = await bucket("put")
    secret = tmp_path / "id"
    secret.write_text("first")
    parts = {"access_key_id": {"file": str(secret)}, "secret_access_key": {"env": "S3_SECRET"}}
    adapter = KIND.build("files", world.table(credentials=parts), partial(credential, "here", ENVIRONMENT))
    await adapter.open()
    await adapter.preview(call(world, Verb.PREVIEW))
    secret.write_text("second")
    await adapter.preview(call(world, Verb.PREVIEW))
    secret.unlink()
    with pytest.raises(Transient, match="Nothing was sent"):
        await adapter.preview(call(world, Verb.PREVIEW))
    await adapter.close()
    who = [one["who"] for one in (await world.truth())["answered"] if one["method"] == "HEAD"]
    assert who == ["first", "second"]


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AccessDenied", Transient),
        (400, "ExpiredToken", Transient),
        (403, "403", Transient),
        (404, "NoSuchBucket", Transient),
        (412, "PreconditionFailed", StoreRefused),
        (404, "NoSuchUpload", StoreRefused),
        (400, "RequestTimeout", InDoubt),
        (301, "PermanentRedirect", InDoubt),
        (500, "InternalError", InDoubt),
        (503, "SlowDown", InDoubt),
    ],
)
def test_what_the_store_says_is_certain_only_where_it_is(status: int, code: str, error: type[Exception]) -> None:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert type(_refused(ClientError(answer, "PutObject"))) is error


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"allow_private": False}, "endpoint is https"),
        ({"endpoint": "https://me:secret@host"}, "carries no credentials"),
        ({"prefix": "/absolute/"}, "prefix"),
        ({"records": ""}, "records"),
        ({"versioned": False, "undo_window_seconds": 60}, "without versions nothing can be undone"),
    ],
)
async def test_what_cannot_be_meant_is_told(bucket, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        (await bucket("put")).table(**changed)
