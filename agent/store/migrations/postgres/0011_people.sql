-- Who is asked and since when, who answered in whose place, and whose roles others may use.
alter table action add column asked_us bigint; -- since when the present role is asked; null while nobody is
alter table action add column asked_role text collate "C"; -- who is asked beyond the least role that may approve
alter table action add column reassigned bigint not null default 0; -- 1: a person chose the owner
update action set asked_us = updated_us where state in ('pending', 'edited');
drop index action_expiries;
create index action_expiries on action (tenant_id, expires_us, action_id)
    where state in ('pending', 'edited', 'snoozed', 'deferred') and expires_us is not null;
create index action_asked on action (tenant_id, asked_us, action_id) where asked_us is not null;
alter table approval add column authority text; -- whose roles were used, where not the person's own

create table delegation (
    tenant_id bigint not null,
    delegation_id text collate "C" not null,
    giver text collate "C" not null,
    receiver text collate "C" not null,
    from_us bigint not null,
    until_us bigint not null,
    reason text not null,
    at_us bigint not null,
    revoked_us bigint,
    primary key (tenant_id, delegation_id)
);
create index delegation_of_receiver on delegation (tenant_id, receiver, until_us);
