"""A server that speaks as Stripe does, in a process of its own, with a record on the disk and bad days on demand.

Each API key is an account of its own. What a request has changed is on the disk before the answer leaves, together with
what its Idempotency-Key will answer from then on; so the process can be killed and started again. Idempotency follows
docs.stripe.com/api/idempotent_requests: one request at a time for a key, the stored answer (also a 500) for
repetitions, an error for other parameters, nothing stored where nothing was carried out, all forgotten after 24 hours.

Beside the API there is `/_/<api key>`: PUT makes objects; POST arms a fault, moves the clock, opens or shuts a port of
the account's own; GET shows the record.
"""

import asyncio
import atexit
import json
import os
import re
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import parse_qsl
from urllib.request import Request, urlopen

from aiohttp import web
from servers.stripe_books import DAY, JSON, Books, Refusal, invalid

from adapters.parent_death import signal_at_parent_death
from examples.journal import Journal

ROUTES = [
    ("POST", "/v1/payment_intents", lambda b, _, p: b.create_payment(**p)),
    ("GET", "/v1/payment_intents", lambda b, _, p: b.listed("payment_intent", p)),
    ("GET", "/v1/payment_intents/search", lambda b, _, p: b.found("payment_intent", **p)),
    ("GET", "/v1/payment_intents/{id}", lambda b, i, _: b.find(i, "payment_intent")),
    ("POST", "/v1/payment_intents/{id}/capture", lambda b, i, p: b.capture_payment(i, **p)),
    ("POST", "/v1/payment_intents/{id}/cancel", lambda b, i, p: b.cancel_payment(i, **p)),
    ("POST", "/v1/refunds", lambda b, _, p: b.create_refund(**p)),
    ("GET", "/v1/refunds", lambda b, _, p: b.listed("refund", p)),
    ("GET", "/v1/charges/{id}", lambda b, i, _: b.find(i, "charge")),
    ("GET", "/v1/customers/{id}", lambda b, i, _: b.find(i, "customer")),
    ("GET", "/v1/payment_methods/{id}", lambda b, i, _: b.find(i, "payment_method")),
    ("GET", "/v1/subscriptions/{id}", lambda b, i, _: b.find(i, "subscription")),
    ("POST", "/v1/subscriptions/{id}", lambda b, i, p: b.update_subscription(i, **p)),
    ("DELETE", "/v1/subscriptions/{id}", lambda b, i, p: b.end_subscription(i, **p)),
]
BUSY = "There is currently another in-progress request using this Idempotent Key."
OTHER = "Keys for idempotent requests can only be used with the same parameters they were first used with."


class Account:
    """What belongs to one API key."""

    def __init__(self) -> None:
        self.books = Books()
        self.keys: dict[str, JSON] = {}  # fingerprint, at, and once it has ended: status, body
        self.faults: list[JSON] = []
        self.busy_first = False
        self.later = 0  # seconds that the clock is ahead
        self.seen: list[str] = []  # the requests that arrived
        self.headers: set[str] = set()  # that they had
        self.door: web.TCPSite | None = None  # a port of its own, which can be closed

    def now(self) -> int:
        return int(time.time()) + self.later

    def fault(self, on: str) -> JSON:
        found = next((one for one in self.faults if one["on"] == on), None)
        if found is None:
            return {}
        if found.get("skip"):
            found["skip"] -= 1
            return {}
        found["count"] = found.get("count", 1) - 1
        if found["count"] <= 0:
            self.faults.remove(found)
        return found


class Simulator:
    """All accounts and the record."""

    def __init__(self, record: Path) -> None:
        self.accounts: dict[str, Account] = {}
        self.journal = Journal(record)
        for line in self.journal.lines:
            account = self._account(line["account"])
            account.books.objects |= {thing["id"]: thing for thing in line["objects"]}
            account.keys |= line["keys"]

    def app(self) -> web.Application:
        app = web.Application()
        for method, path, act in ROUTES:
            app.router.add_route(method, path, self._handler(f"{method} {path}", act))
        app.router.add_route("*", "/_/{account}", self._control)
        app.router.add_route("*", "/{anything:.*}", self._nowhere)
        return app

    def _account(self, name: str) -> Account:
        return self.accounts.setdefault(name, Account())

    def _handler(self, on: str, act: Any) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            scheme, _, name = request.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or name not in self.accounts:
                return _answer(*_error(401, "invalid_request_error", f"Invalid API Key provided: {name}"), {})
            account = self.accounts[name]
            account.seen.append(on)
            account.headers |= {header.lower() for header in request.headers}
            params = _nested(parse_qsl(await request.text() or request.query_string, keep_blank_values=True))
            account.books.pass_time(account.now())
            fault = account.fault(on)
            headers = {"Date": formatdate(account.now(), usegmt=True), "Request-Id": f"req_{len(account.seen)}"}
            if fault.get("answer") == "reset before":
                request.transport.abort()
                return web.Response()
            if str(fault.get("answer")) in {"429", "401", "402", "403", "503"}:
                return _answer(*_error(int(fault["answer"]), "api_error", "Not now.", fault.get("code")), headers)
            status, body, replayed = await self._once(name, request, params, act, fault)
            headers |= {"Idempotent-Replayed": "true"} if replayed else {}
            return await _leave(request, _answer(status, body, headers), fault)

        return handle

    async def _once(
        self, name: str, request: web.Request, params: JSON, act: Any, fault: JSON
    ) -> tuple[int, JSON, bool]:
        """Carry a request out unless its key has been seen, and store the answer of one that was begun."""
        account = self.accounts[name]
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        fingerprint = f"{request.method} {request.path} {json.dumps(params, sort_keys=True)}"
        known = account.keys.get(key)
        if known is not None and account.now() - known["at"] < DAY:
            busy, other = "status" not in known, known["fingerprint"] != fingerprint
            if other and not (busy and account.busy_first):  # which of the two Stripe says is written nowhere
                return *_error(400, "idempotency_error", f"{OTHER} Try using a key other than '{key}'."), False
            if busy:
                return *_error(409, "idempotency_error", BUSY, "idempotency_key_in_use"), False
            return known["status"], known["body"], True
        stored = {"fingerprint": fingerprint, "at": account.now()}
        if key is not None:
            account.keys[key] = stored
        await asyncio.sleep(fault["seconds"] if fault.get("answer") == "late" else 0.001)  # the key is in use meanwhile
        begun, status, body = self._carry_out(account, request, params, act, fault)
        if begun:
            stored |= {"status": status, "body": body}
        elif key is not None:
            del account.keys[key]
        self._write(name, {key: stored} if key is not None and begun else {})
        return status, body, False

    def _carry_out(self, account: Account, request: web.Request, params: JSON, act: Any, fault: JSON) -> Any:
        expand = list(params.pop("expand", ()))
        try:
            if fault.get("answer") == "500 before":
                return True, *_error(500, "api_error", "An unknown error occurred.")
            shown = account.books.shown(act(account.books, request.match_info.get("id"), params), expand)
        except Refusal as no:
            return no.begun, no.status, no.body
        except TypeError as error:
            return False, 400, invalid(f"Received unknown or too few parameters: {error}").body
        if fault.get("answer") == "500 after":
            return True, *_error(500, "api_error", "An unknown error occurred.")
        return True, 200, shown

    def _write(self, name: str, keys: JSON) -> None:
        books = self.accounts[name].books
        if books.changed or keys:
            what = [(what, thing["id"]) for what, thing in books.changed]
            self.journal.append(account=name, what=what, objects=[thing for _, thing in books.changed], keys=keys)
            books.changed.clear()

    async def _control(self, request: web.Request) -> web.Response:
        name = request.match_info["account"]
        account = self._account(name)
        if request.method == "PUT":
            for thing in await request.json():
                account.books.put("given", thing)
            self._write(name, {})
        elif request.method == "POST":
            told = await request.json()
            account.later += told.pop("later", 0)
            account.busy_first = told.pop("busy_first", account.busy_first)
            await self._move(account, told.pop("door", None))
            account.faults += [told] if told else []
        account.books.pass_time(account.now())
        self._write(name, {})
        what = [tuple(one) for line in self.journal.lines if line["account"] == name for one in line["what"]]
        port = account.door and account.door._server.sockets[0].getsockname()[1]
        shown = {
            "now": account.now(),
            "port": port,
            "what": what,
            "objects": account.books.objects,
            "seen": account.seen,
            "headers": sorted(account.headers),
        }
        return web.json_response(shown)

    async def _move(self, account: Account, door: str | None) -> None:
        if door == "open":
            account.door = web.TCPSite(self.runner, "127.0.0.1", 0)
            await account.door.start()
        elif door == "shut" and account.door is not None:
            await account.door.stop()
            account.door = None

    async def _nowhere(self, request: web.Request) -> web.Response:
        return _answer(*_error(404, "invalid_request_error", f"Unrecognized request URL ({request.path})."), {})


async def _leave(request: web.Request, proper: web.Response, fault: JSON) -> web.Response:
    match fault.get("answer"):
        case "lose":
            request.transport.abort()
        case "slow":
            await asyncio.sleep(fault["seconds"])
        case "empty":
            proper.text = "{}"
        case "rubbish":
            return web.Response(text="<html>Bad day</html>", content_type="text/html")
        case "not found":  # as a proxy says it
            return web.json_response({"error": {"message": "no route"}}, status=404)
        case "senseless":
            proper.text = '{"object": ["payment_intent"], "id": "pi_1"}'
        case "bad gateway":
            return web.Response(status=502, text="<html>Bad gateway</html>", content_type="text/html")
    return proper


def _answer(status: int, body: JSON, headers: dict[str, str]) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


def _error(status: int, kind: str, message: str, code: str | None = None) -> tuple[int, JSON]:
    return status, Refusal(status, kind, message, code).body


def _nested(pairs: list[tuple[str, str]]) -> JSON:
    """Read what a form says: a[b]=c is {"a": {"b": "c"}}, and a[0]=b is {"a": ["b"]}."""
    tree: JSON = {}
    for name, value in pairs:
        first, *rest = re.findall(r"[^\[\]]+", name)
        place = tree
        for step in rest:
            place = place.setdefault(first, {})
            first = step
        place[first] = value
    return {
        name: list(one.values()) if isinstance(one, dict) and all(k.isdecimal() for k in one) else one
        for name, one in tree.items()
    }


# ── the process, as its owner sees it ────────────────────────────────────────────────────────────────────────────


class Server:
    """The simulator as a process; `url` once it has started."""

    def __init__(self, record: Path) -> None:
        self.record = record
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it, at the same address if it ran before."""
        command = [sys.executable, "-m", "servers.stripe_simulator", str(self.record), str(self.port)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            preexec_fn=signal_at_parent_death(signal.SIGKILL),  # noqa: PLW1509 - nothing runs in it but that
        )
        said = self.process.stdout.readline()
        assert said, "The simulator of Stripe did not start; what it said stands above."
        self.port = int(said)
        self.url = f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def tell(self, account: str, method: str = "GET", said: Any = None) -> JSON:
        """Control an account, and return what it shows then."""
        body = json.dumps(said).encode()
        with urlopen(Request(f"{self.url}/_/{account}", data=body, method=method), timeout=10) as answer:
            return json.load(answer)


@cache
def shared() -> Server:
    """Return the simulator of this test run; it ends with us."""
    server = Server(Path(mkdtemp(prefix="stripe-simulator-")) / "record")
    atexit.register(server.kill)
    return server


async def _main(record: Path, port: int) -> None:
    simulator = Simulator(record)
    runner = simulator.runner = web.AppRunner(simulator.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
