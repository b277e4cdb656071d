"""The commands of people about grants, policy and the service: what they show, write, refuse and answer with."""

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from commands import Person
from doorway import TOKEN, Doorway, doorway, intent


@pytest.fixture
async def door(dsn) -> AsyncIterator[Doorway]:
    async with doorway(dsn) as opened:
        yield opened


@pytest.fixture
def operator(door, tmp_path) -> Person:
    return Person(tmp_path, door.url, TOKEN, "operator")


async def live(door: Doorway) -> list[str]:
    _, page, _ = await door.get("/v1/grants")
    return [one["id"] for one in page["items"] if not one["revoked"]]


# ── grants ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_grant_is_issued_and_its_token_shown_this_once(door, operator):
    answer = await operator.run(
        "grant", "--name", "payer", "--version", "3.1", "--task", "12A", "--operation", "bank.post where amount<=500",
        "--limit", "bank.* count 20 per day", "--expires-in", "30d",
    )  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    first, last = answer.out.splitlines()
    assert "payer 3.1 (agent) may bank.post where amount<=500 | task 12A | bank.*: 20 times per day | until " in first
    token = last.removeprefix("Its token, shown this once: ")
    status, said, _ = await door.holding(token).submit(intent(("bank.post", "alice", 500)))
    assert (status, said["phase"]) == (200, "committed")
    status, said, _ = await door.holding(token).submit(intent(("bank.post", "alice", 501)))
    assert said["phase"] == "denied"
    assert token not in (await operator.run("grants")).out + (await operator.run("grants", "--json")).out


async def test_a_token_may_go_straight_into_a_file_that_only_its_owner_reads(door, operator, tmp_path):
    file = tmp_path / "payer.token"
    answer = await operator.run("grant", "--name", "payer", "--operation", "*", "--token-out", file, "--json")
    assert answer.code == 0, answer.err
    token = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert token not in answer.out
    assert json.loads(answer.out)["token_file"] == str(file)
    status, _, _ = await door.holding(token).submit(intent(("bank.post", "alice", 1)))
    assert status == 200


async def test_no_grant_is_issued_whose_token_could_not_be_kept(door, operator, tmp_path):
    file = tmp_path / "there.token"
    file.write_text("something else")
    before = await live(door)
    answer = await operator.run("grant", "--name", "payer", "--operation", "*", "--token-out", file)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"{file} cannot be made: File exists. Nothing was issued.\n"
    assert file.read_text() == "something else"
    assert await live(door) == before


async def test_a_grant_wider_than_ones_own_is_refused_by_name_and_leaves_no_file(door, tmp_path):
    narrow = await door.grant("dana", "bank.*", kind="person", may_delegate=True)
    dana = Person(tmp_path, door.url, narrow.token, "dana")
    answer = await dana.run("grant", "--name", "payer", "--operation", "mail.post", "--token-out", tmp_path / "t")
    assert (answer.code, answer.out) == (1, "")
    sentence, place = answer.err.splitlines()
    assert (
        sentence
        == "The grant would permit more than its issuer's. Nothing was issued; each part that is wider is named."
    )
    assert place.startswith("  /operations/0")
    assert not (tmp_path / "t").exists()


async def test_a_grant_may_lie_in_a_file_and_then_no_flag_says_otherwise(door, operator, tmp_path):
    file = tmp_path / "grant.json"
    file.write_text(
        json.dumps({"subject": {"kind": "person", "name": "dana"}, "operations": [{"operation": "bank.*"}]})
    )
    answer = await operator.run("grant", "--file", file, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["subject"]["name"] == "dana"
    answer = await operator.run("grant", "--file", file, "--task", "12A")
    assert (answer.code, answer.err) == (2, "--file says everything, and --task as well. Nothing was issued.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--name", "payer"), "A grant needs --name and at least one --operation, or --file."),
        (("--operation", "*"), "A grant needs --name and at least one --operation, or --file."),
        (("--name", "p", "--operation", "a.b where c<1"), "--operation 'a.b where c<1' is not understood."),
        (("--name", "p", "--operation", "*", "--limit", "much"), "--limit 'much' is not understood."),
    ],
)
async def test_what_is_not_understood_is_bad_usage_and_issues_nothing(door, operator, arguments, sentence):
    before = await live(door)
    answer = await operator.run("grant", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(sentence)
    assert await live(door) == before


async def test_the_tree_shows_who_is_below_whom_and_what_was_revoked(door, operator):
    dana = await door.grant("dana", kind="person", may_delegate=True)
    payer = await dana.grant("payer", "bank.*")
    revoked = await operator.run("revoke", payer.id, "--reason", "the contract ended")
    assert (revoked.code, revoked.out) == (0, f"Revoked {payer.id}. Nothing more is decided under it.\n")
    status, _, _ = await payer.submit(intent(("bank.post", "alice", 1)))
    assert status == 401
    lines = (await operator.run("grants")).out.splitlines()
    assert [len(line) - len(line.lstrip()) for line in lines] == [0, 2, 4]
    assert lines[2] == f"    {payer.id}: payer (agent) may bank.* | REVOKED"
    assert len(json.loads((await operator.run("grants", "--json")).out)) == 3


async def test_a_revocation_says_what_it_stopped_and_what_was_decided_before(door, operator):
    payer = await door.grant("payer")
    door.bank.gate.clear()
    _, waiting, _ = await payer.submit(intent(("bank.post", "alice", 1)), wait=None)
    answer = await operator.run("revoke", payer.id, "--reason", "it misbehaves")
    door.bank.gate.set()
    assert answer.code == 0, answer.err
    assert f"Undecided, and aborting now: {waiting['id']}." in answer.out


async def test_revoking_what_there_is_not_is_refused(operator):
    answer = await operator.run("revoke", "../../v1/intents?x=/y", "--reason", "r")
    assert (answer.code, answer.out) == (1, "")
    assert "Traceback" not in answer.err


# ── the way to the service ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_dead_token_is_bad_settings_and_is_not_shown(door, tmp_path):
    stranger = Person(tmp_path, door.url, "il_hunter2")
    answer = await stranger.run("grants")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.endswith(f" It lies in {stranger.file}; name another with --token-file.\n")
    assert "hunter2" not in answer.err


async def test_a_service_that_is_away_is_3(operator):
    answer = await operator.run("grants", "--url", "http://127.0.0.1:1")
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith("The service does not answer at http://127.0.0.1:1: ")


async def test_a_redirect_does_not_take_the_token_elsewhere(operator):
    seen: list[str] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    answer = await operator.run("grants", "--url", f"http://127.0.0.1:{runner.addresses[0][1]}")
    await runner.cleanup()
    assert answer.code == 3
    assert "is no Intent Ledger (status 307)" in answer.err
    assert seen == ["/v1/grants"]
