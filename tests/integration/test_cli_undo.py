"""`intentledger undo`: a person sees what would be undone, and exactly that is undone."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from commands import Person
from doorway import intent

from gateway.cli import main
from gateway.undo_sheet import moment
from ledger.errors import Misconfigured


async def paid(door, *amounts: int) -> list[str]:
    agent = await door.grant("payment-specialist", task="12A")
    found = []
    for amount in amounts:
        status, shown, _ = await agent.submit(intent(("bank.post", "alice", amount)))
        assert (status, shown["phase"]) == (200, "committed")
        found.append(shown["id"])
    return found


async def test_a_dry_run_shows_a_table_and_its_digest_undoes_exactly_that(door, tmp_path):
    first, second = await paid(door, 5, 7)
    operator = Person(tmp_path, door.url, door.token)
    whose = ("undo", "--agent", "payment-specialist", "--since", "1h")
    looked = await operator.run(*whose, "--dry-run")
    assert looked.code == 0, looked.err
    lines = looked.out.splitlines()
    rows = [line for line in lines if "post" in line]
    assert [second in rows[0], first in rows[1]] == [True, True], "the last one first"
    assert "post 7 to account alice" in rows[0]
    assert "exactly" in rows[0]
    assert '{"balance":5}' in rows[0]
    assert "Intents 2: 2 exactly" in lines
    digest = lines[-1].removeprefix("Digest  ")
    assert door.bank.world.balances == {"alice": 12}, "nothing is undone by looking"

    reason = ("--reason", "It was steered")
    other = await operator.run(*whose, *reason, "--approve", "sha256:0")
    assert (other.code, f"has the digest {digest}" in other.err) == (1, True)
    nobody = await operator.run(*whose, *reason)
    assert (nobody.code, f"use --approve {digest}" in nobody.err) == (2, True)
    assert door.bank.world.balances == {"alice": 12}

    undone = await operator.run(*whose, *reason, "--approve", digest, "--json")
    assert undone.code == 0, undone.err
    plan = json.loads(undone.out)
    assert (plan["phase"], plan["progress"]["undone"], plan["reason"]) == ("done", 2, "It was steered")
    assert door.bank.world.balances == {"alice": 0}
    again = await operator.run("undo", "--plan", plan["id"], "--approve", plan["digest"])
    assert (again.code, "waits for nobody's approval" in again.err) == (1, True)


async def test_at_a_terminal_a_person_is_asked_and_told_what_was_not_undone(door, tmp_path):
    (done,) = await paid(door, 5)
    operator = Person(tmp_path, door.url, door.token)
    asked = ("undo", "--task", "12A", "--reason", "Wrong")
    refused = await operator.sit("n\n", *asked)
    assert (refused.code, "Nothing was undone." in refused.err) == (1, True)
    status, plan, _ = await door.post("/v1/undo-plans", {"task": "12A", "reason": "Wrong"})
    assert status == 201
    said = await operator.sit("y\n", *asked)
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == "Done: 1 undone."
    late = await operator.run("undo", "--plan", plan["id"], "--approve", plan["digest"])
    assert late.code == 1
    assert f"{done} moved: It is compensated: operator decided to undo it, in plan" in late.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "A selection is needed"),
        (("--agent", "a", "--plan", "b"), "not both"),
        (("--agent", "a"), "A --reason is needed"),
        (("--plan", "b", "--halt"), "--reason says why"),
        (("--agent", "a", "--since", "noon", "--dry-run"), "'noon' is no time"),
    ],
)
def test_what_makes_no_sense_is_said_before_anybody_is_asked(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["undo", *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_times_are_read_as_people_write_them():
    now = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
    assert moment("14:00", now) == datetime(2026, 3, 4, 14, tzinfo=UTC)
    assert moment("16:00", now) == datetime(2026, 3, 3, 16, tzinfo=UTC), "the last time that it was"
    assert moment("2h", now) == now - timedelta(hours=2)
    assert moment("2026-01-31", now) == datetime(2026, 1, 31, tzinfo=UTC)
    assert moment("2026-01-31T12:00:00+02:00", now) == datetime(2026, 1, 31, 10, tzinfo=UTC)
    for nonsense in ("", "25:00", "yesterday", "14", "99999999999999d", "٢h"):
        with pytest.raises(Misconfigured):
            moment(nonsense, now)
