"""A stream of a real nats-server: the outside system of the messages adapter."""

import json
from functools import partial
from typing import Any
from uuid import uuid4

import nats
from adapter_worlds import SECRET
from lossy_proxy import Proxy
from nats.js.api import StreamConfig
from servers.nats_server import NatsServer, nats_server

from adapters.contract import Adapter
from adapters.credentials import credential
from adapters.messages.adapter import KIND
from adapters.messages.tables import MessagesTable
from ledger.intents import Verb

ENVIRONMENT = {"NATS_PASSWORD": SECRET}
_ORDER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["order"],
    "properties": {"order": {"type": "string"}, "note": {"type": "string"}},
}


class MessagesOutside:
    """One stream on which an order was opened."""

    def __init__(self, server: NatsServer | None = None, **config: Any) -> None:
        self._server = server or nats_server()
        self.stream = f"S{uuid4().hex}"
        self.config = {"duplicate_window": 120, "storage": "file"} | config
        self.operation = "events.ship"
        self.params: dict[str, Any] = {"order": "88", "note": "by air"}
        self.refusable = {"order": "88.>"}
        self.facts = {"state": "open"}
        self._adapters: list[Adapter] = []

    async def start(self) -> "MessagesOutside":
        await self.connect()
        await self.jetstream.add_stream(StreamConfig(name=self.stream, subjects=[f"{self.stream}.>"], **self.config))
        await self.say("open")
        self.proxy = Proxy(("127.0.0.1", self._server.port))
        await self.proxy.start()
        self.adapter = await self.another()
        return self

    async def connect(self) -> None:
        """Be somebody else on the same server."""
        self.somebody = await nats.connect(f"nats://127.0.0.1:{self._server.port}", allow_reconnect=False)
        self.jetstream = self.somebody.jetstream()

    async def say(self, state: str) -> None:
        await self.jetstream.publish(f"{self.stream}.order.88", json.dumps({"state": state}).encode())

    def table(self, **changed: Any) -> MessagesTable:
        state = {"subject": f"{self.stream}.order.{{order}}", "facts": {"state": "/state"}}
        ship = {
            "subject": f"{self.stream}.ship.{{order}}",
            "summary": "ship order {order}",
            "undo": "semantic",
            "follow_up": {
                "subject": f"{self.stream}.recall.{{order}}",
                "body": {"order": "{order}", "recalled": "{result.sequence}"},
            },
            "preview": state,
            "fact_types": {"state": "string"},
            "params": _ORDER,
        }
        table = {
            "type": "messages",
            "servers": [f"nats://127.0.0.1:{self.proxy.port}"],
            "stream": self.stream,
            "username": "ledger",
            "password": {"env": "NATS_PASSWORD"},
            "allow_private": True,
            "timeout_seconds": 1.5,
            "operations": {"ship": ship},
            "reads": {"order": {**state, "fact_types": {"state": "string"}, "params": _ORDER}},
        }
        return MessagesTable.model_validate_json(json.dumps(table | changed))

    async def another(self, **changed: Any) -> Adapter:
        adapter = KIND.build("events", self.table(**changed), partial(credential, "here", ENVIRONMENT))
        await adapter.open()
        self._adapters.append(adapter)
        return adapter

    async def published(self, what: str) -> int:
        """Count the messages that the stream keeps on subjects of one kind."""
        info = await self.jetstream.stream_info(self.stream, subjects_filter=f"{self.stream}.{what}.>")
        return sum((info.state.subjects or {}).values())

    async def effects(self) -> int:
        return await self.published("ship")

    async def undone(self) -> int:
        return await self.published("recall")

    async def holds(self) -> int:
        return 0

    async def shown(self) -> Any:
        return (await self.jetstream.stream_info(self.stream)).state.messages

    async def change_a_fact(self) -> None:
        await self.say("paid")

    async def lose_answer(self, verb: Verb) -> None:
        self.proxy.lose_after = f"HPUB {self.stream}.".encode()

    async def break_down(self) -> None:
        await self.proxy.stop()

    async def stop(self) -> None:
        for adapter in self._adapters:
            await adapter.close()
        await self.proxy.stop()
        await self.somebody.close()
