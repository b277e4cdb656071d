"""Who is judged, in which version and configuration, and what each has no notion of."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.faults.cells import NEED_TWO, Cell, Client, Guarantee, Row
from bench.faults.contender import Contender, Installation
from bench.faults.lane import Install
from bench.faults.ours import Ours
from bench.faults.peers import WORKERS, Peer, make_environment
from bench.faults.verdicts import Verdict
from gateway.embedded_postgres import EmbeddedPostgres

OURS: Final = "intentledger"
PLAIN: Final = "no package"


def _nothing_missing(cell: Cell) -> str | None:
    del cell
    return None


def _single_call(cell: Cell) -> str | None:
    if cell.row in NEED_TWO:
        return "it guards one call at a time and has no notion of several that belong together"
    return None


def _saga(cell: Cell) -> str | None:
    if cell.client is Client.RETURNS:
        return "it has no key under which a request could be repeated: a second call is a second saga"
    if cell.row is Row.DATABASE:
        return "its log is a file: there is no database to restart"
    if cell.row is Row.COMPENSATION and cell.guarantee is Guarantee.BLIND:
        return "what cannot be looked up has no inverse that its documentation would call idempotent"
    return None


def _plain(cell: Cell) -> str | None:
    if cell.row in {Row.PAUSED, Row.TWO_RECOVERERS}:
        return "nobody takes over or recovers"
    if cell.row is Row.DATABASE:
        return "it keeps no records"
    if cell.row is Row.COMPENSATION:
        return "it undoes nothing"
    return None


ROSTER: Final = (
    Contender(
        OURS,
        "0.1.0",
        "`intentledger serve`, lease of 4 seconds, the adapters of `bench/faults/intentledger.toml`",
        True,
        _nothing_missing,
    ),
    Contender("dbos", "3.4.0", "a durable workflow of steps on PostgreSQL", True, _nothing_missing),
    Contender(
        "airlock-sdk", "0.3.0", "a guarded call with `Effect` on PostgreSQL, swept every second", False, _single_call
    ),
    Contender("agent-saga", "2.3.11", "a saga on an fsynced log with its recovery daemon", True, _saga),
    Contender("agentbarrier", "1.1.0", "a protected call on PostgreSQL, lease of 6 seconds", False, _single_call),
    Contender(
        PLAIN, "for comparison", "the tools called one after another, by a program without memory", True, _plain, False
    ),
)
_SCRIPTS: Final[Mapping[str, str]] = {
    "dbos": "dbos_worker.py",
    "airlock-sdk": "airlock_worker.py",
    "agent-saga": "agent_saga_worker.py",
    "agentbarrier": "agentbarrier_worker.py",
    PLAIN: "plain_worker.py",
}


def contender(name: str) -> Contender:
    """Return who has this name."""
    return next(one for one in ROSTER if one.name == name)


def installer(name: str) -> Install:
    """Return how to put a package to work on a lane; installs its environment first."""
    if name == OURS:
        return Ours
    python = sys.executable if name == PLAIN else str(make_environment(name))

    def install(directory: Path, postgres: EmbeddedPostgres, gate: str) -> Installation:
        return Peer(python, WORKERS / _SCRIPTS[name], directory, postgres, gate)

    return install


def expected_of_ours(cell: Cell) -> Verdict:
    """Return what ours must be: stuck only where a blind effect may or may not have happened, and nobody can know."""
    knows = {Row.RECORDED, Row.CANCELLED, Row.DATABASE}
    if cell.guarantee is Guarantee.BLIND and cell.row not in knows:
        return Verdict.HONEST_STUCK
    return Verdict.ATOMIC
