"""When to try again."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from unit.given import T0

from coordinator.backoff import retry_at
from ledger.bounds import RETRY_BASE_SECONDS, RETRY_CAP_SECONDS


@given(st.integers(0, 10_000), st.text())
def test_the_delay_lies_between_half_and_all_of_its_exponential_bound(attempts, key):
    bound = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2 ** min(attempts, 32))
    delay = retry_at(T0, attempts, key) - T0
    assert timedelta(seconds=bound / 2) <= delay <= timedelta(seconds=bound)


def test_the_same_call_waits_exactly_as_long_in_a_replay():
    assert retry_at(T0, 3, "key") == retry_at(T0, 3, "key")


def test_calls_with_other_keys_do_not_march_in_step():
    assert len({retry_at(T0, 5, f"key-{n}") for n in range(100)}) > 90
