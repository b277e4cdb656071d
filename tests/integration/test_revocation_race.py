"""I5: a revoke and a decision have one order, the ledger's, whichever process makes them (design page 1, 3.2.4).

Thousands of intents are decided in some processes while others revoke their grants, or those above. Afterwards the
ledger is read from outside: no decision to commit stands behind the revoke of any grant of its chain.
"""

import asyncio
import itertools
import multiprocessing
import random
from collections.abc import Sequence

import msgspec
from racers import AT_ONCE, Heat, Lane, Marks, heats_of, run_agents, run_revokes

from authority.authority import Authority
from authority.grants import GrantOrder, Principal, principal_of, token_of
from ledger.events import AbortDecided, CommitDecided, GrantRevoked, IntentSubmitted, Recorded
from ledger.grants import Permission
from ledger.intents import Subject
from ledger.store import Store

TOKEN = token_of(b"r" * 32)
PAIRS = 2  # of a process that runs agents and one that revokes
TEAM = 4  # agents below one manager
_seeds = itertools.count(1)


class Outcome(msgspec.Struct):
    committed_first: int = 0  # the decision came before the revoke
    untouched: int = 0  # nobody revoked it, and it committed
    aborted: int = 0  # the revoke came before the decision
    never_accepted: int = 0  # the revoke came before the submission
    accepted_late: int = 0  # violation: submitted after the revoke had returned, and accepted
    committed_late: int = 0  # violation: decided after the revoke
    undecided: int = 0  # violation: the run is over, and the intent is not


async def hang(authority: Authority, above: Principal, name: str, kind: str = "agent") -> tuple[Principal, str]:
    order = GrantOrder(subject=Subject(kind, name), operations=(Permission("track.*"),), may_delegate=True)
    issued, token = await authority.issue(above, order, lambda size: next(_seeds).to_bytes(size, "big"))
    return principal_of([*above.chain, issued]), token


async def field(store: Store, alone: int, teams: int, beside: int) -> tuple[list[Lane], list[tuple[str, list[int]]]]:
    """Issue the grants: agents that are revoked themselves, teams whose manager is, and some that nobody revokes."""
    authority, numbers = Authority(store), itertools.count()
    assert await authority.ensure_operator(TOKEN)
    operator = await authority.authenticate(TOKEN)
    lanes: list[Lane] = []
    revoked: list[tuple[str, list[int]]] = []

    async def agent(above: Principal, *, lives: bool = False) -> Lane:
        found, token = await hang(authority, above, "agent")
        lanes.append(Lane(next(numbers), found.grant, token, revoked=not lives))
        return lanes[-1]

    async def lone() -> None:
        lane = await agent(operator)
        revoked.append((lane.grant, [lane.number]))

    async def team() -> None:
        manager, _ = await hang(authority, operator, "manager-x", "person")
        revoked.append((manager.grant, [(await agent(manager)).number for _ in range(TEAM)]))

    kinds = [lone] * alone + [team] * teams + [lambda: agent(operator, lives=True)] * beside
    random.Random(1).shuffle(kinds)
    for first in range(0, len(kinds), AT_ONCE):
        await asyncio.gather(*(one() for one in kinds[first : first + AT_ONCE]))
    await authority.close()
    return lanes, revoked


async def race(dsn: str, lanes: Sequence[Lane], heats: Sequence[Heat], *, planted: bool = False) -> int:
    """Let the processes race; return how many intents were accepted after the revoke of their grant had returned."""
    processes = multiprocessing.get_context("spawn")
    marks = Marks(*(processes.Array("b", len(lanes), lock=False) for _ in range(2)))
    agents, revokers = processes.Queue(), processes.Queue()
    share = {lane: place % PAIRS for place, heat in enumerate(heats) for lane in heat.lanes}
    running = []
    for pair in range(PAIRS):
        own = [lane for lane in lanes if share.get(lane.number, lane.number % PAIRS) == pair]
        theirs = heats[pair::PAIRS]
        place = {lane: n for n, heat in enumerate(theirs) for lane in heat.lanes}
        own.sort(key=lambda lane: place.get(lane.number, 0))
        running.append(
            processes.Process(target=run_agents, args=(dsn, own, marks, agents, pair), kwargs={"planted": planted})
        )
        running.append(processes.Process(target=run_revokes, args=(dsn, TOKEN, theirs, marks, revokers)))
    for process in running:
        process.start()
    await asyncio.to_thread(lambda: [process.join(300) for process in running])
    for process in running:
        if process.exitcode is None:
            process.kill()
    assert [process.exitcode for process in running] == [0] * len(running)
    died: dict[str, int] = {}
    for _ in range(PAIRS):
        died.update(revokers.get(timeout=5))
    assert died == {heat.grant: 1 if len(heat.lanes) == 1 else 1 + TEAM for heat in heats}
    return sum(agents.get(timeout=5)[2] for _ in range(PAIRS))


async def everything(store: Store) -> list[Recorded]:
    found: list[Recorded] = []
    while page := await store.read_all(len(found), 5_000):
        found.extend(page)
    return found


def judge(recorded: Sequence[Recorded], lanes: Sequence[Lane], accepted_late: int) -> Outcome:
    """Read from the ledger alone what became of every lane."""
    outcome = Outcome(accepted_late=accepted_late)
    revoked = {one.event.grant: one.position for one in recorded if isinstance(one.event, GrantRevoked)}
    decided: dict[str, Recorded] = {}
    for one in recorded:
        if isinstance(one.event, CommitDecided | AbortDecided):
            assert one.stream not in decided, "I2: decided twice"
            decided[one.stream] = one
    submitted = [one for one in recorded if isinstance(one.event, IntentSubmitted)]
    for one in submitted:
        dead_at = min((revoked[grant] for grant in one.event.custody if grant in revoked), default=None)
        decision = decided.get(one.stream)
        if decision is None:
            outcome.undecided += 1
        elif isinstance(decision.event, AbortDecided):
            assert decision.event.cause == "revoked", decision.event
            assert dead_at is not None
            assert dead_at < decision.position
            outcome.aborted += 1
        elif dead_at is None:
            outcome.untouched += 1
        elif decision.position < dead_at:
            outcome.committed_first += 1
        else:
            outcome.committed_late += 1
    outcome.never_accepted = len(lanes) - len({one.event.grant for one in submitted})
    return outcome


async def run(dsn: str, store: Store, alone: int, teams: int, beside: int, *, planted: bool = False) -> Outcome:
    lanes, revoked = await field(store, alone, teams, beside)
    heats = heats_of(revoked, random.Random(7))
    late = await race(dsn, lanes, heats, planted=planted)
    outcome = judge(await everything(store), lanes, late)
    print(f"{sum(len(heat.lanes) for heat in heats)} races, {len(heats)} revokes: {outcome}")  # noqa: T201
    return outcome


async def test_no_decision_stands_behind_the_revoke_of_its_grant_or_of_one_above(dsn, store):
    outcome = await run(dsn, store, alone=1_200, teams=270, beside=60)
    assert (outcome.committed_late, outcome.accepted_late, outcome.undecided) == (0, 0, 0)
    assert outcome.untouched == 60
    assert outcome.committed_first > 200, "hardly a decision came first: the race is not run"
    assert outcome.aborted > 200, "hardly a revoke came first: the race is not run"
    assert outcome.committed_first + outcome.aborted >= 2_000


async def test_the_race_finds_a_grant_that_is_looked_up_before_the_transaction_instead_of_inside_it(dsn, store):
    outcome = await run(dsn, store, alone=200, teams=50, beside=0, planted=True)
    assert outcome.committed_late > 0
