-- Sources other than files: events of the product, and how far a query of another database has been read.

-- One row an event that counts: enough to compute a day's facts again, and no more. Neither ids of people nor of messages
-- are kept, only their keyed hashes.
create table event_key (
    tenant_id bigint not null,
    account_id text not null,
    message text not null,
    day bigint not null,
    person text not null, -- '' when the event names nobody
    feature text not null, -- '' when the event is no use of a feature
    active bigint not null, -- 1 when it makes the person an active user
    received_us bigint not null,
    primary key (tenant_id, message)
) without rowid;
create index event_key_by_day on event_key (tenant_id, day, account_id);

-- One row an account and day with events; `version` counts up with every event, `folded_version` says which of them the fact has.
create table event_day (
    tenant_id bigint not null,
    account_id text not null,
    day bigint not null,
    version bigint not null,
    folded_version bigint not null,
    revision_us bigint not null, -- of the latest fact
    primary key (tenant_id, account_id, day)
) without rowid;
create index event_day_by_day on event_day (tenant_id, day, account_id);
create index event_day_open on event_day (tenant_id, day, account_id) where version > folded_version;

-- The account that a person belongs to, as the latest event that says so has it.
create table event_person (
    tenant_id bigint not null,
    account_id text not null,
    person text not null,
    at_us bigint not null,
    primary key (tenant_id, person)
) without rowid;

-- Key of the hashes above, made once and at random.
create table event_salt (
    tenant_id bigint not null,
    salt text not null,
    primary key (tenant_id)
);

create table watermark (
    tenant_id bigint not null,
    source text not null,
    query text not null,
    kind text not null, -- type of the column there
    value bigint not null, -- microseconds, days or the number itself
    updated_us bigint not null,
    primary key (tenant_id, source, query)
);

insert into sqlite_stat1 (tbl, idx, stat) values
    ('event_day', 'event_day', '1000000 1000000 30 1'),
    ('event_day', 'event_day_by_day', '1000000 1000000 10000 1'),
    ('event_day', 'event_day_open', '10000 10000 5000 1'),
    ('event_key', 'event_key', '1000000 1000000 1'),
    ('event_key', 'event_key_by_day', '1000000 1000000 10000 30'),
    ('event_person', 'event_person', '1000000 1000000 1'),
    ('event_salt', 'sqlite_autoindex_event_salt_1', '1 1'),
    ('watermark', 'sqlite_autoindex_watermark_1', '10 10 5 1');
analyze sqlite_schema;
