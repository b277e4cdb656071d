"""Intent Ledger as a contender: `intentledger serve`, twice on one ledger where two are wanted, spoken to over HTTP."""

import signal
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench.faults.cells import AMOUNT_MINOR, CURRENCY, LEFT, RIGHT, Guarantee, Work
from bench.faults.contender import NoAnswerError
from bench.faults.record import BACK
from bench.faults.verdicts import Said, State
from examples.demo.processes import Service
from gateway.data_directory import token_file
from gateway.embedded_postgres import EmbeddedPostgres

LEASE_SECONDS: Final = 4.0  # longer than a restart of the database takes on a busy machine
_REQUEST_SECONDS: Final = 40.0
_OPERATION: Final = {
    Guarantee.ATOMIC: "refund",
    Guarantee.IDEMPOTENT: "credit",
    Guarantee.VERIFIABLE: "transfer",
    Guarantee.BLIND: "wire",
}
_ENDS: Final = {
    "committed": State.DONE,
    "aborted": State.NOTHING,
    "compensated": State.NOTHING,
    "denied": State.NOTHING,
    "mixed": State.ASKS,
}
_APPLIED: Final = {"done": True, "undone": False, "planned": False, "prepared": False, "failed": False}


class Ours:
    """One ledger on the lane's PostgreSQL; the coordinators outlive the cells."""

    def __init__(
        self, directory: Path, postgres: EmbeddedPostgres, gate: str, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        """Keep everything below a directory; reach the outside systems through the gate."""
        self._directory = directory
        self._postgres = postgres
        self._gate = gate
        self._lease_seconds = lease_seconds
        self._workers: dict[int, Service] = {}
        self._session: aiohttp.ClientSession | None = None
        self._intents: dict[str, str] = {}

    async def open(self) -> None:
        """Start the first coordinator, which migrates and makes the operator's token."""
        configuration = self._directory / "intentledger.toml"
        text = (Path(__file__).parent / "intentledger.toml").read_text()
        configuration.write_text("".join(text.replace("$SYSTEM", name) for name in (LEFT, RIGHT)))
        environment = {
            "INTENTLEDGER_DSN": self._postgres.dsn(),
            "INTENTLEDGER_DATA": str(self._directory / "data"),
            "INTENTLEDGER_CONFIG": str(configuration),
            "INTENTLEDGER_LEASE_SECONDS": str(self._lease_seconds),
            "INTENTLEDGER_LOG_LEVEL": "warning",
        }
        configuration.write_text(configuration.read_text().replace("$GATE", self._gate))
        self._workers = {n: Service(f"coordinator-{n}", self._directory, environment) for n in (1, 2)}
        await self.start(1)
        token = token_file(self._directory / "data", "main").read_text().strip()
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"}, timeout=aiohttp.ClientTimeout(_REQUEST_SECONDS)
        )

    async def close(self) -> None:
        """Stop the coordinators."""
        if self._session is not None:
            await self._session.close()
        for worker in self._workers.values():
            await worker.kill()

    async def begin(self, work: Work) -> None:
        """Bring the coordinators to where every cell begins."""
        del work
        await self._workers[2].kill()
        await self.start(1)

    async def start(self, number: int) -> None:
        """Start a coordinator, if it does not run, and wait until it is ready."""
        worker = self._workers[number]
        if worker.pid is None:
            await worker.start()
        await worker.ready()

    async def kill(self, number: int) -> None:
        """Kill it."""
        await self._workers[number].kill()

    def pause(self, number: int) -> None:
        """Stop it."""
        self._workers[number].signal(signal.SIGSTOP)

    def wake(self, number: int) -> None:
        """Let it go on."""
        self._workers[number].signal(signal.SIGCONT)

    async def take_over(self, dead: int) -> None:
        """Do nothing: a lease ends by itself."""

    async def submit(self, number: int, work: Work) -> Said:
        """Submit the intent under its key, and wait for its end."""
        headers = {"Idempotency-Key": f'"{work.key}"', "Prefer": "wait=25"}
        return _said(await self._ask(number, "POST", "/v1/intents", work, json=_intent(work), headers=headers))

    async def says(self, number: int, work: Work) -> Said:
        """Show the intent, found by its task."""
        if work.key not in self._intents:
            listed = await self._ask(number, "GET", f"/v1/intents?task={work.key}", None)
            if not listed["items"]:
                return Said(State.SILENT)
            self._intents[work.key] = listed["items"][0]["id"]
        return _said(await self._ask(number, "GET", f"/v1/intents/{self._intents[work.key]}", None))

    def logs(self) -> str:
        """Return the last words of both."""
        return "\n".join(worker.last_words() for worker in self._workers.values())

    async def _ask(self, number: int, method: str, path: str, work: Work | None, **request: Any) -> dict[str, Any]:
        if self._session is None:
            raise NoAnswerError("It is not open.")
        try:
            async with self._session.request(method, self._workers[number].url + path, **request) as response:
                document: dict[str, Any] = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise NoAnswerError(str(error)) from error
        if response.status >= 300:
            raise NoAnswerError(f"{response.status}: {document}")
        if work is not None:
            self._intents[work.key] = document["id"]
        return document


def _intent(work: Work) -> dict[str, Any]:
    actions: list[dict[str, Any]] = []
    for action in work.actions:
        params = {
            "account": action.account,
            "back": action.account + BACK,
            "amount": AMOUNT_MINOR,
            "currency": CURRENCY,
        }
        one = {"id": action.system, "operation": f"{action.system}.{_OPERATION[work.guarantee]}", "params": params}
        actions.append(one | ({"after": [actions[-1]["id"]]} if actions else {}))
    return {"task": work.key, "reason": "A cell of the fault matrix.", "actions": actions}


def _said(shown: dict[str, Any]) -> Said:
    """Translate what an intent shows: attention is a question, whatever the phase."""
    state = _ENDS.get(shown["phase"], State.MOVING)
    if shown["attention"] is not None:
        state = State.ASKS
    applied = {one["id"]: _APPLIED[one["step"]] for one in shown["actions"] if one["step"] in _APPLIED}
    words = (shown["attention"] or {}).get("reason") or shown["phase"]
    return Said(state, applied if state is State.ASKS else {}, words)
