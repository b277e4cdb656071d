"""A load client: a seeded mix of every kind of intent, sent again under its key until the service has acknowledged it.

It works in the seats of a department, shows a dead token as long as nobody has given it another one, and writes down
every POST and what came of it, in its own time. What it asks for is chosen so that every guarantee, every end, every
verdict and every kind of doubt occurs.
"""

import asyncio
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from department import Department, Seat
from traces import Attempt

from examples.demo.client import TERMINAL, Client, Document

UNAUTHENTICATED = 401
CUSTOMERS = 60  # few enough that some intents want the same row
USD = {"currency": "USD"}
SHAPES = {
    "refund": 20,
    "credit": 12,
    "transfer": 16,
    "refused": 8,
    "compensated": 6,
    "lost mail": 3,
    "busy mail": 1,
    "dry run": 6,
    "undone": 12,
    "cancelled": 8,
    "invalid": 4,
    "asked": 14,
    "asked twice": 6,
    "asked perhaps": 8,
    "forbidden": 3,
    "beyond": 3,
    "rush": 3,
}
RUSH = 4  # intents at once, of which a limit lets two through


class Load:
    """Several clients with one memory; `attempts` is what they did."""

    def __init__(self, doors: Sequence[Client], department: Department, seed: int) -> None:
        self.attempts: list[Attempt] = []
        self.shapes: Counter[str] = Counter()
        self.unanswered: dict[str, tuple[Seat, str | None, Document]] = {}  # by key: what was never acknowledged
        self._doors = doors
        self._department = department
        self._seed = seed
        self._numbers = iter(range(10**9))
        self._stopping = False

    async def run(self, clients: int) -> None:
        """Submit until `stop` is called."""
        await asyncio.gather(*(self._client(random.Random(f"{self._seed}/{n}")) for n in range(clients)))

    def stop(self) -> None:
        self._stopping = True

    async def settle(self) -> None:
        """Ask again for everything that was never acknowledged; the same key gives the truth."""
        choices = random.Random(self._seed)
        for key, (seat, home, body) in list(self.unanswered.items()):
            if (
                home == seat.home and choices.random() < 0.5
            ):  # the others must be in the log at most once, whoever knows
                await self._insist(choices, seat, key, body, seconds=30)

    async def _client(self, choices: random.Random) -> None:
        while not self._stopping:
            kind = choices.choices(list(SHAPES), list(SHAPES.values()))[0]
            number = next(self._numbers)
            seat = choices.choice(self._department.short if kind == "rush" else self._department.workers)
            key = f"load-{self._seed}-{number}"
            keys = [f"{key}-{n}" for n in range(RUSH)] if kind == "rush" else [key]
            await asyncio.gather(*(self._one(choices, seat, kind, one, shape(choices, kind, number)) for one in keys))
            await asyncio.sleep(choices.uniform(0.0, 0.15))

    async def _one(self, choices: random.Random, seat: Seat, kind: str, key: str, body: Document) -> None:
        self.shapes[kind] += 1
        intent = await self._insist(choices, seat, key, body, seconds=8)
        if intent is None:
            return
        if choices.random() < 0.1:
            await self.send(seat, choices.choice(self._doors), key, body)
        if choices.random() < 0.05:
            other = {**body, "reason": "Another body under the same key"}
            await self.send(seat, choices.choice(self._doors), key, other)
        if kind == "cancelled":
            await self._say(seat, intent, "cancel", {"reason": "The customer called again"})
        if kind == "undone" and await self._ended(seat, intent) == "committed":
            person = self._department.operator  # agents undo nothing
            await self._say(person, intent, "undo", {"reason": "It was a mistake", "partial": True})

    async def _insist(self, choices: random.Random, seat: Seat, key: str, body: Document, seconds: float) -> str | None:
        """Send until there is an answer that says what was recorded; None if it was refused or time ran out.

        A dead token gives no such answer as long as another one may come, under which the key is the same.
        """
        home = seat.home
        self.unanswered[key] = (seat, home, body)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and seat.home == home:
            attempt = await self.send(seat, choices.choice(self._doors), key, body)
            if attempt.outcome != "unknown" and attempt.status != UNAUTHENTICATED:
                del self.unanswered[key]
                return attempt.intent
            await asyncio.sleep(choices.uniform(0.05, 0.4))
        return None

    async def send(self, seat: Seat, door: Client, key: str, body: Document) -> Attempt:
        """Make one POST and write down what came of it."""
        started, grant = time.monotonic(), seat.grant
        status, answer = await door.ask("POST", "/v1/intents", body, **seat.headers, **{"Idempotency-Key": f'"{key}"'})
        outcome = "accepted" if status in {200, 202} else "refused" if 400 <= status < 500 else "unknown"
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        intent = answer.get("id") if outcome == "accepted" else None
        attempt = Attempt(key, digest, outcome, started, time.monotonic(), status, intent, grant)
        self.attempts.append(attempt)
        return attempt

    async def _say(self, seat: Seat, intent: str, word: str, body: Document) -> None:
        """Say something about an intent until any door answers at all; a refusal is an answer."""
        for _ in range(10):
            status, _ = await self._department.ask(seat, "POST", f"/v1/intents/{intent}/{word}", body)
            if 200 <= status < 500:
                return
            await asyncio.sleep(0.2)

    async def _ended(self, seat: Seat, intent: str) -> str | None:
        for _ in range(40):
            status, shown = await self._department.ask(seat, "GET", f"/v1/intents/{intent}")
            if 400 <= status < 500:  # the token is dead, or renewed elsewhere in the tree: not ours to see any more
                return None
            if status == 200 and shown["phase"] in TERMINAL:
                return str(shown["phase"])
            await asyncio.sleep(0.2)
        return None


def shape(choices: random.Random, kind: str, number: int) -> Document:
    """Return the body of an intent of this kind. Every CRM change carries a tag of its own."""
    customer = str(choices.randrange(1, CUSTOMERS))
    charge = f"ch_{choices.randrange(0, 200)}"
    amount = choices.randrange(1, 40)  # what policy always lets go through
    refund = action("refund", "payments.refund", charge=charge, amount=amount, **USD)
    credit = action("credit", "payments.credit", account=f"acct_{customer}", amount=amount, **USD)
    transfer = action("transfer", "payments.transfer", account=f"acct_{customer}", amount=amount, **USD)
    crm = action("crm", "crm.update", customer=customer, status="refunded", tag=f"tag-{number}")
    body: Document = {"task": "load", "again": True, "reason": kind, "deadline": choices.choice([5, 10, 20])}
    match kind:
        case "refund":
            actions = [refund, crm, *([mail("a@example.com", after="refund")] if choices.random() < 0.4 else [])]
        case "credit":
            actions = [credit, *([crm] if choices.random() < 0.5 else [])]
        case "transfer":
            actions = [transfer, *([crm] if choices.random() < 0.3 else [])]
        case "refused":
            actions = [crm, action("refund", "payments.refund", charge=charge, amount=10**12, **USD)]
        case "compensated":
            actions = [credit, transfer, crm, mail("refuse.me@example.com", after="credit")]
        case "lost mail":
            actions = [credit, mail("lost.me@example.com")]
        case "busy mail":
            actions = [crm, mail("busy.me@example.com")]
        case "dry run":
            body["mode"] = "dry_run"
            actions = [refund, crm, mail("a@example.com")]
        case "undone":
            actions = [refund, credit, transfer, crm, *([mail("a@example.com")] if choices.random() < 0.2 else [])]
        case "cancelled":
            actions = [refund, crm]
        case "asked" | "asked twice" | "asked perhaps":
            least, most = {"asked": (60, 85), "asked twice": (85, 100), "asked perhaps": (40, 60)}[kind]
            larger = action("refund", "payments.refund", charge=charge, amount=choices.randrange(least, most), **USD)
            actions = [
                larger,
                *([transfer] if choices.random() < 0.2 else []),
                *([crm] if choices.random() < 0.1 else []),
            ]
        case "forbidden":
            actions = [refund, action("credit", "payments.credit", account=f"acct_{customer}", amount=95, **USD)]
        case "rush":
            actions = [action("credit", "payments.credit", account=f"acct_{customer}", amount=20, **USD)]
        case "beyond":
            actions = [action("transfer", "payments.transfer", account=f"acct_{customer}", amount=1, currency="EUR")]
        case _:
            actions = [refund, action("nothing", "payments.nothing")]
    return {**body, "actions": actions}


def action(name: str, operation: str, **params: Any) -> Document:
    return {"id": name, "operation": operation, "params": params}


def mail(to: str, after: str | None = None) -> Document:
    one = action("mail", "email.send", to=to, subject="Your money", text="It is on its way.\n")
    return one | ({"after": [after]} if after else {})
