-- Inputs and output of a decision are compressed bytes from here on; what was stored as text before is read as the bytes
-- of that text. External: no second attempt to compress them.
alter table decision
    alter column inputs type bytea using convert_to(inputs, 'UTF8'),
    alter column output type bytea using convert_to(output, 'UTF8');
alter table decision alter column inputs set storage external, alter column output set storage external;
