"""The audit taken out through the door and by the command, what is said to whoever asks for nonsense, and that a change
of configuration is told.
"""

import asyncio
import csv
import io
import json
import os

import pytest
from commands import COMMAND, Person, environment
from doorway import TOKEN, intent
from pydantic import SecretStr

from gateway.app import serve
from gateway.settings import Settings
from ledger.configuration_events import CONFIGURATION_STREAM


async def committed(door):
    """Have an intent committed, and wait until the audit has it; return it."""
    status, done, _ = await door.submit(intent(("bank.post", "88", 5)))
    assert (status, done["phase"]) == (200, "committed")
    await door.get(f"/v1/audit?limit=1&min_position={done['position']}")
    return done


async def taken(door, media):
    async with door.session.get(
        f"{door.url}/v1/audit?kind=intent", headers={"Accept": media, "Authorization": f"Bearer {TOKEN}"}
    ) as response:
        assert (response.status, response.content_type) == (200, media)
        return await response.text()


async def test_an_entry_shows_what_the_outside_confirmed_and_where_it_was_decided(door):
    done = await committed(door)
    _, page, _ = await door.get("/v1/audit?kind=intent")
    (entry,) = page["items"]
    (action,) = done["actions"]
    assert entry["confirmed"] == {action["id"]: {"outcome": "done", "result": action["result"]}}
    assert (entry["effect"], entry["approved_by"]) == ("allow", [])
    assert entry["authority"]["policy_set"] == done["decision"]["policy_set"]
    _, events, _ = await door.get(f"/v1/intents/{done['id']}/events")
    decided = next(event for event in events["items"] if event["type"] == "CommitDecided")
    assert entry["decision_position"] == decided["position"]


async def test_every_form_leaves_through_the_door(door):
    done = await committed(door)
    (line,) = (await taken(door, "application/x-ndjson")).splitlines()
    assert json.loads(line)["intent"] == done["id"]
    _, row = csv.reader(io.StringIO(await taken(door, "text/csv"), newline=""))
    assert done["id"] in row
    (event,) = map(json.loads, (await taken(door, "application/vnd.ocsf+x-ndjson")).splitlines())
    assert (event["class_uid"], event["api"]["request"]["uid"]) == (6003, done["id"])
    (event,) = json.loads(await taken(door, "application/cloudevents-batch+json"))
    assert (event["specversion"], event["data"]["intent"]) == ("1.0", done["id"])


NONSENSE = [
    ("after=999999999999", "/after"),
    ("after=0", "/after"),
    ("after=-1", "/after"),
    ("after=abc", "/after"),
    ("after=007", "/after"),
    ("since=2026-02-01T00:00:00Z&until=2026-01-31T23:59:59Z", "/until"),
    ("since=yesterday", "/since"),
    ("until=2026-02-30T00:00:00Z", "/until"),
    ("until=2026-01-01T25:00:00Z", "/until"),
    ("kind=nonsense", "/kind"),
    ("outcome=nonsense", "/outcome"),
    ("by=", "/by"),
    ("grant=" + "x" * 200, "/grant"),
    ("limit=0", "/limit"),
    ("min_position=x", "/min_position"),
    ("acter=dana", "/acter"),
]


async def test_what_makes_no_sense_is_refused_by_name(door):
    for query, place in NONSENSE:
        for media in ("application/json", "text/csv"):
            async with door.session.get(
                f"{door.url}/v1/audit?{query}", headers={"Accept": media, "Authorization": f"Bearer {TOKEN}"}
            ) as response:
                body = await response.json()
            assert response.status == 422, (query, body)
            assert [error["path"] for error in body["errors"]] == [place]


async def test_the_command_writes_a_whole_file_and_says_of_which_moment(door, dsn, tmp_path):
    done = await committed(door)
    person = Person(tmp_path, door.url, TOKEN)
    settings = {"INTENTLEDGER_DSN": dsn, "INTENTLEDGER_DATA": str(tmp_path)}
    file = tmp_path / "audit.json"
    asked = ("audit", "export", "--format", "ocsf", "--kind", "intent", "--output", file)
    answer = await person.run(*asked, **settings)
    assert (answer.code, answer.out) == (0, ""), answer.err
    assert "1 entries, as of position " in answer.err
    (event,) = map(json.loads, file.read_text().splitlines())
    assert event["api"]["request"]["uid"] == done["id"]
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith("audit")) == ["audit.json"]
    wrong = await person.run("audit", "export", "--since", "yesterday", **settings)
    assert (wrong.code, wrong.out) == (2, "")
    assert "'yesterday' is no time" in wrong.err
    later = await person.run("audit", "export", "--since", "2999-01-01", **settings)  # a day, as other commands take it
    assert (later.code, later.out) == (0, "")
    backwards = await person.run("audit", "export", "--since", "1h", "--until", "2h", **settings)
    assert (backwards.code, "/until: This time is before `since`." in backwards.err) == (2, True)


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        (">/dev/full", 3, "No space left on device"),
        (">&-", 0, ""),  # nobody wanted to hear
    ],
)
async def test_an_output_that_takes_no_more_is_not_taken_for_a_database_that_does_not_answer(
    door, dsn, tmp_path, shell, code, said
):
    await committed(door)
    process = await asyncio.create_subprocess_shell(
        f"{COMMAND} audit export {shell}",
        env=environment({"INTENTLEDGER_DSN": dsn, "INTENTLEDGER_DATA": str(tmp_path)}),
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, said in err.decode(), "PostgreSQL" in err.decode()) == (code, True, False), err


async def test_a_reader_of_the_audit_who_has_read_enough_is_no_error(door, dsn, tmp_path):
    await committed(door)
    closed, output = os.pipe()
    os.close(closed)
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *("audit", "export"),
        env=environment({"INTENTLEDGER_DSN": dsn, "INTENTLEDGER_DATA": str(tmp_path)}),
        cwd=tmp_path,
        stdout=output,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(output)
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, err) == (0, b"")


async def began(dsn, directory, text):
    """Let a process begin with a configuration, and end it once it serves."""
    (directory / "intentledger.toml").write_text(text)
    settings = Settings(dsn=SecretStr(dsn), data=directory / "data", port=0, config=directory / "intentledger.toml")
    stop, opened = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(serve(settings, stop=stop, opened=lambda _: opened.set()))
    await asyncio.wait_for(opened.wait(), 20)
    stop.set()
    await asyncio.wait_for(running, 20)


async def test_a_process_that_begins_with_another_configuration_is_told_of(dsn, store, tmp_path):
    one = '[adapters.bank]\ntype = "reference"\n'
    for text in (one, "# the same\n" + one, one + '[adapters.till]\ntype = "reference"\n'):
        await began(dsn, tmp_path, text)
    first, second = [recorded.event for recorded in await store.read(CONFIGURATION_STREAM)]
    assert {"[adapters.bank]", "bank.post"} <= set(first.added)
    assert {"[adapters.till]", "till.post"} <= set(second.added)
    assert (second.before, second.changed, second.removed) == (first.configuration, (), ())
