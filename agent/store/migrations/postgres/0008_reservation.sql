-- Places that permitted actions take of limits which hold across playbooks, runs and workers.
create table reservation (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    action_id text collate "C" not null,
    counter text collate "C" not null, -- what is counted, such as 'account', 'contact', 'playbook', 'tier', 'tool'
    subject text collate "C" not null, -- of whom or what
    window_us bigint not null, -- how long it counts after the last effect of the action
    until_us bigint not null, -- counts until then; the greatest number while an effect is open
    primary key (tenant_id, account_id, action_id, counter, subject)
);
create index reservation_by_counter on reservation (tenant_id, counter, subject, until_us);
create index outbox_planned on outbox (tenant_id, due_us, action_id) where state = 'waiting' and attempts = 0;
