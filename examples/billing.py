"""A small billing service: subscriptions of accounts, in a process of its own with its own durable record.

    POST /accounts                      an account to bill: {id, plan, since, country, retention}
    POST /cancellations                 take a hold on a cancellation, under Idempotency-Key: {account}
    POST /cancellations/{key}/confirm   the subscription is canceled
    POST /cancellations/{key}/release   the hold is gone; an unknown key is remembered, and a late hold refused
    POST /reactivations                 undo the cancellation that `of` names, under Idempotency-Key
    GET  /accounts/{id}/subscription    its status (active, canceled) and what policy asks about its account
    GET  /keys/{key}                    what has become of a key: held, confirmed, released, reactivated
    GET  /holds, /record
    POST /faults, DELETE /faults, GET /faults     see examples/faults.py

It has two rules of its own, which nobody who calls it can know: an account that does not exist is "account not found",
and a customer whom the retention team wants to talk to "must phone retention". Every change is a line of the journal,
on the disk before the answer leaves; the state in memory is folded from it.

Run: python -m examples.billing --record FILE [--port N]; the first line on standard output is {"port": N}. It ends when
its standard input closes, so that it never outlives whoever started it.
"""

from datetime import UTC, date, datetime
from http import HTTPStatus

from aiohttp import web

from examples.faults import Faults
from examples.journal import Journal, Line
from examples.service import Answer, Body, fault_routes, get, plain, post, run

ACTIVE = "active"
CANCELED = "canceled"


class Billing:
    """The service's state, folded from its journal, and its endpoints."""

    def __init__(self, journal: Journal) -> None:
        """Recover from whatever the journal holds."""
        self.faults = Faults()
        self._journal = journal
        self._accounts: dict[str, Body] = {}
        self._keys: dict[str, Body] = {}  # by key: {key, status, account}
        for line in journal.lines:
            self._fold(line)
        self.faults.seen.update(line["key"] for line in journal.lines if "key" in line)

    def app(self) -> web.Application:
        """Return the service with all its addresses."""
        app = web.Application(client_max_size=64 * 1024)
        faults = self.faults
        app.add_routes(
            [
                post(faults, "/accounts", "account", self._account),
                post(faults, "/cancellations", "hold", self._hold),
                post(faults, "/cancellations/{ref}/confirm", "confirm", self._confirm),
                post(faults, "/cancellations/{ref}/release", "release", self._release),
                post(faults, "/reactivations", "reactivate", self._reactivate),
                get(faults, "/accounts/{id}/subscription", lambda request: self._show(request.match_info["id"])),
                get(faults, "/keys/{key}", lambda request: self._look_up(request.match_info["key"])),
                get(faults, "/holds", lambda _: (HTTPStatus.OK, {"holds": self.holds()})),
                get(faults, "/record", lambda _: (HTTPStatus.OK, {"record": self._journal.lines})),
                *fault_routes(faults),
            ]
        )
        return app

    def holds(self) -> list[Body]:
        """Return the cancellations that are held."""
        return [one for one in self._keys.values() if one["status"] == "held"]

    # ── endpoints ────────────────────────────────────────────────────────────────────────────────────────────────

    def _account(self, _: str, body: Body, __: str) -> Answer:
        if body["id"] not in self._accounts:
            names = ("id", "plan", "since", "country", "retention")
            self._record("account", **{name: body[name] for name in names})
        return HTTPStatus.CREATED, self._accounts[body["id"]]

    def _hold(self, key: str, body: Body, _: str) -> Answer:
        known = self._keys.get(key)
        if known is not None and known["status"] == "released":
            return HTTPStatus.GONE, {"error": "This cancellation was released and will not be held again."}
        if known is not None:
            return HTTPStatus.OK, known
        account = self._accounts.get(body["account"])
        if account is None:
            return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": f"Account not found: {body['account']}."}
        if account["retention"]:
            return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": "The customer must phone retention before canceling."}
        if account["status"] != ACTIVE or any(hold["account"] == account["id"] for hold in self.holds()):
            return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": "There is no active subscription to cancel."}
        self._record("hold", key=key, account=account["id"])
        return HTTPStatus.CREATED, self._keys[key]

    def _confirm(self, _: str, __: Body, key: str) -> Answer:
        cancellation = self._keys.get(key)
        if cancellation is None or cancellation["status"] == "released":
            return HTTPStatus.GONE, {"error": "There is no such hold."}
        if cancellation["status"] == "held":
            self._record("confirm", key=key)
        return HTTPStatus.OK, cancellation

    def _release(self, _: str, __: Body, key: str) -> Answer:
        cancellation = self._keys.get(key)
        if cancellation is not None and cancellation["status"] not in {"held", "released"}:
            return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": f"The cancellation is {cancellation['status']}."}
        if cancellation is None or cancellation["status"] == "held":
            self._record("release", key=key)
        return HTTPStatus.OK, self._keys[key]

    def _reactivate(self, key: str, body: Body, _: str) -> Answer:
        if key not in self._keys:
            cancellation = self._keys.get(body["of"])
            if cancellation is None or cancellation["status"] != "confirmed":
                return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": f"There is no cancellation {body['of']}."}
            self._record("reactivate", key=key, account=cancellation["account"])
        return HTTPStatus.OK, self._keys[key]

    def _look_up(self, key: str) -> Answer:
        known = self._keys.get(key)
        return (HTTPStatus.OK, known) if known else (HTTPStatus.NOT_FOUND, {"error": "Nothing has this key."})

    def _show(self, name: str) -> Answer:
        account = self._accounts.get(name)
        if account is None:
            return HTTPStatus.NOT_FOUND, {"error": f"Account not found: {name}."}
        age = (datetime.now(UTC).date() - date.fromisoformat(account["since"])).days
        return HTTPStatus.OK, {**account, "account_age_days": age}

    # ── state ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _record(self, what: str, **fields: object) -> None:
        self._fold(self._journal.append(what=what, **fields))

    def _fold(self, line: Line) -> None:
        match line["what"]:
            case "account":
                self._accounts[line["id"]] = {**plain(line), "status": ACTIVE}
            case "hold":
                self._keys[line["key"]] = {**plain(line), "status": "held"}
            case "confirm":
                cancellation = self._keys[line["key"]]
                cancellation["status"] = "confirmed"
                self._accounts[cancellation["account"]]["status"] = CANCELED
            case "release":
                self._keys[line["key"]] = {**self._keys.get(line["key"], plain(line)), "status": "released"}
            case "reactivate":
                self._keys[line["key"]] = {**plain(line), "status": "reactivated"}
                self._accounts[line["account"]]["status"] = ACTIVE
            case _:
                raise ValueError(f"The journal has a line that this release does not know: {line}")


if __name__ == "__main__":
    run(__doc__, lambda journal: Billing(journal).app())
