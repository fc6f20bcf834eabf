-- Inputs and output of a decision are compressed bytes from here on. SQLite keeps bytes in a column of text as they are, and
-- what was stored as text before is read as the bytes of that text.
select 1;
