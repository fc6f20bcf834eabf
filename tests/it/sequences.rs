//! Random sequences of what people, the policies, the records and a worker do to actions in a real database, held against a judge that
//! keeps its own books: nothing is sent on a yes that was stale, borrowed, or not one of enough.
//!
//! `PERENNIAL_STORE_SEQUENCES` says how many on each database (60 without it). The same for the rules alone, without a database, is in
//! `perennial-core`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::cycle::{Engine, RunOptions, run_once};
use perennial::demo::portfolio::{PortfolioOptions, write_csv};
use perennial::dispatch::drain;
use perennial::intake::{ImportOptions, Mapping, import};
use perennial::people::{People, delegate, revoke};
use perennial::{content, queue};
use perennial_core::action::{ActionKind, ActionState, Effect, Priority, Receipt, Write, effects_hash};
use perennial_core::approval::{Assignee, Event};
use perennial_core::draw::Stream;
use perennial_core::ids::{AccountId, ActionId, EffectId, RunId, TenantId};
use perennial_core::policy::Policies;
use perennial_core::replay::canonical;
use perennial_core::signal::{Crm, OwnerRole, Tier};
use perennial_core::time::Timestamp;
use perennial_store::{ActionRow, DecisionCommit, DecisionRow, NewAction, QueueFilter, Store};
use perennial_tests::hands::{CarryOut, InProcess, created};
use perennial_tests::{Database, copy_folder, root};
use perennial_tools::{Registry, SendError};

use crate::world::DEMO_TIME;

const FEW: usize = 60;
/// Sequences in one database: an account with thousands of actions is not what this is about.
const EACH: usize = 250;
const STEPS: usize = 24;
const HOUR: i64 = 3_600_000_000;
const CSM: OwnerRole = OwnerRole::CSM;
const MANAGER: OwnerRole = OwnerRole::CSM_MANAGER;
const DESK: OwnerRole = OwnerRole::DEAL_DESK;
const HEAD: OwnerRole = OwnerRole::VP_CS;
const PEOPLE: [&str; 5] = ["ana", "bob", "cyd", "dan", "eve"];
const ROLES: [&[OwnerRole]; 5] = [&[CSM], &[MANAGER], &[DESK], &[HEAD], &[CSM, DESK]];
/// Level of a task, who has to say yes together, and what the judge takes both to mean; `None`: nothing may be sent.
const POLICIES: [(&str, &str, Option<&[OwnerRole]>); 5] = [
    ("approve:csm", "", Some(&[CSM])),
    ("approve:csm", "\"deal_desk\", \"csm_manager\"", Some(&[DESK, MANAGER])),
    ("approve:csm", "\"csm\", \"csm\"", Some(&[CSM, CSM])),
    ("approve:csm_manager", "", Some(&[MANAGER])),
    ("never", "", None),
];

/// A CRM that only remembers what it was told.
#[derive(Default)]
struct Told(Mutex<Vec<Effect>>);

impl CarryOut for Told {
    fn carry_out(&self, effect: &Effect, at: Timestamp) -> Result<Receipt, SendError> {
        self.0.lock().unwrap().push(effect.clone());
        Ok(created(effect, "Task", at))
    }
}

/// A database with the demo's accounts, and tasks that wait for a CSM.
struct Office {
    store: Store,
    configs: Vec<Config>,
    policies: Vec<Policies>,
    templates: Vec<(ActionRow, DecisionRow)>,
    told: Arc<Told>,
    tools: Registry,
}

/// The shipped policies with one of [`POLICIES`] for tasks.
fn folder(at: &Path, (level, together, _): (&str, &str, Option<&[OwnerRole]>)) {
    copy_folder(&root().join("policies"), at);
    let edit = |file: &str, from: &str, to: &str| {
        let path = at.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    };
    let tiers = |what: &str| {
        ["low_touch", "mid_touch", "strategic"]
            .map(|tier| format!("{tier} = {what}"))
            .join(", ")
    };
    edit("autonomy.toml", &tiers("\"auto\""), &tiers(&format!("\"{level}\"")));
    if !together.is_empty() {
        let row = format!("[together]\ncreateTask = {{ {} }}\n", tiers(&format!("[{together}]")));
        edit("approvals.toml", "[together] ", &format!("{row}# "));
    }
}

impl Office {
    async fn new(url: &str, at: &Path) -> Office {
        let data = at.join("data");
        std::fs::create_dir_all(&data).unwrap();
        write_csv(&PortfolioOptions::default(), &data).unwrap();
        let (mut configs, mut policies) = (Vec::new(), Vec::new());
        for (number, policy) in POLICIES.iter().enumerate() {
            let own = at.join(format!("{number}/policies"));
            folder(&own, *policy);
            let overrides = Overrides {
                config: None,
                db: Some(url.to_owned()),
                policies: Some(own),
            };
            let mut config = Config::load(&overrides).unwrap();
            config.clock = Clock::starting(DEMO_TIME.parse().unwrap());
            config.limits.drain_ms = 0;
            policies.push(content::compile(&config).unwrap().1);
            configs.push(config);
        }
        let store = Store::open(&configs[0].database, TenantId::DEFAULT, &configs[0].limits.store())
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let mapping = Mapping::load(&root().join("examples/mappings/demo.toml")).unwrap();
        import(&store, &data, &mapping, &ImportOptions::new(at), |_| {})
            .await
            .unwrap();
        let told = Arc::new(Told::default());
        let tools = Registry::new().with(Arc::new(InProcess(Arc::clone(&told))));
        let (_keep, stop) = tokio::sync::watch::channel(false);
        let engine = Engine {
            config: &configs[0],
            store: &store,
            tools: &tools,
            stop,
        };
        let options = RunOptions {
            as_of: DEMO_TIME.parse().unwrap(),
            live: false,
            dry_run: false,
        };
        run_once(&engine, &options, &mut |_| {}).await.unwrap();
        told.0.lock().unwrap().clear();
        let waiting = QueueFilter {
            states: vec![ActionState::Pending],
            kinds: vec![ActionKind::CREATE_TASK],
            ..QueueFilter::default()
        };
        let mut templates = Vec::new();
        for row in store.queue(&waiting).await.unwrap() {
            let effects: Vec<Effect> = serde_json::from_str(&row.effects).unwrap();
            // On strategic accounts lent roles do not count.
            if effects[0].tool == Crm::Salesforce && row.tier != Some(Tier::STRATEGIC) {
                let decision = store.decision(&row.decision).await.unwrap().unwrap();
                templates.push((row, decision));
            }
        }
        assert!(templates.len() > 3, "tasks to begin with");
        Office {
            store,
            configs,
            policies,
            templates,
            told,
            tools,
        }
    }
}

/// One yes in the books of the judge.
#[derive(Debug, Clone)]
struct Yes {
    by: &'static str,
    authority: &'static str,
    title: String,
}

/// One action, what the program knows of it, and what the judge does.
struct Sequence<'a> {
    office: &'a Office,
    id: ActionId,
    account: AccountId,
    first: (ActionRow, DecisionRow),
    text: u32,
    now: Timestamp,
    policy: usize,
    roles: BTreeMap<&'static str, Vec<OwnerRole>>,
    /// Receiver and giver, until when, and the id of the row.
    lent: BTreeMap<(&'static str, &'static str), (Timestamp, String)>,
    expires_at: Timestamp,
    // The judge's books.
    title: String,
    yeses: Vec<Yes>,
    changed_by: Option<&'static str>,
    sent: u32,
    permits: u32,
    borrowed: u32,
}

impl<'a> Sequence<'a> {
    async fn new(office: &'a Office, number: usize, draw: &mut Stream) -> Sequence<'a> {
        let first = office.templates[draw.below(office.templates.len())].clone();
        let begin: Timestamp = DEMO_TIME.parse().unwrap();
        let now = Timestamp::from_us(begin.us() + i64::try_from(number).unwrap() * 200 * HOUR);
        let hours = 40 + i64::try_from(draw.below(40)).unwrap();
        let mut sequence = Sequence {
            office,
            id: ActionId::new(format!("act_seq{number:06}")),
            account: first.0.account.clone(),
            first,
            text: 0,
            now,
            policy: [0, 1, 2][draw.below(3)],
            roles: PEOPLE
                .iter()
                .zip(ROLES)
                .map(|(id, roles)| (*id, roles.to_vec()))
                .collect(),
            lent: BTreeMap::new(),
            expires_at: Timestamp::from_us(now.us() + hours * HOUR),
            title: String::new(),
            yeses: Vec::new(),
            changed_by: None,
            sent: 0,
            permits: 0,
            borrowed: 0,
        };
        sequence.propose().await;
        sequence
    }

    fn effects(&mut self) -> Vec<Effect> {
        self.text += 1;
        let effects: Vec<Effect> = serde_json::from_str(&self.first.0.effects).unwrap();
        vec![Effect {
            id: EffectId::derive(&self.id, 0),
            action: self.id.clone(),
            step: 0,
            write: Write::CreateTask {
                subject: format!("{} of {}", self.text, self.id),
                body: "b".to_owned(),
                due: self.now.day(),
                priority: Priority::Normal,
                assignee: None,
            },
            ..effects[0].clone()
        }]
    }

    /// What a run does: proposes the action, or brings it up to date where nobody has touched it.
    async fn propose(&mut self) {
        let effects = self.effects();
        let row = ActionRow {
            id: self.id.clone(),
            subject: self.id.to_string(),
            version: 1,
            effects: canonical(&effects),
            expires_at: Some(self.expires_at),
            updated_at: self.now,
            ..self.first.0.clone()
        };
        let commit = DecisionCommit {
            decision: self.first.1.clone(),
            actions: vec![NewAction {
                row,
                outbox: Vec::new(),
                holds: Vec::new(),
                play: None,
            }],
            supersede: Vec::new(),
            ledger: Vec::new(),
            plays: Vec::new(),
        };
        let run = self.first.1.run.clone();
        self.office
            .store
            .commit_decisions(&run, &[commit], self.now)
            .await
            .unwrap();
        let title = title(&self.row().await);
        if title != self.title {
            self.title = title;
            self.yeses.clear();
        }
    }

    async fn row(&self) -> ActionRow {
        self.office.store.action(self.id.as_str()).await.unwrap()
    }

    fn config(&self) -> Config {
        Config {
            clock: Clock::starting(self.now),
            people: self
                .roles
                .iter()
                .map(|(id, roles)| ((*id).to_owned(), roles.clone()))
                .collect(),
            ..self.office.configs[self.policy].clone()
        }
    }

    async fn does(&mut self, who: &'static str, event: Event) {
        let (config, row) = (self.config(), self.row().await);
        let store = &self.office.store;
        let people = People::read(&config, store).await.unwrap();
        let person = people.person(&config, store, Some(who)).await.unwrap();
        let policies = &self.office.policies[self.policy];
        let Ok(decided) = queue::decide(&config, store, &row, &event, (&person, &people), policies).await else {
            return;
        };
        match &event {
            Event::Approve { .. } => {
                let whose = decided.authority.as_deref().unwrap_or(who);
                let authority = *PEOPLE.iter().find(|id| **id == whose).expect("one of ours");
                let until = self.lent.get(&(who, authority)).map(|(until, _)| *until);
                assert!(
                    authority == who || until.is_some_and(|until| self.now < until),
                    "{who} used roles of {authority} that were not lent"
                );
                self.borrowed += u32::from(authority != who);
                self.yeses.push(Yes {
                    by: who,
                    authority,
                    title: self.title.clone(),
                });
            }
            Event::Edit { .. } => {
                self.yeses.clear();
                self.changed_by = Some(who);
                self.title = title(&self.row().await);
            }
            Event::Ask { .. } | Event::Answer { .. } | Event::Reassign { .. } => {}
            _ => self.yeses.clear(),
        }
        self.permits += u32::from(decided.state == ActionState::Permitted);
    }

    /// A worker sends what is due, and the schedules wake and expire.
    async fn sends(&mut self) {
        let config = self.config();
        let (_keep, stop) = tokio::sync::watch::channel(false);
        let engine = Engine {
            config: &config,
            store: &self.office.store,
            tools: &self.office.tools,
            stop,
        };
        let worker = RunId::derive(self.now, self.now);
        let before = self.row().await.state;
        drain(&engine, &worker, None, &mut |_| {}).await.unwrap();
        let sent: Vec<Effect> = std::mem::take(&mut *self.office.told.0.lock().unwrap());
        for effect in sent.iter().filter(|effect| effect.action == self.id) {
            self.judge(effect);
            self.sent += 1;
        }
        if before == ActionState::Permitted && self.row().await.state == ActionState::Pending {
            self.yeses.clear();
        }
    }

    /// The judge looks at its own books only.
    fn judge(&self, effect: &Effect) {
        let wanted = POLICIES[self.policy].2.expect("nothing may be sent by this policy");
        let Write::CreateTask { subject, .. } = &effect.write else {
            panic!("a task")
        };
        assert_eq!((self.sent, subject), (0, &self.title), "sent once, as it stands");
        assert!(self.now < self.expires_at, "sent after its end");
        for yes in &self.yeses {
            assert_eq!(yes.title, self.title, "a yes to something else");
            assert_ne!(Some(yes.by), self.changed_by, "whoever changed it approved it");
            assert_ne!(
                Some(yes.authority),
                self.changed_by,
                "approved in the place of whoever changed it"
            );
        }
        let people: BTreeSet<&str> = self.yeses.iter().flat_map(|yes| [yes.by, yes.authority]).collect();
        let borrowed = self.yeses.iter().filter(|yes| yes.by != yes.authority).count();
        assert_eq!(
            people.len(),
            self.yeses.len() + borrowed,
            "one person said two yeses: {:?}",
            self.yeses
        );
        assert!(
            self.seated(wanted, &mut vec![false; self.yeses.len()]),
            "not enough: {:?} for {wanted:?}",
            self.yeses
        );
    }

    /// Whether every role that is wanted has a yes of its own, by trying all ways.
    fn seated(&self, wanted: &[OwnerRole], taken: &mut Vec<bool>) -> bool {
        let Some((role, rest)) = wanted.split_first() else {
            return true;
        };
        for (number, yes) in self.yeses.iter().enumerate() {
            let covers = |held: &OwnerRole| held == role || *held == HEAD || (*held == MANAGER && *role == CSM);
            if !taken[number] && self.roles[yes.authority].iter().any(covers) {
                taken[number] = true;
                if self.seated(rest, taken) {
                    return true;
                }
                taken[number] = false;
            }
        }
        false
    }

    async fn lends(&mut self, giver: &'static str, receiver: &'static str) {
        let (config, store, now) = (self.config(), &self.office.store, self.now);
        if let Some((_, id)) = self.lent.remove(&(receiver, giver)) {
            // It may have run out by itself.
            let _ = revoke(store, giver, &id, now).await;
            return;
        }
        let people = People::read(&config, store).await.unwrap();
        let until = Timestamp::from_us(now.us() + 20 * HOUR);
        if let Ok(row) = delegate(store, &people, (giver, receiver), (now, until), "away", now).await {
            self.lent.insert((receiver, giver), (until, row.id));
        }
    }

    async fn happens(&mut self, draw: &mut Stream) {
        self.now = Timestamp::from_us(self.now.us() + i64::try_from(draw.below(4)).unwrap() * HOUR + 1_000_000);
        let who = PEOPLE[draw.below(PEOPLE.len())];
        let reason = || "because".to_owned();
        match draw.below(29) {
            0..=9 => {
                let shown = match draw.below(8) {
                    0 => self.effects(),
                    _ => serde_json::from_str(&self.row().await.effects).unwrap(),
                };
                let seen = effects_hash(&shown);
                self.does(who, Event::Approve { seen, reason: None }).await;
            }
            10 | 11 => {
                let effects = self.effects();
                self.does(who, Event::Edit { effects }).await;
            }
            12 => self.does(who, Event::Hold { reason: reason() }).await,
            13 => {
                let until = Timestamp::from_us(self.now.us() + 5 * HOUR);
                let reason = reason();
                self.does(who, Event::Snooze { until, reason }).await;
            }
            14 | 15 => {
                let before = self.row().await.version;
                queue::housekeeping(&self.office.store, self.now).await.unwrap();
                if self.row().await.version != before {
                    self.yeses.clear();
                }
            }
            16 => self.does(who, Event::Ask { question: reason() }).await,
            17 => self.does(who, Event::Answer { text: reason() }).await,
            18 => {
                let to = Assignee::Role(HEAD);
                self.does(who, Event::Reassign { to, reason: reason() }).await;
            }
            19 => {
                let number = PEOPLE.iter().position(|id| *id == who).unwrap();
                let roles = self.roles.get_mut(who).unwrap();
                *roles = if roles.is_empty() {
                    ROLES[number].to_vec()
                } else {
                    Vec::new()
                };
            }
            20 => self.policy = draw.below(POLICIES.len()),
            21 => self.propose().await,
            22 | 26..=28 => {
                let giver = PEOPLE[draw.below(PEOPLE.len())];
                if giver != who {
                    self.lends(giver, who).await;
                }
            }
            23 if draw.below(6) == 0 => self.does(who, Event::Reject { reason: reason() }).await,
            _ => self.sends().await,
        }
    }
}

fn title(row: &ActionRow) -> String {
    let effects: Vec<Effect> = serde_json::from_str(&row.effects).unwrap();
    match &effects[0].write {
        Write::CreateTask { subject, .. } => subject.clone(),
        _ => panic!("a task"),
    }
}

#[test]
fn no_stale_borrowed_or_lonely_yes_sends_anything_from_a_real_database() {
    let wanted = std::env::var("PERENNIAL_STORE_SEQUENCES")
        .ok()
        .and_then(|n| n.parse().ok());
    let sequences: usize = wanted.unwrap_or(FEW);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for kind in ["sqlite", "postgres"] {
        let (mut sent, mut unused, mut borrowed, mut done) = (0_u32, 0, 0, 0);
        for begin in (0..sequences).step_by(EACH) {
            let temp = tempfile::tempdir().unwrap();
            let database = match kind {
                "sqlite" => Some(Database::sqlite(temp.path())),
                _ => Database::postgres("sequences"),
            };
            let Some(database) = database else { break };
            runtime.block_on(async {
                let office = Office::new(&database.url, temp.path()).await;
                for number in begin..(begin + EACH).min(sequences) {
                    let mut draw = Stream::new(number as u64, &["store sequences"]);
                    let mut sequence = Sequence::new(&office, number - begin, &mut draw).await;
                    for _ in 0..STEPS {
                        sequence.happens(&mut draw).await;
                    }
                    sent += sequence.sent;
                    unused += sequence.permits.saturating_sub(sequence.sent);
                    borrowed += u32::from(sequence.borrowed > 0);
                    done += 1;
                    assert_eq!(sequence.account, sequence.row().await.account);
                }
                office.store.close().await;
            });
        }
        println!("{kind}: {done} sequences, {sent} sent, {unused} permits not used, {borrowed} with lent roles");
        // A judge that nothing comes before has judged nothing.
        assert!(done == 0 || (sent > done / 20 && unused > done / 20 && borrowed > 0));
    }
}
