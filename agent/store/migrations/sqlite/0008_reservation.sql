-- Places that permitted actions take of limits which hold across playbooks, runs and workers.
create table reservation (
    tenant_id bigint not null,
    account_id text not null,
    action_id text not null,
    counter text not null, -- what is counted, such as 'account', 'contact', 'playbook', 'tier', 'tool'
    subject text not null, -- of whom or what
    window_us bigint not null, -- how long it counts after the last effect of the action
    until_us bigint not null, -- counts until then; the greatest number while an effect is open
    primary key (tenant_id, account_id, action_id, counter, subject)
) without rowid;
create index reservation_by_counter on reservation (tenant_id, counter, subject, until_us);
create index outbox_planned on outbox (tenant_id, due_us, action_id) where state = 'waiting' and attempts = 0;
insert into sqlite_stat1 (tbl, idx, stat) values
    ('outbox', 'outbox_planned', '10000 10000 2 1'),
    ('reservation', 'reservation', '1000000 1000000 20 3 1 1'),
    ('reservation', 'reservation_by_counter', '1000000 1000000 100000 100 1');
analyze sqlite_schema;
