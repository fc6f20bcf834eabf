-- Policies and prompts that people put in force, in order; the last row is in force.
create table live_content (
    tenant_id bigint not null,
    seq bigint not null,
    hash text not null,
    at_us bigint not null,
    proposed_by text not null,
    confirmed_by text, -- null where one person was enough
    why text not null,
    primary key (tenant_id, seq)
);

-- What waits for a second person, and what is tried out beside what is in force.
create table offered_content (
    tenant_id bigint not null,
    kind text not null, -- 'proposal' or 'shadow'
    hash text not null,
    at_us bigint not null,
    person text not null,
    why text not null,
    until_us bigint,
    primary key (tenant_id, kind)
);
