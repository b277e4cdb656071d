"""Authority that does not keep still: grants are revoked and renewed, and two policy sets are activated in turn.

Both sets ask the same of everybody and differ in where they begin to. `BOOKS` says where, so that a checker can know
what each verdict must be without asking the product.
"""

import asyncio
import random

from department import Department, Seat
from world import World

BOOKS = [
    {"alone": 60, "two": 85, "credit": 90},  # from here on: people are asked; two of them; above it: never
    {"alone": 40, "two": 85, "credit": 80},
]
CEDAR = """
@id("pays")
permit (
    principal is Agent,
    action in [Action::"payments.credit", Action::"payments.transfer", Action::"crm.update", Action::"email.send"],
    resource
);

@id("refunds-alone")
permit (principal is Agent, action == Action::"payments.refund", resource)
when {{ context.amount < {alone} || context.amount > 1000000 }};

@id("one-of-finance")
@approvers("finance")
permit (principal is Agent, action == Action::"payments.refund#with_approval", resource)
when {{ context.amount >= {alone} }};

@id("two-of-finance")
@approvers("finance")
@quorum("2")
permit (principal is Agent, action == Action::"payments.refund#with_approval", resource)
when {{ context.amount >= {two} }};

@id("no-large-credits")
forbid (principal is Agent, action in Action::"payments.credit", resource)
when {{ context.amount > {credit} }};
"""


class Upheaval:
    """Changes who may do what until it is stopped; always finishes what it has begun."""

    def __init__(self, world: World, department: Department, seed: int) -> None:
        self.books: dict[str, dict[str, int]] = {}  # by the digest of the policy set
        self._world = world
        self._department = department
        self._choices = random.Random(f"{seed}/upheaval")
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def open(self) -> None:
        """Keep both policy sets, and activate the first."""
        for book in BOOKS:
            status, answer = await self._world.doors[0].ask("POST", "/v1/policies", {"cedar": CEDAR.format(**book)})
            assert status == 201, answer
            self.books[answer["digest"]] = book
        await self._activate(next(iter(self.books)))

    async def activate_in_turn(self) -> None:
        """Put one set in force and then the other, every few seconds."""
        turn = 0
        while not self._stopping:
            turn += 1
            await asyncio.sleep(self._choices.uniform(1.5, 5.0))
            await self._activate(list(self.books)[turn % 2])

    async def _activate(self, digest: str) -> None:
        for _ in range(200):
            door = self._choices.choice(self._world.doors)
            status, answer = await door.ask("POST", f"/v1/policies/{digest}/activate")
            if status == 200:
                self._world.hurt["activate policies"] += 1
                return
            assert not 400 <= status < 500, f"The policy set was not activated: {status} {answer}"
            await asyncio.sleep(0.1)
            status, answer = await door.ask("GET", "/v1/policies/active")  # the answer was lost: look
            if status == 200 and answer["digest"] == digest:
                self._world.hurt["activate policies, read back"] += 1
                return
        raise AssertionError("The policy set could not be activated.")

    async def revoke_and_renew(self) -> None:
        """Revoke somebody's grant, let them go on for a moment with a dead token, and give them a new one."""
        while not self._stopping:
            await asyncio.sleep(self._choices.uniform(0.2, 1.2))
            seat = self._victim()
            await self._department.revoke(seat, self._by(seat))
            self._world.hurt[f"revoke {seat.name.partition('-')[0]}"] += 1
            await asyncio.sleep(self._choices.uniform(0.0, 0.4))
            await self._department.renew(seat)

    def _victim(self) -> Seat:
        department = self._department
        kinds = [department.agents, department.helpers, department.managers, department.finance]
        return self._choices.choice(self._choices.choices(kinds, [60, 20, 8, 12])[0])

    def _by(self, seat: Seat) -> Seat:
        """Choose who revokes: whoever issued it, the operator, or they themselves."""
        above = seat.above or self._department.operator
        return self._choices.choice([above, above, self._department.operator, seat])
