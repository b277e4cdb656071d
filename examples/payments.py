"""A small payments service: a process of its own with its own durable record, unaware of who calls it.

    POST /charges                    a charge to refund: {id, customer, amount, currency}, and what is known of the
                                     customer: {since, country}; an unknown one is new and from nowhere
    POST /refunds                    take a hold on a charge, under Idempotency-Key
    POST /refunds/{ref}/confirm      the money moves; `ref` is the refund's id or the key of its hold
    POST /refunds/{ref}/release      the hold is gone; an unknown key is remembered, and a late hold refused
    POST /credits                    one shot: a goodwill credit, repeated safely under Idempotency-Key
    POST /transfers                  one shot: every call moves money again; searchable by its `reference`
    POST /reversals                  undo what `of` names, under Idempotency-Key
    GET  /keys/{key}                 what has become of a key: held, confirmed, released, credited, reversed
    GET  /transfers?reference=…      the transfers with this reference
    GET  /accounts/{account}         what credits and transfers it was given that were not reversed: how many, how much
    GET  /charges/{id}, /holds, /record
    POST /faults, DELETE /faults, GET /faults     see examples/faults.py

Every change is a line of the journal, on the disk before the answer leaves; the state in memory is folded from it.
Run: python -m examples.payments --record FILE [--port N]; the first line on standard output is {"port": N}. It ends
when its standard input closes, so that it never outlives whoever started it.
"""

from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Any

from aiohttp import web

from examples.faults import Faults
from examples.journal import Journal, Line
from examples.service import Answer, Body, fault_routes, get, plain, post, run


class Payments:
    """The service's state, folded from its journal, and its endpoints."""

    def __init__(self, journal: Journal) -> None:
        """Recover from whatever the journal holds."""
        self.faults = Faults()
        self._journal = journal
        self._charges: dict[str, Body] = {}
        self._keys: dict[str, Body] = {}  # by key: {status, id, …}
        self._ids: dict[str, Body] = {}  # by id: the same objects
        self._transfers: list[Line] = []
        for line in journal.lines:
            self._fold(line)
        self.faults.seen.update(line["key"] for line in journal.lines if "key" in line)

    def app(self) -> web.Application:
        """Return the service with all its addresses."""
        app = web.Application(client_max_size=64 * 1024)
        faults = self.faults
        app.add_routes(
            [
                post(faults, "/charges", "charge", self._charge),
                post(faults, "/refunds", "hold", self._hold),
                post(faults, "/refunds/{ref}/confirm", "confirm", self._confirm),
                post(faults, "/refunds/{ref}/release", "release", self._release),
                post(faults, "/credits", "credit", self._credit),
                post(faults, "/transfers", "transfer", self._transfer),
                post(faults, "/reversals", "reverse", self._reverse),
                get(faults, "/keys/{key}", lambda request: self._look_up(request.match_info["key"])),
                get(faults, "/transfers", lambda request: self._find_transfers(request.query.get("reference"))),
                get(faults, "/charges/{id}", lambda request: self._show_charge(request.match_info["id"])),
                get(faults, "/accounts/{id}", lambda request: self._show_account(request.match_info["id"])),
                get(faults, "/holds", lambda _: (HTTPStatus.OK, {"holds": self._holds()})),
                get(faults, "/record", lambda _: (HTTPStatus.OK, {"record": self._journal.lines})),
                *fault_routes(faults),
            ]
        )
        return app

    # ── endpoints: (key, body, reference in the path) → (status, answer) ─────────────────────────────────────────

    def _charge(self, _: str, body: Body, __: str) -> Answer:
        if body["id"] not in self._charges:
            known = {"since": body.get("since") or _today().isoformat(), "country": body.get("country", "")}
            self._record("charge", **{name: body[name] for name in ("id", "customer", "amount", "currency")}, **known)
        return HTTPStatus.CREATED, self._charges[body["id"]]

    def _hold(self, key: str, body: Body, _: str) -> Answer:
        known = self._keys.get(key)
        if known is not None and known["status"] == "released":
            return HTTPStatus.GONE, {"error": "This refund was released and will not be held again."}
        if known is not None:
            return HTTPStatus.OK, known
        charge = self._charges.get(body["charge"])
        if charge is None:
            return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": f"There is no charge {body['charge']}."}
        left = charge["amount"] - charge["refunded"] - charge["held"]
        if body["amount"] > left or body["currency"] != charge["currency"]:
            return HTTPStatus.UNPROCESSABLE_ENTITY, {
                "error": f"Charge {body['charge']} has {left} {charge['currency']} left to refund."
            }
        names = ("charge", "amount", "currency")
        self._record("hold", key=key, id=self._new_id("re"), **{name: body[name] for name in names})
        return HTTPStatus.CREATED, self._keys[key]

    def _confirm(self, _: str, __: Body, reference: str) -> Answer:
        refund = self._find(reference)
        if refund is None or refund["status"] == "released":
            return HTTPStatus.GONE, {"error": "There is no such hold."}
        if refund["status"] == "held":
            self._record("confirm", key=refund["key"])
        return HTTPStatus.OK, refund

    def _release(self, _: str, __: Body, reference: str) -> Answer:
        refund = self._find(reference)
        if refund is not None and refund["status"] not in {"held", "released"}:
            return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": f"The refund is {refund['status']}."}
        if refund is None or refund["status"] == "held":
            self._record("release", key=refund["key"] if refund else reference)
        return HTTPStatus.OK, self._find(reference) or {}

    def _credit(self, key: str, body: Body, _: str) -> Answer:
        if key not in self._keys:
            names = ("account", "amount", "currency")
            self._record("credit", key=key, id=self._new_id("cr"), **{name: body[name] for name in names})
        return HTTPStatus.OK, self._keys[key]

    def _transfer(self, key: str, body: Body, _: str) -> Answer:
        names = ("account", "amount", "currency")
        reference = body.get("reference") or key
        line = self._record("transfer", key=reference, id=self._new_id("tr"), **{name: body[name] for name in names})
        return HTTPStatus.CREATED, {"id": line["id"], "reference": reference, "status": "transferred"}

    def _reverse(self, key: str, body: Body, _: str) -> Answer:
        if key not in self._keys:
            if body["of"] not in self._ids:
                return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": f"There is no payment {body['of']}."}
            self._record("reverse", key=key, id=self._new_id("rv"), of=body["of"])
        return HTTPStatus.OK, self._keys[key]

    def _look_up(self, key: str) -> Answer:
        known = self._keys.get(key)
        return (HTTPStatus.OK, known) if known else (HTTPStatus.NOT_FOUND, {"error": "Nothing has this key."})

    def _find_transfers(self, reference: str | None) -> Answer:
        found = [line for line in self._transfers if line["key"] == reference]
        if not found:
            return HTTPStatus.NOT_FOUND, {"error": "No transfer has this reference."}
        return HTTPStatus.OK, {"id": found[0]["id"], "status": "transferred", "count": len(found)}

    def _show_charge(self, charge: str) -> Answer:
        known = self._charges.get(charge)
        if known is None:
            return HTTPStatus.NOT_FOUND, {"error": "There is no such charge."}
        return HTTPStatus.OK, {**known, "account_age_days": (_today() - date.fromisoformat(known["since"])).days}

    def _show_account(self, account: str) -> Answer:
        given = [one for one in self._ids.values() if one.get("account") == account and not one.get("reversed")]
        return HTTPStatus.OK, {"account": account, "given": len(given), "total": sum(one["amount"] for one in given)}

    def _holds(self) -> list[Body]:
        return [one for one in self._keys.values() if one["status"] == "held"]

    # ── state ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _record(self, what: str, **fields: Any) -> Line:
        line = self._journal.append(what=what, **fields)
        self._fold(line)
        return line

    def _fold(self, line: Line) -> None:
        match line["what"]:
            case "charge":
                known = {"since": line["at"][:10], "country": ""}  # what a journal of an earlier release leaves out
                self._charges[line["id"]] = {**known, **plain(line), "held": 0, "refunded": 0}
            case "hold":
                self._keep(line, "held")
                self._charges[line["charge"]]["held"] += line["amount"]
            case "confirm":
                self._settle(self._keys[line["key"]], "confirmed", refunded=1)
            case "release" if line["key"] in self._keys:
                self._settle(self._keys[line["key"]], "released", refunded=0)
            case "release":
                self._keys[line["key"]] = {"key": line["key"], "status": "released"}
            case "credit":
                self._keep(line, "credited")
            case "transfer":
                self._transfers.append(line)
                self._ids[line["id"]] = {**plain(line), "status": "transferred"}
            case "reverse":
                self._keep(line, "reversed")
                self._undo(self._ids[line["of"]])
            case _:
                raise ValueError(f"The journal has a line that this release does not know: {line}")

    def _keep(self, line: Line, status: str) -> None:
        self._keys[line["key"]] = self._ids[line["id"]] = {**plain(line), "status": status}

    def _settle(self, refund: Body, status: str, *, refunded: int) -> None:
        refund["status"] = status
        charge = self._charges[refund["charge"]]
        charge["held"] -= refund["amount"]
        charge["refunded"] += refund["amount"] * refunded

    def _undo(self, payment: Body) -> None:
        if payment["status"] == "confirmed":
            self._charges[payment["charge"]]["refunded"] -= payment["amount"]
        payment["reversed"] = True

    def _find(self, reference: str) -> Body | None:
        return self._keys.get(reference) or self._ids.get(reference)

    def _new_id(self, prefix: str) -> str:
        return f"{prefix}_{len(self._journal.lines) + 1}"


def _today() -> date:
    return datetime.now(UTC).date()


if __name__ == "__main__":
    run(__doc__, lambda journal: Payments(journal).app())
