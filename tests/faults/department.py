"""Who works in a world: people and agents, each under a grant of their own, issued and revoked over HTTP.

    operator ─┬─ finance-1 …        people whom the policy sets ask to approve
              ├─ clerk, bookkeeper  people who may not: of another role; of the right one, with too narrow a grant
              ├─ steady             an agent that nobody revokes
              └─ manager-1 …        people who commission agents, with limits for all of theirs
                  ├─ friend-1 …     a person of finance, whom a manager of theirs has appointed
                  └─ agent-1a …     agents, each with limits of its own; the first of them has a helper below it

A seat stays when its grant is renewed. An answer that was lost is read back: a revoke is repeated until it is answered,
a new grant whose token nobody has is found in the list and revoked.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator

from traces import Revocation
from world import World

from examples.demo.client import Document

USD = {"where": {"currency": ["USD"]}}
EVERYTHING = [{"operation": name} for name in ("payments.*", "crm.*", "email.*")]
IN_DOLLARS = [{"operation": "payments.*", **USD}, {"operation": "crm.update"}, {"operation": "email.send"}]
IN_MONEY = {"measure": "amount", "currency": "USD"}
OF_A_MANAGER = [
    {"operation": "payments.transfer", **IN_MONEY, "per": "hour", "max": 900, "each": "agent"},
    {"operation": "payments.*", "measure": "count", "per": "day", "max": 400},
]
OF_AN_AGENT = [
    {"operation": "payments.refund", "measure": "count", "per": "hour", "max": 40},
    {"operation": "payments.credit", **IN_MONEY, "per": "total", "max": 400},
]
SHORT = [*OF_AN_AGENT, {"operation": "payments.credit", **IN_MONEY, "per": "day", "max": 45}]


class Seat:
    """A place in the tree of grants; `grant` and `token` are those of its present grant."""

    def __init__(self, above: "Seat | None", name: str, kind: str, operations: list[Document], **order: object) -> None:
        self.above = above
        self.name = name
        role = order.pop("role", None)
        subject = {"kind": kind, "name": name} | ({"role": role} if role else {})
        self.order = {"subject": subject, "operations": operations, **order}
        self.grant = ""
        self.token = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def home(self) -> str | None:
        """Return the grant above: as long as it is the same one, the seat's idempotency keys are."""
        return self.above.grant if self.above is not None else None


class Department:
    """Every seat of a world; `revocations` is what was done to them."""

    def __init__(self, world: World, seed: int) -> None:
        self.revocations: list[Revocation] = []
        self.figures: Counter[str] = Counter()
        self._world = world
        self._choices = random.Random(f"{seed}/department")
        self.operator = Seat(None, "operator", "person", EVERYTHING)
        self.finance = [self._person(self.operator, f"finance-{n}", role="finance") for n in range(1, 4)]
        self.clerk = self._person(self.operator, "clerk", role="clerk")
        self.bookkeeper = Seat(self.operator, "bookkeeper", "person", [{"operation": "crm.*"}], role="finance")
        self.steady = Seat(self.operator, "steady", "agent", IN_DOLLARS)
        self.managers = [self._manager(f"manager-{n}") for n in range(1, 3)]
        self.friends = [
            self._person(manager, f"friend-{manager.name[-1]}", role="finance") for manager in self.managers
        ]
        self.agents = [self._agent(manager, letter) for manager in self.managers for letter in "abc"]
        leaders = [agent for agent in self.agents if agent.order["may_delegate"]]
        self.helpers = [Seat(agent, f"helper-{agent.name[-2:]}", "agent", IN_DOLLARS) for agent in leaders]
        self.workers = [*self.agents, *self.helpers]
        self.short = [agent for agent in self.agents if agent.order["limits"] is SHORT]  # soon out of credit

    def _person(self, above: Seat, name: str, **order: object) -> Seat:
        return Seat(above, name, "person", EVERYTHING, **order)

    def _manager(self, name: str) -> Seat:
        return self._person(self.operator, name, may_delegate=True, limits=OF_A_MANAGER)

    def _agent(self, manager: Seat, letter: str) -> Seat:
        name = f"agent-{manager.name[-1]}{letter}"
        limits = SHORT if letter == "b" else OF_AN_AGENT
        return Seat(manager, name, "agent", IN_DOLLARS, may_delegate=letter == "a", limits=limits)

    def seats(self, top: Seat) -> Iterator[Seat]:
        """Yield a seat and those below it, from the top down."""
        others = (*self.finance, self.clerk, self.bookkeeper, self.steady, *self.managers, *self.friends, *self.workers)
        yield top
        for seat in others:
            if seat.above is top:
                yield from self.seats(seat)

    async def open(self) -> None:
        """Issue every grant."""
        self.operator.token = self._world.token_file.read_text().strip()
        self.operator.grant = "grant-operator"
        await self.renew(self.operator)

    async def renew(self, top: Seat) -> None:
        """Issue new grants for a seat and those below it; the operator keeps the first one."""
        for seat in self.seats(top):
            if seat.above is not None:
                await self._issue(seat, seat.above)

    async def _issue(self, seat: Seat, above: Seat) -> None:
        for _ in range(200):
            status, answer = await self.ask(above, "POST", "/v1/grants", seat.order)
            if status == 201:
                seat.grant, seat.token = answer["id"], answer["token"]
                self.figures["grants issued"] += 1
                return
            assert not 400 <= status < 500, f"{above.name} cannot appoint {seat.name}: {status} {answer}"
            self.figures["answers to grants lost"] += 1
            await asyncio.sleep(0.1)
        raise AssertionError(f"{seat.name} got no grant.")

    async def revoke(self, seat: Seat, by: Seat) -> None:
        """Revoke a seat's grant, again until there is an answer; it keeps the dead token until it is renewed."""
        grant = seat.grant
        for _ in range(200):
            status = await self._revoke(grant, by)
            if status == 200:
                return
            if 400 <= status < 500:  # whoever revoked their own, and did not hear it, cannot ask any more
                by = self.operator
            await asyncio.sleep(0.1)
        raise AssertionError(f"{grant} could not be revoked.")

    async def _revoke(self, grant: str, by: Seat) -> int:
        started = time.monotonic()
        status, answer = await self.ask(by, "POST", f"/v1/grants/{grant}/revoke", {"reason": "It acts oddly"})
        said = [tuple(answer.get(word, ())) for word in ("aborting", "already_decided")] if status == 200 else [(), ()]
        self.revocations.append(Revocation(grant, started, time.monotonic(), status, *said))
        self.figures["revokes answered" if status == 200 else "answers to revokes lost or refused"] += 1
        return status

    async def revoke_what_nobody_holds(self) -> None:
        """Find the grants whose tokens were lost with their answers, and revoke them."""
        held = {seat.grant for seat in self.seats(self.operator)}
        path = "/v1/grants?limit=500"
        page: Document = {"items": [], "next": ""}
        while page["next"] is not None:
            after = f"&after={page['next']}" if page["next"] else ""
            page = await self._world.doors[0].get(path + after)
            for grant in page["items"]:
                if not grant["revoked"] and grant["id"] not in held:
                    self.figures["grants that nobody held"] += 1
                    await self._revoke(grant["id"], self.operator)

    async def ask(self, seat: Seat, method: str, path: str, body: Document | None = None) -> tuple[int, Document]:
        """Make one request as whoever sits there, at any door; (0, {}) where no answer came."""
        return await self._choices.choice(self._world.doors).ask(method, path, body, **seat.headers)
