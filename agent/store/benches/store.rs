//! How fast the store is. Run by hand: `cargo bench -p perennial-store -- [accounts] [signals an account] [signals a batch]`.
//!
//! Uses a SQLite file in a temporary directory (`TMPDIR` chooses the disk), or the PostgreSQL server that
//! `PERENNIAL_BENCH_PG` names, which should be empty. Prints one line a measurement.

// A benchmark is the one thing that has to look at a clock.
#![allow(clippy::disallowed_methods, missing_docs)]

use std::time::Instant;

use perennial_core::action::{ActionKind, ActionState, Done, Effect, Receipt, Target, Write, effects_hash};
use perennial_core::ids::{
    AccountId, ActionId, DecisionId, EffectId, ExternalId, PlaybookId, RunId, SourceId, TenantId,
};
use perennial_core::number::Micro;
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::{Account, Crm, Fact, Grain, Signal, Usage};
use perennial_core::time::{Day, Timestamp};
use perennial_store::{
    ActionRow, Belongs, DatabaseUrl, DecisionCommit, DecisionRow, EffectOutcome, EffectResult, LedgerDraft, NewAction,
    NewSignal, Options, OutboxRow, Packed, Secret, SignalRow, Store,
};

fn now() -> Timestamp {
    Timestamp::from_us(1_700_000_000_000_000)
}

fn account_id(number: usize) -> AccountId {
    AccountId::new(format!("A-{number:06x}"))
}

fn signal(number: usize, name: String, fact: Fact) -> NewSignal {
    NewSignal {
        owner: Belongs::Account(account_id(number)),
        signal: Signal {
            source: SourceId::new("bench"),
            external_id: ExternalId::new(name),
            event_at: now(),
            observed_at: now(),
            revision_at: Timestamp::EPOCH,
            fact,
        },
    }
}

fn usage(number: usize, day: usize) -> NewSignal {
    let value = |v: usize| Micro::whole(i64::try_from(v % 977).unwrap_or(0));
    let fact = Fact::Usage(Usage {
        product: Some("core".to_owned()),
        grain: Grain::Day,
        start: Day::from_number(20_000).plus(i64::try_from(day).unwrap_or(0)),
        values: [
            ("active_users".to_owned(), value(number + day)),
            ("core_events".to_owned(), value(number * 7 + day)),
            ("seats".to_owned(), value(number)),
        ]
        .into(),
    });
    signal(number, format!("usage-{number:06x}-{day}"), fact)
}

fn report(what: &str, count: usize, unit: &str, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{what:<48} {count:>9} {unit:<10} {seconds:>8.2} s {:>10.0} /s",
        count as f64 / seconds
    );
}

#[tokio::main]
async fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let accounts = numbers.first().copied().unwrap_or(20_000);
    let each = numbers.get(1).copied().unwrap_or(30);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url = match std::env::var("PERENNIAL_BENCH_PG") {
        Ok(url) => DatabaseUrl::Postgres(Secret::new(url)),
        Err(_) => DatabaseUrl::Sqlite(directory.path().join("bench.db")),
    };
    let store = Store::open(&url, TenantId::DEFAULT, &Options::default())
        .await
        .expect("opens");
    store.migrate().await.expect("migrates");
    let batch = numbers.get(2).copied().unwrap_or(5_000);
    signals(&store, accounts, each, batch).await;
    decisions(&store, 10_000).await;
    outbox(&store).await;
    println!("{:?}", store.stats().await.expect("reads"));
    store.close().await;
}

async fn insert(store: &Store, what: &str, signals: &[NewSignal], batch: usize) {
    let begun = Instant::now();
    for batch in signals.chunks(batch) {
        store.insert_signals(&mut rows(batch)).await.expect("stores");
    }
    report(what, signals.len(), "signals", begun);
}

async fn signals(store: &Store, accounts: usize, each: usize, batch: usize) {
    let heads: Vec<NewSignal> = (0..accounts)
        .map(|number| {
            let fact = Fact::Account(Account {
                name: Some(format!("Customer {number}")),
                ..Account::default()
            });
            signal(number, format!("A-{number:06x}"), fact)
        })
        .collect();
    insert(store, "account records", &heads, batch).await;
    // As a daily export comes: a day of all accounts, then the next day.
    let mut all = Vec::new();
    let mut total = 0.0;
    for day in 0..each {
        all.clear();
        all.extend((0..accounts).map(|number| usage(number, day)));
        let begun = Instant::now();
        for part in all.chunks(batch) {
            store.insert_signals(&mut rows(part)).await.expect("stores");
        }
        total += begun.elapsed().as_secs_f64();
    }
    println!(
        "{:<48} {:>9} {:<10} {total:>8.2} s {:>10.0} /s",
        "usage facts, day by day",
        accounts * each,
        "signals",
        (accounts * each) as f64 / total
    );
    insert(store, "the last day again (all known)", &all, batch).await;
    // As a history comes: account by account.
    let history: Vec<NewSignal> = (0..accounts / 2)
        .flat_map(|number| (1_000..1_000 + each.min(10)).map(move |day| usage(number, day)))
        .collect();
    insert(store, "usage facts, account by account", &history, batch).await;

    let begun = Instant::now();
    let hash = store.state_hash().await.expect("hashes");
    report("state hash", accounts * (each + 1) + history.len(), "signals", begun);
    println!("  {hash}");
    let begun = Instant::now();
    let (mut after, mut ids) = (None, Vec::new());
    loop {
        let page = store.account_ids(after.as_ref(), 10_000).await.expect("reads");
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        ids.extend(page);
    }
    report("account ids", ids.len(), "accounts", begun);
    let begun = Instant::now();
    let mut count = 0;
    for chunk in ids.chunks(500) {
        let found = store.account_signals(chunk).await.expect("reads");
        count += found.values().map(Vec::len).sum::<usize>();
    }
    report("signals by account, 500 accounts a call", count, "signals", begun);
    let begun = Instant::now();
    let orphans = store.orphans(5).await.expect("reads");
    report("orphans", usize::try_from(orphans.0).unwrap_or(0), "accounts", begun);
    let begun = Instant::now();
    store.link_signals().await.expect("links");
    report("linking with nothing to link", 1, "calls", begun);
}

fn commit(number: usize, inputs: &str) -> DecisionCommit {
    let account = account_id(number);
    let inputs = format!("{{\"account\":\"{account}\",\"facts\":{inputs}}}");
    let inputs_hash = Hash::of(inputs.as_bytes());
    let id = DecisionId::derive(&account, &inputs_hash);
    let run = RunId::derive(now(), now());
    let playbook = PlaybookId::new("adoption");
    let actions: Vec<NewAction> = (0..2)
        .map(|i| {
            let subject = format!("{i}");
            let action = ActionId::derive(TenantId::DEFAULT, &account, &playbook, &subject, now().day());
            let effects = vec![Effect {
                id: EffectId::derive(&action, 0),
                action: action.clone(),
                step: 0,
                tool: if i == 0 { Crm::Salesforce } else { Crm::HubSpot },
                target: Target {
                    account: account.clone(),
                    account_name: "Customer".to_owned(),
                    crm_id: None,
                },
                write: Write::CreateNote {
                    title: "Usage fell by a third in two weeks".to_owned(),
                    body: "Active users fell from 120 to 80. ".repeat(8),
                },
            }];
            let permit = serde_json::from_str(&format!(
                r#"{{"action":"{action}","effects":"{}","ground":{{"verdict":{{"content":"{}","rule":"a:1"}}}}}}"#,
                effects_hash(&effects),
                Hash::ZERO
            ))
            .expect("a permit");
            let outbox = vec![OutboxRow {
                effect: effects[0].clone(),
                permit,
                due_at: now(),
            }];
            NewAction {
                play: None,
                row: ActionRow {
                    account: account.clone(),
                    id: action,
                    decision: id.clone(),
                    kind: ActionKind::CREATE_NOTE,
                    playbook: playbook.clone(),
                    subject,
                    state: ActionState::Permitted,
                    version: 1,
                    title: "Look at the fall of usage".to_owned(),
                    owner: None,
                    tier: None,
                    role: None,
                    verdict: "auto".to_owned(),
                    value_minor: Some(1_000),
                    currency: Some("USD".to_owned()),
                    minutes: 15,
                    rank_micro: Some(i64::try_from(number).unwrap_or(0)),
                    due: now().day(),
                    as_of: now(),
                    expires_at: None,
                    snoozed_until: None,
                    last_editor: None,
                    asked_role: None,
                    asked_since: None,
                    day_position: None,
                    card: "{}".to_owned(),
                    effects: canonical(&effects),
                    updated_at: now(),
                },
                outbox,
                holds: Vec::new(),
            }
        })
        .collect();
    let ledger = actions
        .iter()
        .map(|action| LedgerDraft {
            kind: "intent".to_owned(),
            reference: action.row.id.to_string(),
            body: action.row.effects.clone(),
        })
        .collect();
    let output = format!("{{\"chosen\":{}}}", "[1,2,3]".repeat(200));
    DecisionCommit {
        plays: Vec::new(),
        decision: DecisionRow {
            account,
            id,
            run,
            as_of: now(),
            inputs: Packed::of(&inputs),
            inputs_hash,
            output_hash: Hash::of(output.as_bytes()),
            output: Packed::of(&output),
            content: Hash::ZERO,
            engine: "0.1.0".to_owned(),
        },
        actions,
        supersede: Vec::new(),
        ledger,
    }
}

async fn decisions(store: &Store, count: usize) {
    let inputs = format!(
        "[{}{{}}]",
        "{\"kind\":\"usage\",\"metric\":\"active_users\",\"value\":1200000},".repeat(130)
    );
    println!("  inputs of a decision: {} bytes", inputs.len());
    let commits: Vec<DecisionCommit> = (0..count).map(|number| commit(number, &inputs)).collect();
    let run = RunId::derive(now(), now());
    for what in [
        "decisions with 2 actions and effects, 500 a call",
        "the same again (all known)",
    ] {
        let begun = Instant::now();
        for batch in commits.chunks(500) {
            store.commit_decisions(&run, batch, now()).await.expect("commits");
        }
        report(what, commits.len(), "decisions", begun);
    }
}

async fn outbox(store: &Store) {
    let begun = Instant::now();
    let mut count = 0;
    let mut first = None;
    loop {
        let part = Instant::now();
        let leases = store
            .lease_effects("bench", Crm::ALL, 128, now(), 60_000_000)
            .await
            .expect("leases");
        first.get_or_insert_with(|| part.elapsed());
        if leases.is_empty() {
            break;
        }
        let outcomes: Vec<EffectOutcome> = leases
            .iter()
            .map(|lease| EffectOutcome {
                learned: Vec::new(),
                account: lease.effect.target.account.clone(),
                effect: lease.effect.id.clone(),
                fence: lease.fence,
                begun_at: lease.begun_at,
                result: EffectResult::Done(Receipt {
                    tool: lease.effect.tool,
                    done: Done::Created,
                    object: "Note".to_owned(),
                    record: "0691".to_owned(),
                    url: "http://localhost/0691".to_owned(),
                    before: std::collections::BTreeMap::new(),
                    after: [("Title".to_owned(), "Usage fell".to_owned())].into(),
                    at: now(),
                }),
                ledger: vec![LedgerDraft {
                    kind: "receipt".to_owned(),
                    reference: lease.effect.id.to_string(),
                    body: "{}".to_owned(),
                }],
                at: now(),
            })
            .collect();
        let report = store.settle_effects(&outcomes).await.expect("settles");
        assert!(report.refused.is_empty());
        count += leases.len();
    }
    report("effects leased and settled, 128 at a time", count, "effects", begun);
    println!(
        "  first lease, with {count} waiting: {:.1} ms",
        first.unwrap_or_default().as_secs_f64() * 1e3
    );
}

fn rows(signals: &[NewSignal]) -> Vec<SignalRow> {
    signals.iter().cloned().map(SignalRow::of).collect()
}
