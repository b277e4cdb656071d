"""The outside systems: what they permanently hold, kept apart from the ledger and believed by the checker.

`Outside` is the truth about holds, effects and undone effects, by key. It obeys the laws of `adapters/contract.py` and
nothing more: it does not protect a `verifiable` or `blind` operation from being asked twice, because the real ones
do not. What the *coordinator* must never do is written down in `crimes` the moment it arrives.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from adapters.contract import Absent, Applied, Call, Held, Prepared, Preview, Refused, Result, Standing, Vote
from ledger.errors import Permanent
from ledger.events import AbortDecided, CommitDecided, CompensateDecided, ReleaseAttempted
from ledger.ids import intent_stream
from ledger.intents import Guarantee

KEY_LIFETIME_SECONDS = 60
NEVER = float("inf")
SETTLE_SECONDS = 10  # a request that is 20 seconds under way lands so long after the call has given up
HOLD_SECONDS = 20  # of the one operation whose holds do not last
FORGETS_AFTER_SECONDS = KEY_LIFETIME_SECONDS + 30  # it promised 60, and calls are under way for up to 20


class Effect:
    """One effect in the world."""

    def __init__(self, call: Call, at: float, number: int) -> None:
        self.intent, self.action, self.key = call.intent, call.action, call.key
        self.at, self.number = at, number
        self.position = call.decision_position


class Outside:
    """Everything all outside systems know. `database` is only looked at to catch crimes, never to answer."""

    def __init__(self, database: Any, counters: Counter[str], *, fenced: bool) -> None:
        self._fenced = fenced  # law 7 asks it only of those that keep a fence
        self._database = database
        self._time: Callable[[], float] = database.time
        self.counters = counters
        self.holds: dict[str, Call] = {}
        self.held_until: dict[str, float] = {}  # of holds that do not last
        self.risk: Counter[str] = Counter()  # by system: the fact that policy asks for
        self.shown: set[tuple[str, str, int]] = set()  # intent, action and the risk that it was told
        self.vanished: set[str] = set()  # intents whose effects somebody else has taken away again
        self.looks: dict[str, set[bool]] = defaultdict(set)  # by intent: what whoever asked after it was told
        self.tombstones: set[str] = set()
        self.fence: dict[str, int] = {}
        self.voted_no: set[str] = set()
        self.refused: set[str] = set()  # keys to which a commit or a compensation has answered Permanent
        self.sealed: dict[str, int] = {}  # key → requests sent before this number are dropped
        self.effects: dict[str, list[Effect]] = defaultdict(list)
        self.undone: dict[str, list[Effect]] = defaultdict(list)  # by the compensation's own key
        self.crimes: list[str] = []
        self.happened: set[tuple[str, str]] = set()  # intent and action
        self.history: list[Effect] = []  # effects and undone effects in the order in which they happened
        self.sent = 0
        self.asked: Counter[str] = Counter()  # by key: how often an adapter was called, whatever became of it

    def next_request(self) -> int:
        """Number a request when it leaves."""
        self.sent += 1
        return self.sent

    # ── the six verbs, as they arrive ────────────────────────────────────────────────────────────────────────────

    def preview(self, call: Call) -> Preview:
        system, _, verb = call.operation.partition(".")
        if verb == "look":
            there = call.intent not in self.vanished
            self.looks[call.intent].add(there)
            return Preview(facts={"all_there": there})
        if not verb.endswith(("_facts", "brief")):
            return Preview(before={"n": 0}, after=call.params)
        risk = self.risk[system]
        self.shown.add((call.intent, call.action, risk))
        return Preview(facts={"risk": risk}, before={"n": 0}, after=call.params)

    def prepare(self, call: Call, guarantee: Guarantee, *, refuses: bool) -> Vote:
        if guarantee is not Guarantee.ATOMIC:
            return Refused("The parameters make no sense here.") if refuses else Prepared(None, self.preview(call))
        if call.key in self.voted_no:
            self.counters["prepare after a refusal"] += 1
        if call.key in self.tombstones:
            self.counters["hang prevented by tombstone"] += 1
            return Refused("This action was aborted.")
        if self._fenced and call.epoch < self.fence.get(call.key, 0):
            self.counters["zombie refused by fence"] += 1
            return Refused("This call comes from a worker that was replaced.")
        self.fence[call.key] = max(call.epoch, self.fence.get(call.key, 0))
        if call.key not in self.holds and call.key not in self.effects:
            if refuses:
                self.voted_no.add(call.key)
                return Refused("There is not enough.")
            self.holds[call.key] = call
            if call.operation.endswith("brief"):
                self.held_until[call.key] = self._time() + HOLD_SECONDS
        return Prepared({"hold": call.key}, self.preview(call))

    def commit(self, call: Call, guarantee: Guarantee, *, refuses: bool) -> Result:
        self._must_be_decided(call)
        if guarantee is Guarantee.ATOMIC:
            return self._confirm(call, refuses=refuses)
        if guarantee is Guarantee.IDEMPOTENT and self._remembers(self.effects[call.key]):
            self.counters["repeat answered from memory"] += 1
            return Result({"reference": call.key})
        if call.key in self.refused or (refuses and not self.effects[call.key]):
            self.refused.add(call.key)
            raise Permanent("It will never be done.")
        self._happens(call)
        return Result({"reference": call.key})

    def _confirm(self, call: Call, *, refuses: bool) -> Result:
        if refuses and call.key in self.holds:  # and goes on holding
            self.counters["hold refused by a system that had promised"] += 1
            self.refused.add(call.key)
        if call.key in self.refused:
            raise Permanent("It will never be done.")
        if call.key in self.tombstones:
            self.crimes.append(f"commit of {call.action} of {call.intent} after its abort")
        if not self.effects[call.key]:
            lapsed = self._time() > self.held_until.get(call.key, NEVER)
            if self.holds.pop(call.key, None) is None or lapsed:
                self.counters["hold lapsed before its commit"] += lapsed
                self.refused.add(call.key)
                raise Permanent("There is no such hold any more.")
            self._happens(call)
        return Result({"reference": call.key})

    def abort(self, call: Call, *, refuses: bool) -> None:
        self._must_be_given_up(call)
        if self.effects[call.key]:
            self.crimes.append(f"abort of {call.action} of {call.intent} after its commit")
        if refuses and call.key in self.holds:
            raise Permanent("This hold cannot be released here.")
        if call.key not in self.holds and call.key not in self.tombstones:
            self.counters["abort before prepare"] += 1
        self.release(call.key)

    def release(self, key: str) -> None:
        self.holds.pop(key, None)
        self.tombstones.add(key)

    def compensate(self, call: Call, guarantee: Guarantee, *, refuses: bool) -> Result:
        if (call.intent, call.action) not in self.happened:
            self.crimes.append(f"I10: undo of {call.action} of {call.intent}, which never happened")
        done = self.undone[call.key]
        if (guarantee is Guarantee.ATOMIC and done) or (guarantee is Guarantee.IDEMPOTENT and self._remembers(done)):
            return Result({"reference": call.key})
        if call.key in self.refused or (refuses and not done):
            self.refused.add(call.key)
            raise Permanent("It cannot be undone.")
        done.append(self._remember(call))
        return Result({"reference": call.key})

    def inquire(self, call: Call) -> Standing:
        found = self.undone[call.key] or self.effects[call.key]
        if found:
            self.counters["unknown resolved as applied"] += 1
            return Applied(Result({"reference": call.key}))
        if call.key in self.holds:
            return Held({"hold": call.key})
        self.counters["unknown resolved as absent"] += 1
        return Absent()

    def seal(self, key: str) -> None:
        """From here on nothing that was sent before has an effect: a person has made sure of it."""
        self.sealed[key] = self.sent + 1

    # ── what is true ─────────────────────────────────────────────────────────────────────────────────────────────

    def _happens(self, call: Call) -> None:
        self.effects[call.key].append(self._remember(call))
        self.happened.add((call.intent, call.action))

    def _remember(self, call: Call) -> Effect:
        effect = Effect(call, self._time(), len(self.history))
        self.history.append(effect)
        return effect

    def _remembers(self, effects: list[Effect]) -> bool:
        return bool(effects) and self._time() - effects[-1].at < FORGETS_AFTER_SECONDS

    def _must_be_given_up(self, call: Call) -> None:
        """I8: what is let go was decided against, or it was announced that nobody may commit it any more."""
        for one in self._database.streams.get(intent_stream(call.intent), []):
            match one.event:
                case AbortDecided() | CompensateDecided():
                    return
                case ReleaseAttempted(action=action) if action == call.action:
                    return
        self.crimes.append(f"I8: abort of {call.action} of {call.intent} arrived, and the ledger still counts on it")

    def _must_be_decided(self, call: Call) -> None:
        stream = self._database.streams.get(intent_stream(call.intent), [])
        decisions = [one.position for one in stream if isinstance(one.event, CommitDecided)]
        if call.decision_position is None or call.decision_position not in decisions:
            self.crimes.append(f"I1: commit of {call.action} of {call.intent} arrived and no decision is durable")
