-- The grants that stand: ledger/postgres_store.py.

-- name: chain_of_grant
with recursive chain as (
    select grant_id, parent, issued, ended, suspensions, 1 as height
    from intent_ledger.grants
    where
        ledger = $1
        and grant_id = $2
    union all
    select above.grant_id, above.parent, above.issued, above.ended, above.suspensions, chain.height + 1
    from chain
    join intent_ledger.grants as above on above.ledger = $1 and above.grant_id = chain.parent
)
select issued, ended as revoked, suspensions > 0 as suspended
from chain
order by height desc;

-- name: chain_of_token
with recursive chain as (
    select grant_id, parent, issued, ended, suspensions, 1 as height
    from intent_ledger.grants
    where
        ledger = $1
        and token_sha256 = $2
    union all
    select above.grant_id, above.parent, above.issued, above.ended, above.suspensions, chain.height + 1
    from chain
    join intent_ledger.grants as above on above.ledger = $1 and above.grant_id = chain.parent
)
select issued, ended as revoked, suspensions > 0 as suspended
from chain
order by height desc;

-- name: below
with recursive subtree as (
    select grant_id, issued, ended, suspensions
    from intent_ledger.grants
    where
        ledger = $1
        and grant_id = $2
    union all
    select child.grant_id, child.issued, child.ended, child.suspensions
    from subtree
    join intent_ledger.grants as child on child.ledger = $1 and child.parent = subtree.grant_id
)
select issued, ended as revoked, suspensions > 0 as suspended
from subtree
where grant_id > $3
order by grant_id
limit $4;

-- name: in_flight_under
with recursive subtree as (
    select grant_id
    from intent_ledger.grants
    where
        ledger = $1
        and grant_id = $2
    union all
    select child.grant_id
    from subtree
    join intent_ledger.grants as child on child.ledger = $1 and child.parent = subtree.grant_id
)
select in_flight.intent
from intent_ledger.in_flight
join subtree on subtree.grant_id = in_flight.grant_id
where in_flight.ledger = $1
order by in_flight.intent;
