-- Where the promotion of a kind of action for a tier stands; what led there is in the ledger.
create table promotion (
    tenant_id bigint not null,
    kind text not null,
    tier text not null,
    state text not null,
    since_us bigint not null,
    counts_after_us bigint not null, -- only what people decided after it counts
    person text, -- who granted, refused or withdrew it; null where the engine moved it
    reason text,
    content text not null, -- policies that it was judged by
    figures text not null, -- what was counted then
    primary key (tenant_id, kind, tier)
) without rowid;

-- What has ended, by tier.
create index action_ended on action (tenant_id, tier, updated_us) where state in ('executed', 'rejected', 'expired');

insert into sqlite_stat1 (tbl, idx, stat) values
    ('action', 'action_ended', '1000000 1000000 300000 2'),
    ('promotion', 'promotion', '20 20 3 1');
analyze sqlite_schema;
