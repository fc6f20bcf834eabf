-- Nothing to do: PostgreSQL keeps its own statistics. See the migration of the same number for SQLite.
select 1;
