//! Plays through the whole program, day by day: steps, waits, branches, people, exits, versions; and that being killed or run
//! again changes nothing.
//!
//! Long because the book that all of it happens to is here too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::content::POLICIES;
use perennial::cycle::{Engine, RunOptions, run_once};
use perennial::people::People;
use perennial::plays::{PlayError, Word, say};
use perennial::queue::decide;
use perennial_core::action::{ActionState, Effect, Receipt, Write, effects_hash};
use perennial_core::approval::{Event, Person};
use perennial_core::ids::{AccountId, ExternalId, SourceId, TenantId};
use perennial_core::money::Money;
use perennial_core::number::Micro;
use perennial_core::play::{Asked, Life, Outcome};
use perennial_core::replay::read;
use perennial_core::signal::{Account, Fact, Grain, OwnerRole, Signal, Subscription, Tier, Usage};
use perennial_core::time::{Day, Timestamp};
use perennial_store::{ActionRow, Belongs, NewSignal, PlayFilter, PlayRow, QueueFilter, SignalRow, Store};
use perennial_tests::hands::{CarryOut, InProcess, created};
use perennial_tests::{Database, run};
use perennial_tools::{Registry, SendError};

use crate::PROGRAM;
use crate::world::{DEMO_TIME, worlds};

/// A Monday.
const FIRST: &str = "2026-03-02T08:00:00Z";

/// Writes what it is given into a list; refuses for accounts whose number is odd, where it is told to.
#[derive(Default)]
struct Kept {
    sent: Mutex<Vec<(String, String)>>,
    refuse_odd: bool,
}

impl CarryOut for Kept {
    fn carry_out(&self, effect: &Effect, at: Timestamp) -> Result<Receipt, SendError> {
        let Write::CreateNote { title, .. } = &effect.write else {
            panic!("only notes are written here");
        };
        let account = effect.target.account.to_string();
        let odd = account.ends_with(['1', '3', '5', '7', '9']);
        if self.refuse_odd && odd && title == "first" {
            return Err(SendError::Refused {
                object: "Note".to_owned(),
                code: "LOCKED".to_owned(),
                message: "the record is locked for good".to_owned(),
                remedy: "unlock it".to_owned(),
            });
        }
        self.sent.lock().unwrap().push((account, title.clone()));
        Ok(created(effect, "Note", at))
    }
}

/// Tell, rest five business days, look, tell again with a yes; what cannot be written a person does.
const PLAYBOOK: &str = include_str!("plays/care.toml");

fn policies(folder: &Path) -> PathBuf {
    let folder = folder.join("policies");
    std::fs::create_dir_all(folder.join("playbooks")).unwrap();
    std::fs::create_dir_all(folder.join("rules")).unwrap();
    let text = |name: &str| POLICIES.iter().find(|(file, _)| *file == name).unwrap().1;
    let all = |level: &str| format!("{{ low_touch = \"{level}\", mid_touch = \"{level}\", strategic = \"never\" }}");
    let mut table = "[matrix]\n".to_owned();
    for kind in [
        "createTask",
        "updateField",
        "updateOpportunity",
        "sendEmail",
        "sendQbr",
        "sendRenewal",
        "offerDiscount",
    ] {
        table.push_str(&format!("{kind} = {}\n", all("never")));
    }
    table.push_str(&format!("createNote = {}\n", all("auto")));
    table.push_str(
        "[auto]\nmin_confidence = 0\nmax_arr = \"100k EUR\"\nmax_usage_age_days = 100000\n[limits]\n\
         contacts_per_account_7_days = 1000\nfields_agent_may_write = []\n",
    );
    for (name, text) in [
        ("autonomy.toml", table.as_str()),
        ("scoring.toml", text("scoring.toml")),
        ("rules/90-never.cedar", text("rules/90-never.cedar")),
        ("playbooks/care.toml", PLAYBOOK),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder
}

fn account(n: usize) -> AccountId {
    AccountId::new(format!("A{n:03}"))
}

fn signal(n: usize, kind: &str, at: Timestamp, fact: Fact) -> NewSignal {
    NewSignal {
        owner: Belongs::Account(account(n)),
        signal: Signal {
            source: SourceId::new("test"),
            external_id: ExternalId::new(format!("A{n:03}-{kind}")),
            event_at: at,
            observed_at: at,
            revision_at: at,
            fact,
        },
    }
}

fn usage(n: usize, at: Timestamp) -> NewSignal {
    let fact = Fact::Usage(Usage {
        product: None,
        grain: Grain::Day,
        start: at.day(),
        values: [("active_users".to_owned(), Micro::whole(5))].into(),
    });
    signal(n, &format!("usage-{}", at.day()), at, fact)
}

fn bought(n: usize, since: Timestamp, at: Timestamp, seats: i64) -> NewSignal {
    let fact = Fact::Subscription(Subscription {
        product: Some("p".to_owned()),
        start: Some(since.day()),
        arr: Some(Money::new(2_000_000, "EUR".parse().unwrap())),
        seats: Some(seats),
        ..Subscription::default()
    });
    signal(n, "subscription", at, fact)
}

fn customer(n: usize, at: Timestamp, peace: bool) -> NewSignal {
    let fact = Fact::Account(Account {
        name: Some(format!("Customer {n}")),
        tier: Some(Tier::LOW_TOUCH),
        since: Some(at.day()),
        do_not_contact: Some(peace),
        ..Account::default()
    });
    signal(n, "account", at, fact)
}

/// A book of accounts with a playbook of several steps, and the days that pass.
struct Book {
    temp: tempfile::TempDir,
    db: Database,
    config: Config,
    store: Store,
    crm: Arc<Kept>,
    tools: Registry,
    keep: tokio::sync::watch::Sender<bool>,
    stop: tokio::sync::watch::Receiver<bool>,
}

impl Book {
    async fn all(test: &str, accounts: usize, refuse_odd: bool) -> Vec<Book> {
        let mut books = Vec::new();
        let first = tempfile::tempdir().unwrap();
        let dbs = Database::both(test, first.path());
        let mut first = Some(first);
        for db in dbs {
            let temp = first.take().unwrap_or_else(|| tempfile::tempdir().unwrap());
            books.push(Book::of(temp, db, accounts, refuse_odd).await);
        }
        books
    }

    async fn of(temp: tempfile::TempDir, db: Database, accounts: usize, refuse_odd: bool) -> Book {
        let overrides = Overrides {
            config: None,
            db: Some(db.url.clone()),
            policies: Some(policies(temp.path())),
        };
        let mut config = Config::load(&overrides).unwrap();
        config.limits.drain_ms = 0;
        config.people.insert("eva".to_owned(), vec![OwnerRole::CSM]);
        let store = Store::open(&config.database, TenantId::DEFAULT, &config.limits.store())
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let crm = Arc::new(Kept {
            refuse_odd,
            ..Kept::default()
        });
        let tools = Registry::new().with(Arc::new(InProcess(Arc::clone(&crm))));
        let (keep, stop) = tokio::sync::watch::channel(false);
        let book = Book {
            temp,
            db,
            config,
            store,
            crm,
            tools,
            keep,
            stop,
        };
        let at = FIRST.parse().unwrap();
        for n in 0..accounts {
            book.new_customer(n, at).await;
        }
        book
    }

    async fn new_customer(&self, n: usize, at: Timestamp) {
        self.learn(vec![customer(n, at, false), bought(n, at, at, 100), usage(n, at)])
            .await;
    }

    async fn learn(&self, signals: Vec<NewSignal>) {
        let mut rows: Vec<SignalRow> = signals.into_iter().map(SignalRow::of).collect();
        self.store.insert_signals(&mut rows).await.unwrap();
    }

    fn at(&mut self, text: &str) -> Timestamp {
        let now: Timestamp = text.parse().unwrap();
        self.config.clock = Clock::starting(now);
        now
    }

    /// A run at a moment; how many decisions were new.
    async fn run(&mut self, text: &str) -> u64 {
        let as_of = self.at(text);
        let engine = Engine {
            config: &self.config,
            store: &self.store,
            tools: &self.tools,
            stop: self.stop.clone(),
        };
        let options = RunOptions {
            as_of,
            live: false,
            dry_run: false,
        };
        let report = run_once(&engine, &options, &mut |_| {}).await.unwrap();
        report.decisions_new
    }

    async fn play(&self, n: usize) -> PlayRow {
        let filter = PlayFilter {
            account: Some(account(n)),
            limit: 0,
        };
        let mut found = self.store.plays(&filter).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    async fn step(&self, n: usize) -> String {
        match self.play(n).await.life {
            Life::Running(standing) => standing.step,
            Life::Ended { reason, .. } => format!("end: {reason}"),
        }
    }

    async fn history(&self, n: usize) -> Vec<(String, Option<Outcome>)> {
        let play = self.play(n).await;
        let steps = self.store.play_steps(&play).await.unwrap();
        steps.into_iter().map(|s| (s.step, s.outcome)).collect()
    }

    async fn pending(&self) -> Vec<ActionRow> {
        let filter = QueueFilter {
            states: vec![ActionState::Pending],
            ..QueueFilter::default()
        };
        self.store.queue(&filter).await.unwrap()
    }

    /// Eva says something about an action.
    async fn answer(&self, row: &ActionRow, event: Event) {
        let eva = Person {
            id: "eva".to_owned(),
            roles: vec![OwnerRole::CSM],
            lent: Vec::new(),
        };
        let people = People::read(&self.config, &self.store).await.unwrap();
        let compiled = perennial::content::compile(&self.config).unwrap().1;
        decide(&self.config, &self.store, row, &event, (&eva, &people), &compiled)
            .await
            .unwrap();
    }

    async fn approve(&self, row: &ActionRow) {
        let effects: Vec<Effect> = read("effects", &row.effects).unwrap();
        let seen = effects_hash(&effects);
        self.answer(row, Event::Approve { seen, reason: None }).await;
    }

    fn sent(&self, n: usize) -> Vec<String> {
        let sent = self.crm.sent.lock().unwrap();
        let of = sent.iter().filter(|(of, _)| *of == account(n).to_string());
        of.map(|(_, title)| title.clone()).collect()
    }

    /// What a command says to a person at a time.
    fn says(&self, at: &str, args: &[&str]) -> String {
        let folder = self.temp.path();
        std::fs::write(
            folder.join("perennial.toml"),
            format!("clock = \"{at}\"\n[people]\neva = [\"csm\"]\n"),
        )
        .unwrap();
        let policies = folder.join("policies").display().to_string();
        let all = [args, &["--db", &self.db.url, "--policies", &policies]].concat();
        run(PROGRAM, folder, &all).ok().out
    }

    async fn end(self) {
        let entries = self.store.ledger_page(0, 1_000_000).await.unwrap();
        for pair in entries.windows(2) {
            assert_eq!(pair[1].previous, pair[0].hash);
        }
        drop(self.keep);
        self.store.close().await;
        drop(self.db);
        drop(self.temp);
    }
}

#[tokio::test]
async fn a_play_goes_its_way_over_days_and_a_repeated_run_changes_nothing() {
    for mut book in Book::all("plays_way", 1, false).await {
        assert_eq!(book.run(FIRST).await, 1);
        assert_eq!(book.sent(0), ["first"]);
        assert_eq!(book.step(0).await, "rest");
        let before = book.play(0).await;
        assert_eq!(
            book.run("2026-03-02T08:00:00Z").await,
            0,
            "the same facts, the same day"
        );
        assert_eq!(book.play(0).await, before);
        // Four business days later it still rests, also over a weekend.
        for day in ["2026-03-04T09:00:00Z", "2026-03-06T09:00:00Z", "2026-03-08T09:00:00Z"] {
            book.run(day).await;
            assert_eq!(book.step(0).await, "rest", "{day}");
        }
        book.run("2026-03-09T09:00:00Z").await;
        assert_eq!(
            book.step(0).await,
            "again",
            "the look finds nothing and the step asks a person"
        );
        assert_eq!(
            book.sent(0),
            ["first"],
            "not before a yes, although the table says auto"
        );
        let pending = book.pending().await;
        assert_eq!(pending.len(), 1);
        assert_eq!(
            (pending[0].title.as_str(), pending[0].verdict.as_str()),
            ("Tell Customer 0 again", "approve:csm")
        );
        // The same run again proposes the same.
        book.run("2026-03-09T09:00:00Z").await;
        assert_eq!(book.pending().await[0].id, pending[0].id);
        // A day later it is overdue, and somebody more senior is asked, once.
        book.run("2026-03-10T10:00:00Z").await;
        let play = book.play(0).await;
        assert!(play.life.standing().unwrap().overdue, "{play:?}");
        assert_eq!(play.asked_role, Some(OwnerRole::CSM_MANAGER));
        let asked = book.pending().await;
        assert_eq!(asked[0].asked_role, Some(OwnerRole::CSM_MANAGER));
        book.run("2026-03-11T10:00:00Z").await;
        assert_eq!(book.play(0).await.asked_role, Some(OwnerRole::CSM_MANAGER));
        let row = book.pending().await.remove(0);
        book.approve(&row).await;
        book.run("2026-03-11T11:00:00Z").await;
        assert_eq!(book.step(0).await, "end: told twice");
        assert_eq!(book.sent(0), ["first", "second"]);
        let taken: Vec<_> = ["tell", "rest", "look", "again"]
            .into_iter()
            .map(str::to_owned)
            .zip([
                Some(Outcome::Executed),
                Some(Outcome::Elapsed),
                Some(Outcome::Otherwise),
                Some(Outcome::Executed),
            ])
            .collect();
        assert_eq!(book.history(0).await, taken);
        // Within its cool-down it does not begin again.
        book.run("2026-04-20T09:00:00Z").await;
        assert_eq!(book.step(0).await, "end: told twice");
        book.end().await;
    }
}

#[tokio::test]
async fn the_branch_on_failure_is_taken_and_a_person_marks_the_task_as_done() {
    for mut book in Book::all("plays_failure", 2, true).await {
        book.run(FIRST).await;
        assert_eq!(book.sent(0), ["first"]);
        assert!(book.sent(1).is_empty());
        assert_eq!(
            (book.step(0).await, book.step(1).await),
            ("rest".to_owned(), "by-hand".to_owned())
        );
        let early = book.play(1).await;
        let now = book.at("2026-03-02T12:00:00Z");
        book.run("2026-03-03T08:00:00Z").await;
        let play = book.play(1).await;
        let asked = play.life.standing().unwrap().asked.clone();
        assert!(
            matches!(&asked, Some(Asked::Task { text, .. }) if text == "Call Customer 1: 100 seats are left"),
            "{asked:?}"
        );
        let stale = say(&book.store, &early, &Word::Done, "eva", now).await;
        assert!(matches!(stale, Err(PlayError::Moved { .. })), "{stale:?}");
        let done = say(&book.store, &play, &Word::Done, "eva", now).await.unwrap();
        assert_eq!(done.life.standing().unwrap().step, "rest");
        let again = say(&book.store, &done, &Word::Done, "eva", now).await;
        assert!(matches!(again, Err(PlayError::NoTask { .. })), "{again:?}");
        let taken = book.history(1).await;
        assert_eq!(taken[0], ("tell".to_owned(), Some(Outcome::Failed)));
        assert_eq!(taken[1], ("by-hand".to_owned(), Some(Outcome::Done)));
        book.end().await;
    }
}

#[tokio::test]
async fn a_task_that_nobody_does_goes_on_by_its_branch() {
    for mut book in Book::all("plays_task", 2, true).await {
        book.run(FIRST).await;
        for day in ["2026-03-03T09:00:00Z", "2026-03-04T09:00:00Z"] {
            book.run(day).await;
            assert_eq!(book.step(1).await, "by-hand", "{day}");
        }
        assert!(book.play(1).await.life.standing().unwrap().overdue);
        let queue = book.says("2026-03-04T09:30:00Z", &["queue", "list"]);
        for word in ["overdue, asked csm_manager", "Call Customer 1", "by-hand"] {
            assert!(queue.contains(word), "{word}: {queue}");
        }
        let others = book.says("2026-03-04T09:30:00Z", &["queue", "list", "--owner", "somebody"]);
        assert!(!others.contains("by-hand"), "{others}");
        book.run("2026-03-05T09:00:00Z").await;
        assert_eq!(book.step(1).await, "again");
        assert_eq!(
            book.history(1).await[1],
            ("by-hand".to_owned(), Some(Outcome::Unanswered))
        );
        book.end().await;
    }
}

#[tokio::test]
async fn a_changed_playbook_is_for_new_plays_and_running_ones_keep_their_steps() {
    for mut book in Book::all("plays_version", 1, false).await {
        book.run(FIRST).await;
        let file = book.temp.path().join("policies/playbooks/care.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        // Shorter, other names, other words, and the second note is another one.
        let changed = text
            .replace("5 business days", "1 day")
            .replace("\"look\"", "\"glance\"")
            .replace("title = \"second\"", "title = \"other\"")
            .replace("Tell {account} again", "Write to {account} anew");
        assert_ne!(text, changed);
        std::fs::write(&file, changed).unwrap();
        book.new_customer(2, "2026-03-03T08:00:00Z".parse().unwrap()).await;
        book.run("2026-03-03T09:00:00Z").await;
        assert_eq!(
            (book.step(0).await, book.step(2).await),
            ("rest".to_owned(), "rest".to_owned())
        );
        assert_ne!(book.play(0).await.definition, book.play(2).await.definition);
        book.run("2026-03-05T09:00:00Z").await;
        assert_eq!(
            (book.step(0).await, book.step(2).await),
            ("rest".to_owned(), "again".to_owned())
        );
        book.run("2026-03-09T09:00:00Z").await;
        assert_eq!(book.step(0).await, "again");
        assert_eq!(book.history(0).await[2].0, "look");
        assert_eq!(book.history(2).await[2].0, "glance");
        for row in book.pending().await {
            let expected = if row.account == account(0) {
                "Tell Customer 0 again"
            } else {
                "Write to Customer 2 anew"
            };
            assert_eq!(row.title, expected);
            book.approve(&row).await;
        }
        book.run("2026-03-09T10:00:00Z").await;
        assert_eq!(
            (book.sent(0), book.sent(2)),
            (
                vec!["first".to_owned(), "second".to_owned()],
                vec!["first".to_owned(), "other".to_owned()]
            )
        );
        // Also where the playbook is gone altogether.
        std::fs::remove_file(&file).unwrap();
        std::fs::write(
            book.temp.path().join("policies/playbooks/other.toml"),
            text.replace("seats < 300", "seats < 0"),
        )
        .unwrap();
        book.run("2026-03-10T09:00:00Z").await;
        // A decision made by a pinned version replays.
        let decision = book.store.decisions_of(&account(0), 100).await.unwrap();
        for row in decision {
            let content = book.store.content(&row.content).await.unwrap().unwrap();
            let texts: perennial_core::policy::Content = read("content", &content).unwrap();
            let policies = perennial_core::policy::Policies::compile(&texts).ok().unwrap();
            let inputs: perennial_core::decide::Inputs = read("inputs", &row.inputs.text().unwrap()).unwrap();
            let again = perennial_core::decide::decide(&inputs, &policies);
            assert_eq!(perennial_core::replay::canonical(&again), row.output.text().unwrap());
        }
        book.end().await;
    }
}

#[tokio::test]
async fn a_condition_ends_a_wait_early_and_an_exit_takes_back_what_waits() {
    for mut book in Book::all("plays_exit", 2, false).await {
        book.run(FIRST).await;
        let tuesday: Timestamp = "2026-03-03T08:00:00Z".parse().unwrap();
        book.learn(vec![bought(0, FIRST.parse().unwrap(), tuesday, 500)]).await;
        book.run("2026-03-04T09:00:00Z").await;
        assert_eq!(
            (book.step(0).await, book.step(1).await),
            ("end: seats are back".to_owned(), "rest".to_owned())
        );
        assert_eq!(book.history(0).await[1].1, Some(Outcome::Holds));
        book.run("2026-03-09T09:00:00Z").await;
        let waiting = book.pending().await;
        assert_eq!((waiting.len(), book.step(1).await.as_str()), (1, "again"));
        book.learn(vec![customer(1, "2026-03-10T08:00:00Z".parse().unwrap(), true)])
            .await;
        book.run("2026-03-10T09:00:00Z").await;
        assert_eq!(book.step(1).await, "end: they asked for peace");
        let row = book.store.action(waiting[0].id.as_str()).await.unwrap();
        assert_eq!(row.state, ActionState::Superseded);
        book.end().await;
    }
}

#[tokio::test]
async fn nobody_answers_a_person_says_no_and_a_person_ends_it() {
    for mut book in Book::all("plays_people", 3, false).await {
        book.run(FIRST).await;
        book.run("2026-03-09T09:00:00Z").await;
        let waiting = book.pending().await;
        assert_eq!(waiting.len(), 3);
        let of = |n: usize| waiting.iter().find(|row| row.account == account(n)).unwrap();
        let reason = "not now".to_owned();
        book.answer(of(0), Event::Reject { reason }).await;
        assert_eq!(book.step(0).await, "end: a person said no");
        let play = book.play(1).await;
        let now = book.at("2026-03-09T10:00:00Z");
        let empty = Word::Exit { reason: " ".to_owned() };
        assert!(matches!(
            say(&book.store, &play, &empty, "eva", now).await,
            Err(PlayError::NoReason)
        ));
        let exit = Word::Exit {
            reason: "we talk anyway".to_owned(),
        };
        say(&book.store, &play, &exit, "eva", now).await.unwrap();
        assert_eq!(book.step(1).await, "end: we talk anyway (eva)");
        let over = say(&book.store, &book.play(1).await, &exit, "eva", now).await;
        assert!(matches!(over, Err(PlayError::Ended { .. })), "{over:?}");
        book.run("2026-03-19T09:30:00Z").await;
        assert_eq!(book.step(2).await, "end: nobody answered");
        // The play is over, so its action, approved late, moves nothing.
        assert_eq!(book.history(2).await.last().unwrap().1, Some(Outcome::Unanswered));
        book.end().await;
    }
}

/// Runs are stopped at safe points, repeated and run side by side, day after day.
#[tokio::test]
async fn stopped_repeated_and_doubled_runs_take_every_step_once() {
    const ACCOUNTS: usize = 20;
    for mut book in Book::all("plays_repeated", ACCOUNTS, true).await {
        let mut day: Timestamp = FIRST.parse().unwrap();
        for n in 0..14 {
            let text = day.to_string();
            if n % 2 == 0 {
                // Told to stop before it has begun, and again in the middle of nothing.
                book.keep.send_replace(true);
                let _ = run_stopped(&mut book, &text).await;
                book.keep.send_replace(false);
            }
            book.run(&text).await;
            book.run(&text).await;
            for row in book.pending().await {
                book.approve(&row).await;
            }
            day = day.plus_days(1);
        }
        for n in 0..ACCOUNTS {
            let (sent, history) = (book.sent(n), book.history(n).await);
            let turns: BTreeSet<&String> = history.iter().map(|(step, _)| step).collect();
            assert_eq!(turns.len(), history.len(), "no step twice: {history:?}");
            let expected: &[&str] = if n % 2 == 0 { &["first", "second"] } else { &["second"] };
            assert_eq!(sent, expected, "{n}: {history:?}");
            assert_eq!(book.step(n).await, "end: told twice", "{n}");
        }
        book.end().await;
    }
}

async fn run_stopped(book: &mut Book, text: &str) -> bool {
    let as_of = book.at(text);
    let engine = Engine {
        config: &book.config,
        store: &book.store,
        tools: &book.tools,
        stop: book.stop.clone(),
    };
    let options = RunOptions {
        as_of,
        live: false,
        dry_run: false,
    };
    run_once(&engine, &options, &mut |_| {}).await.is_ok()
}

/// The commands, on the shipped policies and the demo's book.
#[test]
fn the_commands_show_and_end_plays_of_the_shipped_playbook() {
    for world in worlds("plays_commands") {
        world.configure(&format!(
            "clock = \"{DEMO_TIME}\"\n[people]\nana = [\"csm\"]\npia = []\n"
        ));
        world.go(&["run", "--once", "--as-of", DEMO_TIME]).ok();
        let plays = world.go(&["plays"]).ok().json();
        let plays = plays.as_array().unwrap();
        assert!(!plays.is_empty(), "the demo has an onboarding that stalls");
        let play = &plays[0];
        assert_eq!(play["playbook"], "onboarding-stalled");
        let (id, account) = (play["id"].as_str().unwrap(), play["account"].as_str().unwrap());
        let of = world.go(&["plays", "--account", account]).ok().json();
        assert_eq!(of.as_array().unwrap().len(), 1);
        let shown = world.go(&["play", "show", id]).ok().json();
        assert_eq!(shown["steps"][0]["step"], "restart");
        let action = shown["steps"][0]["action"].as_str().unwrap();
        let card = world.go(&["queue", "show", action, "--offline"]).ok().json();
        assert_eq!(
            (&card["play"]["id"], &card["play"]["step"]),
            (&play["id"], &"restart".into())
        );
        let text = world.text(&["queue", "show", action, "--offline"]);
        assert!(
            text.contains("Onboarding stalled, step `restart` (number 1 of this play)"),
            "{text}"
        );
        let of_account = world.go(&["account", "show", account]).ok().json();
        assert_eq!(of_account["plays"][0]["id"], play["id"]);
        let text = world.text(&["account", "show", account]);
        assert!(text.contains("onboarding-stalled"), "{text}");
        let refused = world.go(&["play", "exit", id, "--reason", "x", "--as", "pia"]);
        assert!(
            refused.code == 1 && refused.err.contains("`pia` may not move plays"),
            "{}",
            refused.err
        );
        let refused = world.go(&["play", "done", id, "--as", "ana"]);
        assert!(refused.code == 1, "{}", refused.err);
        let ended = world
            .go(&["play", "exit", id, "--reason", "we talk", "--as", "ana"])
            .ok()
            .json();
        assert_eq!(ended["reason"], "we talk (ana)");
        let missing = world.go(&["play", "show", "ply_nothing"]);
        assert!(
            missing.code == 2 && missing.err.contains("`perennial plays` shows"),
            "{}",
            missing.err
        );
        let verified = world.go(&["audit", "verify"]).ok().json();
        assert_eq!(verified["intact"], true);
        world.end();
    }
}

/// The program is killed in the middle of its runs, day after day: what it had begun it ends, and nothing happens twice.
#[cfg(unix)]
#[test]
fn killed_runs_take_no_step_twice_and_lose_no_play() {
    for world in worlds("plays_killed") {
        let first: Timestamp = DEMO_TIME.parse().unwrap();
        let mut draw = perennial_core::draw::Stream::new(3, &["plays"]);
        // Lives are drawn below what a run takes on this machine, which shows when one ends by itself.
        let (mut kills, mut most) = (0, 900);
        for day in 0..7 {
            let midnight = first.plus_days(day * 2);
            let mut tries = 0;
            // Each command a little later than the one before, so that the lease of a killed run has ended.
            let mut later = || {
                tries += 1;
                let at = Timestamp::from_us(midnight.us() + tries * 5_000_000);
                world.configure(&format!("clock = \"{at}\"\n[people]\nana = [\"csm\"]\n"));
            };
            let at = midnight.to_string();
            let clock = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            for _ in 0..2 {
                later();
                let mut child = world.command(&["run", "--once", "--as-of", &at]);
                child
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null());
                let mut child = child.spawn().unwrap();
                let life = 5 + draw.below(most);
                clock.block_on(async { tokio::time::sleep(std::time::Duration::from_millis(life as u64)).await });
                match child.try_wait().unwrap() {
                    None => kills += 1,
                    Some(_) => most = (most / 2).max(20),
                }
                let _ = child.kill();
                let _ = child.wait();
            }
            later();
            world.go(&["run", "--once", "--as-of", &at]).ok();
        }
        let created = world.created();
        assert!(created.values().all(|n| *n == 1), "{created:?}");
        let plays = world.go(&["plays"]).ok().json();
        for play in plays.as_array().unwrap() {
            let shown = world.go(&["play", "show", play["id"].as_str().unwrap()]).ok().json();
            let steps = shown["steps"].as_array().unwrap();
            for (n, step) in steps.iter().enumerate() {
                assert_eq!(step["turn"], n + 1, "{shown}");
                assert_eq!(step["left_at"].is_null(), n + 1 == steps.len(), "{shown}");
            }
        }
        let verified = world.go(&["audit", "verify"]).ok().json();
        assert_eq!(verified["intact"], true, "{verified}");
        println!(
            "{kills} runs killed, {} plays, {} effects, each once",
            plays.as_array().unwrap().len(),
            created.len()
        );
        assert!(kills > 2, "{kills}");
        world.end();
    }
}

/// The days of a test are days of the week.
#[test]
fn the_first_day_is_a_monday() {
    let first: Timestamp = FIRST.parse().unwrap();
    let day: Day = first.day();
    assert_eq!(day.week_start(), day);
}
