-- The oldest schema whose programs can work with the schema of a row; none: only programs that know it.
alter table schema_version add column works_with bigint;
-- The newest schema that the program of a worker knows; 0: one from before this was told.
alter table worker add column knows bigint not null default 0;
