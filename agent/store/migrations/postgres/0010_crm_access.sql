-- Access to CRMs that all processes share: the calls of the day, tokens, and records that a CRM says have changed.

create table crm_budget (
    tenant_id bigint not null,
    tool text collate "C" not null,
    limit_n bigint not null, -- calls a day as the CRM says it; 0 while it has not said
    used bigint not null,
    resets_us bigint not null,
    warned_us bigint,
    tokens_micro bigint not null, -- calls that may go at once, in millionths
    refilled_us bigint not null,
    primary key (tenant_id, tool)
);

-- Access tokens, encrypted with a key that is not in the database.
create table crm_token (
    tenant_id bigint not null,
    tool text collate "C" not null,
    sealed text not null,
    expires_us bigint, -- null where the CRM does not say
    updated_us bigint not null,
    primary key (tenant_id, tool)
);
