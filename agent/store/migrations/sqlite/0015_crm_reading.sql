-- Reading CRMs: when each was last read, and records that a CRM has said to be changed and that were not read since.

create table crm_due (
    tenant_id bigint not null,
    tool text not null,
    object text not null,
    record text not null,
    marks bigint not null, -- grows with every word of it, so that one that comes while the record is read stays
    marked_us bigint not null,
    primary key (tenant_id, tool, object, record)
) without rowid;

create table crm_reading (
    tenant_id bigint not null,
    tool text not null,
    begun_us bigint not null, -- the latest reading, whatever became of it
    read_us bigint, -- begin of the latest one that came to its end
    failed text, -- why the latest one did not; null when it did, or goes on
    primary key (tenant_id, tool)
) without rowid;

insert into sqlite_stat1 (tbl, idx, stat) values
    ('crm_due', 'crm_due', '100000 100000 50000 20000 1'),
    ('crm_reading', 'crm_reading', '2 2 1');
analyze sqlite_schema;
