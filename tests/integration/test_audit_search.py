"""Finding entries of the audit on PostgreSQL: any filters together find what a look at every entry would find."""

import random
from datetime import timedelta

import msgspec
import pytest
from histories import T0, ledger_of
from views import everything, folded, make, write

from projections.audit import search as audit_search
from projections.audit.search import AuditFilter, list_audit, moment
from projections.audit.view import AUDIT

APART = 3_001  # positions between two events: the ledger has some ninety segments


def spread(events):
    """Put events far apart, each at a time of its own, as the store does it: never back."""
    return [
        msgspec.structs.replace(one, position=one.position * APART, at=T0 + timedelta(seconds=one.position))
        for one in events
    ]


def fits(row, wanted):
    patterns = {wanted.operation, f"{(wanted.operation or '').partition('.')[0]}.*", "*"}
    return all(
        (
            wanted.agent in {None, row.agent},
            wanted.commissioned_by in {None, row.commissioned_by},
            wanted.task in {None, row.task},
            wanted.operation is None or patterns & {*row.operations},
            wanted.policy in {None, *row.policies, row.policy_set},
            wanted.outcome in {None, row.outcome, row.verification},
            wanted.since is None or row.at >= wanted.since,
            wanted.until is None or row.at < wanted.until,
            wanted.kind in {None, row.kind},
            wanted.by in {None, row.by},
            wanted.grant in {None, *row.custody},
        )
    )


def drawn(chance, rows):
    """Draw a filter after some entry, so that something may be found, and sometimes one thing of another."""
    names = chance.sample([field.name for field in msgspec.structs.fields(AuditFilter)], chance.randint(1, 5))
    one, wanted = chance.choice(rows), {}
    for name in names:
        row = chance.choice(rows) if chance.random() < 0.2 else one
        match name:
            case "operation" | "policy" | "grant":
                found = {"operation": row.operations, "policy": (*row.policies, row.policy_set), "grant": row.custody}
                wanted[name] = chance.choice(found[name] or (None,))
            case "since" | "until":
                wanted[name] = row.at + timedelta(seconds=chance.choice((-90, 0, 90)))
            case _:
                wanted[name] = getattr(row, name)
    return AuditFilter(**wanted)


async def pages(connection, wanted, limit, ledger="main"):
    """Read page after page; return the entries and how many pages it took."""
    found, after, count = [], None, 0
    while count == 0 or after is not None:
        page = await list_audit(connection, ledger, wanted, after, limit)
        assert len(page.items) <= limit
        assert page.next is None or after is None or page.next < after
        found += page.items
        after = page.next
        count += 1
    return found, count


@pytest.fixture
async def entries(pool, store):
    """Fill the view; return its entries, newest first."""
    events = spread(ledger_of(44, 60))
    await write(pool, events)
    await everything(await make(pool, store, (AUDIT,)))
    return sorted(folded(events, (AUDIT,))["audit"], key=lambda row: -row.position)


@pytest.fixture
async def connection(pool, entries):
    async with pool.acquire() as borrowed:
        yield borrowed


def alone(rows):
    """Return a filter for each value that entries are found by."""
    for name in ("agent", "commissioned_by", "task", "outcome", "kind", "by"):
        for value in {getattr(row, name) for row in rows} - {None}:
            yield AuditFilter(**{name: value})
    many = {
        "operation": {one for row in rows for one in row.operations if "*" not in one},
        "policy": {one for row in rows for one in (*row.policies, row.policy_set)} - {None},
        "grant": {one for row in rows for one in row.custody},
        "outcome": {row.verification for row in rows} - {None},
    }
    for name, values in many.items():
        for value in values:
            yield AuditFilter(**{name: value})


async def test_each_filter_by_itself_finds_what_a_look_at_every_entry_would(connection, entries):
    for wanted in alone(entries):
        found, _ = await pages(connection, wanted, 500)
        assert found == [row for row in entries if fits(row, wanted)], wanted


async def test_any_filters_together_find_what_a_look_at_every_entry_would(connection, entries):
    chance, hits = random.Random(5), 0
    for _ in range(100):
        wanted = drawn(chance, entries)
        found, _ = await pages(connection, wanted, chance.choice((3, 20, 500)))
        assert found == [row for row in entries if fits(row, wanted)], wanted
        hits += bool(found)
    assert hits > 40


async def test_a_page_stays_short_where_too_much_would_have_to_be_searched(connection, entries, monkeypatch):
    wanted = AuditFilter(outcome=entries[-1].outcome, agent=entries[-1].agent)
    whole, few = await pages(connection, wanted, 100)
    monkeypatch.setattr(audit_search, "AUDIT_SEGMENTS", 4)
    found, count = await pages(connection, wanted, 100)
    assert found == whole
    assert few == 1
    assert count >= 10
    page = await list_audit(connection, "main", AuditFilter(outcome="nothing"), None, 100)
    assert (page.items, page.next is None) == ((), False)


@pytest.mark.parametrize("wanted", [AuditFilter(), AuditFilter(kind="intent")])
async def test_a_page_stays_short_where_its_entries_carry_too_much(connection, wanted, monkeypatch):
    whole, few = await pages(connection, wanted, 100)
    monkeypatch.setattr(audit_search, "AUDIT_PAGE_BYTES", 200)
    found, count = await pages(connection, wanted, 100)
    assert found == whole
    assert few < count <= len(whole)


async def test_another_ledger_has_its_own_entries_only(connection):
    assert await pages(connection, AuditFilter(kind="intent"), 100, "other") == ([], 1)
    assert await pages(connection, AuditFilter(), 100, "other") == ([], 1)


async def test_an_export_sees_one_moment_however_slowly_it_is_taken(connection, pool, entries):
    async with moment(connection, "main") as position:
        assert position >= entries[0].position
        assert await connection.fetchval("show idle_in_transaction_session_timeout") == "0"
        async with pool.acquire() as other:
            await other.execute("delete from intent_ledger.audit")
        assert await pages(connection, AuditFilter(), 500) == (entries, 1)
    assert await pages(connection, AuditFilter(), 500) == ([], 1)


async def test_what_was_asked_for_by_terms_is_found_through_their_index(connection):
    await connection.execute("set enable_seqscan = off")  # these tables are small enough to be read whole
    statement = await connection.prepare(audit_search._FOUND)
    plan = str(await statement.explain("main", 1, 10**6, "a", None, None, "x.y", *[None] * 5, 10))
    assert plan.count("audit_terms") >= 3
    assert "audit_in_order" not in plan
    await connection.execute("reset enable_seqscan")
