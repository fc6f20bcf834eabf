-- First schema. Every table begins with the tenant, then the account. Times are microseconds since 1970 in UTC, days
-- are days since 1970-01-01, money is minor units with its currency, hashed JSON is exact text.
-- Keys are ordered by bytes, as SQLite orders them.

create table signal (
    tenant_id bigint not null,
    account_id text collate "C" not null, -- '' for the whole portfolio, '?' while the account is not known
    signal_key text collate "C" not null,
    revision_us bigint not null,
    kind text collate "C" not null,
    source text collate "C" not null,
    external_id text collate "C" not null,
    event_us bigint not null,
    observed_us bigint not null,
    body_hash text collate "C" not null,
    via text collate "C", -- key of the record whose account this signal belongs to
    body text not null,
    primary key (tenant_id, account_id, signal_key, revision_us)
);
create unique index signal_by_key on signal (tenant_id, signal_key, revision_us);
create index signal_account_fact on signal (tenant_id, account_id) where kind = 'account';

-- Records whose revisions do not all name the same account: what follows them is linked anew after each import.
create table signal_moved (
    tenant_id bigint not null,
    account_id text collate "C" not null, -- '': a record that moved has no one account
    signal_key text collate "C" not null,
    primary key (tenant_id, signal_key)
);

create table content (
    tenant_id bigint not null,
    hash text collate "C" not null,
    body text not null,
    primary key (tenant_id, hash)
);

create table run (
    tenant_id bigint not null,
    run_id text collate "C" not null,
    as_of_us bigint not null,
    started_us bigint not null,
    heartbeat_us bigint not null,
    lease_us bigint not null,
    content text collate "C" not null,
    engine text not null,
    finished_us bigint,
    summary text,
    primary key (tenant_id, run_id)
);
create index run_by_start on run (tenant_id, started_us, run_id);
create index run_open on run (tenant_id, heartbeat_us) where finished_us is null;

create table decision (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    decision_id text collate "C" not null,
    run_id text collate "C" not null, -- the run that made it first
    as_of_us bigint not null,
    committed_us bigint not null,
    content text collate "C" not null,
    engine text not null,
    inputs_hash text collate "C" not null,
    output_hash text collate "C" not null,
    inputs text not null,
    output text not null,
    primary key (tenant_id, account_id, decision_id)
);
create unique index decision_by_id on decision (tenant_id, decision_id);
create index decision_latest on decision (tenant_id, account_id, as_of_us, committed_us, decision_id);

-- Every run that came to a decision, also where an earlier run had come to the same one.
create table run_decision (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    run_id text collate "C" not null,
    decision_id text collate "C" not null,
    primary key (tenant_id, run_id, decision_id)
);

create table action (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    action_id text collate "C" not null,
    seq bigint not null, -- order of creation
    run_id text collate "C" not null,
    decision_id text collate "C" not null,
    kind text collate "C" not null,
    playbook text collate "C" not null,
    subject text collate "C" not null,
    state text collate "C" not null,
    version bigint not null,
    title text not null,
    owner_id text collate "C",
    tier text collate "C",
    role text collate "C",
    verdict text collate "C" not null,
    value_minor bigint,
    currency text collate "C",
    minutes bigint not null,
    rank_micro bigint,
    due_day bigint not null,
    as_of_us bigint not null,
    expires_us bigint,
    snoozed_us bigint,
    last_editor text,
    updated_us bigint not null,
    card text not null,
    effects text not null,
    primary key (tenant_id, account_id, action_id)
);
create unique index action_by_id on action (tenant_id, action_id);
create index action_queue on action (tenant_id, state, rank_micro desc nulls last, action_id);
create index action_of_owner on action (tenant_id, owner_id, state, rank_micro desc nulls last, action_id);
create index action_wakes on action (tenant_id, snoozed_us, action_id) where state = 'snoozed';
create index action_expiries on action (tenant_id, expires_us, action_id)
    where state in ('pending', 'edited', 'snoozed') and expires_us is not null;

create table approval (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    action_id text collate "C" not null,
    version bigint not null, -- of the action, after it
    at_us bigint not null,
    person text not null,
    verb text collate "C" not null,
    roles text not null,
    reason text,
    seen text collate "C",
    content text collate "C" not null,
    primary key (tenant_id, account_id, action_id, version)
);

create table draft (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    action_id text collate "C" not null,
    kind text collate "C" not null,
    format text collate "C" not null,
    hash text collate "C" not null,
    body text not null,
    primary key (tenant_id, account_id, action_id, kind, format)
);

-- The latest plan: which actions are in whose day, and in which place.
create table day_plan (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    action_id text collate "C" not null,
    run_id text collate "C" not null,
    as_of_us bigint not null,
    owner_id text collate "C" not null, -- '' for nobody
    position bigint not null,
    primary key (tenant_id, account_id, action_id)
);

create table outbox (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    effect_id text collate "C" not null,
    action_id text collate "C" not null,
    action_seq bigint not null,
    step bigint not null,
    tool text collate "C" not null,
    run_id text collate "C" not null,
    state text collate "C" not null,
    unsure bigint not null, -- 1 when an attempt was begun whose answer is missing
    due_us bigint not null,
    lease_until_us bigint,
    worker text collate "C",
    fence bigint not null,
    attempts bigint not null,
    error text,
    effect text not null,
    permit text not null,
    primary key (tenant_id, account_id, effect_id)
);
create unique index outbox_by_effect on outbox (tenant_id, effect_id);
create index outbox_by_action on outbox (tenant_id, action_id, step);
create index outbox_by_run on outbox (tenant_id, run_id, state);
create index outbox_unfinished on outbox (tenant_id, account_id, tool, action_seq, step)
    where state in ('waiting', 'leased', 'unknown');
create index outbox_leased on outbox (tenant_id, worker) where state = 'leased';

-- One row per account and tool: the queue in which its effects go out one after the other.
create table account_lane (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    tool text collate "C" not null,
    ready_us bigint, -- not before; null when nothing waits
    held text collate "C" not null, -- effect that a worker has; '' for none
    primary key (tenant_id, account_id, tool)
);
create index account_lane_ready on account_lane (tenant_id, tool, ready_us, account_id) where ready_us is not null;

create table attempt (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    effect_id text collate "C" not null,
    fence bigint not null,
    worker text collate "C" not null,
    begun_us bigint not null,
    ended_us bigint,
    result text collate "C",
    error text,
    primary key (tenant_id, account_id, effect_id, fence)
);

create table receipt (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    effect_id text collate "C" not null,
    fence bigint not null,
    at_us bigint not null,
    body text not null,
    primary key (tenant_id, account_id, effect_id)
);

create table ledger (
    tenant_id bigint not null,
    account_id text collate "C" not null, -- '' for the whole portfolio
    seq bigint not null,
    at_us bigint not null,
    kind text collate "C" not null,
    reference text collate "C" not null,
    body text not null,
    previous_hash text collate "C" not null,
    hash text collate "C" not null,
    primary key (tenant_id, seq)
);
create index ledger_by_account on ledger (tenant_id, account_id, seq);

-- End of the chain and last number of an action. Locked by whoever extends either.
create table ledger_head (
    tenant_id bigint not null,
    seq bigint not null,
    hash text collate "C" not null,
    action_seq bigint not null,
    primary key (tenant_id)
);
