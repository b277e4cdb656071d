"""The outside systems as a worker calls them: what a careful engineer would put into the tools of an agent.

`Refused` is a certain no of the system; anything else that is raised leaves the outcome open.
"""

import wire

MONEY = {"amount": 4200, "currency": "USD"}


class Refused(Exception):
    """The system said no: certainly nothing happened, now or ever."""


class InDoubt(Exception):
    """No answer, or none that says anything: it may have happened."""


class System:
    """One outside system behind the gate."""

    def __init__(self, gate: str, name: str) -> None:
        self._url = f"{gate}/{name}"

    async def hold(self, key: str, account: str) -> None:
        """Reserve, under a key; repeated, it is the same hold."""
        await self._post("/refunds", {"charge": account, **MONEY}, key)

    async def confirm(self, key: str) -> None:
        """Make what is held happen; can be repeated."""
        await self._post(f"/refunds/{key}/confirm", None, f"{key}-confirm")

    async def release(self, key: str) -> None:
        """Let go of what is held; can be repeated, and a late hold of the key is refused."""
        await self._post(f"/refunds/{key}/release", None, f"{key}-release")

    async def credit(self, key: str, account: str) -> None:
        """Pay, recognised by its key."""
        await self._post("/credits", {"account": account, **MONEY}, key)

    async def take_back(self, key: str) -> None:
        """Take back what was paid under a key, if anything was; can be repeated."""
        known = await self._get(f"/keys/{key}")
        if known is not None and known["status"] in {"confirmed", "credited"}:
            await self._post("/reversals", {"of": known["id"]}, f"{key}-back")

    async def release_if_held(self, key: str) -> None:
        """Let go of what is held under a key, unless it was confirmed; can be repeated."""
        known = await self._get(f"/keys/{key}")
        if known is None or known["status"] == "held":
            await self.release(key)

    async def transfer(self, reference: str, account: str) -> None:
        """Pay; every call pays again."""
        await self._post("/transfers", {"account": account, "reference": reference, **MONEY}, reference)

    async def is_transferred(self, reference: str) -> bool:
        """Look for a payment by its reference."""
        return await self._get(f"/transfers?reference={reference}") is not None

    async def transfer_if_absent(self, reference: str, account: str) -> None:
        """Look first, then pay."""
        if not await self.is_transferred(reference):
            await self.transfer(reference, account)

    async def untransfer_if_present(self, reference: str, account: str) -> None:
        """Look first, then pay back what is there and is not back."""
        if await self.is_transferred(reference):
            await self.transfer_if_absent(f"{reference}-back", f"{account}-back")

    async def untransfer(self, reference: str, account: str) -> None:
        """Pay back; every call pays back again."""
        await self.transfer(f"{reference}-back", f"{account}-back")

    async def _post(self, path: str, body: object, key: str) -> dict:
        try:
            status, answer = await wire.call("POST", self._url + path, body, key)
        except (OSError, TimeoutError) as error:
            raise InDoubt(f"No answer to POST {path}: {error!r}") from error
        if status in {410, 422}:
            raise Refused(str(answer.get("error")))
        if not 200 <= status <= 299:
            raise InDoubt(f"POST {path} was answered {status}.")
        return answer

    async def _get(self, path: str) -> dict | None:
        try:
            status, answer = await wire.call("GET", self._url + path)
        except (OSError, TimeoutError) as error:
            raise InDoubt(f"No answer to GET {path}: {error!r}") from error
        if status not in {200, 404}:
            raise InDoubt(f"GET {path} was answered {status}.")
        return answer if status == 200 else None
