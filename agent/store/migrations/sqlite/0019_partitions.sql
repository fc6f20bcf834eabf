-- Parts by month are for servers: a file that is pruned keeps its pages and uses them again.
select 1;
