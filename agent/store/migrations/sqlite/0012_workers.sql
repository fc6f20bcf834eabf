-- Processes that carry out effects, as they last said they live.
create table worker (
    tenant_id bigint not null,
    worker text not null,
    begun_us bigint not null,
    seen_us bigint not null,
    ahead_us bigint not null, -- how far its clock is before the database's
    engine text not null,
    primary key (tenant_id, worker)
);

-- Who does what only one may do at a time.
create table leader (
    tenant_id bigint not null,
    role text not null,
    holder text not null,
    until_us bigint not null,
    fence bigint not null, -- grows with every new holder
    primary key (tenant_id, role)
);

-- What people have stopped, until they let it go on.
create table stop (
    tenant_id bigint not null,
    scope text not null, -- 'all', 'tier', 'kind', 'tool' or 'account'
    subject text not null, -- '' for all
    at_us bigint not null,
    person text not null,
    reason text not null,
    primary key (tenant_id, scope, subject)
);

insert into sqlite_stat1 (tbl, idx, stat) values
    ('leader', 'sqlite_autoindex_leader_1', '10 10 1'),
    ('stop', 'sqlite_autoindex_stop_1', '100 100 50 1'),
    ('worker', 'sqlite_autoindex_worker_1', '100 100 1');
analyze sqlite_schema;
