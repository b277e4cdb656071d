"""The story of the demo: two crashes at the worst moments, then people and policies (`examples/demo/department.py`),
and at the end what every outside system really holds.

How the crashes are timed without any hook in the product: the payments service is told to do what it is asked, write
it down, and keep its answer back. While the coordinator waits for that answer, everything outside is exactly where we
want it, and its process is killed with -9.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console

from examples.demo.client import Client, Document, NotAnsweredError
from examples.demo.department import CUSTOMERS, play_department
from examples.demo.processes import Service
from examples.demo.report import Holding, holdings, show_audit, show_holdings
from examples.demo.stage import Stage

_SCENE_SECONDS: Final = 40.0
_LEASE_SECONDS: Final = "2"  # how long the next process leaves alone what a dead one was doing
_POLL_SECONDS: Final = 0.05
_USD: Final = {"currency": "USD"}
_KNOWN: Final = {"since": "2024-01-01", "country": "US"}  # what policy is told about the customer


class Told(NamedTuple):
    """An intent of the story: its name for people, its id, and how it must end."""

    name: str
    intent: str
    phase: str


class Story:
    """Tells the whole story on a console; `tell` returns whether everything outside is what the ledger says."""

    def __init__(self, console: Console, directory: Path) -> None:
        """Play below an empty directory."""
        self.stage = Stage(directory)
        self._console = console
        self._data = directory / "ledger"
        self._client: Client | None = None
        self._told: list[Told] = []
        self.service: Service | None = None

    async def stop(self) -> None:
        """Stop every process, in whatever state it is."""
        if self._client is not None:
            await self._client.close()
        if self.service is not None:
            await self.service.stop()
        await self.stage.stop()

    @property
    def token_file(self) -> Path:
        """Return where the operator's token lies."""
        return self._data / "operator-main.token"

    async def tell(self) -> bool:
        """Play every scene and compare; raises `NotAnsweredError` or `StoppedEarlyError` where it cannot go on."""
        await self._open()
        await self._survive_two_crashes()
        await self._undo_everything_when_one_fails()
        await self._find_out_after_a_lost_answer()
        await self._try_without_doing()
        await self._undo_by_hand()
        await play_department(self)
        return await self._compare()

    # ── the scenes ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _open(self) -> None:
        self.scene("Setting up", "an outside world, and Intent Ledger with no settings but its adapters' file")
        await self.stage.start()
        for customer in ("88", "91", "92", *CUSTOMERS):
            charge = {"id": f"ch_{customer}", "customer": customer, "amount": 20_000, **_USD, **_KNOWN}
            await self.stage.tell_payments("/charges", charge)
        self.say(f"CRM: a PostgreSQL database. Payments: {self.stage.payments.url}, a process with its own record.")
        self.say(f"Mailbox: an SMTP server on port {self.stage.mailbox.port}.")
        settings = {
            **self.stage.environment,
            "INTENTLEDGER_DATA": str(self._data),
            "INTENTLEDGER_LEASE_SECONDS": _LEASE_SECONDS,
            "INTENTLEDGER_LOG_FORMAT": "json",
        }
        self.service = Service("intentledger", self.stage.directory, settings)
        await self._start()
        self._client = Client(self.service.url, self.token_file.read_text().strip())
        self.say(f"Intent Ledger: {self.service.url}, with its own embedded PostgreSQL.")

    async def _survive_two_crashes(self) -> None:
        self.scene("1. Two crashes", "refund 42.00, mark the customer refunded, mail the customer")
        await self._misbehave(on="hold", answer="delay", seconds=60)
        intent = await self.submit(
            "Refund through two crashes",
            "committed",
            [
                _action("refund", "payments.refund", charge="ch_88", amount=4200, **_USD),
                _action("crm", "crm.update", customer="88", status="refunded"),
                _mail("customer88@example.com", "Your refund of 42.00 USD", after="refund"),
            ],
        )
        await self.outside("the hold and the prepared transaction", self._all_prepared)
        await self._crash("between the votes and the decision")
        self.say("Held outside: 42.00 USD at payments, one prepared transaction in the CRM. Decided: nothing.")
        await self._misbehave(on="confirm", answer="delay", seconds=60)
        await self._start()
        await self.outside("the refund, with the CRM still prepared", self._half_committed)
        await self._crash("between two commits")
        self.say("Outside now: the refund is done, the CRM is only prepared, no mail. Decided: commit.")
        await self._start()
        self.say("Nobody submits anything again.")
        await self.ends(intent)

    async def _undo_everything_when_one_fails(self) -> None:
        self.scene(
            "2. One action fails", "a credit that works, a CRM change, and a mail to an address that does not exist"
        )
        intent = await self.submit(
            "Credit with a mail that fails",
            "compensated",
            [
                _action("credit", "payments.credit", account="acct_90", amount=500, **_USD),
                _action("crm", "crm.update", customer="90", status="credited"),
                _mail("refuse.nobody@example.com", "Your credit of 5.00 USD", after="credit"),
            ],
        )
        await self.ends(intent)

    async def _find_out_after_a_lost_answer(self) -> None:
        self.scene("3. A lost answer", "payments moves the money and the connection breaks before it can say so")
        await self._misbehave(on="transfer", answer="lose")
        intent = await self.submit(
            "Transfer whose answer was lost",
            "committed",
            [_action("transfer", "payments.transfer", account="acct_88", amount=1700, **_USD)],
        )
        await self.ends(intent)
        events = (await self.operator.get(f"/v1/intents/{intent}/events"))["items"]
        self.say("The log: " + " → ".join(event["type"] for event in events if "action" in event["body"]))

    async def _try_without_doing(self) -> None:
        self.scene("4. A dry run", "what would happen, shown by the systems of record")
        intent = await self.submit(
            "Refund, only tried",
            "simulated",
            [
                _action("refund", "payments.refund", charge="ch_92", amount=900, **_USD),
                _action("crm", "crm.update", customer="92", status="refunded"),
            ],
            mode="dry_run",
        )
        shown = await self.ends(intent)
        for action in shown["actions"]:
            self.say(f"{action['operation']}: now {(action['preview'] or {}).get('before')}")

    async def _undo_by_hand(self) -> None:
        self.scene("5. An undo", "an operator takes a committed refund back")
        intent = await self.submit(
            "Refund, then undone",
            "compensated",
            [
                _action("refund", "payments.refund", charge="ch_91", amount=900, **_USD),
                _action("crm", "crm.update", customer="91", status="refunded"),
                _mail("customer91@example.com", "Your refund of 9.00 USD", after="refund"),
            ],
        )
        await self.ends(intent, "committed")
        await self.operator.ask("POST", f"/v1/intents/{intent}/undo", {"reason": "Refunded by mistake"})
        await self.ends(intent)

    async def _compare(self) -> bool:
        self.scene("What is outside, and what the ledger says", "read from each system's own record")
        rows: list[Holding] = []
        for told in self._told:
            shown = await self.operator.intent(told.intent)
            events = (await self.operator.get(f"/v1/intents/{told.intent}/events"))["items"]
            rows += await holdings(self.stage, told.name, told.phase, shown, events)
        left = await self._left_over(rows)
        show_holdings(self._console, rows, left)
        newest = max(shown["position"] for shown in (await self.operator.intents()).values())
        show_audit(self._console, (await self.operator.get(f"/v1/audit?min_position={newest}"))["items"])
        return not left and all(row.agrees for row in rows)

    async def _left_over(self, rows: list[Holding]) -> list[str]:
        """Name what is outside and belongs to no row: effects nobody asked for, and things still held."""
        left = [f"{row['gid']} is still prepared in the CRM." for row in await self._prepared_transactions()]
        left += [f"Hold {hold['id']} is still there." for hold in self._open_holds()]
        effects = [line for line in self.stage.paid() if line["what"] in {"confirm", "credit", "transfer", "reverse"}]
        changes = await self.stage.crm("select 1 from public.changes")
        found = len(effects) + len(changes) + len(self.stage.mailed())
        counted = sum(row.effects + row.undone for row in rows)
        if found != counted:
            left.append(f"The outside systems recorded {found} effects, and the ledger knows of {counted}.")
        return left

    # ── what the scenes are made of ──────────────────────────────────────────────────────────────────────────────

    @property
    def operator(self) -> Client:
        """Return the operator's client."""
        if self._client is None:
            raise NotAnsweredError("The service has not been started.")
        return self._client

    def scene(self, title: str, words: str) -> None:
        """Begin a scene."""
        self._console.print(f"\n[bold]{title}[/bold] [dim]{words}[/dim]")

    def say(self, words: str) -> None:
        """Say something in a scene."""
        self._console.print(f"  {words}", markup=False)

    async def submit(
        self, name: str, phase: str, actions: list[Document], mode: str = "execute", client: Client | None = None
    ) -> str:
        """Submit an intent that must end in `phase`, as the operator or with another client; return its id."""
        body = {"task": "12A", "reason": name, "mode": mode, "deadline": 120, "actions": actions}
        status, shown = await (client or self.operator).submit(f"demo/{name}", body)
        if status not in {200, 202}:
            raise NotAnsweredError(f"The intent was not accepted: {status} {shown}")
        self._told.append(Told(name, shown["id"], phase))
        self.say(f"POST /v1/intents → {status}, {shown['phase']}: {', '.join(a['operation'] for a in actions)}")
        return str(shown["id"])

    async def ends(self, intent: str, phase: str | None = None) -> Document:
        """Wait until an intent has ended, and say how; raises `NotAnsweredError` if it is not in `phase`."""
        shown = await self.operator.until(intent, _SCENE_SECONDS)
        if phase is not None and shown["phase"] != phase:
            raise NotAnsweredError(f"Intent {intent} is {shown['phase']}, not {phase}.")
        steps = ", ".join(f"{action['id']} {action['step']}" for action in shown["actions"])
        self._console.print(f"  → [bold]{shown['phase']}[/bold]: {steps}")
        return shown

    async def _misbehave(self, **fault: Any) -> None:
        await self.stage.tell_payments("/faults", fault)

    async def _start(self) -> None:
        if self.service is not None:
            await self.service.start()
            await self.service.ready()

    async def _crash(self, when: str) -> None:
        if self.service is not None:
            pid = self.service.pid
            await self.service.kill()
            self._console.print(f"  [red]kill -9 {pid}[/red], the coordinator and with it its PostgreSQL, {when}.")

    async def outside(self, what: str, there: Callable[[], Awaitable[bool]]) -> None:
        """Wait until the outside systems are at a moment of the story."""
        deadline = asyncio.get_running_loop().time() + _SCENE_SECONDS
        while not await there():
            if asyncio.get_running_loop().time() > deadline:
                raise NotAnsweredError(f"Waited {_SCENE_SECONDS:.0f} seconds in vain for {what}.")
            await asyncio.sleep(_POLL_SECONDS)

    async def _all_prepared(self) -> bool:
        return len(self._open_holds()) == 1 and len(await self._prepared_transactions()) == 1

    async def _half_committed(self) -> bool:
        confirmed = any(line["what"] == "confirm" for line in self.stage.paid())
        return confirmed and len(await self._prepared_transactions()) == 1

    async def _prepared_transactions(self) -> list[Any]:
        return await self.stage.crm("select gid from pg_prepared_xacts where database = current_database()")

    def _open_holds(self) -> list[Mapping[str, Any]]:
        settled = {line["key"] for line in self.stage.paid() if line["what"] in {"confirm", "release"}}
        return [line for line in self.stage.paid() if line["what"] == "hold" and line["key"] not in settled]


def _action(name: str, operation: str, **params: Any) -> Document:
    return {"id": name, "operation": operation, "params": params}


def _mail(to: str, subject: str, after: str) -> Document:
    text = "Hello,\n\nthe money is on its way to you.\n\nYour support team\n"
    return _action("mail", "email.send", to=to, subject=subject, text=text) | {"after": [after]}
