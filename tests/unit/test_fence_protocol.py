"""The verbs of the fence, step by step, over a table in memory: every order of calls under one key."""

import itertools
from typing import Any

import pytest
from intentledger_fence import BrokenPromise, Call, NotNamed, NoTransaction, Outcome, Refused, protocol
from intentledger_fence.protocol import Do, Sql

VERBS = {"hold": protocol.hold, "confirm": protocol.confirm, "release": protocol.release, "once": protocol.once}


class Table:
    """A database that keeps to what the statements say."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {}
        self.saved: dict[str, list[Any]] = {}
        self.effects: list[str] = []
        self.is_open = True

    def drive(self, verb: str, epoch: int = 1, *, refusing: bool = False) -> Outcome:
        steps, reply = VERBS[verb](Call("k", epoch)), None
        kept = {key: list(row) for key, row in self.rows.items()}
        try:
            while True:
                step = steps.send(reply)
                reply = self.run(step) if isinstance(step, Do) else self.act(verb, refusing)
        except StopIteration as end:
            return end.value
        except RuntimeError:
            self.rows = kept  # the service's transaction is rolled back
            raise

    def act(self, verb: str, refusing: bool) -> Any:
        if refusing:
            return Refused("There is not enough.")
        self.effects.append(verb)
        return {"by": verb, "number": len(self.effects)}

    def run(self, step: Do) -> Any:
        match step.sql:
            case Sql.IN_TRANSACTION:
                return [(self.is_open,)]
            case Sql.CLAIM:
                key, epoch, answer = step.args
                row = self.rows.setdefault(key, [0, "aborted", epoch, None, answer])
                row[0] += 1
                return [tuple(row)]
            case Sql.WRITE:
                *values, key = step.args
                self.rows[key][1:] = values
            case Sql.SAVE:
                self.saved = {key: list(row) for key, row in self.rows.items()}
            case Sql.BACK:
                self.rows = self.saved
        return []


def test_every_order_of_four_calls_under_one_key_has_each_effect_once_and_ends_in_one_fate() -> None:
    for order in itertools.product(("hold", "confirm", "release"), repeat=4):
        table = Table()
        outcomes = {verb: [] for verb in VERBS}
        for verb in order:
            outcomes[verb].append(table.drive(verb))
        assert len(table.effects) == len(set(table.effects)), order
        assert not {"confirm", "release"} <= set(table.effects), order
        assert not table.effects or table.effects[0] == "hold", order
        for verb in ("confirm", "release"):
            assert len({outcome.done for outcome in outcomes[verb]}) <= 1, order  # a yes or a no, for ever
        confirmed = [outcome.answer for outcome in outcomes["confirm"] if outcome.done]
        assert all(answer == confirmed[0] for answer in confirmed), order


def test_a_release_that_overtakes_its_hold_leaves_a_tombstone_that_refuses_it() -> None:
    table = Table()
    assert table.drive("release").done
    assert table.drive("hold", epoch=9) == Outcome(False, {"error": "This action was aborted."})
    assert table.effects == []


def test_a_hold_from_a_process_that_was_overtaken_is_refused_also_after_the_confirm() -> None:
    table = Table()
    held = table.drive("hold", epoch=3)
    assert table.drive("hold", epoch=5) == held
    assert not table.drive("hold", epoch=4).done
    assert table.drive("confirm", epoch=4).done  # the decision is made; who brings it does not matter
    assert not table.drive("hold", epoch=4).done
    assert table.drive("hold", epoch=5) == held
    assert table.effects == ["hold", "confirm"]


@pytest.mark.parametrize("verb", ["once", "hold"])
def test_a_refusal_is_kept_and_cannot_succeed_later(verb: str) -> None:
    table = Table()
    refusal = table.drive(verb, refusing=True)
    assert (refusal.done, refusal.status, refusal.answer) == (False, 422, {"error": "There is not enough."})
    assert table.drive(verb) == refusal
    assert table.effects == []


def test_what_was_held_cannot_be_refused_when_it_is_confirmed_or_released() -> None:
    for verb in ("confirm", "release"):
        table = Table()
        table.drive("hold")
        with pytest.raises(BrokenPromise):
            table.drive(verb, refusing=True)
        assert table.drive(verb).done


def test_a_key_is_for_one_use() -> None:
    table = Table()
    done = table.drive("once")
    assert not any(table.drive(verb).done for verb in ("hold", "confirm", "release"))
    assert table.drive("once") == done
    table = Table()
    table.drive("hold")
    assert not table.drive("once").done
    assert table.drive("confirm").done


def test_without_a_transaction_nothing_is_done() -> None:
    table = Table()
    table.is_open = False
    with pytest.raises(NoTransaction):
        table.drive("once")
    assert (table.rows, table.effects) == ({}, [])


def test_a_call_is_named_by_the_headers_that_the_http_adapter_sends() -> None:
    assert Call.of({"Idempotency-Key": "abc", "Intent-Epoch": "7"}) == Call("abc", 7)
    assert Call.of({"Idempotency-Key": '"abc-commit"'}) == Call.of({"Idempotency-Key": "abc-abort"}) == Call("abc", 0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "x" * 65},
        {"Idempotency-Key": "ü"},
        {"Idempotency-Key": "a\n"},
        {"Idempotency-Key": "a", "Intent-Epoch": "-1"},
        {"Idempotency-Key": "a", "Intent-Epoch": "1.0"},
        {"Idempotency-Key": "a", "Intent-Epoch": "9" * 19},
    ],
)
def test_a_call_that_is_not_named_is_a_value_error(headers: dict[str, str]) -> None:
    with pytest.raises(NotNamed):
        Call.of(headers)
