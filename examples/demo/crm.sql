-- The CRM of the demo: an ordinary database that knows nothing of intents.
create table public.customers (
    id text primary key,
    name text not null,
    email text not null,
    status text not null default 'active'
);

create table public.changes (
    customer text not null references public.customers,
    what text not null check (what in ('apply', 'undo')),
    status text not null,
    tag text
);
comment on table public.changes is 'One line for each change of status, so that a change made twice would be seen.';

insert into public.customers (id, name, email)
select n::text, 'Customer ' || n, 'customer' || n || '@example.com'
from generate_series(1, 200) as n;
