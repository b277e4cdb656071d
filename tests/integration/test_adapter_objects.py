"""What is special about buckets: who else writes there, what S3 does not remember, and how versions tell the truth."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from adapter_worlds import call
from botocore.exceptions import ClientError
from objects_world import ENVIRONMENT, OBJECT, ObjectsOutside, as_base64
from pydantic import ValidationError
from servers.moto import somebody_else

from adapters.contract import Absent, Applied, Prepared, Refused, Result, Unknown
from adapters.credentials import credential
from adapters.objects.adapter import KIND
from adapters.objects.bucket import StoreRefused, _refused
from adapters.objects.request import request
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import Verb


@pytest.fixture
async def bucket():
    """`await bucket(verb)` makes a bucket for one operation, which ends with the test."""
    made: list[ObjectsOutside] = []

    async def begin(verb: str, **config: Any) -> ObjectsOutside:
        made.append(ObjectsOutside(verb, **config))
        return await made[-1].start()

    yield begin
    for world in made:
        await world.stop()


async def prepared(world: ObjectsOutside) -> dict[str, Any] | None:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Prepared), vote
    return vote.receipt


async def commit(world: ObjectsOutside) -> Result:
    return await world.adapter.commit(call(world, Verb.COMMIT), None)


async def lost(world: ObjectsOutside) -> None:
    """Commit, and let the answer be lost."""
    await prepared(world)
    await world.lose_answer(Verb.COMMIT)
    with pytest.raises(InDoubt):
        await commit(world)


async def undo(world: ObjectsOutside, result: Result) -> Result:
    return await world.adapter.compensate(call(world, Verb.COMPENSATE), None, result.data)


def content(world: ObjectsOutside) -> bytes | None:
    try:
        return somebody_else().get_object(Bucket=world.bucket, Key=OBJECT)["Body"].read()
    except ClientError:
        return None


# ── put ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_put_keeps_its_word_whoever_writes_meanwhile_and_its_undo_brings_theirs_back(bucket) -> None:
    world = await bucket("put")
    await prepared(world)
    world.write(b"what somebody else wants")
    result = await commit(world)
    assert content(world) == b"what is wanted"
    await undo(world, result)
    assert content(world) == b"what somebody else wants"


async def test_an_undo_leaves_what_others_have_written_since(bucket) -> None:
    world = await bucket("put")
    await prepared(world)
    result = await commit(world)
    world.write(b"what came later")
    await undo(world, result)
    assert content(world) == b"what came later"
    assert await world.undone() == 1


async def test_what_is_no_longer_there_to_be_restored_is_not_undone(bucket) -> None:
    world = await bucket("put")
    await prepared(world)
    result = await commit(world)
    somebody_else().delete_object(Bucket=world.bucket, Key=OBJECT, VersionId=result.data["stood"])
    with pytest.raises(Permanent, match="is gone and cannot come back"):
        await undo(world, result)
    assert content(world) == b"what is wanted"


async def test_the_first_version_of_an_object_is_undone_to_nothing(bucket) -> None:
    world = await bucket("create")
    await undo(world, await commit(world))
    assert content(world) is None
    assert isinstance(await world.adapter.inquire(call(world, Verb.COMPENSATE)), Applied)


async def test_two_puts_of_the_same_object_keep_both_promises(bucket) -> None:
    world = await bucket("put")
    await prepared(world)
    rival = partial(call, world, key="rival", text="what the rival wants")
    assert isinstance(await world.adapter.prepare(rival(Verb.PREPARE)), Prepared)
    await commit(world)
    await world.adapter.commit(rival(Verb.COMMIT), None)
    assert (content(world), await world.holds(), await world.effects()) == (b"what the rival wants", 0, 2)


async def test_an_upload_that_somebody_removed_is_a_broken_hold_and_no_effect(bucket) -> None:
    world = await bucket("put")
    receipt = await prepared(world)
    somebody_else().abort_multipart_upload(Bucket=world.bucket, Key=OBJECT, UploadId=receipt["upload"])
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE)), Refused)
    for _ in range(2):
        with pytest.raises(Permanent, match="removed from outside"):
            await commit(world)
    assert await world.effects() == 0


async def test_what_was_overwritten_before_its_answer_came_is_found_among_the_versions(bucket) -> None:
    world = await bucket("put")
    await lost(world)
    for number in range(3):
        world.write(b"what came later %d" % number)
    standing = await world.adapter.inquire(call(world, Verb.COMMIT))
    result = await commit(world)
    assert standing == Applied(result)
    assert await world.effects() == 1
    await undo(world, result)
    assert await world.undone() == 1


async def test_without_versions_what_was_overwritten_leaves_a_doubt_and_no_guess(bucket) -> None:
    world = await bucket("put", versioned=False)
    await lost(world)
    world.write(b"what came later")
    assert isinstance(await world.adapter.inquire(call(world, Verb.COMMIT)), Unknown)
    with pytest.raises(InDoubt, match="keeps no versions to look at"):
        await commit(world)
    assert content(world) == b"what came later"


async def test_without_versions_what_stands_is_recognised_and_cannot_be_undone(bucket) -> None:
    world = await bucket("put", versioned=False)
    await lost(world)
    result = await commit(world)
    assert (result, content(world)) == (await commit(world), b"what is wanted")
    with pytest.raises(Permanent, match="no version of its own"):
        await undo(world, result)
    assert "files.delete" not in world.adapter.operations


@pytest.mark.parametrize("answer", [b"POST {path}?uploads", b"partNumber="])
async def test_what_breaks_before_the_record_holds_nothing(bucket, answer: bytes) -> None:
    world = await bucket("put")
    world.proxy.lose_after = answer.replace(b"{path}", f"/{world.bucket}/{OBJECT}".encode())
    with pytest.raises(Transient):
        await world.adapter.prepare(call(world, Verb.PREPARE))
    assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Absent()
    await prepared(world)
    await commit(world)
    assert (await world.effects(), content(world)) == (1, b"what is wanted")


async def test_an_upload_that_a_dead_process_had_no_time_to_record_is_ended_by_the_abort(bucket) -> None:
    world = await bucket("put")
    foreign = somebody_else().create_multipart_upload(Bucket=world.bucket, Key=OBJECT)["UploadId"]
    somebody_else().upload_part(Bucket=world.bucket, Key=OBJECT, UploadId=foreign, PartNumber=1, Body=b"what is wanted")
    asked = request(world.table(), call(world, Verb.PREPARE))
    stray = await world.adapter._bucket.begin(asked.object, asked.content_type, "")
    await world.adapter._bucket.part(asked.object, stray, asked.part, asked.content)
    assert await world.holds() == 2
    await world.adapter.abort(call(world, Verb.ABORT), None)
    assert [one["id"] for one in (await world.truth())["uploads"]] == [foreign]


async def test_a_prepare_that_is_cancelled_leaves_no_upload_behind(bucket) -> None:
    world = await bucket("put")
    writing = world.adapter._records.write
    reached = asyncio.Event()

    async def hang(*args: Any) -> Any:
        reached.set()
        await asyncio.sleep(60)
        return await writing(*args)

    world.adapter._records.write = hang
    preparing = asyncio.ensure_future(world.adapter.prepare(call(world, Verb.PREPARE)))
    await reached.wait()
    assert await world.holds() == 1
    preparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await preparing
    assert await world.holds() == 0


# ── create, replace ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_somebody_creates_first_is_never_overwritten(bucket) -> None:
    world = await bucket("create")
    await prepared(world)
    world.write(b"what somebody else wants")
    for _ in range(2):
        with pytest.raises(Permanent, match="is there already"):
            await commit(world)
    assert (content(world), await world.holds()) == (b"what somebody else wants", 0)
    assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Absent()


@pytest.mark.parametrize("verb", ["create", "replace"])
async def test_what_somebody_writes_while_the_upload_is_completed_is_never_overwritten(bucket, verb: str) -> None:
    world = await bucket(verb)
    world.adapter._proved.add(verb)
    completing = world.adapter._bucket.complete

    async def race(*args: Any) -> Any:
        world.write(b"what somebody else wants")
        return await completing(*args)

    world.adapter._bucket.complete = race
    for _ in range(2):
        with pytest.raises(Permanent, match="Somebody else wrote the object first"):
            await commit(world)
    assert (content(world), await world.holds()) == (b"what somebody else wants", 0)
    assert await world.effects() == 0


async def test_what_somebody_deletes_while_it_is_replaced_stays_deleted(bucket) -> None:
    world = await bucket("replace")
    world.adapter._proved.add("replace")
    completing = world.adapter._bucket.complete

    async def race(*args: Any) -> Any:
        somebody_else().delete_object(Bucket=world.bucket, Key=OBJECT)
        return await completing(*args)

    world.adapter._bucket.complete = race
    for _ in range(2):
        with pytest.raises(Permanent):
            await commit(world)
    assert (content(world), await world.holds(), await world.effects()) == (None, 0, 0)


async def test_what_was_created_and_then_deleted_by_somebody_is_not_created_again(bucket) -> None:
    world = await bucket("create")
    await lost(world)
    somebody_else().delete_object(Bucket=world.bucket, Key=OBJECT)
    result = await commit(world)
    assert (content(world), await world.effects()) == (None, 1)
    assert result.data["version"]


async def test_a_replacement_is_not_repeated_though_what_it_replaced_stands_again(bucket) -> None:
    world = await bucket("replace")
    await lost(world)
    world.write(b"what stood there")  # the same bytes, and so the same ETag
    await commit(world)
    assert (content(world), await world.effects()) == (b"what stood there", 1)


async def test_a_replacement_of_what_has_changed_is_refused(bucket) -> None:
    world = await bucket("replace")
    etag = world.write(b"what somebody else wants")
    vote = await world.adapter.prepare(call(world, Verb.PREPARE))
    assert vote == Refused(f"{OBJECT} has changed since; its ETag is now {etag}.")


# ── delete ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_deletion_whose_answer_was_lost_is_one_marker_and_its_undo_restores(bucket) -> None:
    world = await bucket("delete")
    before = await world.shown()
    await lost(world)
    result = await commit(world)
    assert (content(world), await world.effects()) == (None, 1)
    assert await commit(world) == result
    await undo(world, result)
    assert (await world.shown(), await world.undone()) == (before, 1)


async def test_a_deletion_that_somebody_wrote_over_is_found_and_not_repeated(bucket) -> None:
    world = await bucket("delete")
    await lost(world)
    world.write(b"what came later")
    result = await commit(world)
    assert (content(world), await world.effects()) == (b"what came later", 1)
    assert result.data["version"]


async def test_what_has_changed_since_it_was_to_be_deleted_stays(bucket) -> None:
    world = await bucket("delete")
    world.adapter._proved.add("delete")
    deleting = world.adapter._bucket.delete

    async def race(*args: Any) -> Any:
        world.write(b"what somebody else wants")
        return await deleting(*args)

    world.adapter._bucket.delete = race
    for _ in range(2):
        with pytest.raises(Permanent, match="Somebody else wrote the object first"):
            await commit(world)
    assert content(world) == b"what somebody else wants"


async def test_only_what_was_seen_is_deleted(bucket) -> None:
    world = await bucket("delete")
    wanted = call(world, Verb.PREPARE, etag="00000000000000000000000000000000")
    assert isinstance(await world.adapter.prepare(wanted), Refused)
    with pytest.raises(Permanent, match="has changed since"):
        await world.adapter.commit(wanted, None)
    somebody_else().delete_object(Bucket=world.bucket, Key=OBJECT)
    assert await world.adapter.prepare(call(world, Verb.PREPARE)) == Refused(f"There is no {OBJECT}.")


# ── the store, names, contents, credentials ──────────────────────────────────────────────────────────────────────


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
    for verb in (Verb.COMMIT, Verb.PREVIEW):
        with pytest.raises(Permanent):
            await (world.adapter.preview if verb is Verb.PREVIEW else commit_of(world))(call(world, verb, object=name))
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


def commit_of(world: ObjectsOutside) -> Any:
    return partial(world.adapter.commit, receipt=None)
