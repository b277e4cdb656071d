"""What an intent takes from the limits of the grants above it; no way of splitting it takes less."""

import pytest
from chains import action, agent, descend, intent, limit, person, refund
from hypothesis import given
from hypothesis import strategies as st

from authority.limits import charges
from ledger.grants import Charge


def taken(chain, *actions):
    found = charges(chain, intent(chain, *actions))
    return found if isinstance(found, str) else {one.limit: one.amount for one in found}


def under(*limits, **more):
    return descend(agent("bot", limits=limits, **more))


def test_each_limit_of_each_grant_of_the_chain_is_charged():
    chain = descend(
        person("manager-x", limits=(limit("*", 900_000), limit("payments.*", 100, "count"))),
        agent("bot", limits=(limit("payments.refund", 50_000, per="hour"),)),
    )
    assert charges(chain, intent(chain, refund(4200), refund(100), action("crm.update"))) == (
        Charge("grant-manager-x/0", "day", 4300, 900_000),
        Charge("grant-manager-x/1", "day", 2, 100),
        Charge("grant-bot/0", "hour", 4300, 50_000),
    )


def test_what_a_limit_does_not_count_is_not_charged():
    assert taken(under(limit("crm.*", 5, "count"), limit("crm.*", 5)), refund(4200)) == {}
    assert taken(under(limit("*", 5)), refund(0)) == {}


def test_limits_of_one_grant_never_share_a_counter():
    twice = limit("*", 900)
    assert taken(under(twice, twice), refund(5)) == {"grant-bot/0": 5, "grant-bot/1": 5}


def test_each_agent_has_an_allowance_of_its_own_where_the_limit_says_so():
    each = person("manager-x", limits=(limit("*", 900, each="agent"),))
    assert taken(descend(each, agent("bot")), refund(5)) == {"grant-manager-x/0/bot": 5}
    assert taken(descend(each, agent("bot-2")), refund(5)) == {"grant-manager-x/0/bot-2": 5}
    assert taken(descend(each), refund(5)) == {"grant-manager-x/0/manager-x": 5}


def test_an_agent_mints_no_allowance_by_minting_children():
    each = person("manager-x", limits=(limit("*", 900, each="agent"),))
    assert taken(descend(each, agent("bot"), agent("bot-2")), refund(5)) == {"grant-manager-x/0/bot": 5}


def test_names_with_slashes_do_not_make_two_counters_one():
    odd = descend(agent("0/bot", grant="grant-1", limits=(limit("*", 9, each="agent"),)))
    plain = descend(agent("bot", grant="grant-1", limits=(limit("*", 9), limit("*", 9, each="agent"))))
    assert taken(odd, refund(5)).keys().isdisjoint(taken(plain, refund(5)))


@pytest.mark.parametrize("amount", [-5, True, "5000", 5000.5, 2**63])
def test_what_is_no_amount_of_money_is_refused(amount):
    assert "is no amount" in str(taken(under(limit("payments.*", 2**53)), refund(amount)))


@pytest.mark.parametrize("currency", ["EUR", "usd", None])
def test_money_that_a_limit_cannot_count_is_refused(currency):
    assert "it counts USD" in str(taken(under(limit("payments.*", 900)), refund(5, currency)))


def test_money_that_nobody_knows_is_refused_where_the_limit_is_about_that_operation():
    assert "does not say how much" in str(taken(under(limit("payments.payout", 900)), action("payments.payout")))
    assert taken(under(limit("payments.*", 900)), action("payments.note"), refund(5)) == {"grant-bot/0": 5}


def test_one_intent_that_asks_for_more_than_there_ever_is_is_refused():
    assert taken(under(limit("*", 5000)), refund(5000)) == {"grant-bot/0": 5000}
    assert taken(under(limit("*", 5000)), refund(4000), refund(1001)) == (
        "limit grant-bot/0 permits 5000 USD (minor units) per day, "
        "and this intent alone asks for 5001 USD (minor units)"
    )
    assert "permits 1 actions in total" in str(taken(under(limit("*", 1, "count", "total")), refund(1), refund(1)))


def test_a_limit_of_nothing_permits_nothing():
    assert "permits 0 actions" in str(taken(under(limit("*", 0, "count")), action("crm.update")))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=16))
def test_splitting_takes_as_much_as_one(amounts):
    chain = under(limit("payments.*", 2**53))
    together = taken(chain, *(refund(one) for one in amounts))
    apart = sum(taken(chain, refund(one)).get("grant-bot/0", 0) for one in amounts)
    assert together.get("grant-bot/0", 0) == apart == taken(chain, refund(sum(amounts))).get("grant-bot/0", 0)
