-- Attempts by the month in which they began, and the ledger by the month of its entries. A month of attempts that is over and settled goes
-- as a whole, an index stays as small as its month, and vacuum leaves months alone that nobody writes to any more.
--
-- A unique key of a table in parts must name what the parts go by, so neither key forbids by itself that a number comes twice at
-- two times. What forbids it is the row that the number comes from, changed only from the number that was read: the effect's own (`fence`),
-- and the head of the ledger. Receipts stay in one table: that an effect has one is what their key forbids, and programs of
-- schema 17 name that key.

-- Makes the months from that of a moment on that are not there yet; how many. What was stored of them meanwhile moves into them. A role
-- that does not own the tables makes none: `.._default` takes everything.
create function perennial_months(from_us bigint, months bigint) returns bigint
language plpgsql set lock_timeout to '2s' as $$
declare
    kept record;
    starts timestamp;
    low bigint;
    high bigint;
    part text;
    made bigint := 0;
begin
    if not pg_has_role((select relowner from pg_class where oid = 'attempt'::regclass), 'member') then
        return 0;
    end if;
    -- One at a time; the number is ours alone.
    perform pg_advisory_xact_lock(7305808869230450022);
    perform set_config('perennial.keeping', 'all', true);
    for kept in select * from (values ('attempt', 'begun_us'), ('ledger', 'at_us')) as t(parent, moment) loop
        for ahead in 0 .. months - 1 loop
            starts := date_trunc('month', to_timestamp(from_us / 1000000) at time zone 'UTC')
                + make_interval(months => cast(ahead as integer));
            low := cast(extract(epoch from starts) as bigint) * 1000000;
            high := cast(extract(epoch from starts + interval '1 month') as bigint) * 1000000;
            part := kept.parent || to_char(starts, '_YYYY_MM');
            continue when to_regclass(format('%I.%I', current_schema(), part)) is not null;
            -- Nobody who writes is on the way to the default part with a row of this month: such a row would be refused there. Reading goes on.
            execute format('lock table only %I in share row exclusive mode', kept.parent);
            execute format('create table %I (like %I including all)', part, kept.parent);
            execute format(
                'with moved as (delete from %I where %I >= $1 and %I < $2 returning *) insert into %I select * from moved',
                kept.parent || '_default', kept.moment, kept.moment, part
            ) using low, high;
            execute format('alter table %I attach partition %I for values from (%s) to (%s)', kept.parent, part, low, high);
            perform perennial_part(part);
            made := made + 1;
        end loop;
    end loop;
    perform set_config('perennial.keeping', '', true);
    return made;
end $$;

-- A part that is named itself shows the rows of the tenant that a connection says it is, as the whole does; all of them only to the two
-- functions that move and drop months.
create function perennial_part(part text) returns void
language plpgsql as $$
begin
    execute format('alter table %I enable row level security', part);
    execute format('alter table %I force row level security', part);
    execute format(
        'create policy tenant on %I using (tenant_id = cast(nullif(current_setting(''perennial.tenant'', true), '''') as bigint))',
        part
    );
    execute format('create policy keeping on %I using (current_setting(''perennial.keeping'', true) = ''all'')', part);
end $$;

-- Drops the months of attempts that lie wholly before a moment and hold nothing that has to stay: no other tenant's row, and no attempt of
-- an effect that is not settled. How many rows went with them.
create function perennial_drop_attempts(tenant bigint, before_us bigint) returns bigint
language plpgsql set lock_timeout to '2s' as $$
declare
    part record;
    others bigint;
    stays boolean;
    held bigint;
    gone bigint := 0;
begin
    if not pg_has_role((select relowner from pg_class where oid = 'attempt'::regclass), 'member') then
        return 0;
    end if;
    perform pg_advisory_xact_lock(7305808869230450022);
    perform set_config('perennial.keeping', 'all', true);
    for part in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'attempt'::regclass
            and cast(substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''(-?[0-9]+)''\)') as bigint) <= before_us
        order by c.relname
    loop
        execute format('select count(*) from (select min(tenant_id) as t from %I union all select max(tenant_id) from %I) as ends
            where t <> $1', part.relname, part.relname) into others using tenant;
        continue when others > 0;
        execute format('select exists (select 1 from %I a where not exists (
            select 1 from outbox o where o.tenant_id = $1 and o.account_id = a.account_id and o.effect_id = a.effect_id
                and o.state in (''done'', ''failed'', ''withdrawn'')))', part.relname) into stays using tenant;
        continue when stays;
        execute format('select count(*) from %I', part.relname) into held;
        lock table attempt in access exclusive mode;
        -- What came between the look and the lock keeps its month.
        execute format('select count(*) from (select min(tenant_id) as t from %I union all select max(tenant_id) from %I) as ends
            where t <> $1', part.relname, part.relname) into others using tenant;
        continue when others > 0;
        execute format('drop table %I', part.relname);
        gone := gone + held;
    end loop;
    perform set_config('perennial.keeping', '', true);
    return gone;
end $$;

do $$
declare
    kept record;
    month record;
    granted record;
begin
    for kept in select * from (values ('attempt', 'begun_us'), ('ledger', 'at_us')) as t(parent, moment) loop
        execute format('alter table %I rename to %I', kept.parent, kept.parent || '_flat');
        -- The owner, too, sees only one tenant's rows else, and would lose the others'.
        execute format('alter table %I disable row level security', kept.parent || '_flat');
        execute format(
            'create table %I (like %I including defaults including storage) partition by range (%I)',
            kept.parent, kept.parent || '_flat', kept.moment
        );
        execute format('create table %I partition of %I default', kept.parent || '_default', kept.parent);
        -- The months that there are; what a wrong clock dated apart from all others stays in the default part.
        for month in execute format(
            'select to_char(starts, ''_YYYY_MM'') as name, cast(extract(epoch from starts) as bigint) * 1000000 as low,
                 cast(extract(epoch from starts + interval ''1 month'') as bigint) * 1000000 as high
             from (select distinct date_trunc(''month'', to_timestamp(%I / 1000000) at time zone ''UTC'') as starts from %I
                 where %I between 1000000 and cast(extract(epoch from now() + interval ''1 year'') as bigint) * 1000000) as m
             where starts > now() at time zone ''UTC'' - interval ''10 years'' order by starts',
            kept.moment, kept.parent || '_flat', kept.moment
        ) loop
            execute format(
                'create table %I partition of %I for values from (%s) to (%s)',
                kept.parent || month.name, kept.parent, month.low, month.high
            );
        end loop;
        execute format('insert into %I select * from %I', kept.parent, kept.parent || '_flat');
        for granted in
            select a.privilege_type, case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as whom
            from pg_class c, aclexplode(c.relacl) a where c.oid = to_regclass(format('%I.%I', current_schema(), kept.parent || '_flat'))
        loop
            execute format('grant %s on %I to %s', granted.privilege_type, kept.parent, granted.whom);
        end loop;
        execute format('drop table %I', kept.parent || '_flat');
    end loop;
end $$;

alter table attempt add primary key (tenant_id, account_id, effect_id, fence, begun_us);
create index attempt_by_time on attempt (tenant_id, begun_us);
alter table ledger add primary key (tenant_id, seq, at_us);
create index ledger_by_account on ledger (tenant_id, account_id, seq);

do $$
declare
    parts record;
begin
    for parts in
        select c.relname, c.relkind from pg_class c
        where c.relnamespace = current_schema()::regnamespace and (c.relname in ('attempt', 'ledger')
            or c.oid in (select inhrelid from pg_inherits where inhparent in ('attempt'::regclass, 'ledger'::regclass))
                and c.relkind = 'r')
    loop
        if parts.relkind = 'r' then
            perform perennial_part(parts.relname);
        else
            execute format('alter table %I enable row level security', parts.relname);
            execute format('alter table %I force row level security', parts.relname);
            execute format(
                'create policy tenant on %I using (tenant_id = cast(nullif(current_setting(''perennial.tenant'', true), '''') as bigint))',
                parts.relname
            );
        end if;
    end loop;
end $$;

select perennial_months(cast(extract(epoch from clock_timestamp()) as bigint) * 1000000, 4);
