-- Accounts that something new is known about, until whoever decides has taken it up.
create table account_due (
    tenant_id bigint not null,
    account_id text collate "C" not null, -- '' for what concerns the whole portfolio
    due_us bigint not null, -- not before: the earliest moment at which any of it counts as known
    marks bigint not null, -- grows with every mark, so that one that comes while the account is decided about stays
    primary key (tenant_id, account_id)
);
create index account_due_by_time on account_due (tenant_id, due_us, account_id);
create index day_plan_of_owner on day_plan (tenant_id, owner_id);
