"""Type confusion from outside: an amount is an integer however it is written, and nothing else is an amount."""

import msgspec
import pytest
import pytest_asyncio
from besieged import siege

from adapters.reference import ReferenceAdapter, World

pytestmark = pytest.mark.asyncio(loop_scope="module")
PARAMS = {
    "type": "object",
    "additionalProperties": False,
    "required": ["account", "amount", "currency"],
    "properties": {
        "account": {"type": "string"},
        "amount": {"type": "integer", "minimum": 1},
        "currency": {"type": "string", "enum": ["USD", "EUR"]},
    },
}


class Till(ReferenceAdapter):
    """A participant whose amounts are money."""

    def __init__(self) -> None:
        super().__init__("till", World(), facts=False)
        self.operations = {
            name: msgspec.structs.replace(operation, params=PARAMS, summary="pay {amount|money} to {account}")
            for name, operation in self.operations.items()
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(server, template):
    till = Till()
    async with siege(server, template, till) as (door, _):
        yield door, till.world


def body(amount, account):
    action = f'{{"id": "a", "operation": "till.post", "params": {{"account": "{account}", "currency": "USD", '
    return f'{{"reason": "a test", "actions": [{action}"amount": {amount}}}}}]}}'.encode()


async def submit(door, amount, account, key=None):
    headers = {"Content-Type": "application/json", "Idempotency-Key": key or f"{account}/{amount}", "Prefer": "wait=10"}
    status, answer, _ = await door.ask("POST", "/v1/intents", data=body(amount, account), headers=headers)
    return status, answer


@pytest.mark.parametrize(
    "amount", ['"5000"', "true", "null", "[5000]", '{"amount": 5000}', "5000.5", "-5", "-5.0", "0"]
)
async def test_what_is_no_amount_is_refused_with_its_place_and_nothing_is_recorded(opened, amount):
    door, world = opened
    before = await door.head()
    status, answer = await submit(door, amount, "confused")
    assert (status, answer["type"]) == (422, "urn:intent-ledger:problem:invalid-intent")
    assert [fault["path"] for fault in answer["errors"]] == ["/actions/0/params/amount"]
    assert (await door.head(), world.balances.get("confused")) == (before, None)


@pytest.mark.parametrize("amount", [str(2**63), str(-(2**63)), "9007199254740993", "1e16", "5000e999", "NaN", "0x1388"])
async def test_what_readers_understand_differently_is_no_json_and_nothing_is_recorded(opened, amount):
    door, world = opened
    before = await door.head()
    status, answer = await submit(door, amount, "confused")
    assert (status, answer["type"]) == (400, "urn:intent-ledger:problem:malformed")
    assert (await door.head(), world.balances.get("confused")) == (before, None)


@pytest.mark.parametrize("amount", ["5000", "5000.0", "5e3", "50000e-1"])
async def test_an_amount_is_the_same_integer_however_it_is_written(opened, amount):
    door, world = opened
    account = f"account-{amount}"
    status, answer = await submit(door, amount, account)
    assert (status, answer["phase"]) == (200, "committed")
    assert answer["actions"][0]["params"]["amount"] == 5000
    _, events, _ = await door.get(f"/v1/intents/{answer['id']}/events")
    plan = events["items"][0]["body"]["actions"][0]
    assert (plan["params"]["amount"], plan["amount_minor"], plan["currency"]) == (5000, 5000, "USD")
    assert {type(plan["params"]["amount"]), type(plan["amount_minor"])} == {int}
    assert plan["summary"] == f"pay 50.00 USD to {account}"
    assert world.balances[account] == 5000


async def test_another_spelling_of_the_same_number_is_the_same_request(opened):
    door, world = opened
    _, first = await submit(door, "700", "spelt", key="spelt")
    status, again = await submit(door, "7.00e2", "spelt", key="spelt")
    assert (status, again["id"]) == (200, first["id"])
    status, other = await submit(door, "701", "spelt", key="spelt")
    assert (status, other["type"]) == (422, "urn:intent-ledger:problem:idempotency-key-reused")
    assert world.balances["spelt"] == 700
