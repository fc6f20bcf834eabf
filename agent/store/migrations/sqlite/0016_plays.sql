-- What plays are pinned to: playbooks as they stood when a play of them began.
create table play_definition (
    tenant_id bigint not null,
    hash text not null,
    playbook text not null,
    body text not null,
    at_us bigint not null,
    primary key (tenant_id, hash)
);

-- Plays: where each stands, with its timer.
create table play (
    tenant_id bigint not null,
    account_id text not null,
    play_id text not null,
    playbook text not null,
    subject text not null,
    definition text not null,
    owner_id text,
    tier text,
    begun_us bigint not null,
    begun_day bigint not null,
    health_micro bigint, -- when it began
    version bigint not null,
    turn bigint not null, -- steps taken
    step text not null,
    entered_us bigint not null,
    life text not null,
    action_id text, -- whose end moves it
    due_us bigint, -- when time moves it; null while it does not
    overdue bigint not null,
    asked_role text, -- who is asked about it since it is overdue
    ended_us bigint,
    reason text,
    updated_us bigint not null,
    primary key (tenant_id, account_id, play_id)
) without rowid;
create unique index play_running on play (tenant_id, account_id, playbook, subject) where ended_us is null;
create index play_due on play (tenant_id, due_us, play_id) where due_us is not null;
create index play_of_action on play (tenant_id, action_id) where action_id is not null;
create index play_by_id on play (tenant_id, play_id);
create index play_overdue on play (tenant_id, play_id) where overdue = 1 and asked_role is null and ended_us is null;
create index play_open on play (tenant_id, entered_us, play_id) where ended_us is null;

-- Steps that plays took. A turn is taken once.
create table play_step (
    tenant_id bigint not null,
    account_id text not null,
    play_id text not null,
    turn bigint not null,
    step text not null,
    entered_us bigint not null,
    left_us bigint,
    outcome text, -- null while it lasts, and where the play was ended from outside
    action_id text,
    primary key (tenant_id, account_id, play_id, turn)
) without rowid;

insert into sqlite_stat1 (tbl, idx, stat) values
    ('play', 'play', '100000 100000 2 1'),
    ('play', 'play_running', '100000 100000 2 1 1'),
    ('play', 'play_due', '50000 50000 2 1'),
    ('play', 'play_of_action', '50000 50000 1'),
    ('play', 'play_by_id', '100000 100000 1'),
    ('play', 'play_overdue', '1000 1000 1'),
    ('play', 'play_open', '100000 100000 2 1'),
    ('play_definition', 'sqlite_autoindex_play_definition_1', '100 100 1'),
    ('play_step', 'play_step', '500000 500000 10 5 1');
analyze sqlite_schema;
