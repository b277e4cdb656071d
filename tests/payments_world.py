"""An outside system over HTTP: the payments service of the demo, in this process, with its own record on the disk."""

import json
from pathlib import Path
from typing import Any

from adapter_worlds import SECRET
from aiohttp import web

from adapters.contract import Adapter
from adapters.http.adapter import HttpAdapter
from adapters.http.tables import HttpTable
from examples.faults import Fault
from examples.journal import Journal
from examples.payments import Payments
from ledger.intents import Verb


def _schema(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


_MONEY = {"amount": {"type": "integer", "minimum": 1}, "currency": {"type": "string"}}
_REVERSAL = {"path": "/reversals", "body": {"of": "{result.id}"}}
_FATE = {"path": "/keys/{key}", "state": "/status", "absent": [404, "released"]}
PAYMENTS: dict[str, Any] = {
    "type": "http",
    "url": "http://127.0.0.1:1/",
    "allow_private": True,
    "timeout_seconds": 1,
    "credentials": {"Authorization": {"env": "PAYMENTS_AUTHORIZATION"}},
    "reads": {
        "charge": {
            "path": "/charges/{charge}",
            "facts": {"charged": "/amount"},
            "before": {"refunded": "/refunded"},
            "fact_types": {"charged": "integer"},
            "params": _schema(charge={"type": "string"}),
        }
    },
    "operations": {
        "refund": {
            "guarantee": "atomic",
            "undo": "exact",
            "summary": "refund {amount|money} of charge {charge}",
            "preview": {
                "path": "/charges/{charge}",
                "facts": {"charged": "/amount"},
                "before": {"refunded": "/refunded"},
            },
            "fact_types": {"charged": "integer"},
            "prepare": {"path": "/refunds", "body": "{params}", "refused": [409]},
            "commit": {"path": "/refunds/{receipt.id}/confirm", "refused": [410]},
            "abort": {"path": "/refunds/{key}/release"},
            "compensate": _REVERSAL,
            "inquire": {**_FATE, "applied": ["confirmed"], "held": ["held"]},
            "inquire_undo": {**_FATE, "applied": ["reversed"]},
            "params": _schema(charge={"type": "string"}, **_MONEY),
        },
        "credit": {
            "guarantee": "idempotent",
            "undo": "exact",
            "preview": {"path": "/charges/ch_88", "facts": {"charged": "/amount"}},
            "commit": {"path": "/credits?for={account}", "body": "{params}"},
            "compensate": _REVERSAL,
            "inquire": {**_FATE, "applied": ["credited"]},
            "inquire_undo": {**_FATE, "applied": ["reversed"]},
            "params": _schema(account={"type": "string"}, **_MONEY),
        },
        "transfer": {
            "guarantee": "verifiable",
            "settle_seconds": 1,
            "undo": "exact",
            "commit": {
                "path": "/transfers?for={account}",
                "body": {"account": "{account}", "amount": "{amount}", "currency": "{currency}", "reference": "{key}"},
            },
            "compensate": _REVERSAL,
            "inquire": {"path": "/transfers?reference={key}", "applied": [200], "absent": [404]},
            "inquire_undo": {**_FATE, "applied": ["reversed"]},
            "params": _schema(account={"type": "string"}, **_MONEY),
        },
    },
}
_EFFECT = {"refund": "confirm", "credit": "credit", "transfer": "transfer"}


class HttpOutside:
    """The payments service of the demo, in this process, with its own record on the disk."""

    def __init__(self, verb: str, record: Path) -> None:
        self.operation = f"payments.{verb}"
        self.verb = verb
        self.params = {"amount": 4200, "currency": "USD"} | (
            {"charge": "ch_88"} if verb == "refund" else {"account": "a"}
        )
        self.refusable = self.params | ({"amount": 9999} if verb == "refund" else {"account": ".."})
        self.record = record
        self._adapters: list[Adapter] = []

    async def start(self) -> "HttpOutside":
        self.journal = Journal(self.record)
        self.payments = Payments(self.journal)
        self.runner = web.AppRunner(self.payments.app(), access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        self.payments._charge("", {"id": "ch_88", "customer": "88", "amount": 5000, "currency": "USD"}, "")
        self.adapter = await self.another()
        return self

    async def another(self) -> Adapter:
        table = HttpTable.model_validate_json(json.dumps(PAYMENTS | {"url": self.url}))
        adapter = HttpAdapter("payments", table, {"Authorization": lambda: f"Bearer {SECRET}"})
        await adapter.open()
        self._adapters.append(adapter)
        return adapter

    def _count(self, what: str) -> int:
        return sum(line["what"] == what for line in self.journal.lines)

    async def effects(self) -> int:
        return self._count(_EFFECT[self.verb])

    async def undone(self) -> int:
        return self._count("reverse")

    async def holds(self) -> int:
        return len(self.payments._holds())

    async def shown(self) -> Any:
        reversed_ids = {line["of"] for line in self.journal.lines if line["what"] == "reverse"}
        standing = [
            line["id"]
            for line in self.journal.lines
            if line["what"] in {"credit", "transfer"} and line["id"] not in reversed_ids
        ]
        return self.payments._charges["ch_88"]["refunded"], standing

    async def change_a_fact(self) -> None:
        self.payments._charges["ch_88"]["amount"] += 100

    async def lose_answer(self, verb: Verb) -> None:
        commits = {"refund": "confirm", "credit": "credit", "transfer": "transfer"}
        on = {
            Verb.PREPARE: "hold",
            Verb.COMMIT: commits[self.verb],
            Verb.ABORT: "release",
            Verb.COMPENSATE: "reverse",
        }[verb]
        self.payments.faults.arm(Fault(on=on, answer="lose"))

    async def break_down(self) -> None:
        await self.runner.cleanup()

    async def stop(self) -> None:
        for adapter in self._adapters:
            await adapter.close()
        await self.runner.cleanup()
        self.journal.close()
