"""A small service that keeps notes: the outside system of docs/writing-an-adapter.md, a process of its own.

    POST /notes          {key, text}: keep a note; a repeated key is recognised, and answered as the first time
    POST /removals       {key, id}: remove a note, likewise
    GET  /keys/{key}     what was answered under a key
    GET  /notes?text=…   how many notes say this

Every change is a line of the journal, on the disk before the answer leaves; the state in memory is folded from it.
Run: python -m examples.notes --record FILE [--port N]; the first line on standard output is {"port": N}. It ends when
its standard input closes.
"""

from http import HTTPStatus

from aiohttp import web

from examples.faults import Faults
from examples.journal import Journal, Line
from examples.service import Answer, Body, fault_routes, get, plain, post, run


class Notes:
    """The service's state, folded from its journal, and its endpoints."""

    def __init__(self, journal: Journal) -> None:
        """Recover from whatever the journal holds."""
        self._journal = journal
        self._kept: dict[str, str] = {}  # texts by id
        self._given_out = 0
        self._answers: dict[str, Body] = {}  # by key
        for line in journal.lines:
            self._fold(line)

    def app(self) -> web.Application:
        """Return the service with all its addresses."""
        faults = Faults()
        app = web.Application(client_max_size=64 * 1024)
        app.add_routes(
            [
                post(faults, "/notes", "note", self._note),
                post(faults, "/removals", "remove", self._remove),
                get(faults, "/keys/{key}", lambda request: self._look_up(request.match_info["key"])),
                get(faults, "/notes", lambda request: self._count(request.query["text"])),
                *fault_routes(faults),
            ]
        )
        return app

    def _note(self, _: str, body: Body, __: str) -> Answer:
        if body["key"] not in self._answers:
            self._record(what="note", key=body["key"], id=f"note_{self._given_out + 1}", text=body["text"])
        return HTTPStatus.OK, self._answers[body["key"]]

    def _remove(self, _: str, body: Body, __: str) -> Answer:
        if body["key"] not in self._answers:
            self._record(what="removal", key=body["key"], id=body["id"])
        return HTTPStatus.OK, self._answers[body["key"]]

    def _look_up(self, key: str) -> Answer:
        known = self._answers.get(key)
        return (HTTPStatus.OK, known) if known else (HTTPStatus.NOT_FOUND, {"error": "Nothing has this key."})

    def _count(self, text: str) -> Answer:
        return HTTPStatus.OK, {"kept": list(self._kept.values()).count(text)}

    def _record(self, **fields: str) -> None:
        self._fold(self._journal.append(**fields))

    def _fold(self, line: Line) -> None:
        self._answers[line["key"]] = plain(line)
        if line["what"] == "note":
            self._kept[line["id"]] = line["text"]
            self._given_out += 1
        else:
            self._kept.pop(line["id"], None)


if __name__ == "__main__":
    run(__doc__, lambda journal: Notes(journal).app())
