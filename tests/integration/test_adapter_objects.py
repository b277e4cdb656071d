"""What is special about buckets: who else writes there, what S3 does not remember, and how versions tell the truth."""

import asyncio
from functools import partial
from typing import Any

import pytest
from adapter_worlds import call
from botocore.exceptions import ClientError
from objects_world import OBJECT, ObjectsOutside, buckets
from servers.moto import somebody_else

from adapters.contract import Absent, Applied, Prepared, Refused, Result, Unknown
from adapters.objects.request import request
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import Verb


@pytest.fixture
async def bucket():
    """`await bucket(verb)` makes a bucket for one operation, which ends with the test."""
    async with buckets() as made:
        yield made


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


# ── lost answers ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("verb", ["put", "create", "replace", "delete"])
async def test_an_answer_that_was_lost_is_in_doubt_however_the_connection_ended(
    bucket, verb: str, resets: bool
) -> None:
    world = await bucket(verb)
    world.proxy.resets = resets
    await lost(world)
    assert await world.effects() == 1
    await commit(world)
    assert await world.effects() == 1


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("verb", ["put", "create"])
async def test_a_record_whose_answer_was_lost_keeps_its_upload(bucket, verb: str, resets: bool) -> None:
    world = await bucket(verb)
    world.proxy.resets = resets
    if verb == "create":
        await prepared(world)
    begin = world.adapter.prepare if verb == "put" else partial(world.adapter.commit, receipt=None)
    await world.lose_answer(Verb.PREPARE)
    with pytest.raises(InDoubt):
        await begin(call(world, Verb.COMMIT))
    assert await world.holds() == 1
    await begin(call(world, Verb.COMMIT))
    await commit(world)
    assert (content(world), await world.effects()) == (b"what is wanted", 1)


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


async def test_without_versions_a_write_has_no_version_of_its_own(bucket) -> None:
    world = await bucket("put", versioned=False)
    await prepared(world)
    assert (await commit(world)).data.keys() == {"object", "etag"}


async def test_what_happened_and_could_not_be_recorded_is_in_doubt(bucket) -> None:
    world = await bucket("put")
    await prepared(world)
    writing = world.adapter._records.write

    async def refuse(*args: Any) -> Any:
        raise Transient("The store cannot be reached; nothing was sent.")

    world.adapter._records.write = refuse
    with pytest.raises(InDoubt, match="It happened, and that was not recorded"):
        await commit(world)
    world.adapter._records.write = writing
    await commit(world)
    assert (content(world), await world.effects()) == (b"what is wanted", 1)


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


async def test_a_deletion_that_never_arrived_is_not_taken_for_that_of_somebody_else(bucket) -> None:
    world = await bucket("delete")
    await prepared(world)
    deleting = world.adapter._bucket.delete

    async def get_lost(*args: Any) -> Any:
        raise InDoubt("The store gave no whole answer.")

    world.adapter._bucket.delete = get_lost
    with pytest.raises(InDoubt):
        await commit(world)
    world.adapter._bucket.delete = deleting
    world.write(b"what came later")
    somebody_else().delete_object(Bucket=world.bucket, Key=OBJECT)
    with pytest.raises(Permanent):
        await commit(world)
    assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Absent()


async def test_only_what_was_seen_is_deleted(bucket) -> None:
    world = await bucket("delete")
    wanted = call(world, Verb.PREPARE, etag="00000000000000000000000000000000")
    assert isinstance(await world.adapter.prepare(wanted), Refused)
    with pytest.raises(Permanent, match="has changed since"):
        await world.adapter.commit(wanted, None)
    somebody_else().delete_object(Bucket=world.bucket, Key=OBJECT)
    assert await world.adapter.prepare(call(world, Verb.PREPARE)) == Refused(f"There is no {OBJECT}.")
