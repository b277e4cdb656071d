"""`intentledger policy` and `verify`: policy sets kept, put in force, tried on the past; and the past verified."""

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
from commands import Person
from doorway import TOKEN, Doorway, doorway, intent

CEDAR = """
@id("P-small") permit (principal, action == Action::"bank.post", resource) when { context.params.amount <= 1000 };
@id("P-large") permit (principal, action == Action::"bank.post#with_approval", resource);
"""


@pytest.fixture
async def door(dsn) -> AsyncIterator[Doorway]:
    async with doorway(dsn) as opened:
        yield opened


@pytest.fixture
def operator(door, tmp_path) -> Person:
    return Person(tmp_path, door.url, TOKEN, "operator")


async def test_a_policy_set_is_kept_put_in_force_and_listed(operator, tmp_path):
    assert (await operator.run("policy", "list")).out.startswith("No policy set was added; ")
    file = tmp_path / "bank.cedar"
    file.write_text(CEDAR)
    kept = await operator.run("policy", "add", file)
    assert kept.code == 0, kept.err
    digest = kept.out.split()[1]
    assert kept.out.startswith(f"Kept {digest} (P-small, P-large). It is not in force; ")
    activated = await operator.run("policy", "activate", digest)
    assert (activated.code, activated.out) == (0, f"In force: {digest} (P-small, P-large).\n")


async def test_an_invalid_policy_set_is_refused_with_its_places(operator, tmp_path):
    file = tmp_path / "bad.cedar"
    file.write_text('\n@id("P-1") permit (principal, action, resource) when { context.nonsense };\n')
    answer = await operator.run("policy", "add", file, "--activate")
    assert (answer.code, answer.out) == (1, "")
    sentence, place, *_ = answer.err.splitlines()
    assert sentence.startswith("The policy set does not fit the catalogue (line 2: ")
    assert place.startswith("  line 2, column ")


async def test_policies_that_cannot_be_read_are_bad_usage(operator, tmp_path):
    answer = await operator.run("policy", "add", tmp_path / "none.cedar")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"The policies in {tmp_path}/none.cedar cannot be read: ")


async def test_a_policy_set_is_tried_on_the_past_and_changes_nothing(door, operator, tmp_path):
    payer = await door.grant("payer", task="12A")
    for amount in (500, 5000):
        assert (await payer.submit(intent(("bank.post", "alice", amount))))[1]["phase"] == "committed"
    file = tmp_path / "bank.cedar"
    file.write_text(CEDAR)
    before = await door.head()
    tried = await operator.run("policy", "test", file)
    assert tried.code == 0, tried.err
    lines = tried.out.splitlines()
    assert lines[0].startswith("1 of 2 past verdicts would differ under sha256:")
    assert "  allow -> escalate: 1" in lines
    assert "  answers of people: 1 more, 0 fewer" in lines
    assert "payer, task 12A: allow -> escalate (P-small, P-large; P-small: " in lines[-1]
    assert await door.head() == before


# ── verify ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def committed(door: Doorway) -> None:
    payer = await door.grant("payer")
    for amount in (1, 2, 3):
        assert (await payer.submit(intent(("bank.post", "alice", amount))))[1]["phase"] == "committed"


async def test_verify_gives_every_verdict_again_without_any_service(door, operator, dsn):
    await committed(door)
    answer = await operator.run("verify", "--decisions", "--json", INTENTLEDGER_DSN=dsn)
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["verdicts"], found["decisions"], found["wrong"]) == (3, 3, None)
    assert found["position"] == await door.head()
    words = await operator.run("verify", "--decisions", INTENTLEDGER_DSN=dsn)
    assert words.out.startswith("3 verdicts and 3 decisions to commit up to position ")


async def test_verify_names_the_first_position_that_cannot_be_true(door, operator, dsn):
    await committed(door)
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow(
            "select position, body from intent_ledger.events where type = 'PolicyEvaluated' order by position offset 1"
        )
        await connection.execute("alter table intent_ledger.events disable trigger all")
        forged = row["body"].replace(b'"effect":"allow"', b'"effect":"escalate"')
        assert forged != row["body"]
        await connection.execute(
            "update intent_ledger.events set body = $1 where position = $2", forged, row["position"]
        )
    finally:
        await connection.close()
    answer = await operator.run("verify", "--decisions", INTENTLEDGER_DSN=dsn)
    assert answer.code == 1
    assert answer.out.startswith(f"WRONG at position {row['position']} of the ledger 'main': ")
    found = json.loads((await operator.run("verify", "--decisions", "--json", INTENTLEDGER_DSN=dsn)).out)
    assert found["wrong"]["position"] == row["position"]
