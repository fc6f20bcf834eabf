-- Processes that carry out effects, as they last said they live.
create table worker (
    tenant_id bigint not null,
    worker text collate "C" not null,
    begun_us bigint not null,
    seen_us bigint not null,
    ahead_us bigint not null, -- how far its clock is before the database's
    engine text not null,
    primary key (tenant_id, worker)
);

-- Who does what only one may do at a time.
create table leader (
    tenant_id bigint not null,
    role text collate "C" not null,
    holder text collate "C" not null,
    until_us bigint not null,
    fence bigint not null, -- grows with every new holder
    primary key (tenant_id, role)
);

-- What people have stopped, until they let it go on.
create table stop (
    tenant_id bigint not null,
    scope text collate "C" not null, -- 'all', 'tier', 'kind', 'tool' or 'account'
    subject text collate "C" not null, -- '' for all
    at_us bigint not null,
    person text not null,
    reason text not null,
    primary key (tenant_id, scope, subject)
);
