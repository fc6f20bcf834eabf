-- A file is for one tenant: row-level security is for servers that several share.
select 1;
