"""Webhooks of the whole service: a process that serves asks for an approval, hears it, and tells of both."""

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from commands import COMMAND, Person, environment
from doorway import eventually, intent
from standardwebhooks import Webhook

KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
CEDAR = '@id("ask") permit (principal, action == Action::"bank.post#with_approval", resource);'


class Service:
    """A process that serves, and what its receiver heard."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token

    async def ask(self, method: str, path: str, body: Any = None, token: str | None = None, **headers: str) -> Any:
        headers["Authorization"] = f"Bearer {token or self.token}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body, headers=headers) as answer,
        ):
            if answer.content_type == "application/json":
                return await answer.json()
            return await answer.text()


def read(token_file: str) -> str:
    return Path(token_file).read_text().strip()


@asynccontextmanager
async def serving(directory: Path, dsn: str, receiver: str) -> AsyncIterator[Service]:
    """Run `intentledger serve`, and stop it politely; it must end well."""
    (directory / "intentledger.toml").write_text('[adapters.bank]\ntype = "reference"\n')
    (directory / "keys").write_text(KEY)
    settings = {
        "INTENTLEDGER_DSN": dsn,
        "INTENTLEDGER_DATA": str(directory / "data"),
        "INTENTLEDGER_WEBHOOK_URL": receiver,
        "INTENTLEDGER_WEBHOOK_SECRET_FILE": str(directory / "keys"),
    }
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, "serve", "--port", "0", "--json"),
        env=environment(settings),
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said = asyncio.create_task(process.stderr.read())
    try:
        opened = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        yield Service(opened["url"], read(opened["token_file"]))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
        log = (await said).decode()
        assert json.loads(log.splitlines()[-1])["event"] == "stopped"
        assert "secret-path" not in log
        assert KEY.removeprefix("whsec_") not in log
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await said


async def test_a_person_is_told_of_the_question_and_of_the_answer(dsn, open_directory, tmp_path):
    heard: list[dict[str, Any]] = []

    async def hear(request: web.BaseRequest) -> web.Response:
        body = await request.read()
        heard.append(Webhook(KEY).verify(body, dict(request.headers)))
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(hear))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver = f"http://127.0.0.1:{runner.addresses[0][1]}/secret-path"

    def told(kind: str) -> Any:
        async def found() -> Any:
            return next((one for one in heard if one["type"] == kind), None)

        return found

    async with serving(open_directory, dsn, receiver) as service:
        await service.ask("POST", "/v1/policies", {"cedar": CEDAR, "activate": True})
        payer, finance = [
            await service.ask("POST", "/v1/grants", {"subject": subject, "operations": [{"operation": "*"}]})
            for subject in ({"kind": "agent", "name": "payer"}, {"kind": "person", "name": "dana"})
        ]
        shown = await service.ask(
            "POST", "/v1/intents", intent(("bank.post", "alice", 5)), payer["token"], **{"Idempotency-Key": "k"}
        )
        question = await eventually(told("approval.requested"), 20)
        assert question["data"]["intent"] == shown["id"]
        assert question["data"]["actions"][0]["summary"] == "post 5 to account alice"
        dana = Person(tmp_path, service.url, finance["token"])
        assert (await dana.run("approve", shown["id"], "--yes")).code == 0
        given = await eventually(told("approval.given"), 20)
        assert (given["data"]["by"], given["data"]["digest"]) == ("dana", question["data"]["digest"])
        measured = await service.ask("GET", "/metrics")
    await runner.cleanup()
    assert 'intentledger_webhooks_total{outcome="delivered"} ' in measured
    assert len(heard) == 2
