-- The sample tables of `rowcast demo`, and the two statements that make them live.
begin;

create schema demo;
comment on schema demo is 'made by rowcast demo, and dropped by it';

create table demo.stock (
    place   integer primary key generated always as identity,
    item    text not null unique,
    on_hand integer not null
);

create table demo.orders (
    id         integer primary key generated always as identity,
    customer   text not null,
    item       text not null references demo.stock (item),
    quantity   integer not null check (quantity > 0),
    total      numeric(10, 2) not null,
    status     text not null default 'new' check (status in ('new', 'paid', 'packed', 'shipped')),
    owner      text not null check (owner in ('ana', 'ben')),
    updated_at timestamptz not null default now()
);

-- An order takes its items off the shelf, and an empty shelf is filled.
create function demo.take_from_stock()
    returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    update demo.stock
       set on_hand = case when on_hand > new.quantity then on_hand - new.quantity else 100 end
     where item = new.item;
    return null;
end;
$$;

create trigger take_from_stock
    after insert on demo.orders
    for each row execute function demo.take_from_stock();

insert into demo.stock (item, on_hand)
values ('Espresso beans', 86), ('Filter beans', 64), ('Oat milk', 92), ('Ceramic cup', 41), ('Paper filters', 73), ('Hand grinder', 28);

-- Each user receives the orders that are theirs; the stock is for everybody.
select rowcast.watch('demo.orders', channels => array['orders', 'user:{owner}'], users => array['{owner}']);
select rowcast.watch('demo.stock', channels => array['stock']);

commit;
