-- Drafts with a planted mistake, each standing in for the draft of an action that waits. Nothing is kept of one whose action got other
-- effects meanwhile: it is open only while the action's effects are `planted`.
create table canary (
    tenant_id bigint not null,
    account_id text collate "C" not null,
    action_id text collate "C" not null,
    planted_us bigint not null,
    planted text not null, -- effects as people see them
    original text not null, -- effects as they were decided
    defect text not null,
    answered_us bigint,
    person text collate "C", -- who answered
    caught bigint, -- 1 for a no, or an edit that took the mistake out
    primary key (tenant_id, account_id, action_id)
);
alter table canary enable row level security;
alter table canary force row level security;
create policy tenant on canary using (tenant_id = cast(nullif(current_setting('perennial.tenant', true), '') as bigint));

-- How long it had waited when somebody answered.
alter table approval add column waited_us bigint;
create index approval_of_person on approval (tenant_id, person, at_us);
create index approval_at on approval (tenant_id, at_us);

-- A canary is never sent, whatever the program that would.
create function canary_is_never_sent() returns trigger language plpgsql as $$
begin
    if exists (
        select 1 from canary c
        join action a on a.tenant_id = c.tenant_id and a.account_id = c.account_id and a.action_id = c.action_id
        where c.tenant_id = new.tenant_id and c.account_id = new.account_id and c.action_id = new.action_id
            and c.answered_us is null and a.effects = c.planted)
    then
        raise exception 'the draft of this action is a canary: it is never sent';
    end if;
    return new;
end $$;
create trigger canary_is_never_sent before insert on outbox for each row execute function canary_is_never_sent();
