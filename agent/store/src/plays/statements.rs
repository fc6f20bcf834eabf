//! Statements of plays.
//!
//! Those that look plays up for many accounts at once are planned anew each time: plays come while a process lives, and a plan from
//! before would go through all of a tenant's for a handful of accounts.

use crate::db::{Col, Statement};

macro_rules! select_plays {
    () => {
        "select p.account_id, p.play_id, p.playbook, p.subject, p.definition, p.owner_id, p.tier, p.begun_us, p.begun_day,
             p.health_micro, p.version, p.life, p.asked_role, p.updated_us
         from play p where p.tenant_id = $1 and "
    };
}

pub(crate) static PUT_DEFINITIONS: Statement = Statement::rows(
    "storing what plays are pinned to",
    "insert into play_definition (tenant_id, hash, playbook, body, at_us)
     select $1, e.hash, e.playbook, e.body, $2 from {rows} where true on conflict do nothing",
    3,
    &[Col::Text("hash"), Col::Text("playbook"), Col::Text("body")],
);
pub(crate) static DEFINITIONS: Statement = Statement::rows(
    "reading what plays are pinned to",
    "select d.hash, d.body from {rows} cross join play_definition d where d.tenant_id = $1 and d.hash = e.hash",
    2,
    &[Col::Text("hash")],
);
const PLAY: &[Col] = &[
    Col::Text("account_id"),
    Col::Text("play_id"),
    Col::Text("playbook"),
    Col::Text("subject"),
    Col::Text("definition"),
    Col::Text("owner_id"),
    Col::Text("tier"),
    Col::Int("begun_us"),
    Col::Int("begun_day"),
    Col::Int("health_micro"),
    Col::Int("turn"),
    Col::Text("step"),
    Col::Int("entered_us"),
    Col::Text("life"),
    Col::Text("action_id"),
    Col::Int("due_us"),
    Col::Int("overdue"),
    Col::Int("ended_us"),
    Col::Text("reason"),
    Col::Int("updated_us"),
];
/// One that runs already about the same keeps its place.
pub(crate) static BEGIN: Statement = Statement::rows(
    "beginning plays",
    "insert into play (tenant_id, account_id, play_id, playbook, subject, definition, owner_id, tier, begun_us, begun_day,
         health_micro, version, turn, step, entered_us, life, action_id, due_us, overdue, ended_us, reason, updated_us)
     select $1, e.account_id, e.play_id, e.playbook, e.subject, e.definition, e.owner_id, e.tier, e.begun_us, e.begun_day,
         e.health_micro, 1, e.turn, e.step, e.entered_us, e.life, e.action_id, e.due_us, e.overdue, e.ended_us, e.reason,
         e.updated_us
     from {rows} where true on conflict do nothing returning play_id",
    2,
    PLAY,
);
pub(crate) static MOVE: Statement = Statement::rows(
    "moving plays",
    "update play set version = play.version + 1, turn = e.turn, step = e.step, entered_us = e.entered_us, life = e.life,
         action_id = e.action_id, due_us = e.due_us, overdue = e.overdue, asked_role = e.asked_role, ended_us = e.ended_us,
         reason = e.reason, updated_us = e.updated_us
     from {rows}
     where play.tenant_id = $1 and play.account_id = e.account_id and play.play_id = e.play_id
         and play.version = e.version and play.ended_us is null
     returning play.play_id",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("play_id"),
        Col::Int("version"),
        Col::Int("turn"),
        Col::Text("step"),
        Col::Int("entered_us"),
        Col::Text("life"),
        Col::Text("action_id"),
        Col::Int("due_us"),
        Col::Int("overdue"),
        Col::Text("asked_role"),
        Col::Int("ended_us"),
        Col::Text("reason"),
        Col::Int("updated_us"),
    ],
)
.anew();
pub(crate) static STEPS: Statement = Statement::rows(
    "storing steps of plays",
    "insert into play_step (tenant_id, account_id, play_id, turn, step, entered_us, left_us, outcome, action_id)
     select $1, e.account_id, e.play_id, e.turn, e.step, e.entered_us, e.left_us, e.outcome, e.action_id from {rows}
     where true
     on conflict (tenant_id, account_id, play_id, turn) do update set
         left_us = coalesce(excluded.left_us, play_step.left_us), outcome = coalesce(excluded.outcome, play_step.outcome),
         action_id = coalesce(excluded.action_id, play_step.action_id)",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("play_id"),
        Col::Int("turn"),
        Col::Text("step"),
        Col::Int("entered_us"),
        Col::Int("left_us"),
        Col::Text("outcome"),
        Col::Text("action_id"),
    ],
);
pub(crate) static RUNNING_OF: Statement = Statement::rows(
    "reading running plays of accounts",
    concat!(
        select_plays!(),
        "p.ended_us is null and p.account_id in (select e.account_id from {rows}) order by p.account_id, p.play_id"
    ),
    2,
    &[Col::Text("account_id")],
)
.anew();
pub(crate) static BY_IDS: Statement = Statement::rows(
    "reading plays",
    "select p.account_id, p.play_id, p.playbook, p.subject, p.definition, p.owner_id, p.tier, p.begun_us, p.begun_day,
             p.health_micro, p.version, p.life, p.asked_role, p.updated_us
         from {rows} cross join play p where p.tenant_id = $1 and p.account_id = e.account_id and p.play_id = e.play_id",
    2,
    &[Col::Text("account_id"), Col::Text("play_id")],
)
.anew();
pub(crate) static OF_ACTION: Statement = Statement::same(
    "looking for the play of an action",
    concat!(select_plays!(), "p.action_id = $2 order by p.play_id limit 1"),
);
pub(crate) static OF_ACTIONS: Statement = Statement::rows(
    "looking for the plays of actions",
    "select p.account_id, p.play_id, p.playbook, p.subject, p.definition, p.owner_id, p.tier, p.begun_us, p.begun_day,
             p.health_micro, p.version, p.life, p.asked_role, p.updated_us, p.action_id
         from {rows} cross join play p where p.tenant_id = $1 and p.action_id = e.action_id order by p.play_id",
    2,
    &[Col::Text("action_id")],
)
.anew();
pub(crate) static BY_PREFIX: Statement = Statement::same(
    "looking for a play",
    concat!(
        select_plays!(),
        "p.play_id >= $2 and p.play_id < $3 order by p.play_id limit $4"
    ),
);
pub(crate) static DUE: Statement = Statement::same(
    "looking for plays that time moves",
    concat!(select_plays!(), "p.due_us <= $2 order by p.due_us, p.play_id limit $3"),
);
/// Plays whose action ended without telling them: it gave way, was denied, or is advice by now.
pub(crate) static FALLEN: Statement = Statement::same(
    "looking for plays whose action gave way",
    "select p.account_id, p.play_id, p.playbook, p.subject, p.definition, p.owner_id, p.tier, p.begun_us, p.begun_day,
         p.health_micro, p.version, p.life, p.asked_role, p.updated_us, a.state
     from play p join action a on a.tenant_id = $1 and a.account_id = p.account_id and a.action_id = p.action_id
     where p.tenant_id = $1 and p.action_id is not null
         and a.state in ('denied', 'superseded', 'advised', 'executed', 'rejected', 'expired')
     order by p.play_id limit $2",
)
.anew();
pub(crate) static OPEN: Statement = Statement::same(
    "listing running plays",
    concat!(
        select_plays!(),
        "p.ended_us is null order by p.entered_us, p.play_id limit $2"
    ),
);
/// Plays that are overdue and about which nobody else was asked yet.
pub(crate) static OVERDUE: Statement = Statement::same(
    "looking for plays that are overdue",
    concat!(
        select_plays!(),
        "p.overdue = 1 and p.asked_role is null and p.ended_us is null order by p.play_id limit $2"
    ),
);
pub(crate) static OF_ACCOUNT: Statement = Statement::same(
    "listing the plays of an account",
    concat!(
        select_plays!(),
        "p.account_id = $2 order by p.begun_us desc, p.play_id limit $3"
    ),
);
pub(crate) static STEPS_OF: Statement = Statement::same(
    "reading the steps of a play",
    "select turn, step, entered_us, left_us, outcome, action_id from play_step
     where tenant_id = $1 and account_id = $2 and play_id = $3 order by turn limit $4",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &PUT_DEFINITIONS,
    &DEFINITIONS,
    &BEGIN,
    &MOVE,
    &STEPS,
    &RUNNING_OF,
    &BY_IDS,
    &OF_ACTION,
    &OF_ACTIONS,
    &BY_PREFIX,
    &DUE,
    &FALLEN,
    &OPEN,
    &OVERDUE,
    &OF_ACCOUNT,
    &STEPS_OF,
];
