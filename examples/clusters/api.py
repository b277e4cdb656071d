"""A small cluster API: server clusters with nodes and volumes, in a process of its own with its own durable record.

    POST /clusters                     a cluster: {id, environment, protected, nodes, volumes, created, last_traffic}
    POST /clusters/{id}/changes        {protected | nodes | volumes | last_traffic}; refused while it is held or
                                       scheduled, but for traffic, which comes as it comes
    GET  /clusters/{id}                running, scheduled (stopped, waiting for its purge) or purged
    GET  /clusters/{id}/deletion       what would go with it: nodes, volumes, last traffic; and what policy asks
    POST /deletions                    take a hold, under Idempotency-Key: {cluster}; it runs on, and nobody changes it
    POST /deletions/{key}/confirm      its nodes stop; nodes, volumes and labels are kept until `purge_at`
    POST /deletions/{key}/release      the hold is gone; an unknown key is remembered, and a late hold refused
    POST /restorations                 undo the deletion that `of` names, under Idempotency-Key; until the purge
    POST /purges, …/confirm, …/release the same for a purge *now* of what is scheduled; nothing brings it back
    GET  /keys/{key}                   what has become of a key: held, released, scheduled, restored, purged
    GET  /holds, /record
    POST /faults, DELETE /faults, GET /faults     see examples/faults.py

It has rules of its own, which nobody who calls it can know: a protected cluster is not deleted, and what is not
scheduled is not purged. What is scheduled is purged by the service itself when its time has come. Every change is a
line of the journal, on the disk before the answer leaves; the state in memory is folded from it.

Run: python -m examples.clusters.api --record FILE [--port N]; the first line on standard output is {"port": N}. It ends
when its standard input closes, so that it never outlives whoever started it.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp import web

from examples.faults import Faults
from examples.journal import Journal, Line
from examples.service import Answer, Body, fault_routes, get, plain, post, run

KEPT: Final = timedelta(days=7)
DELETION, PURGE = "deletion", "purge"
RUNNING, SCHEDULED, PURGED = "running", "scheduled", "purged"
_CHANGEABLE: Final = ("protected", "nodes", "volumes", "last_traffic")


class Clusters:
    """The service's state, folded from its journal, and its endpoints."""

    def __init__(self, journal: Journal, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Recover from whatever the journal holds; `now` is the clock by which clusters age and are purged."""
        self.faults = Faults()
        self._journal = journal
        self._now = now
        self._clusters: dict[str, Body] = {}
        self._keys: dict[str, Body] = {}  # by key: {key, status, kind, cluster}
        for line in journal.lines:
            self._fold(line)
        self.faults.seen.update(line["key"] for line in journal.lines if "key" in line)

    def app(self) -> web.Application:
        """Return the service with all its addresses."""
        app = web.Application(client_max_size=64 * 1024)
        faults = self.faults
        held = [
            route
            for kind in (DELETION, PURGE)
            for route in (
                post(faults, f"/{kind}s", f"hold {kind}", partial(self._hold, kind)),
                post(faults, f"/{kind}s/{{ref}}/confirm", f"confirm {kind}", partial(self._confirm, kind)),
                post(faults, f"/{kind}s/{{ref}}/release", f"release {kind}", partial(self._release, kind)),
            )
        ]
        app.add_routes(
            [
                post(faults, "/clusters", "cluster", self._cluster),
                post(faults, "/clusters/{ref}/changes", "change", self._change),
                *held,
                post(faults, "/restorations", "restore", self._restore),
                get(faults, "/clusters/{id}", lambda request: self._show(request.match_info["id"])),
                get(faults, "/clusters/{id}/deletion", lambda request: self._would_go(request.match_info["id"])),
                get(faults, "/keys/{key}", lambda request: self._look_up(request.match_info["key"])),
                get(faults, "/holds", lambda _: (HTTPStatus.OK, {"holds": self.holds()})),
                get(faults, "/record", lambda _: (HTTPStatus.OK, {"record": self._journal.lines})),
                *fault_routes(faults),
            ]
        )
        return app

    def holds(self) -> list[Body]:
        """Return the deletions and purges that are held."""
        return [one for one in self._keys.values() if one["status"] == "held"]

    # ── endpoints ────────────────────────────────────────────────────────────────────────────────────────────────

    def _cluster(self, _: str, body: Body, __: str) -> Answer:
        if body["id"] not in self._clusters:
            now = self._now().isoformat()
            self._record(
                "cluster",
                id=body["id"],
                environment=body.get("environment", ""),
                protected=body.get("protected", False),
                nodes=body["nodes"],
                volumes=body["volumes"],
                created=body.get("created", now),
                last_traffic=body.get("last_traffic"),
            )
        return HTTPStatus.CREATED, self._clusters[body["id"]]

    def _change(self, _: str, body: Body, name: str) -> Answer:
        cluster = self._found(name)
        if cluster is None:
            return _no_such(name)
        changes = {key: body[key] for key in _CHANGEABLE if key in body}
        if changes.keys() - {"last_traffic"} and (self._holder(name) or cluster["status"] != RUNNING):
            return _refused(f"Cluster {name} is about to be deleted and does not change.")
        self._record("change", id=name, changes=changes)
        return HTTPStatus.OK, self._clusters[name]

    def _hold(self, kind: str, key: str, body: Body, _: str) -> Answer:
        known = self._keys.get(key)
        if known is not None and known["status"] == "released":
            return _gone("This was released and will not be held again.")
        if known is not None:
            return HTTPStatus.OK, known
        name = body["cluster"]
        cluster = self._found(name)
        if cluster is None:
            return _refused(f"There is no cluster {name}.")
        if cluster["protected"]:
            return _refused(f"Cluster {name} is protected from deletion.")
        if cluster["status"] != (RUNNING if kind == DELETION else SCHEDULED):
            return _refused(f"Cluster {name} is {cluster['status']}.")
        if self._holder(name):
            return _refused(f"Cluster {name} is held by another deletion.")
        self._record("hold", key=key, kind=kind, cluster=name)
        return HTTPStatus.CREATED, self._keys[key]

    def _confirm(self, kind: str, _: str, __: Body, key: str) -> Answer:
        hold = self._keys.get(key)
        if hold is None or hold["kind"] != kind or hold["status"] == "released":
            return _gone("There is no such hold.")
        if hold["status"] == "held" and kind == DELETION:
            purge_at = (self._now() + KEPT).isoformat()
            self._record("schedule", key=key, cluster=hold["cluster"], purge_at=purge_at)
        elif hold["status"] == "held":
            self._record("purge", key=key, cluster=hold["cluster"])
        return HTTPStatus.OK, self._keys[key]

    def _release(self, kind: str, _: str, __: Body, key: str) -> Answer:
        hold = self._keys.get(key)
        if hold is not None and hold["status"] not in {"held", "released"}:
            return _refused(f"The {hold['kind']} is {hold['status']}.")
        if hold is None or hold["status"] == "held":
            self._record("release", key=key, kind=kind)
        return HTTPStatus.OK, self._keys[key]

    def _restore(self, key: str, body: Body, _: str) -> Answer:
        if key in self._keys:
            return HTTPStatus.OK, self._keys[key]
        deletion = self._keys.get(body["of"])
        if deletion is None or deletion["kind"] != DELETION or deletion["status"] != SCHEDULED:
            return _refused(f"There is no deletion {body['of']}.")
        name = deletion["cluster"]
        cluster = self._found(name)
        if cluster is None or cluster["status"] == PURGED:
            return _gone(f"Cluster {name} is purged. Nothing brings it back.")
        if cluster.get("deletion") != deletion["key"] or self._holder(name):
            return _refused(f"Cluster {name} is no longer waiting under this deletion.")
        self._record("restore", key=key, kind="restoration", cluster=name)
        return HTTPStatus.OK, self._keys[key]

    def _look_up(self, key: str) -> Answer:
        known = self._keys.get(key)
        return (HTTPStatus.OK, known) if known else (HTTPStatus.NOT_FOUND, {"error": "Nothing has this key."})

    def _show(self, name: str) -> Answer:
        cluster = self._found(name)
        return _no_such(name) if cluster is None else (HTTPStatus.OK, cluster)

    def _would_go(self, name: str) -> Answer:
        cluster = self._found(name)
        if cluster is None:
            return _no_such(name)
        now, created = self._now(), cluster["created"]
        return HTTPStatus.OK, {
            **cluster,
            "volume_gib": sum(volume["gib"] for volume in cluster["volumes"]),
            "age_days": (now - datetime.fromisoformat(created)).days,
            "idle_days": (now - datetime.fromisoformat(cluster["last_traffic"] or created)).days,
            "last_traffic": cluster["last_traffic"] or "never",
        }

    # ── state ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _found(self, name: str) -> Body | None:
        """Return a cluster as it is now: one whose time has come is purged first, held or not for a purge now."""
        cluster = self._clusters.get(name)
        if cluster is not None and cluster["status"] == SCHEDULED:
            due = datetime.fromisoformat(cluster["purge_at"])
            if due <= self._now() and not self._holder(name):
                self._record("purge", cluster=name)
        return cluster

    def _holder(self, name: str) -> Body | None:
        return next((hold for hold in self.holds() if hold["cluster"] == name), None)

    def _record(self, what: str, **fields: object) -> None:
        self._fold(self._journal.append(what=what, **fields))

    def _fold(self, line: Line) -> None:
        key = line.get("key", "")
        match line["what"]:
            case "cluster":
                self._clusters[line["id"]] = {**plain(line), "status": RUNNING}
            case "change":
                self._clusters[line["id"]].update(line["changes"])
            case "hold":
                self._keys[key] = {**plain(line), "status": "held"}
            case "release":
                self._keys[key] = {**self._keys.get(key, plain(line)), "status": "released"}
            case "schedule":
                self._keys[key] |= {"status": SCHEDULED, "purge_at": line["purge_at"]}
                self._clusters[line["cluster"]] |= {
                    "status": SCHEDULED,
                    "purge_at": line["purge_at"],
                    "deletion": key,
                }
            case "restore":
                self._keys[key] = {**plain(line), "status": "restored"}
                cluster = self._clusters[line["cluster"]]
                del cluster["purge_at"], cluster["deletion"]
                cluster["status"] = RUNNING
            case "purge":
                if key:
                    self._keys[key]["status"] = PURGED
                self._clusters[line["cluster"]] |= {"status": PURGED, "nodes": [], "volumes": []}
            case _:
                raise ValueError(f"The journal has a line that this release does not know: {line}")


def _no_such(name: str) -> Answer:
    return HTTPStatus.NOT_FOUND, {"error": f"There is no cluster {name}."}


def _refused(sentence: str) -> Answer:
    return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": sentence}


def _gone(sentence: str) -> Answer:
    return HTTPStatus.GONE, {"error": sentence}


if __name__ == "__main__":
    run(__doc__, lambda journal: Clusters(journal).app())
