-- The CRM of the support department: an ordinary database that knows nothing of intents.
create table public.customers (
    id text primary key,
    name text not null,
    email text not null,
    country text not null,
    since date not null,
    status text not null default 'active'
);

create table public.tickets (
    id text primary key,
    customer text not null references public.customers,
    subject text not null,
    team text not null default 'first-line'
);

create table public.devices (
    id text primary key,
    customer text not null references public.customers,
    online boolean not null,
    firmware text not null,
    signal_percent integer not null check (signal_percent between 0 and 100),
    restarts integer not null default 0
);

insert into public.customers (id, name, email, country, since)
values
    ('88', 'Customer 88', 'customer88@example.com', 'US', current_date - 400),
    ('89', 'Customer 89', 'customer89@example.com', 'US', current_date - 10),
    ('90', 'Customer 90', 'customer90@example.com', 'FR', current_date - 400);

insert into public.tickets (id, customer, subject)
values
    ('t-1', '88', 'Charged twice'),
    ('t-2', '89', 'No connection');

insert into public.devices (id, customer, online, firmware, signal_percent)
values
    ('d-1', '88', true, '4.2', 87),
    ('d-2', '89', false, '4.1', 0);
