-- What could have run by itself for an account on a day, with which chance, and what did: written once, before it runs.
create table choice (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    day bigint not null,
    run_id text collate "C" not null,
    body text not null,
    primary key (tenant_id, account_id, day)
);
