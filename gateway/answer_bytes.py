"""Reading what another server answers: all of it, in however many pieces it comes, and never more than is wanted."""

import aiohttp


async def whole(answer: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """Return the body of an answer. Raises `ValueError`, with the rest unread, if it is longer than `bytes_max`."""
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > bytes_max:
            raise ValueError(f"The answer is longer than {bytes_max} bytes.")
    return bytes(body)
