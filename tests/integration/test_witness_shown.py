"""What is believed of what answers for a witness: its own word about this log, and nothing else."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from test_log_places import LIAR, ORIGIN, signed

from gateway.log_settings import WitnessPlace
from gateway.log_witness import WitnessClient, new_session
from ledger.errors import Unavailable
from ledger.log.signed_note import COSIGNATURE, Note, SigningKey


def cosigned():
        try:
            note = parse_note((settings.directory / "checkpoint").read_text())
        except FileNotFoundError:
            return None
        signatures = verify_note(note, [KEY.verifier, witness.key])
        return note if len(signatures) == 2 else None

    note = await eventually(cosigned)
    assert parse_checkpoint(note.text).size == 3
    newest = await keeping.keeper.log.newest()
    assert newest.note == note, "what is stored is what is published"
    assert list(keeping.remarks()) == []
    await keeping.stop()
    idle = LogKeeping(pool, "main", settings)
    await idle.open(os.urandom)
    await idle.start()
    await idle.stop()
    assert (await idle.keeper.log.newest()).note == note, "it is not cosigned again at each start"
    restarted = LogKeeping(pool, "main", settings)
    await append(store, 300)
    await restarted.open(os.urandom)
    await restarted.start()

    async def cosigned_again():
        found = await eventually(cosigned)
        return parse_checkpoint(found.text).size == 303

    assert await eventually(cosigned_again), "a new process learns what the witness has cosigned last"
    await restarted.stop()


async def test_a_witness_refuses_a_restored_machine_that_lost_its_directory_too(
    make_database, template, pool, store, tmp_path, keys, witness
):
    settings = log_in(tmp_path, witnesses=(witness,))
    keeping = LogKeeping(pool, "main", settings)
    await append(store, 5)
    await keeping.open(os.urandom)
    await keeping.start()

    async def known():
        return await keeping.keeper.publishers[1].place.known()

    await eventually(known)
    await keeping.stop()
    (settings.directory / "checkpoint").unlink()
    emptied = await open_pool(await make_database(template), 5)
    begun = PostgresStore(emptied, "main")
    await begun.start()
    await append(begun, 2)
    with pytest.raises(Corrupt, match=r"ends at position 2.*witness"):
        await LogKeeping(emptied, "main", settings).open(os.urandom)
    await begun.stop()
    await asyncio.wait_for(emptied.close(), 10)


@pytest.mark.parametrize(
    ("status", "said", "error", "match"),
    [
        (
            200,
            lambda text: SigningKey("w", b"v" * 32, COSIGNATURE).cosign(text, 1).line,
            Unavailable,
            "without a signature",
        ),
        (200, lambda text: SigningKey("w", b"w" * 32).sign(text).line, Unavailable, "without a signature"),
        (200, lambda _: LIAR.cosign("another text\n", 1).line, Unavailable, "without a signature"),
        (200, lambda _: "nonsense", Unavailable, "no signature"),
        (409, lambda _: "9", Corrupt, "put back to an older state"),
        (409, lambda _: "nonsense", Unavailable, "answered 409"),
        (409, lambda _: "9" * 5_000, Unavailable, "answered 409"),
        (422, lambda _: "", Corrupt, "does not go on from"),
        (500, lambda _: "", Unavailable, "answered 500"),
        (302, lambda _: "", Unavailable, "answered 302"),
    ],
)
async def test_what_a_witness_answers_is_believed_as_far_as_it_can_be(pool, status, said, error, match):
    one = signed(5)

    async def answering(_):
        return web.Response(status=status, text=said(one.note.text) + "\n", headers={"Location": "/elsewhere"})

    application = web.Application()
    application.add_routes([web.post("/add-checkpoint", answering)])
    async with TestServer(application) as server, new_session() as session:
        place = WitnessPlace(str(server.make_url("")).rstrip("/"), LIAR.verifier)
        with pytest.raises(error, match=match):
            await WitnessClient(place, ORIGIN, Log(pool, "main"), session).publish(one)


@pytest.mark.parametrize("said", ["Another one of this size was cosigned.\n", "5\n"])
async def test_a_fork_of_the_very_size_that_a_witness_has_cosigned_is_told_as_one(pool, said):
    async def cosigned_another(request):
        known = (await request.text()).startswith("old 5\n")
        return web.Response(status=409, text=said if known else "5\n")

    application = web.Application()
    application.add_routes([web.post("/add-checkpoint", cosigned_another)])
    async with TestServer(application) as server, new_session() as session:
        place = WitnessPlace(str(server.make_url("")).rstrip("/"), LIAR.verifier)
        with pytest.raises(Corrupt, match="does not go on from"):
            await WitnessClient(place, ORIGIN, Log(pool, "main"), session).publish(signed(5))


def cosigned(size, key=LIAR, origin=ORIGIN):
    one = signed(size, origin).note
    return str(Note(one.text, (*one.signatures, key.cosign(one.text, 1_700_000_000))))


async def shown(body, status=200):
    """Return what is known of a witness that shows this, in pieces."""

    async def in_pieces(request):
        answer = web.StreamResponse(status=status)
        await answer.prepare(request)
        for piece in (body[:40], body[40:]):
            await answer.write(piece.encode())
            await asyncio.sleep(0.02)  # so that they are not put together on the way
        return answer

    application = web.Application()
    application.add_routes([web.get("/shows/{origin}/checkpoint", in_pieces)])
    async with TestServer(application) as server, new_session() as session:
        place = WitnessPlace("http://127.0.0.1:9", LIAR.verifier, str(server.make_url("/shows")))
        return await WitnessClient(place, ORIGIN, None, session).known()


async def test_what_a_witness_knows_is_asked_where_it_shows_it_and_may_come_in_pieces():
    assert str(await shown(cosigned(5))) == cosigned(5)
    assert await shown("not found\n", 404) is None


@pytest.mark.parametrize(
    "body",
    [
        str(signed(9).note),  # of the log, but not cosigned
        cosigned(9, SigningKey("w", b"v" * 32, COSIGNATURE)),  # by somebody else of the name
        cosigned(9).replace("\n9\n", "\n8\n"),
        cosigned(9, origin="else/where"),  # its word, about another log
        "<html>Please log in to this network\n",
    ],
)
async def test_what_is_not_the_witness_s_own_word_cannot_keep_a_process_from_starting(body):
    with pytest.raises(Unavailable, match="What answers for the witness w shows"):
        await shown(body)
