-- A connection sees and writes only the rows of the tenant that it says it is (`perennial.tenant`); without one, none. This holds
-- for the owner of the tables too, and for everybody but superusers and roles with BYPASSRLS. Which workers live is for all to
-- see: a migration concerns every tenant's.
do $$
declare
    tenants record;
begin
    for tenants in
        select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p')
            and a.attname = 'tenant_id' and not a.attisdropped and c.relname <> 'worker'
        order by c.relname
    loop
        execute format('alter table %I enable row level security', tenants.relname);
        execute format('alter table %I force row level security', tenants.relname);
        execute format(
            'create policy tenant on %I using (tenant_id = cast(nullif(current_setting(''perennial.tenant'', true), '''') as bigint))',
            tenants.relname
        );
    end loop;
end $$;
