"""A load client: a seeded mix of every kind of intent, sent again under its key until the service has acknowledged it.

It writes down every POST and what came of it, in its own time. What it asks for is chosen so that every guarantee,
every end and every kind of doubt occurs.
"""

import asyncio
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from traces import Attempt

from examples.demo.client import TERMINAL, Client, Document

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
}


class Load:
    """Several clients with one memory; `attempts` is what they did."""

    def __init__(self, doors: Sequence[Client], seed: int) -> None:
        self.attempts: list[Attempt] = []
        self.shapes: Counter[str] = Counter()
        self.unanswered: dict[str, Document] = {}  # key → body of what was never acknowledged
        self._doors = doors
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
        for key, body in list(self.unanswered.items()):
            if choices.random() < 0.5:  # the others must be in the log at most once, whoever knows
                await self._insist(choices, key, body, seconds=30)

    async def _client(self, choices: random.Random) -> None:
        while not self._stopping:
            kind = choices.choices(list(SHAPES), list(SHAPES.values()))[0]
            number = next(self._numbers)
            await self._one(choices, kind, f"load-{self._seed}-{number}", shape(choices, kind, number))
            await asyncio.sleep(choices.uniform(0.0, 0.15))

    async def _one(self, choices: random.Random, kind: str, key: str, body: Document) -> None:
        self.shapes[kind] += 1
        intent = await self._insist(choices, key, body, seconds=8)
        if intent is None:
            return
        if choices.random() < 0.1:
            await self.send(choices.choice(self._doors), key, body)
        if choices.random() < 0.05:
            await self.send(choices.choice(self._doors), key, {**body, "reason": "Another body under the same key"})
        if kind == "cancelled":
            await self._say(choices, intent, "cancel", {"reason": "The customer called again"})
        if kind == "undone" and await self._ended(choices, intent) == "committed":
            await self._say(choices, intent, "undo", {"reason": "It was a mistake", "partial": True})

    async def _insist(self, choices: random.Random, key: str, body: Document, seconds: float) -> str | None:
        """Send until there is an answer that says what was recorded; None if it was refused or time ran out."""
        self.unanswered[key] = body
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            attempt = await self.send(choices.choice(self._doors), key, body)
            if attempt.outcome != "unknown":
                del self.unanswered[key]
                return attempt.intent
            await asyncio.sleep(choices.uniform(0.05, 0.4))
        return None

    async def send(self, door: Client, key: str, body: Document) -> Attempt:
        """Make one POST and write down what came of it."""
        started = time.monotonic()
        status, answer = await door.submit(key, body)
        outcome = "accepted" if status in {200, 202} else "refused" if 400 <= status < 500 else "unknown"
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        intent = answer.get("id") if outcome == "accepted" else None
        attempt = Attempt(key, digest, outcome, started, time.monotonic(), status, intent)
        self.attempts.append(attempt)
        return attempt

    async def _say(self, choices: random.Random, intent: str, word: str, body: Document) -> None:
        """Say something about an intent until any door answers at all; a refusal is an answer."""
        for _ in range(10):
            status, _ = await choices.choice(self._doors).ask("POST", f"/v1/intents/{intent}/{word}", body)
            if 200 <= status < 500:
                return
            await asyncio.sleep(0.2)

    async def _ended(self, choices: random.Random, intent: str) -> str | None:
        for _ in range(40):
            status, shown = await choices.choice(self._doors).ask("GET", f"/v1/intents/{intent}")
            if status == 200 and shown["phase"] in TERMINAL:
                return str(shown["phase"])
            await asyncio.sleep(0.2)
        return None


def shape(choices: random.Random, kind: str, number: int) -> Document:
    """Return the body of an intent of this kind. Every CRM change carries a tag of its own."""
    customer = str(choices.randrange(1, CUSTOMERS))
    charge = f"ch_{choices.randrange(0, 200)}"
    amount = choices.randrange(1, 100)
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
        case _:
            actions = [refund, action("nothing", "payments.nothing")]
    return {**body, "actions": actions}


def action(name: str, operation: str, **params: Any) -> Document:
    return {"id": name, "operation": operation, "params": params}


def mail(to: str, after: str | None = None) -> Document:
    one = action("mail", "email.send", to=to, subject="Your money", text="It is on its way.\n")
    return one | ({"after": [after]} if after else {})
