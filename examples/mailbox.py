"""A small mail server: it takes messages over SMTP (RFC 5321) and appends each to its journal before it says 250.

Enough of the protocol for an honest client: HELO, EHLO, MAIL, RCPT, DATA with dot-unstuffing, RSET, NOOP, QUIT, and
limits on lines, recipients and sizes. There is no relaying, no TLS and no login. For bad days, four recipients are
special: `refuse.…` is never accepted (550), `busy.…` never now (451), after a message to `lost.…` the connection
breaks before the answer, and a message to `swallow.…` is answered 250 and not kept.

What was kept can be looked up over HTTP: GET /messages?to=…&subject=… tells whether such a message was sent and how
often; a look can misbehave as in examples/faults.py.

Run: python -m examples.mailbox --record FILE [--port N] [--http-port N]; the first line on standard output is
{"port": N, "http_port": N}. It ends when its standard input closes.
"""

import argparse
import asyncio
import email
import email.policy
import json
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import web

from examples.faults import Faults
from examples.journal import Journal
from examples.service import Answer, fault_routes, get, listen

SIZE_BYTES: Final = 1024 * 1024
LINE_BYTES: Final = 8 * 1024
RECIPIENTS: Final = 100


class Session:
    """One client's conversation."""

    def __init__(self, journal: Journal, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak over this connection and keep messages in this journal."""
        self._journal = journal
        self._reader = reader
        self._writer = writer
        self._greeted = False
        self._sender: str | None = None
        self._recipients: list[str] = []

    async def run(self) -> None:
        """Answer commands until the client quits, breaks off or talks nonsense too long."""
        try:
            self._say("220 mailbox ready")
            while line := await self._reader.readline():
                verb, _, argument = line.decode("ascii", "replace").strip().partition(" ")
                if not await self._obey(verb.upper(), argument.strip()):
                    break
                await self._writer.drain()
        except (ConnectionError, ValueError, asyncio.IncompleteReadError):  # ValueError: a line beyond the limit
            pass
        finally:
            self._writer.close()

    async def _obey(self, verb: str, argument: str) -> bool:
        match verb:
            case "HELO" | "EHLO":
                self._greeted = True
                self._reset()
                self._say(f"250-mailbox\r\n250-SIZE {SIZE_BYTES}\r\n250 8BITMIME" if verb == "EHLO" else "250 mailbox")
            case "MAIL":
                self._begin(argument)
            case "RCPT":
                self._add(argument)
            case "DATA":
                return await self._take()
            case "RSET":
                self._reset()
                self._say("250 forgotten")
            case "NOOP":
                self._say("250 fine")
            case "QUIT":
                self._say("221 goodbye")
                return False
            case _:
                self._say("500 not understood")
        return True

    def _begin(self, argument: str) -> None:
        if not self._greeted or self._sender is not None:
            self._say("503 not now")
        elif (address := _address(argument, "FROM:")) is None:
            self._say("501 MAIL FROM:<address>")
        else:
            self._sender = address
            self._say("250 sender noted")

    def _add(self, argument: str) -> None:
        address = _address(argument, "TO:")
        if self._sender is None:
            self._say("503 MAIL first")
        elif not address:
            self._say("501 RCPT TO:<address>")
        elif address.startswith("refuse."):
            self._say("550 no such mailbox")
        elif address.startswith("busy.") or len(self._recipients) >= RECIPIENTS:
            self._say("451 try again later")
        else:
            self._recipients.append(address)
            self._say("250 recipient noted")

    async def _take(self) -> bool:
        if not self._recipients:
            self._say("503 RCPT first")
            return True
        self._say("354 end with a line that is a dot")
        await self._writer.drain()
        content = bytearray()
        while (line := await self._reader.readline()) != b".\r\n":
            if not line:
                return False  # broken off before the end: not a message
            if len(content) <= SIZE_BYTES:
                content += line.removeprefix(b".")
        if len(content) > SIZE_BYTES:
            self._say("552 too large")
        else:
            if not all(recipient.startswith("swallow.") for recipient in self._recipients):
                self._keep(bytes(content))
            if any(recipient.startswith("lost.") for recipient in self._recipients):
                return False
            self._say("250 kept")
        self._reset()
        return True

    def _keep(self, content: bytes) -> None:
        message = email.message_from_bytes(content, policy=email.policy.default)
        self._journal.append(
            what="message",
            sender=self._sender,
            recipients=self._recipients,
            headers={name.lower(): str(value) for name, value in message.items()},
            text=str(message.get_content()) if message.get_content_maintype() == "text" else "",
        )

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []

    def _say(self, answer: str) -> None:
        self._writer.write(answer.encode() + b"\r\n")


def _address(argument: str, prefix: str) -> str | None:
    """Take the address out of `FROM:<…> SIZE=…`; None if it is not there, empty for the null sender."""
    path = argument[len(prefix) :].strip()
    if not argument.upper().startswith(prefix) or not path.startswith("<") or ">" not in path:
        return None
    return path[1 : path.index(">")]


async def receive(journal: Journal, port: int) -> asyncio.Server:
    """Take messages on 127.0.0.1; port 0 chooses a free one."""
    return await asyncio.start_server(
        lambda reader, writer: Session(journal, reader, writer).run(), "127.0.0.1", port, limit=LINE_BYTES
    )


def index(journal: Journal) -> web.Application:
    """Return the service in which messages are looked up."""
    faults = Faults()

    def find(request: web.Request) -> Answer:
        to, subject = request.query["to"], request.query["subject"]
        found = [one for one in journal.lines if to in one["recipients"] and one["headers"].get("subject") == subject]
        return HTTPStatus.OK, {"sent": bool(found), "count": len(found), "at": found[-1]["at"] if found else None}

    app = web.Application()
    app.add_routes([get(faults, "/messages", find), *fault_routes(faults)])
    return app


async def serve(record: Path, port: int, http_port: int) -> None:
    """Serve on 127.0.0.1 until standard input closes; port 0 chooses a free one."""
    journal = Journal(record)
    server = await receive(journal, port)
    runner, http_port = await listen(index(journal), http_port)
    print(json.dumps({"port": server.sockets[0].getsockname()[1], "http_port": http_port}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--http-port", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.record, arguments.port, arguments.http_port))
