"""People who answer for intents that wait: they approve and reject, late and early, and others try who may not.

What they say may be lost like anything else, so whoever hears nothing looks at the intent before saying it again.
"""

import asyncio
import random
from collections import deque

from department import Department, Seat
from traces import Answer
from world import World

from examples.demo.client import Document

NO_DIGEST = "sha256:" + "0" * 64
UNHEARD = {0, *range(500, 600)}


class People:
    """The people of a department at their work; `answers` is what they said."""

    def __init__(self, world: World, department: Department, seed: int) -> None:
        self.answers: list[Answer] = []
        self._world = world
        self._department = department
        self._choices = random.Random(f"{seed}/people")
        self._ended: deque[Document] = deque(maxlen=20)  # questions that were answered
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def work(self) -> None:
        """Answer whatever waits, until stopped."""
        while not self._stopping:
            waiting = await self._list("awaiting_approval", 60)
            await asyncio.gather(*(self._look_at(shown) for shown in waiting))
            await self._out_of_turn()
            await asyncio.sleep(self._choices.uniform(0.1, 0.4))

    async def settle(self, shown: Document) -> None:
        """Approve what waits, as often as it is asked for."""
        asked = shown["approval"]
        people = self._choices.sample(self._department.finance, asked["quorum"])
        await asyncio.gather(*(self._say(person, "approve", shown) for person in people))
        self._ended.append(shown)

    async def _list(self, phase: str, limit: int) -> list[Document]:
        status, page = await self._department.ask(
            self._department.operator, "GET", f"/v1/intents?phase={phase}&limit={limit}"
        )
        return page["items"] if status == 200 else []

    async def _look_at(self, shown: Document) -> None:
        await asyncio.sleep(self._choices.uniform(0.0, 0.3))
        dice = self._choices.random()
        if dice < 0.15:
            return  # it waits a little longer
        if dice < 0.22:
            await self._say(self._choices.choice(self._department.finance), "reject", shown)
        elif dice < 0.45:
            await self._try_in_vain(shown)
        else:
            await self.settle(shown)

    async def _try_in_vain(self, shown: Document) -> None:
        department = self._department
        friends = [friend for friend in department.friends if friend.home in shown["custody"]]
        managers = [manager for manager in department.managers if manager.grant in shown["custody"]]
        agents = [agent for agent in department.workers if agent.grant == shown["grant"]]
        others = [department.clerk, department.bookkeeper, department.operator, *friends, *managers, *agents]
        word = self._choices.choice(["approve", "approve", "reject"])
        if self._choices.random() < 0.3:
            finance = self._choices.choice(department.finance)
            await self._say(finance, word, shown, digest=NO_DIGEST, fit=False)
        else:
            await self._say(self._choices.choice(others), word, shown, fit=False)

    async def _out_of_turn(self) -> None:
        """Answer what does not wait any more, and what does not wait yet."""
        if self._ended and self._choices.random() < 0.5:
            late = self._choices.choice(self._ended)
            await self._say(self._choices.choice(self._department.finance), "approve", late)
        if self._choices.random() < 0.3:
            for early in await self._list("preparing", 1):
                await self._say(self._choices.choice(self._department.finance), "approve", early)

    async def _say(
        self, seat: Seat, word: str, shown: Document, *, digest: str | None = None, fit: bool = True
    ) -> None:
        """Say it until it is answered, or until the intent shows that it was heard or is needed no more."""
        digest = digest or (shown["approval"] or shown)["digest"]
        why = {"note": "Looked at it."} if word == "approve" else {"reason": "Looked at it."}
        for _ in range(20):
            grant = seat.grant
            path = f"/v1/intents/{shown['id']}/{word}"
            status, _ = await self._department.ask(seat, "POST", path, {"digest": digest, **why})
            self.answers.append(Answer(shown["id"], word, seat.name, grant, digest, status, fit))
            if status not in UNHEARD or await self._was_heard(seat, shown["id"]):
                return
            await asyncio.sleep(0.1)

    async def _was_heard(self, seat: Seat, intent: str) -> bool:
        status, shown = await self._department.ask(self._department.operator, "GET", f"/v1/intents/{intent}")
        if status != 200:
            return False
        given = (shown["approval"] or {"given": []})["given"]
        return shown["phase"] != "awaiting_approval" or any(one["by"] == seat.name for one in given)
