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
