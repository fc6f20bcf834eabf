//! Days of a year, one by one, both changes of the clock included: contact caps, hours, weekends, holidays, cool-downs, conflicts and budgets against what a CRM received.
//!
//! What is checked is counted here, from the CRM's own list of what reached it, with time zones written out by hand: nothing
//! of it comes from the code under test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::content::POLICIES;
use perennial::cycle::{Engine, RunOptions, run_once};
use perennial::dispatch::drain;
use perennial::people::People;
use perennial::queue::{QueueError, decide};
use perennial_core::action::{ActionState, Effect, Receipt, Write, effects_hash};
use perennial_core::approval::{Event, Person, Refused};
use perennial_core::draw::Stream;
use perennial_core::ids::{AccountId, ExternalId, RunId, SourceId, TenantId};
use perennial_core::money::Money;
use perennial_core::number::Micro;
use perennial_core::replay::read;
use perennial_core::signal::{Account, Contact, Fact, Grain, OwnerRole, Signal, Subscription, Tier, Usage};
use perennial_core::time::{Day, Timestamp};
use perennial_store::{Belongs, NewSignal, QueueFilter, SignalRow, Store};
use perennial_tests::hands::{CarryOut, InProcess, created};
use perennial_tools::{Registry, SendError};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
const ACCOUNTS: usize = 24;
const DAYS: i64 = 24;
/// The whole year that is lived through instead where `PERENNIAL_YEAR` is set; it takes minutes.
const YEAR: (usize, i64) = (500, 365);
/// Limits of the table below.
const PER_ACCOUNT: usize = 2;
const APART_DAYS: i64 = 10;
const HOLIDAYS: [(&str, &str); 3] = [
    ("all", "2026-03-17"),
    ("emea", "2026-10-20"),
    ("americas", "2026-10-26"),
];

/// What reached the CRM.
#[derive(Debug, Clone)]
struct Sent {
    account: usize,
    playbook: String,
    at: i64,
}

/// A CRM in the process that keeps what it receives.
#[derive(Default)]
struct Kept(Mutex<Vec<Sent>>);

impl CarryOut for Kept {
    fn carry_out(&self, effect: &Effect, at: Timestamp) -> Result<Receipt, SendError> {
        let Write::CreateNote { title, .. } = &effect.write else {
            panic!("only notes are written here");
        };
        self.0.lock().unwrap().push(Sent {
            account: number(&effect.target.account),
            playbook: title.clone(),
            at: at.us(),
        });
        Ok(created(effect, "Note", at))
    }
}

fn number(account: &AccountId) -> usize {
    account.as_str().trim_start_matches('A').parse().unwrap()
}

const ZONES: [(&str, &str); 3] = [
    ("Europe/Berlin", "emea"),
    ("America/New_York", "americas"),
    ("Asia/Kolkata", "apac"),
];

/// Hours from UTC, in minutes, by the rules of 2026 as the calendars print them.
fn offset_minutes(zone: usize, at: i64) -> i64 {
    let us = |text: &str| text.parse::<Timestamp>().unwrap().us();
    match zone {
        0 if (us("2026-03-29T01:00:00Z")..us("2026-10-25T01:00:00Z")).contains(&at) => 120,
        0 => 60,
        1 if (us("2026-03-08T07:00:00Z")..us("2026-11-01T06:00:00Z")).contains(&at) => -240,
        1 => -300,
        _ => 330,
    }
}

/// Most actions for low-touch accounts in any 24 hours.
fn budget(accounts: usize) -> usize {
    accounts * 9 / 24
}

/// Everything that is wrong with what was sent.
fn violations(sent: &[Sent], accounts: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut by_account: BTreeMap<usize, Vec<&Sent>> = BTreeMap::new();
    for s in sent.iter().filter(|s| s.playbook != "inside") {
        by_account.entry(s.account).or_default().push(s);
    }
    for (s, mails) in by_account
        .values()
        .flat_map(|mails| mails.iter().map(move |s| (*s, mails)))
    {
        let zone = s.account % ZONES.len();
        let local = s.at + offset_minutes(zone, s.at) * 60_000_000;
        let (day, minute) = (local.div_euclid(DAY), local.rem_euclid(DAY) / 60_000_000);
        // 1970-01-01 was a Thursday.
        let weekend = (day + 3).rem_euclid(7) >= 5;
        let date = Day::from_number(i32::try_from(day).unwrap()).to_string();
        let holiday = HOLIDAYS
            .iter()
            .any(|(region, off)| *off == date && (*region == "all" || *region == ZONES[zone].1));
        if weekend || holiday || !(480..1080).contains(&minute) {
            wrong.push(format!("hours: {s:?} is minute {minute} of {date} there"));
        }
        let week = mails.iter().filter(|o| (s.at..s.at + 7 * DAY).contains(&o.at));
        if week.count() > PER_ACCOUNT {
            wrong.push(format!("contacts: too many in the 7 days from {s:?}"));
        }
        for o in mails {
            let pair = (s.playbook.as_str(), o.playbook.as_str()) == ("offer", "care");
            if pair && (s.at - o.at).abs() < APART_DAYS * DAY {
                wrong.push(format!("conflict: {s:?} and {o:?}"));
            }
        }
    }
    let mut low: Vec<i64> = sent
        .iter()
        .filter(|s| s.account.is_multiple_of(2))
        .map(|s| s.at)
        .collect();
    low.sort_unstable();
    for (first, at) in low.iter().enumerate() {
        let day = low.partition_point(|other| *other < at + DAY) - first;
        if day > budget(accounts) {
            wrong.push(format!("budget: {day} in the 24 hours from {at}"));
        }
    }
    wrong
}

fn playbook(name: &str, action: &str, cooldown: i64, more: &str) -> String {
    format!(
        "name = \"{name}\"\nowner = \"o\"\nwhen = 'resource.tenure_days >= 0'\naction = \"{action}\"\nsubject = \"account\"\n\
         cooldown_days = {cooldown}\n{more}due_days = 3\nexpires_days = 5\ntitle = \"{name}\"\nbecause = \"b\"\nevidence = []\n\
         [effect]\nshift = 3.0\nshift_sd = 0.1\nexpansion = 2.0\ndecay = 0.1\nminutes = 1\n\
         [[step]]\nwrite = \"createNote\"\ntitle = \"{name}\"\nbody = \"b\"\n"
    )
}

/// Policies in a folder; without limits for the control.
fn policies(folder: &Path, accounts: usize, limited: bool) -> PathBuf {
    let folder = folder.join("policies");
    std::fs::create_dir_all(folder.join("playbooks")).unwrap();
    std::fs::create_dir_all(folder.join("rules")).unwrap();
    let text = |name: &str| POLICIES.iter().find(|(file, _)| *file == name).unwrap().1;
    let holidays: String = HOLIDAYS.iter().map(|(r, d)| format!("{r} = [\"{d}\"]\n")).collect();
    let limits = if limited {
        format!(
            "contacts_per_account_7_days = {PER_ACCOUNT}\ncontact_hours = \"08:00-18:00\"\nfields_agent_may_write = []\n\
             [budget]\nlow_touch = {}\n[holidays]\n{holidays}",
            budget(accounts)
        )
    } else {
        "contacts_per_account_7_days = 1000\nfields_agent_may_write = []\n".to_owned()
    };
    let all = |level: &str| format!("{{ low_touch = \"{level}\", mid_touch = \"{level}\", strategic = \"never\" }}");
    let mut table = "[matrix]\n".to_owned();
    for kind in [
        "createTask",
        "updateField",
        "updateOpportunity",
        "sendRenewal",
        "offerDiscount",
    ] {
        table.push_str(&format!("{kind} = {}\n", all("never")));
    }
    table.push_str(&format!("createNote = {}\n", all("auto")));
    table.push_str("sendEmail = { low_touch = \"auto\", mid_touch = \"approve:csm\", strategic = \"never\" }\n");
    table.push_str(&format!("sendQbr = {}\n", all("auto after 4h")));
    table.push_str("[auto]\nmin_confidence = 0\nmax_arr = \"100k EUR\"\nmax_usage_age_days = 100000\n[limits]\n");
    table.push_str(&limits);
    let apart = format!("excludes = [\"care\"]\nexcludes_days = {APART_DAYS}\n");
    let files = [
        ("autonomy.toml", table),
        ("scoring.toml", text("scoring.toml").to_owned()),
        ("rules/90-never.cedar", text("rules/90-never.cedar").to_owned()),
        ("playbooks/hello.toml", playbook("hello", "sendEmail", 2, "")),
        (
            "playbooks/offer.toml",
            playbook("offer", "sendEmail", 3, if limited { &apart } else { "" }),
        ),
        ("playbooks/care.toml", playbook("care", "sendQbr", 4, "")),
        ("playbooks/inside.toml", playbook("inside", "createNote", 3, "")),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder
}

fn signals(first: Timestamp, accounts: usize) -> Vec<NewSignal> {
    let mut all = Vec::new();
    for n in 0..accounts {
        let account = AccountId::new(format!("A{n:03}"));
        let (zone, region) = ZONES[n % ZONES.len()];
        let facts = [
            Fact::Account(Account {
                name: Some(format!("Customer {n}")),
                tier: Some(if n % 2 == 0 { Tier::LOW_TOUCH } else { Tier::MID_TOUCH }),
                region: Some(region.to_owned()),
                since: Some(first.day()),
                ..Account::default()
            }),
            Fact::Contact(Contact {
                name: Some("Kim".to_owned()),
                time_zone: Some(zone.to_owned()),
                ..Contact::default()
            }),
            Fact::Subscription(Subscription {
                product: Some("p".to_owned()),
                start: Some(first.day()),
                arr: Some(Money::new(2_000_000, "EUR".parse().unwrap())),
                seats: Some(10),
                ..Subscription::default()
            }),
            Fact::Usage(Usage {
                product: None,
                grain: Grain::Day,
                start: first.day(),
                values: [("active_users".to_owned(), Micro::whole(5))].into(),
            }),
        ];
        for (kind, fact) in facts.into_iter().enumerate() {
            all.push(NewSignal {
                owner: Belongs::Account(account.clone()),
                signal: Signal {
                    source: SourceId::new("test"),
                    external_id: ExternalId::new(format!("A{n:03}-{kind}")),
                    event_at: first,
                    observed_at: first,
                    revision_at: first,
                    fact,
                },
            });
        }
    }
    all
}

/// Lives through some days; what reached the CRM, and the days that each playbook was permitted for each account.
async fn live(
    begin: &str,
    (accounts, days): (usize, i64),
    limited: bool,
) -> (Vec<Sent>, BTreeMap<(String, String), Vec<Day>>) {
    let temp = tempfile::tempdir().unwrap();
    let overrides = Overrides {
        config: None,
        db: Some(format!("sqlite:{}", temp.path().join("year.db").display())),
        policies: Some(policies(temp.path(), accounts, limited)),
    };
    let mut config = Config::load(&overrides).unwrap();
    config.limits.drain_ms = 0;
    let store = Store::open(&config.database, TenantId(1), &config.limits.store())
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let begin: Timestamp = begin.parse().unwrap();
    let mut rows: Vec<SignalRow> = signals(begin, accounts).into_iter().map(SignalRow::of).collect();
    store.insert_signals(&mut rows).await.unwrap();
    let kept = Arc::new(Kept::default());
    let tools = Registry::new().with(Arc::new(InProcess(Arc::clone(&kept))));
    let eva = Person {
        id: "eva".to_owned(),
        roles: vec![OwnerRole::CSM],
        lent: Vec::new(),
    };
    config.people.insert(eva.id.clone(), eva.roles.clone());
    let people = People::read(&config, &store).await.unwrap();
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let draw = &mut Stream::new(7, &["year"]);
    let compiled = perennial::content::compile(&config).unwrap().1;
    for day in 0..days {
        let midnight = begin.us() + day * DAY;
        // The run, and the moments at which a worker looks, are at odd times, so that openings and closings are hit from
        // both sides.
        let mut moments: Vec<i64> = (0..3).map(|_| i64::try_from(draw.below(86_000)).unwrap()).collect();
        moments.sort_unstable();
        for (step, second) in moments.into_iter().enumerate() {
            let now = Timestamp::from_us(midnight + second * 1_000_000);
            config.clock = Clock::starting(now);
            let engine = Engine {
                config: &config,
                store: &store,
                tools: &tools,
                stop: stop.clone(),
            };
            if step == 0 {
                let options = RunOptions {
                    as_of: now,
                    live: false,
                    dry_run: false,
                };
                run_once(&engine, &options, &mut |_| {}).await.unwrap();
            } else {
                drain(&engine, &RunId::derive(now, now), None, &mut |_| {})
                    .await
                    .unwrap();
            }
            let waiting = QueueFilter {
                states: vec![ActionState::Pending],
                ..QueueFilter::default()
            };
            for row in store.queue(&waiting).await.unwrap() {
                let effects: Vec<Effect> = read("effects", &row.effects).unwrap();
                let event = Event::Approve {
                    seen: effects_hash(&effects),
                    reason: None,
                };
                match decide(&config, &store, &row, &event, (&eva, &people), &compiled).await {
                    Ok(_)
                    | Err(
                        QueueError::NotNow { .. }
                        | QueueError::PolicyChanged { .. }
                        | QueueError::Refused(Refused::Expired { .. }),
                    ) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    let ids = store.account_ids(None, 1_000).await.unwrap();
    let mut permitted: BTreeMap<(String, String), Vec<Day>> = BTreeMap::new();
    for row in store.actions_of(&ids).await.unwrap().into_values().flatten() {
        if matches!(row.state, ActionState::Permitted | ActionState::Executed) {
            let key = (row.account.to_string(), row.playbook.to_string());
            permitted.entry(key).or_default().push(row.as_of.day());
        }
    }
    let sent = kept.0.lock().unwrap().clone();
    (sent, permitted)
}

#[tokio::test]
async fn around_both_changes_of_the_clock_no_cap_hour_holiday_cool_down_conflict_or_budget_is_exceeded() {
    if std::env::var_os("PERENNIAL_YEAR").is_some() {
        return nothing_is_exceeded("2026-01-01T00:00:00Z", YEAR).await;
    }
    for begin in ["2026-03-04T00:00:00Z", "2026-10-14T00:00:00Z"] {
        nothing_is_exceeded(begin, (ACCOUNTS, DAYS)).await;
    }
}

async fn nothing_is_exceeded(begin: &str, size: (usize, i64)) {
    let (sent, permitted) = live(begin, size, true).await;
    let wrong = violations(&sent, size.0);
    assert!(wrong.is_empty(), "{} wrong, such as {:#?}", wrong.len(), wrong.first());
    let cooldown = BTreeMap::from([("hello", 2), ("offer", 3), ("care", 4), ("inside", 3)]);
    let actions: usize = permitted.values().map(Vec::len).sum();
    for ((account, playbook), mut days) in permitted {
        days.sort_unstable();
        let least = days.windows(2).map(|w| w[0].days_until(w[1])).min().unwrap_or(99);
        assert!(
            least >= cooldown[playbook.as_str()],
            "{account} {playbook}: {least} days"
        );
    }
    // It lived, in all zones.
    for zone in 0..ZONES.len() {
        assert!(
            sent.iter()
                .any(|s| s.account % ZONES.len() == zone && s.playbook != "inside"),
            "{zone}"
        );
    }
    let mails = sent.iter().filter(|s| s.playbook != "inside").count();
    println!(
        "{} accounts, {} days: {actions} actions permitted, {} effects reached the CRM, {mails} of them seen by customers, nothing exceeded",
        size.0,
        size.1,
        sent.len()
    );
}

#[tokio::test]
async fn without_limits_the_same_count_finds_all_of_them_exceeded() {
    let (sent, _) = live("2026-01-01T00:00:00Z", (ACCOUNTS, 28), false).await;
    let wrong = violations(&sent, ACCOUNTS);
    for kind in ["hours:", "contacts:", "conflict:", "budget:"] {
        assert!(wrong.iter().any(|w| w.starts_with(kind)), "{kind} {}", wrong.len());
    }
}
