"""The circuit of an adapter: silence opens it, time lets a few calls try, any answer closes it."""

from datetime import timedelta

import pytest
from unit.given import moment

from coordinator.circuit import Circuit, CircuitState
from ledger import bounds

SILENCES = 3


def silent(circuit, at=0.0, times=1):
    """Let calls leave and stay unanswered."""
    for _ in range(times):
        ticket = circuit.openings
        circuit = circuit.left().unanswered(ticket, moment(at), SILENCES, "bank").over(ticket)
    return circuit


def opened(at=0.0):
    return silent(Circuit(), at, SILENCES)


def after(circuit):
    return (circuit.until - moment(0)).total_seconds()


def test_a_new_circuit_is_closed():
    assert Circuit().state(moment(0)) is CircuitState.CLOSED
    assert Circuit().admits(moment(0))


def test_silences_in_a_row_open_it_and_fewer_do_not():
    almost = silent(Circuit(), times=SILENCES - 1)
    assert almost.state(moment(0)) is CircuitState.CLOSED
    assert silent(almost).state(moment(0)) is CircuitState.OPEN
    assert not silent(almost).admits(moment(0))


def test_an_answer_in_between_begins_the_row_anew():
    almost = silent(Circuit(), times=SILENCES - 1).answered()
    assert silent(almost, times=SILENCES - 1).admits(moment(0))


def test_it_opens_for_a_moment_then_lets_a_few_calls_try():
    circuit = opened()
    assert bounds.CIRCUIT_BASE_SECONDS / 2 <= after(circuit) <= bounds.CIRCUIT_BASE_SECONDS
    assert circuit.until <= circuit.again_at(moment(0), "bank") <= moment(bounds.CIRCUIT_BASE_SECONDS)
    assert circuit.state(circuit.until) is CircuitState.HALF_OPEN
    for _ in range(bounds.CIRCUIT_TRIES):
        assert circuit.admits(circuit.until)
        circuit = circuit.left()
    assert not circuit.admits(circuit.until)
    assert circuit.again_at(circuit.until, "bank") > circuit.until


def test_one_that_tries_and_ends_without_telling_anything_makes_room_for_another():
    circuit = opened()
    full = circuit
    for _ in range(bounds.CIRCUIT_TRIES):
        full = full.left()
    assert full.over(full.openings).admits(circuit.until)


def test_an_answer_closes_it_whoever_got_it_and_whatever_it_said():
    for circuit in (opened(), opened().left()):
        assert circuit.answered() == Circuit()


def test_a_vain_try_opens_it_again_for_longer_up_to_a_bound():
    circuit, pauses = opened(), []
    for _ in range(12):
        now = circuit.until
        circuit = circuit.left().unanswered(circuit.openings, now, SILENCES, "bank")
        pauses.append((circuit.until - now).total_seconds())
        assert circuit.trying == 0
    assert pauses[0] > bounds.CIRCUIT_BASE_SECONDS / 2
    assert sorted(pauses[:3]) == pauses[:3]
    assert pauses[-1] >= bounds.CIRCUIT_CAP_SECONDS / 2
    assert max(pauses) <= bounds.CIRCUIT_CAP_SECONDS
    assert circuit.opened_at == moment(0)


def test_calls_that_left_before_it_opened_say_nothing_new_by_their_silence():
    circuit = opened()
    assert circuit.unanswered(0, moment(9), SILENCES, "bank") == circuit
    assert circuit.over(0) == circuit


def test_the_pauses_of_two_systems_do_not_march_in_step():
    pauses = {Circuit(silences=9).unanswered(0, moment(0), 1, name).until for name in ("bank", "mail", "crm")}
    assert len(pauses) == 3


def test_what_waits_looks_again_more_and_more_seldom_within_the_retry_cap():
    circuit, waits = opened(), []
    for _ in range(12):
        now = circuit.until
        circuit = circuit.left().unanswered(circuit.openings, now, SILENCES, "bank")
        assert circuit.again_at(now, "bank") >= circuit.until
        waits.append((circuit.again_at(now, "bank") - now).total_seconds())
    assert waits[-1] > bounds.RETRY_CAP_SECONDS / 2 > waits[0]
    assert max(waits) <= bounds.RETRY_CAP_SECONDS


@pytest.mark.parametrize("seconds", [0.0, 3.0, 3_600.0])
def test_it_never_stays_open(seconds):
    circuit = opened(seconds)
    assert circuit.admits(moment(seconds) + timedelta(seconds=bounds.CIRCUIT_CAP_SECONDS))
