"""The whole service in this process, behind its real door, for tests that speak HTTP to it.

`async with doorway(dsn, ...) as door` yields a client that knows the operator's token; `door.service` and `door.bank`
let a test look behind the door: at the ledger's head, and at what the outside systems really hold.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp

from adapters.contract import Adapter, Call, Result, Vote
from adapters.reference import ReferenceAdapter, World
from adapters.registry import Registry
from adapters.tables import CallLimits, MarksTable
from authority.grants import token_of
from gateway.app import new_door, open_service
from gateway.behaviour_settings import BehaviourSettings
from gateway.door import Door, Limits, Service
from gateway.keyring_file import KeyringFile
from gateway.server import listening
from ledger.errors import InDoubt
from ledger.intents import JSON, Guarantee

TOKEN = token_of(b"t" * 32)
_keys = itertools.count(1)


class Mail(ReferenceAdapter):
    """A blind participant whose answers can be lost."""

    loses_answers = False

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        done = await super().commit(call, receipt)
        if self.loses_answers:
            raise InDoubt("The connection was reset.")
        return done


class Bank(ReferenceAdapter):
    """An atomic participant that can be held up in prepare."""

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0  # how often

    async def prepare(self, call: Call) -> Vote:
        self.asked += 1
        await self.gate.wait()
        return await super().prepare(call)


class Doorway:
    """A client of the service, and a look behind it."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, door: Door, bank: Bank, mail: Mail, token: str = TOKEN
    ) -> None:
        self.token = token
        self.url = url
        self.session = session
        self.door = door
        self.bank = bank
        self.mail = mail

    @property
    def service(self) -> Service:
        if self.door.service is None:
            raise RuntimeError("The door has no service yet.")
        return self.door.service

    def holding(self, token: str) -> "Doorway":
        """Return a client that shows another token."""
        return Doorway(self.url, self.session, self.door, self.bank, self.mail, token)

    async def grant(self, name: str, *operations: Any, kind: str = "agent", **more: Any) -> "Holder":
        """Issue a grant for patterns or permissions; return a client that holds its token, and knows what was said."""
        permissions = [{"operation": one} if isinstance(one, str) else one for one in operations or ("*",)]
        body = {"subject": {"kind": kind, "name": name}, "operations": permissions, **more}
        status, said, _ = await self.post("/v1/grants", body)
        if status != 201:
            raise RuntimeError(f"No grant was issued: {said}")
        return Holder(self, said)

    async def ask(self, method: str, path: str, **how: Any) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
        """Send a request with the token; return status, JSON body and the response with its headers."""
        headers = {"Authorization": f"Bearer {self.token}", **how.pop("headers", {})}
        async with self.session.request(method, self.url + path, headers=headers, **how) as response:
            text = await response.read()
            json = response.content_type in {"application/json", "application/problem+json"}
            return response.status, await response.json(content_type=None) if json and text else {}, response

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
        return await self.ask("POST", path, json=body, headers=headers)

    async def submit(
        self, body: Any, key: str | None = None, wait: int | None = 10
    ) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
        headers = {"Idempotency-Key": key or f"key-{next(_keys)}"}
        if wait is not None:
            headers["Prefer"] = f"wait={wait}"
        return await self.post("/v1/intents", body, **headers)

    async def head(self) -> int:
        return await self.service.store.head()


class Holder(Doorway):
    """A client that holds the token of a grant."""

    def __init__(self, issuer: Doorway, issued: dict[str, Any]) -> None:
        super().__init__(issuer.url, issuer.session, issuer.door, issuer.bank, issuer.mail, issued["token"])
        self.issued = issued
        self.id: str = issued["id"]


def intent(*actions: tuple[str, str, int], **more: Any) -> dict[str, Any]:
    """Write an intent of actions (operation, account, amount); tests repeat themselves, and mean it."""
    return {
        "task": "12A",
        "reason": "a test",
        "again": True,
        "actions": [
            {"id": f"a{number}", "operation": operation, "params": {"account": account, "amount": amount}}
            for number, (operation, account, amount) in enumerate(actions, 1)
        ],
        **more,
    }


async def eventually(check: Callable[[], Any], seconds: float = 30) -> Any:
    """Poll until `check()` (a coroutine function) gives something true; return it. Time enough for a busy machine."""
    async with asyncio.timeout(seconds):
        while not (found := await check()):  # noqa: ASYNC110 what is waited for may be in another process
            await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def doorway(
    dsn: str,
    limits: Limits | None = None,
    *more: Adapter,
    ledger: str = "main",
    token: str = TOKEN,
    calls: Mapping[str, CallLimits] | None = None,
    keyring: KeyringFile | None = None,
    behaviour: BehaviourSettings | None = None,
    marks: Mapping[str, Mapping[str, MarksTable]] | None = None,
) -> AsyncIterator[Doorway]:
    """Serve a migrated database on a free port of this machine, over a bank, a mail and `more` participants."""
    bank, mail = Bank("bank", World()), Mail("mail", World(), Guarantee.BLIND)
    async with AsyncExitStack() as parts:
        registry = Registry([bank, mail, *more], calls, marks=marks)
        service = await open_service(parts, dsn, ledger, registry, keyring=keyring, behaviour=behaviour)
        await service.authority.ensure_operator(token)
        service.watch.start()
        parts.push_async_callback(service.watch.stop)
        service.coordinator.start()
        parts.push_async_callback(service.coordinator.drain, 2)
        door = new_door(limits or Limits())
        door.open(service)
        url = await parts.enter_async_context(listening(door, "127.0.0.1", 0))
        session = await parts.enter_async_context(aiohttp.ClientSession())
        yield Doorway(url, session, door, bank, mail, token)
