"""Scenes six to nine of the demo: who may, how far, and who said so.

A manager commissions agents, a policy set says what they may do alone, a person approves what they may not, and one of
them is stopped while its intent is under way.
"""

from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from examples.demo.client import Client, Document, NotAnsweredError

if TYPE_CHECKING:
    from examples.demo.story import Story

CUSTOMERS: Final = ("93", "94", "95", "96", "97")  # each with one charge
_PAYMENTS: Final[Document] = {"operation": "payments.*", "where": {"currency": ["USD"]}}


async def play_department(story: "Story") -> None:
    """Play the scenes; raises `NotAnsweredError` where one does not go as told."""
    clients: list[Client] = []
    try:
        await _Department(story, clients).play()
    finally:
        for client in clients:
            await client.close()


class _Department:
    def __init__(self, story: "Story", clients: list[Client]) -> None:
        self._story = story
        self._clients = clients
        self._grants: dict[str, str] = {}  # by the name of who holds it

    async def play(self) -> None:
        await self._commission()
        await self._with_a_person()
        await self._outside_its_remit()
        await self._revoked_under_way()

    # ── the scenes ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _commission(self) -> None:
        story = self._story
        story.scene("6. Authority", "a manager commissions agents; a policy set says what they may do alone")
        operator = story.operator
        self._manager = await self._grant(operator, "manager-x", kind="person", operations=[{"operation": "*"}])
        self._dana = await self._grant(operator, "dana", kind="person", role="finance", operations=[{"operation": "*"}])
        self._agent = await self._commissioned("payment-specialist", "3.1")
        self._other = await self._commissioned("payment-specialist-b", "3.1")
        self._tier1 = await self._commissioned("tier-1", "1.4")
        cedar = files("examples.demo").joinpath("department.cedar").read_text("utf-8")
        status, answer = await operator.ask("POST", "/v1/policies", {"cedar": cedar, "activate": True})
        _must(status == 201, f"The policy set was not accepted: {status} {answer}")
        story.say(f"Active policy set {answer['digest'][:19]}…: {', '.join(answer['policies'])}")
        intent = await self._refund("Refund under P-45", "committed", "93", 4200, self._agent)
        shown = await story.ends(intent, "committed")
        story.say(f"Allowed under {', '.join(shown['decision']['policies'])}.")

    async def _with_a_person(self) -> None:
        story = self._story
        story.scene("7. A person", "120.00 is more than the agent may refund alone: it is held, and waits")
        intent = await self._refund("Refund that a person approves", "committed", "94", 12_000, self._agent)
        shown = await self._waiting(intent)
        story.say(f"Held at payments, and asked: {', '.join(shown['decision']['reasons'])}")
        status, answer = await self._manager.ask(
            "POST", f"/v1/intents/{intent}/approve", {"digest": shown["digest"], "note": "He is mine"}
        )
        _must(status == 403, f"The agent's own manager approved: {status}")
        story.say(f"Manager X, who commissioned the agent, may not: {answer['detail']}")
        digest = shown["approval"]["digest"]
        status, answer = await self._dana.ask(
            "POST", f"/v1/intents/{intent}/approve", {"digest": digest, "note": "Called"}
        )
        _must(status == 200, f"The approval was not taken: {status} {answer}")
        story.say(f"Dana of finance approves exactly {digest[:19]}…")
        await story.ends(intent, "committed")

    async def _outside_its_remit(self) -> None:
        story = self._story
        story.scene("8. Outside its remit", "the tier-1 agent asks for the same 120.00")
        intent = await self._refund("Refund by tier 1", "denied", "95", 12_000, self._tier1)
        shown = await story.ends(intent, "denied")
        story.say(f"Denied by {', '.join(shown['decision']['policies'])}; payments was never asked to hold anything.")

    async def _revoked_under_way(self) -> None:
        story = self._story
        story.scene("9. Revoked", "the agent is stopped while 120.00 are held for it; another one goes on")
        intent = await self._refund("Refund whose agent is revoked", "aborted", "96", 12_000, self._agent)
        await self._waiting(intent)
        grant = self._grants["payment-specialist"]
        status, answer = await self._manager.ask("POST", f"/v1/grants/{grant}/revoke", {"reason": "It acts oddly"})
        _must(status == 200 and answer["aborting"] == [intent], f"The grant was not revoked as told: {status} {answer}")
        await story.ends(intent, "aborted")
        status, _ = await self._agent.ask("GET", f"/v1/intents/{intent}")
        _must(status == 401, f"The revoked token was answered {status}.")
        story.say("The hold is released; the revoked agent's token is answered 401.")
        other = await self._refund("Refund by the other agent", "committed", "97", 4200, self._other)
        await story.ends(other, "committed")

    # ── what the scenes are made of ──────────────────────────────────────────────────────────────────────────────

    async def _commissioned(self, name: str, version: str) -> Client:
        role = name.removesuffix("-b")
        return await self._grant(
            self._manager, name, kind="agent", version=version, role=role, task="12A", operations=[_PAYMENTS]
        )

    async def _grant(self, issuer: Client, name: str, **grant: Any) -> Client:
        subject = {"name": name} | {field: grant.pop(field) for field in ("kind", "version", "role") if field in grant}
        person = subject["kind"] == "person"
        order = {"subject": subject, "expires_in": 7200 if person else 3600, "may_delegate": person} | grant
        status, answer = await issuer.ask("POST", "/v1/grants", order)
        _must(status == 201, f"The grant of {name} was not issued: {status} {answer}")
        self._grants[name] = answer["id"]
        self._story.say(f"POST /v1/grants → {answer['id']}: {name}, custody {' > '.join(answer['custody'])}")
        client = Client(self._story.operator.url, answer["token"])
        self._clients.append(client)
        return client

    async def _refund(self, name: str, phase: str, customer: str, amount: int, client: Client) -> str:
        params = {"charge": f"ch_{customer}", "amount": amount, "currency": "USD"}
        action = {"id": "refund", "operation": "payments.refund", "params": params}
        return await self._story.submit(name, phase, [action], client=client)

    async def _waiting(self, intent: str) -> Document:
        return await self._story.operator.until(intent, 40.0, lambda shown: shown["phase"] == "awaiting_approval")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise NotAnsweredError(otherwise)
