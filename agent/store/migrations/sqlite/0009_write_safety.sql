-- What is known of the fields that we write in a CRM, whose edits wait for a person, and what was undone.

-- The latest known value of a field, by whom it was seen or written.
create table known_field (
    tenant_id bigint not null,
    account_id text not null,
    tool text not null,
    subject text not null, -- '' for the account itself, else the external id of the deal
    field text not null, -- of the CRM
    value text not null, -- '' for an empty field
    ours bigint not null, -- 1 when we wrote it
    since_us bigint not null, -- when it was first seen or written
    before text not null, -- the value that was known until then
    primary key (tenant_id, account_id, tool, subject, field)
) without rowid;

-- Fields that somebody else had changed when we came to write.
create table conflict (
    tenant_id bigint not null,
    account_id text not null,
    action_id text not null,
    effect_id text not null,
    object text not null,
    record text not null,
    field text not null,
    known text, -- what the decision took it to hold; null where it was never known
    theirs text not null,
    ours text not null,
    at_us bigint not null,
    resolution text, -- 'ours', 'theirs', or null while a person has to say
    person text,
    resolved_us bigint,
    primary key (tenant_id, account_id, effect_id, field)
) without rowid;
create index conflict_by_action on conflict (tenant_id, action_id, effect_id, field);

-- What a change found and sent whose answer was lost.
create table write_image (
    tenant_id bigint not null,
    account_id text not null,
    effect_id text not null,
    at_us bigint not null,
    body text not null,
    primary key (tenant_id, account_id, effect_id)
) without rowid;

create table undone (
    tenant_id bigint not null,
    account_id text not null,
    effect_id text not null,
    at_us bigint not null,
    person text not null,
    body text not null, -- receipt
    primary key (tenant_id, account_id, effect_id)
) without rowid;

insert into sqlite_stat1 (tbl, idx, stat) values
    ('conflict', 'conflict', '10000 10000 2 1 1'),
    ('conflict', 'conflict_by_action', '10000 10000 1 1 1'),
    ('known_field', 'known_field', '1000000 1000000 5 5 4 1'),
    ('undone', 'undone', '10000 10000 2 1'),
    ('write_image', 'write_image', '10000 10000 2 1');
analyze sqlite_schema;
