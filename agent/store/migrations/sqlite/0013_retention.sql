-- What is removed by age is found by age.
create index attempt_by_time on attempt (tenant_id, begun_us);
create index receipt_by_time on receipt (tenant_id, at_us);
create index decision_with_inputs on decision (tenant_id, committed_us) where length(inputs) > 0;
insert into sqlite_stat1 (tbl, idx, stat) values
    ('attempt', 'attempt_by_time', '1000000 1000000 2'),
    ('receipt', 'receipt_by_time', '1000000 1000000 2'),
    ('decision', 'decision_with_inputs', '1000000 1000000 100');
analyze sqlite_schema;
