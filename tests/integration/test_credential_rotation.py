"""A secret that is rotated in its file is used from then on, by the adapter as it runs."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from aiohttp import web

from adapters.configuration import load
from adapters.contract import Call, Preview
from adapters.registry import Registry
from ledger.errors import Transient
from ledger.intents import Verb

NOTHING = '{ type = "object", additionalProperties = false }'


def rotated(file: Path, text: str) -> None:
    """Put a new secret where the old one lay, as tools that rotate secrets do."""
    new = file.with_suffix(".new")
    new.write_text(text + "\n")
    new.replace(file)


def look(operation: str) -> Call:
    return Call(
        verb=Verb.PREVIEW,
        ledger="main",
        intent="intent",
        action="a",
        operation=operation,
        params={},
        key="key",
        epoch=1,
        deadline=datetime(2030, 1, 1, tzinfo=UTC),
    )


async def seen(registry: Registry, operation: str) -> Preview:
    return await registry.adapter(operation).preview(look(operation))


@pytest.fixture
async def system() -> AsyncIterator[Any]:
    """A system over HTTP that repeats the credential it was shown."""
    shown: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        shown.append(request.headers["Authorization"])
        return web.json_response({"said": request.headers["Authorization"]})

    app = web.Application()
    app.router.add_get("/me", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{runner.addresses[0][1]}", shown=shown)
    await runner.cleanup()


@pytest.fixture
async def registry(tmp_path: Path, system: Any) -> AsyncIterator[Registry]:
    (tmp_path / "token").write_text("Bearer the-first\n")
    file = tmp_path / "intentledger.toml"
    file.write_text(f"""
        [adapters.payments]
        type = "http"
        url = "{system.url}"
        allow_private = true
        credentials = {{ Authorization = {{ file = "{tmp_path}/token" }} }}
        [adapters.payments.reads.me]
        path = "/me"
        before = {{ said = "/said" }}
        params = {NOTHING}
    """)
    opened = load(file, {})
    await opened.open()
    yield opened
    await opened.close()


async def test_a_system_over_http_is_shown_the_new_one(registry: Registry, system: Any, tmp_path: Path) -> None:
    await seen(registry, "payments.me")
    rotated(tmp_path / "token", "Bearer the-second")
    answer = await seen(registry, "payments.me")
    assert system.shown == ["Bearer the-first", "Bearer the-second"]
    assert answer.before == {"said": "***"}, "the new one is blotted out as the old one was"


@pytest.mark.parametrize("text", ["", "Bearer a\nX-Evil: 1"])
async def test_one_that_cannot_be_used_sends_nothing_until_it_can(
    registry: Registry, system: Any, tmp_path: Path, text: str
) -> None:
    rotated(tmp_path / "token", text)
    with pytest.raises(Transient) as raised:
        await seen(registry, "payments.me")
    assert "Evil" not in str(raised.value)
    rotated(tmp_path / "token", "Bearer the-third")
    await seen(registry, "payments.me")
    assert system.shown == ["Bearer the-third"]


async def test_one_that_is_gone_sends_nothing(registry: Registry, system: Any, tmp_path: Path) -> None:
    (tmp_path / "token").unlink()
    with pytest.raises(Transient, match="does not exist"):
        await seen(registry, "payments.me")
    assert system.shown == []


async def test_a_database_is_connected_to_anew(make_database: Any, tmp_path: Path) -> None:
    dsns = [await make_database() for _ in range(2)]
    secret, file = tmp_path / "dsn", tmp_path / "intentledger.toml"
    secret.write_text(dsns[0])
    file.write_text(f"""
        [adapters.crm]
        type = "postgres"
        dsn = {{ file = "{secret}" }}
        connections = 1
        [adapters.crm.reads.me]
        query = "select current_database()::text as me"
        params = {NOTHING}
    """)
    registry = load(file, {})
    await registry.open()
    for dsn in dsns:
        rotated(secret, dsn)
        answer = await seen(registry, "crm.me")
        assert answer.before == {"me": urlsplit(dsn).path.removeprefix("/")}
    rotated(secret, "postgresql://h:notaport/")
    with pytest.raises(Transient, match="cannot be reached"):
        await seen(registry, "crm.me")
    await registry.close()


async def test_a_mail_server_is_shown_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Server:
        def __init__(self, *, password: str, **_: Any) -> None:
            shown.append(password)

        async def connect(self) -> None:
            raise OSError

        async def quit(self, **_: Any) -> None:
            raise OSError

        def close(self) -> None:
            pass

    monkeypatch.setattr("adapters.email.aiosmtplib.SMTP", Server)
    (tmp_path / "password").write_text("the-first")
    file = tmp_path / "intentledger.toml"
    file.write_text(f"""
        [adapters.email]
        type = "email"
        host = "mail.example.com"
        sender = "support@example.com"
        username = "ledger"
        password = {{ file = "{tmp_path}/password" }}
    """)
    adapter = load(file, {}).adapter("email.send")
    message = {"to": "a@example.com", "subject": "s", "text": "t"}
    for text in ("the-first", "the-second"):
        rotated(tmp_path / "password", text)
        with pytest.raises(Transient) as raised:
            await adapter.commit(msgspec.structs.replace(look("email.send"), params=message), None)
        assert raised.value.silent
    assert shown == ["the-first", "the-second"]
