-- Where the promotion of a kind of action for a tier stands; what led there is in the ledger.
create table promotion (
    tenant_id bigint not null,
    kind text collate "C" not null,
    tier text collate "C" not null,
    state text collate "C" not null,
    since_us bigint not null,
    counts_after_us bigint not null, -- only what people decided after it counts
    person text, -- who granted, refused or withdrew it; null where the engine moved it
    reason text,
    content text not null, -- policies that it was judged by
    figures text not null, -- what was counted then
    primary key (tenant_id, kind, tier)
);
alter table promotion enable row level security;
alter table promotion force row level security;
create policy tenant on promotion
    using (tenant_id = cast(nullif(current_setting('perennial.tenant', true), '') as bigint));

-- What has ended, by tier.
create index action_ended on action (tenant_id, tier, updated_us) where state in ('executed', 'rejected', 'expired');
