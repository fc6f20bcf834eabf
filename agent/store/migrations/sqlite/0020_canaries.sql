-- Drafts with a planted mistake, each standing in for the draft of an action that waits. Nothing is kept of one whose action got other
-- effects meanwhile: it is open only while the action's effects are `planted`.
create table canary (
    tenant_id bigint not null,
    account_id text not null,
    action_id text not null,
    planted_us bigint not null,
    planted text not null, -- effects as people see them
    original text not null, -- effects as they were decided
    defect text not null,
    answered_us bigint,
    person text, -- who answered
    caught bigint, -- 1 for a no, or an edit that took the mistake out
    primary key (tenant_id, account_id, action_id)
);

-- How long it had waited when somebody answered.
alter table approval add column waited_us bigint;
create index approval_of_person on approval (tenant_id, person, at_us);
create index approval_at on approval (tenant_id, at_us);

-- A canary is never sent, whatever the program that would.
create trigger canary_is_never_sent before insert on outbox
when exists (
    select 1 from canary c join action a on a.tenant_id = c.tenant_id and a.account_id = c.account_id and a.action_id = c.action_id
    where c.tenant_id = new.tenant_id and c.account_id = new.account_id and c.action_id = new.action_id
        and c.answered_us is null and a.effects = c.planted)
begin
    select raise(abort, 'the draft of this action is a canary: it is never sent');
end;
