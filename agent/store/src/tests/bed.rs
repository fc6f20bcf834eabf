//! A fresh database for a test, and the values that tests are made of.

use std::future::Future;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use perennial_core::action::{ActionKind, ActionState, Effect, PermitRecord, Target, Write, effects_hash};
use perennial_core::ids::{
    AccountId, ActionId, DecisionId, EffectId, ExternalId, PlaybookId, RunId, SourceId, TenantId,
};
use perennial_core::number::Micro;
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::{Account, Crm, Fact, Grain, Signal, Usage};
use perennial_core::time::{Day, Timestamp};

use crate::*;

/// Runs tests on both databases: `both!(name_a, name_b)` for functions that take a [`Bed`].
macro_rules! both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::Bed::on_sqlite(super::$name).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::Bed::on_postgres(super::$name).await;
            })+
        }
    };
}
pub(crate) use both;

/// A fresh, migrated database.
#[derive(Clone)]
pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) url: DatabaseUrl,
    _directory: Option<Arc<tempfile::TempDir>>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Bed {
    pub(crate) async fn sqlite() -> Bed {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let url = DatabaseUrl::Sqlite(directory.path().join("test.db"));
        let store = open(&url).await;
        store.migrate().await.expect("migrates");
        Bed {
            store,
            url,
            _directory: Some(Arc::new(directory)),
        }
    }

    pub(crate) async fn on_sqlite<F: Future<Output = ()>>(test: impl FnOnce(Bed) -> F) {
        test(Bed::sqlite().await).await;
    }

    pub(crate) async fn on_postgres<F>(test: impl FnOnce(Bed) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Ok(server) = std::env::var("PERENNIAL_TEST_PG") else {
            static SAID: std::sync::Once = std::sync::Once::new();
            SAID.call_once(|| {
                // Not `eprintln!`, which the test harness hides.
                let _ = writeln!(std::io::stderr(), "skipped on PostgreSQL: PERENNIAL_TEST_PG is not set");
            });
            return;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let schema = format!("perennial_{}_{number}", std::process::id());
        script(&server, format!("create schema {schema}")).await;
        let mark = if server.contains('?') { '&' } else { '?' };
        let url = DatabaseUrl::Postgres(Secret::new(format!("{server}{mark}options=-csearch_path%3D{schema}")));
        let store = open(&url).await;
        store.migrate().await.expect("migrates");
        let bed = Bed {
            store: store.clone(),
            url,
            _directory: None,
        };
        // As a task, so that a test that panics is cleaned up after.
        let done = tokio::spawn(test(bed)).await;
        store.close().await;
        script(&server, format!("drop schema {schema} cascade")).await;
        if let Err(failed) = done {
            std::panic::resume_unwind(failed.into_panic());
        }
    }

    /// Runs a statement outside the store, to do damage.
    pub(crate) async fn tamper(&self, text: &'static str) {
        let mut tx = self.store.db.write(crate::db::Durability::Full).await.expect("opens");
        tx.script("tampering", text).await.expect("runs");
        tx.commit().await.expect("commits");
    }
}

async fn open(url: &DatabaseUrl) -> Store {
    Store::open(url, TenantId::DEFAULT, &Options::default())
        .await
        .expect("opens")
}

pub(crate) async fn script(server: &str, text: String) {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(server)
        .await
        .expect("a server at PERENNIAL_TEST_PG");
    sqlx::raw_sql(sqlx::AssertSqlSafe(text))
        .execute(&mut connection)
        .await
        .expect("runs");
}

pub(crate) fn at(minute: i64) -> Timestamp {
    Timestamp::from_us(1_700_000_000_000_000 + minute * 60_000_000)
}

pub(crate) fn account_id(number: usize) -> AccountId {
    AccountId::new(format!("A-{number:04}"))
}

pub(crate) fn account(number: usize) -> NewSignal {
    signal(
        Belongs::Account(account_id(number)),
        &format!("A-{number:04}"),
        0,
        Fact::Account(Account {
            name: Some(format!("Customer \"{number}\" Ü")),
            ..Account::default()
        }),
    )
}

pub(crate) fn usage(owner: Belongs, name: &str, revision: i64, value: i64) -> NewSignal {
    signal(
        owner,
        name,
        revision,
        Fact::Usage(Usage {
            product: None,
            grain: Grain::Day,
            start: Day::from_number(20_000),
            values: [("active_users".to_owned(), Micro::whole(value))].into(),
        }),
    )
}

pub(crate) fn signal(owner: Belongs, name: &str, revision: i64, fact: Fact) -> NewSignal {
    NewSignal {
        owner,
        signal: Signal {
            source: SourceId::new("test"),
            external_id: ExternalId::new(name),
            event_at: at(1),
            observed_at: at(2),
            revision_at: Timestamp::from_us(revision),
            fact,
        },
    }
}

pub(crate) fn run_id() -> RunId {
    RunId::derive(at(0), at(0))
}

pub(crate) fn run_row(id: RunId, started: Timestamp) -> RunRow {
    RunRow {
        id,
        as_of: at(0),
        started_at: started,
        heartbeat_at: started,
        lease_us: 60_000_000,
        content: Hash::of(b"content"),
        engine: "0.1.0".to_owned(),
        finished_at: None,
        summary: None,
    }
}

fn effects(account: &AccountId, action: &ActionId, tools: &[Crm]) -> Vec<Effect> {
    (0_u32..)
        .zip(tools)
        .map(|(step, tool)| Effect {
            id: EffectId::derive(action, step),
            action: action.clone(),
            step,
            tool: *tool,
            target: Target {
                account: account.clone(),
                account_name: "Customer".to_owned(),
                crm_id: None,
            },
            write: Write::CreateNote {
                title: "Note".to_owned(),
                body: format!("step {step}"),
            },
        })
        .collect()
}

/// A permit as a store would hand it out; permits cannot be made outside the core.
pub(crate) fn permit(action: &ActionId, effects: &[Effect]) -> PermitRecord {
    let text = format!(
        r#"{{"action":"{action}","effects":"{}","ground":{{"verdict":{{"content":"{}","rule":"a:1"}}}}}}"#,
        effects_hash(effects),
        Hash::ZERO
    );
    serde_json::from_str(&text).expect("a permit")
}

/// An action of account `number`, with an effect for each of `tools`, in the outbox when it is permitted.
pub(crate) fn action(number: usize, subject: &str, state: ActionState, tools: &[Crm]) -> NewAction {
    let account = account_id(number);
    let playbook = PlaybookId::new("adoption");
    let id = ActionId::derive(
        TenantId::DEFAULT,
        &account,
        &playbook,
        subject,
        Day::from_number(20_000),
    );
    let effects = effects(&account, &id, tools);
    let permit = permit(&id, &effects);
    let outbox = effects
        .iter()
        .filter(|_| state == ActionState::Permitted)
        .map(|effect| OutboxRow {
            effect: effect.clone(),
            permit: permit.clone(),
            due_at: at(0),
        })
        .collect();
    NewAction {
        play: None,
        row: ActionRow {
            account: account.clone(),
            id,
            decision: DecisionId::new("dec"),
            kind: ActionKind::CREATE_NOTE,
            playbook,
            subject: subject.to_owned(),
            state,
            version: 1,
            title: format!("Do {subject}"),
            owner: None,
            tier: None,
            role: None,
            verdict: "auto".to_owned(),
            value_minor: Some(12_345),
            currency: Some("USD".to_owned()),
            minutes: 30,
            rank_micro: None,
            due: Day::from_number(20_003),
            as_of: at(0),
            expires_at: None,
            snoozed_until: None,
            last_editor: None,
            asked_role: None,
            asked_since: None,
            day_position: None,
            card: "{}".to_owned(),
            effects: canonical(&effects),
            updated_at: at(0),
        },
        outbox,
        holds: Vec::new(),
    }
}

/// A decision about account `number`, with its actions and an entry of the ledger for itself and for each action.
pub(crate) fn commit(number: usize, inputs: &str, mut actions: Vec<NewAction>) -> DecisionCommit {
    let inputs = format!("{{\"note\":\"{inputs}\"}}");
    let account = account_id(number);
    let id = DecisionId::derive(&account, &Hash::of(inputs.as_bytes()));
    for action in &mut actions {
        action.row.decision = id.clone();
    }
    let draft = |kind: &str, reference: &str| LedgerDraft {
        kind: kind.to_owned(),
        reference: reference.to_owned(),
        body: "{}".to_owned(),
    };
    let mut ledger = vec![draft("decision", id.as_str())];
    ledger.extend(actions.iter().map(|action| draft("intent", action.row.id.as_str())));
    DecisionCommit {
        plays: Vec::new(),
        decision: DecisionRow {
            account,
            id,
            run: run_id(),
            as_of: at(0),
            inputs_hash: Hash::of(inputs.as_bytes()),
            inputs: Packed::of(&inputs),
            output: Packed::of("{\"chosen\":[]}"),
            output_hash: Hash::of(b"{\"chosen\":[]}"),
            content: Hash::of(b"content"),
            engine: "0.1.0".to_owned(),
        },
        actions,
        supersede: Vec::new(),
        ledger,
    }
}
