-- What plays are pinned to: playbooks as they stood when a play of them began.
create table play_definition (
    tenant_id bigint not null,
    hash text collate "C" not null,
    playbook text collate "C" not null,
    body text not null,
    at_us bigint not null,
    primary key (tenant_id, hash)
);

-- Plays: where each stands, with its timer.
create table play (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    play_id text collate "C" not null,
    playbook text collate "C" not null,
    subject text collate "C" not null,
    definition text collate "C" not null,
    owner_id text collate "C",
    tier text collate "C",
    begun_us bigint not null,
    begun_day bigint not null,
    health_micro bigint, -- when it began
    version bigint not null,
    turn bigint not null, -- steps taken
    step text collate "C" not null,
    entered_us bigint not null,
    life text not null,
    action_id text collate "C", -- whose end moves it
    due_us bigint, -- when time moves it; null while it does not
    overdue bigint not null,
    asked_role text collate "C", -- who is asked about it since it is overdue
    ended_us bigint,
    reason text,
    updated_us bigint not null,
    primary key (tenant_id, account_id, play_id)
);
create unique index play_running on play (tenant_id, account_id, playbook, subject) where ended_us is null;
create index play_due on play (tenant_id, due_us, play_id) where due_us is not null;
create index play_of_action on play (tenant_id, action_id) where action_id is not null;
create index play_by_id on play (tenant_id, play_id);
create index play_overdue on play (tenant_id, play_id) where overdue = 1 and asked_role is null and ended_us is null;
create index play_open on play (tenant_id, entered_us, play_id) where ended_us is null;

-- Steps that plays took. A turn is taken once.
create table play_step (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    play_id text collate "C" not null,
    turn bigint not null,
    step text collate "C" not null,
    entered_us bigint not null,
    left_us bigint,
    outcome text collate "C", -- null while it lasts, and where the play was ended from outside
    action_id text collate "C",
    primary key (tenant_id, account_id, play_id, turn)
);
