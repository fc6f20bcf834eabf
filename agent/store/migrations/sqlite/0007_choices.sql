-- What could have run by itself for an account on a day, with which chance, and what did: written once, before it runs.
create table choice (
    tenant_id bigint not null,
    account_id text not null,
    day bigint not null,
    run_id text not null,
    body text not null,
    primary key (tenant_id, account_id, day)
);
insert into sqlite_stat1 (tbl, idx, stat) values
    ('choice', 'sqlite_autoindex_choice_1', '1000000 1000000 30 1');
analyze sqlite_schema;
