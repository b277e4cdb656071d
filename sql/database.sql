-- Opening a database: ledger/database.py and ledger/migrations.py.

-- name: settings
select name, setting
from pg_catalog.pg_settings
where name in ('fsync', 'full_page_writes', 'synchronous_commit');

-- name: migrated
select pg_catalog.to_regclass('intent_ledger.heads') is not null;

-- name: open_ledger
insert into intent_ledger.heads (ledger)
values ($1)
on conflict (ledger) do nothing;

-- name: try_lock
select pg_catalog.pg_try_advisory_lock($1);

-- name: create_schema
create schema if not exists intent_ledger;

-- name: create_migrations
create table if not exists intent_ledger.migrations (
    file text collate "C" primary key,
    sha256 text not null,
    applied_at timestamptz not null default pg_catalog.clock_timestamp(),
    check (sha256 ~ '^[0-9a-f]{64}$')
);

-- name: migrated
select pg_catalog.to_regclass('intent_ledger.migrations') is not null;

-- name: applied
select file, sha256
from intent_ledger.migrations
order by file;

-- name: record_applied
insert into intent_ledger.migrations (file, sha256)
values ($1, $2);
