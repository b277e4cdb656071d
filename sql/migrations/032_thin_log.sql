-- Every checkpoint was kept, two a second for ever while events come. Proofs need none of them: they are made from
-- tiles, to any size. So old ones are thinned: of those that end in the same 65,536 events (a full tile of the second
-- level) the one with most signatures stays, the newest of them. The newest of all stays, and so does everything of the
-- last ten minutes, in which witnesses may still add their cosignatures.

create function intent_ledger.thin_log(in_ledger text, in_after bigint)
returns bigint
language sql
volatile
security definer
set search_path = pg_catalog
begin atomic
    with looked_at as materialized (
        select size, note
        from intent_ledger.log_checkpoints
        where
            ledger = in_ledger
            and size > in_after
            and at < clock_timestamp() - interval '10 minutes'
            and size < (select max(size) from intent_ledger.log_checkpoints where ledger = in_ledger)
        order by size
        limit 10000
    ),
    ranked as (
        select
            size,
            row_number() over (
                partition by (size - 1) >> 16
                order by regexp_count(note, '\n— ') desc, size desc
            ) as place
        from looked_at
    ),
    thinned as (
        delete from intent_ledger.log_checkpoints
        using ranked
        where
            log_checkpoints.ledger = in_ledger
            and log_checkpoints.size = ranked.size
            and ranked.place > 1
    )
    select ((max(size) - 1) >> 16) << 16
    from looked_at;
end;

comment on function intent_ledger.thin_log is
    'Thins at most 10,000 old checkpoints after a size. Returns the size after which to go on; null: nothing is old.';

comment on table intent_ledger.log_checkpoints is
    'Signed checkpoints of the log: the events up to position `size` have the root hash in the note. Old ones are thinned.';

-- The function runs as its owner: it is all that the service may ever delete here.

revoke all on function intent_ledger.thin_log from public;
grant execute on function intent_ledger.thin_log to intent_ledger_app;
