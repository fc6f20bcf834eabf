//! Benchmark of plays: a year of days under a simulated clock.
//!
//! `cargo bench -p perennial-tests --bench plays -- [PLAYS]` (default 1,000), first the state machine alone, then the same through
//! the store, on SQLite, and on PostgreSQL where `PERENNIAL_TEST_PG` names a server. A play asks each month, waits twenty business
//! days and looks again; its actions count as carried out on the day they are proposed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use perennial::plays::advance;
use perennial_core::ids::{AccountId, ActionId, PlayId, PlaybookId, TenantId};
use perennial_core::play::{
    Asked, Definition, Event, Life, Outcome, Shape, Span, Standing, StepKind, StepShape, Target, WaitTime, Walk, Wants,
    wants,
};
use perennial_core::time::Timestamp;
use perennial_store::{DatabaseUrl, LedgerDraft, Options, PlayChange, PlayFilter, PlayRow, Store};
use perennial_tests::Database;

/// Days that pass.
const DAYS: i64 = 365;
const FIRST: &str = "2026-01-01T08:00:00Z";

fn shape() -> Shape {
    let to = |step: &str| Target::Step(step.to_owned());
    let end = |reason: &str| Target::End(reason.to_owned());
    let step = |id: &str, kind, next, on: Vec<(Outcome, Target)>| StepShape {
        id: id.to_owned(),
        kind,
        asks: false,
        next,
        on: on.into_iter().collect(),
        sla: None,
    };
    let wait = StepKind::Wait {
        time: WaitTime::For(Span::BusinessDays(20)),
    };
    let no = |outcome: Outcome| (outcome, end(outcome.as_str()));
    Shape {
        steps: vec![
            step(
                "ask",
                StepKind::Action,
                to("rest"),
                vec![no(Outcome::Rejected), no(Outcome::Failed), no(Outcome::Unanswered)],
            ),
            step("rest", wait, to("look"), Vec::new()),
            step("look", StepKind::Check, to("ask"), vec![(Outcome::Holds, end("held"))]),
        ],
        holidays: BTreeSet::new(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

/// What decisions and dispatch would do with a play on a day: look at the facts, propose its action, carry it out.
fn day_of(shape: &Shape, walk: &mut Walk<'_>, play: usize, now: Timestamp) {
    for _ in 0..=shape.steps.len() {
        let Life::Running(standing) = walk.life.clone() else {
            return;
        };
        let turn = standing.turn;
        match wants(shape, &standing) {
            Wants::Facts(_) => {
                let outcome = Outcome::Otherwise;
                walk.take(&Event::Seen { turn, outcome }, now);
            }
            Wants::Action(_) => {
                let action = ActionId::new(format!("act_{play}_{turn}"));
                let asked = Asked::Action {
                    action: action.clone(),
                    day: now.day(),
                };
                walk.take(&Event::Asked { turn, asked }, now);
                let outcome = Outcome::Executed;
                walk.take(&Event::Settled { action, outcome }, now);
            }
            Wants::Task(_) | Wants::Time => return,
        }
    }
}

fn main() {
    let plays: usize = std::env::args()
        .skip(1)
        .find(|a| a != "--bench")
        .map_or(1_000, |a| a.parse().expect("a number"));
    println!("{plays} plays, {DAYS} days, every day looked at");
    println!("{:<22} {:>9} {:>12} {:>14}", "", "steps", "seconds", "s per 1,000");
    let shape = shape();
    let begun = clock();
    let steps = core(&shape, plays);
    say("core", plays, steps, begun.elapsed());
    let temp = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for db in Database::both("bench_plays", temp.path()) {
        let (stored, took) = runtime.block_on(through_the_store(&db, &shape, plays));
        assert_eq!(stored, steps, "the store comes to the same steps");
        say(&format!("store, {}", db.kind), plays, stored, took);
    }
}

fn say(what: &str, plays: usize, steps: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand plays")]
    let per_thousand = seconds * 1_000.0 / plays as f64;
    println!("{what:<22} {steps:>9} {seconds:>12.3} {per_thousand:>14.3}");
}

fn core(shape: &Shape, plays: usize) -> u64 {
    let first: Timestamp = FIRST.parse().expect("a time");
    let mut steps = 0;
    for play in 0..plays {
        let mut walk = Walk::from(shape, shape.begin(first).expect("a step"));
        for day in 0..DAYS {
            let now = first.plus_days(day);
            walk.pass(now);
            day_of(shape, &mut walk, play, now);
        }
        steps += walk.left.len() as u64;
    }
    steps
}

fn row(definition: &Definition, play: usize, standing: Standing, now: Timestamp) -> PlayRow {
    PlayRow {
        account: AccountId::new(format!("A{play:06}")),
        id: PlayId::new(format!("ply_{play:06}")),
        playbook: PlaybookId::new("monthly"),
        subject: "account".to_owned(),
        definition: definition.hash(),
        owner: None,
        tier: None,
        begun_at: now,
        begun_on: now.day(),
        health: None,
        version: 0,
        life: Life::Running(standing),
        asked_role: None,
        updated_at: now,
    }
}

/// What a day brings a stored play, as one change; none where it brings nothing.
fn change(shape: &Shape, row: &PlayRow, play: usize, now: Timestamp) -> Option<PlayChange> {
    let standing = row.life.standing()?;
    if matches!(wants(shape, standing), Wants::Time) {
        return None;
    }
    let mut walk = Walk::from(shape, standing.clone());
    day_of(shape, &mut walk, play, now);
    let ledger = walk.left.iter().map(|left| LedgerDraft {
        kind: "play_step".to_owned(),
        reference: row.id.as_str().to_owned(),
        body: format!("{{\"turn\":{}}}", left.turn),
    });
    Some(PlayChange {
        ledger: ledger.collect(),
        row: PlayRow {
            life: walk.life,
            updated_at: now,
            ..row.clone()
        },
        left: walk.left,
        action: None,
        definition: None,
        decide: false,
    })
}

/// Timers are found by the store's index, and every change is a row with its entry of the ledger; one transaction for all plays of
/// a day, as housekeeping and a run make it.
async fn through_the_store(db: &Database, shape: &Shape, plays: usize) -> (u64, Duration) {
    let url: DatabaseUrl = db.url.parse().expect("an address");
    let store = Store::open(&url, TenantId::DEFAULT, &Options::default())
        .await
        .expect("a database");
    store.migrate().await.expect("a schema");
    let first: Timestamp = FIRST.parse().expect("a time");
    let definition = Definition {
        text: "monthly".to_owned(),
        shape: shape.clone(),
    };
    let begun = clock();
    let begins: Vec<PlayChange> = (0..plays)
        .map(|play| PlayChange {
            row: row(&definition, play, shape.begin(first).expect("a step"), first),
            left: Vec::new(),
            action: None,
            definition: Some(definition.clone()),
            decide: false,
            ledger: Vec::new(),
        })
        .collect();
    store.change_plays(&begins, first).await.expect("begins");
    let all = PlayFilter {
        account: None,
        limit: u32::try_from(plays).expect("some plays"),
    };
    let mut moved = true;
    for day in 0..DAYS {
        let now = first.plus_days(day);
        moved |= advance(&store, now).await.expect("moves") > 0;
        // On a day on which time moved none, no decision has anything new to say.
        if !std::mem::take(&mut moved) {
            continue;
        }
        let rows = store.plays(&all).await.expect("reads");
        let changes: Vec<PlayChange> = rows
            .iter()
            .filter_map(|row| {
                let play = row.id.as_str().trim_start_matches("ply_").parse().expect("a number");
                change(shape, row, play, now)
            })
            .collect();
        store.change_plays(&changes, now).await.expect("writes");
    }
    let took = begun.elapsed();
    let entries = store.plays(&all).await.expect("reads");
    let steps = entries.iter().map(|row| u64::from(row.life.turn()) - 1).sum();
    store.close().await;
    (steps, took)
}
