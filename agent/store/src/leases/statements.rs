//! The statements of leases.

use crate::db::{Col, Statement};

const EFFECT: &[Col] = &[Col::Text("account_id"), Col::Text("effect_id")];

/// First statement of a claim: lanes that are ready, locked. On PostgreSQL the second one must be a statement of its own:
/// only that one sees what others committed before the lock was ours.
pub(crate) static LOCK_READY: Statement = Statement::differ(
    "looking for effects to carry out",
    "select account_id, tool, held from account_lane where tenant_id = $1 and tool = $2 and ready_us <= $3
     order by ready_us, account_id limit $4",
    "select account_id, tool, held from account_lane where tenant_id = $1 and tool = $2 and ready_us <= $3
     order by ready_us, account_id limit $4 for update skip locked",
);
/// Second statement of a claim: the head of each lane. An effect whose lease ran out comes before all others of its lane;
/// one that nobody has begun and that waits for a later moment comes behind them. With `$join` and `$allowed`, what must not
/// be begun is no head.
macro_rules! heads {
    ($join:literal, $allowed:literal) => {
        concat!(
            "select e.account_id, e.tool, o.effect_id, o.state, o.due_us, o.lease_until_us, o.unsure, o.attempts, o.fence,
                 o.effect, o.permit, a.effects, a.kind, a.verdict, a.tier,
                 coalesce(d.committed_us, 0), i.body, coalesce(a.decision_id, ''), coalesce(a.run_id, ''),
                 coalesce(a.updated_us, 0)
             from (select e.at, e.account_id, e.tool, coalesce(
                     (select h.effect_id from outbox h where h.tenant_id = $1 and h.account_id = e.account_id
                         and h.effect_id = e.held and h.state in ('waiting', 'leased', 'unknown')),
                     (select h.effect_id from outbox h ",
            $join,
            " where h.tenant_id = $1 and h.account_id = e.account_id and h.tool = e.tool
                         and h.state in ('waiting', 'leased', 'unknown') and (h.attempts > 0 or h.due_us <= $2) ",
            $allowed,
            " order by h.action_seq, h.step limit 1),
                     (select h.effect_id from outbox h ",
            $join,
            " where h.tenant_id = $1 and h.account_id = e.account_id and h.tool = e.tool
                         and h.state in ('waiting', 'leased', 'unknown') ",
            $allowed,
            " order by h.due_us, h.action_seq, h.step limit 1)
                     ) as effect_id
                 from {rows}) as e
             left join outbox o on o.tenant_id = $1 and o.account_id = e.account_id and o.effect_id = e.effect_id
             left join action a on a.tenant_id = $1 and a.account_id = o.account_id and a.action_id = o.action_id
             left join decision d on d.tenant_id = $1 and d.account_id = a.account_id and d.decision_id = a.decision_id
             left join write_image i on i.tenant_id = $1 and i.account_id = o.account_id and i.effect_id = o.effect_id
             order by e.at"
        )
    };
}
const LANE: &[Col] = &[Col::Text("account_id"), Col::Text("tool"), Col::Text("held")];
pub(crate) static HEADS: Statement = Statement::rows("reading effects to carry out", heads!("", ""), 3, LANE);
/// The same while something within lanes is stopped: what nobody has begun and a stop reaches lets others pass. What was begun
/// is looked up, which changes nothing outside.
pub(crate) static HEADS_ALLOWED: Statement = Statement::rows(
    "reading effects to carry out beside what is stopped",
    heads!(
        "join action x on x.tenant_id = $1 and x.account_id = h.account_id and x.action_id = h.action_id",
        "and (h.state <> 'waiting' or not (
             exists (select 1 from stop s where s.tenant_id = $1 and s.scope = 'kind' and s.subject = x.kind)
             or exists (select 1 from stop s where s.tenant_id = $1 and s.scope = 'tier' and s.subject = x.tier)
             or exists (select 1 from stop s where s.tenant_id = $1 and s.scope = 'account' and s.subject = h.account_id)))"
    ),
    3,
    LANE,
);
/// INVARIANT (fence): only from the number that was read. The key of attempts alone would not forbid the same number at two times.
pub(crate) static TAKE: Statement = Statement::rows(
    "leasing effects",
    "update outbox set state = 'leased', unsure = e.unsure, lease_until_us = $2, worker = $3, fence = e.fence,
         attempts = attempts + 1
     from {rows}
     where outbox.tenant_id = $1 and outbox.account_id = e.account_id and outbox.effect_id = e.effect_id
         and outbox.fence = e.fence - 1",
    4,
    &[
        Col::Text("account_id"),
        Col::Text("effect_id"),
        Col::Int("unsure"),
        Col::Int("fence"),
    ],
);
pub(crate) static BEGIN_ATTEMPTS: Statement = Statement::rows(
    "recording attempts",
    "insert into attempt (tenant_id, account_id, effect_id, fence, worker, begun_us)
     select $1, e.account_id, e.effect_id, e.fence, $2, $3 from {rows}",
    4,
    &[Col::Text("account_id"), Col::Text("effect_id"), Col::Int("fence")],
);
/// Lanes of a claim: held until the lease ends, or, with nothing to do now, ready when their head is.
pub(crate) static HOLD_LANES: Statement = Statement::rows(
    "holding lanes",
    "update account_lane set held = e.effect_id, ready_us = e.ready_us from {rows}
     where account_lane.tenant_id = $1 and account_lane.account_id = e.account_id and account_lane.tool = e.tool",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("tool"),
        Col::Text("effect_id"),
        Col::Int("ready_us"),
    ],
);
pub(crate) static LOCK_LANES: Statement = Statement::rows_differ(
    "locking lanes",
    "select count(*) from account_lane where tenant_id = $1 and account_id in (select e.account_id from {rows})",
    "select account_id from account_lane where tenant_id = $1 and account_id in (select e.account_id from {rows})
     order by account_id, tool for update",
    2,
    &[Col::Text("account_id")],
);
pub(crate) static LEASED: Statement = Statement::rows(
    "reading leased effects",
    "select o.account_id, o.effect_id, o.state, o.fence, o.action_id, o.step, o.worker from {rows} cross join outbox o
     where o.tenant_id = $1 and o.account_id = e.account_id and o.effect_id = e.effect_id",
    2,
    EFFECT,
);
pub(crate) static SETTLE: Statement = Statement::rows(
    "settling effects",
    "update outbox set state = e.state, unsure = e.unsure, due_us = coalesce(e.due_us, outbox.due_us),
         attempts = attempts - e.back, lease_until_us = null, worker = null, error = e.error
     from {rows}
     where outbox.tenant_id = $1 and outbox.account_id = e.account_id and outbox.effect_id = e.effect_id",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("effect_id"),
        Col::Text("state"),
        Col::Int("unsure"),
        Col::Int("due_us"),
        Col::Text("error"),
        Col::Int("back"),
    ],
);
pub(crate) static END_ATTEMPTS: Statement = Statement::rows(
    "recording outcomes",
    // The bounds are those of the batch: they name the months, so that no other is looked into.
    "update attempt set ended_us = e.ended_us, result = e.result, error = e.error from {rows}
     where attempt.tenant_id = $1 and attempt.account_id = e.account_id and attempt.effect_id = e.effect_id
         and attempt.fence = e.fence and attempt.begun_us >= $2 and attempt.begun_us <= $3",
    4,
    &[
        Col::Text("account_id"),
        Col::Text("effect_id"),
        Col::Int("fence"),
        Col::Int("ended_us"),
        Col::Text("result"),
        Col::Text("error"),
    ],
);
pub(crate) static INSERT_RECEIPTS: Statement = Statement::rows(
    "storing receipts",
    "insert into receipt (tenant_id, account_id, effect_id, fence, at_us, body)
     select $1, e.account_id, e.effect_id, e.fence, e.at_us, e.body from {rows} where true
     on conflict (tenant_id, account_id, effect_id) do nothing",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("effect_id"),
        Col::Int("fence"),
        Col::Int("at_us"),
        Col::Text("body"),
    ],
);
/// Later steps of an action one of whose steps failed. One whose answer is missing is still looked up.
pub(crate) static BLOCK: Statement = Statement::rows(
    "giving up later steps",
    "update outbox set state = 'failed', error = 'not attempted, step ' || e.step || ' failed' from {rows}
     where outbox.tenant_id = $1 and outbox.account_id = e.account_id and outbox.action_id = e.action_id
         and outbox.step > e.step and outbox.state = 'waiting'",
    2,
    &[Col::Text("account_id"), Col::Text("action_id"), Col::Int("step")],
);
/// Lanes of some accounts after their effects were let go: each is looked at when the first of its effects is due.
pub(crate) static FREE_LANES: Statement = Statement::rows(
    "freeing lanes",
    "update account_lane set held = '', ready_us = (
         select min(case when h.state = 'leased' then h.lease_until_us else h.due_us end) from outbox h
         where h.tenant_id = $1 and h.account_id = account_lane.account_id and h.tool = account_lane.tool
             and h.state in ('waiting', 'leased', 'unknown'))
     where tenant_id = $1 and account_id in (select e.account_id from {rows})
         and (held = '' or held in (select e.effect_id from {rows}))",
    2,
    EFFECT,
);
pub(crate) static SETTLED_OF: Statement = Statement::rows(
    "looking for finished actions",
    "select o.action_id, o.account_id, sum(case when o.state = 'failed' then 1 else 0 end),
         sum(case when o.state = 'withdrawn' then 0 else 1 end), sum(case when o.state = 'conflict' then 1 else 0 end)
     from {rows} cross join outbox o
     where o.tenant_id = $1 and o.account_id = e.account_id and o.action_id = e.action_id
     group by o.action_id, o.account_id
     having sum(case when o.state in ('waiting', 'leased', 'unknown') then 1 else 0 end) = 0
     order by o.action_id",
    2,
    &[Col::Text("account_id"), Col::Text("action_id")],
);
pub(crate) static SETTLED: Statement = Statement::same(
    "looking for finished actions",
    "select a.action_id, a.account_id, (select count(*) from outbox o
         where o.tenant_id = $1 and o.action_id = a.action_id and o.state = 'failed'), (select count(*) from outbox o
         where o.tenant_id = $1 and o.action_id = a.action_id and o.state <> 'withdrawn'), (select count(*) from outbox o
         where o.tenant_id = $1 and o.action_id = a.action_id and o.state = 'conflict')
     from action a where a.tenant_id = $1 and a.state = 'permitted' and not exists (
         select 1 from outbox o where o.tenant_id = $1 and o.action_id = a.action_id
             and o.state in ('waiting', 'leased', 'unknown'))",
);
pub(crate) static LEASED_BY: Statement = Statement::same(
    "reading the leases of a worker",
    "select account_id, effect_id from outbox where tenant_id = $1 and worker = $2 and state = 'leased'
     order by account_id, effect_id",
);
pub(crate) static EXTEND: Statement = Statement::rows(
    "extending leases",
    "update outbox set lease_until_us = $2 from {rows}
     where outbox.tenant_id = $1 and outbox.account_id = e.account_id and outbox.effect_id = e.effect_id
         and outbox.worker = $3 and outbox.state = 'leased'",
    4,
    EFFECT,
);
/// A lane is looked at again when the lease of what it holds ends.
pub(crate) static EXTEND_LANES: Statement = Statement::rows(
    "holding lanes on",
    "update account_lane set ready_us = $2 from {rows}
     where account_lane.tenant_id = $1 and account_lane.account_id = e.account_id and account_lane.held = e.effect_id",
    3,
    EFFECT,
);
pub(crate) static RELEASE: Statement = Statement::rows(
    "releasing leases",
    "update outbox set state = case when unsure = 1 then 'unknown' else 'waiting' end, lease_until_us = null, worker = null,
         attempts = attempts - 1
     from {rows}
     where outbox.tenant_id = $1 and outbox.account_id = e.account_id and outbox.effect_id = e.effect_id
         and outbox.worker = $2 and outbox.state = 'leased'",
    3,
    EFFECT,
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &LOCK_READY,
    &HEADS,
    &HEADS_ALLOWED,
    &TAKE,
    &BEGIN_ATTEMPTS,
    &HOLD_LANES,
    &LOCK_LANES,
    &LEASED,
    &SETTLE,
    &END_ATTEMPTS,
    &INSERT_RECEIPTS,
    &BLOCK,
    &FREE_LANES,
    &SETTLED_OF,
    &SETTLED,
    &LEASED_BY,
    &EXTEND,
    &EXTEND_LANES,
    &RELEASE,
];
