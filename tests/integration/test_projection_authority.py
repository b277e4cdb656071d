"""Authority in the views on PostgreSQL: whose intents, who waits for whom, tasks as workflows, the audit of it all."""

import pytest
from histories import CONTRACT, T0, ledger_of, recorded
from unit.told import INTENT, submitted
from views import everything, folded, make, write

from ledger import events as e
from ledger.ids import intent_stream
from ledger.intents import Subject
from ledger.tasks import TaskContract
from projections.audit.entry import Kind
from projections.audit.search import AuditFilter, list_audit
from projections.audit.sentence import sentence
from projections.intents import IntentFilter, list_intents
from projections.tasks import TaskRow, list_tasks, read_workflow

FAILED = e.AbortDecided("refused", "no such account", None, "account not found", "dana")


@pytest.fixture
async def connection(pool):
    async with pool.acquire() as borrowed:
        yield borrowed


def name(number: int) -> str:
    return f"{INTENT[:-1]}{number}"


def streams(*histories):
    """Write down histories of intents one after the other, numbered from 1."""
    written = []
    for number, (fields, *events) in enumerate(histories, 1):
        first = submitted(**{"intent": name(number), "idempotency_key": f"k{number}", **fields})
        for version, event in enumerate((first, *events), 1):
            written.append(recorded(event, intent_stream(name(number)), version, len(written) + 1))
    return written


async def ids(connection, **wanted):
    return [state.id for state in (await list_intents(connection, "main", IntentFilter(**wanted), None, 50)).items]


async def all_of_it(connection, **wanted):
    return (await list_audit(connection, "main", AuditFilter(**wanted), None, 500)).items


async def test_intents_are_found_by_any_grant_of_their_chain(pool, store, connection):
    chain = ("grant-operator", "grant-7", "grant-8")
    await write(pool, streams(({"custody": chain[:2]},), ({"custody": chain},), ({"custody": ("grant-operator",)},)))
    await everything(await make(pool, store))
    assert await ids(connection, custody="grant-7") == [name(2), name(1)]
    assert await ids(connection, custody="grant-8") == [name(2)]
    assert await ids(connection, custody="grant-operator") == [name(3), name(2), name(1)]
    assert await ids(connection, custody="grant") == []


async def test_an_escalation_waits_for_its_person_until_an_intent_follows(pool, store, connection):
    events = streams(({}, FAILED), ({}, FAILED), ({"follows": name(1)},))
    await write(pool, events)
    await everything(await make(pool, store))
    assert await ids(connection, escalated_to="dana") == [name(2)]
    assert await ids(connection, escalated_to="erin") == []
    assert await ids(connection, follows=name(1)) == [name(3)]


async def test_a_workflow_shows_the_contract_and_the_intents_of_a_task_oldest_first(pool, store, connection):
    events = streams(({}, FAILED), ({"task": "12B"},), ({"follows": name(1)},))
    defined = recorded(e.TaskDefined(CONTRACT, "manager-x"), "task/12A", 1, len(events) + 1)
    await write(pool, [*events, defined])
    await everything(await make(pool, store))
    first = await read_workflow(connection, "main", "12A", None, 1)
    assert first.contract == CONTRACT
    assert [state.id for state in first.items] == [name(1)]
    assert first.items[0].abort.escalated_to == "dana"
    rest = await read_workflow(connection, "main", "12A", first.next, 5)
    assert [(state.id, state.submitted.follows) for state in rest.items] == [(name(3), name(1))]
    assert rest.next is None
    named = await read_workflow(connection, "main", "12B", None, 5)
    assert (named.contract, [state.id for state in named.items]) == (None, [name(2)])
    nothing = await read_workflow(connection, "main", "12", None, 5)
    assert (nothing.contract, nothing.items, nothing.next) == (None, (), None)


async def test_tasks_are_those_that_are_defined_and_those_that_are_named_each_once(pool, store, connection):
    events = streams(*(({"task": task},) for task in ("b", "d", None, "b", "e", "d", "z")))
    for task in ("a", "d", "é", "0"):
        contract = e.TaskDefined(TaskContract(task, "manager-x", ("*",)), "manager-x")
        events.append(recorded(contract, f"task/{task}", 1, len(events) + 1))
    await write(pool, events)
    await everything(await make(pool, store))
    everyone = (await list_tasks(connection, "main", None, 50)).items
    assert [row.task for row in everyone] == ["0", "a", "b", "d", "e", "z", "é"]
    assert everyone[2] == TaskRow("b", None)
    assert everyone[3].contract.task == "d"
    found, after = [], None
    while True:
        page = await list_tasks(connection, "main", after, 2)
        found += page.items
        after = page.next
        if after is None:
            break
    assert tuple(found) == everyone


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({"outcome": "issued"}, lambda row: row.kind is Kind.ISSUE),
        (
            {"outcome": "issued", "commissioned_by": "manager-x"},
            lambda row: row.kind is Kind.ISSUE and row.task,
        ),
        (
            {"outcome": "issued", "operation": "email.send"},
            lambda row: row.kind is Kind.ISSUE and "*" in row.operations,
        ),
        ({"operation": "email.refund"}, lambda row: {"email.refund", "email.*", "*"} & {*row.operations}),
        ({"outcome": "revoked", "agent": "payment-specialist"}, lambda row: row.kind is Kind.REVOKE),
        ({"outcome": "token_revoked"}, lambda row: row.stream == "refusal/1"),
        ({"policy": "sha256:q"}, lambda row: row.stream == "policies" and row.policy_set == "sha256:q"),
        ({"policy": "P-46"}, lambda row: row.kind is Kind.ADD_POLICY),
        ({"outcome": "verified"}, lambda row: row.verification == "verified"),
        ({"outcome": "contradicted"}, lambda row: row.verification == "contradicted"),
    ],
)
async def test_the_audit_of_authority_is_found_by_what_it_is_about(pool, store, connection, wanted, fits):
    events = ledger_of(44, 90)
    await write(pool, events)
    await everything(await make(pool, store))
    expected = sorted((row for row in folded(events)["audit"] if fits(row)), key=lambda row: -row.position)
    assert expected
    assert list(await all_of_it(connection, **wanted)) == expected


async def test_a_story_of_authority_reads_in_order(pool, store, connection):
    grant = e.GrantIssued(
        "grant-7", "grant-operator", Subject("agent", "payment-specialist", "3.1"), "1" * 64, ("payments.*",),
        custody=("grant-operator", "grant-7"), commissioned_by="operator", issued_by="operator",
    )  # fmt: skip
    revoked = e.GrantRevoked("grant-7", "It is not needed.", "operator", ("grant-operator",))
    refused = e.TokenRefused("revoked", "grant-7", 3, grant.custody)
    story = [("grant/grant-7", 1, grant), ("grant/grant-7", 2, revoked), ("refusal/1", 1, refused)]
    await write(pool, [recorded(event, stream, version, n) for n, (stream, version, event) in enumerate(story, 1)])
    await everything(await make(pool, store))
    assert [sentence(entry) for entry in reversed(await all_of_it(connection))] == [
        "Operator issued grant-7 to Payment Specialist Agent v3.1: payments.*",
        "Operator revoked grant-7 and everything below it: It is not needed",
        "A revoked token of grant-7 was shown 3 times",
    ]
    assert all(entry.at == T0 for entry in await all_of_it(connection))
