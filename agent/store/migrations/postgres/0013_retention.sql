-- What is removed by age is found by age.
create index attempt_by_time on attempt (tenant_id, begun_us);
create index receipt_by_time on receipt (tenant_id, at_us);
create index decision_with_inputs on decision (tenant_id, committed_us) where octet_length(inputs) > 0;
