//! Mutation: each way to break a simulator must turn an adapter's scenario red.
//!
//! A scenario writes by the adapter and reads by `sync`, and of HubSpot by its webhooks as well. It is run once against whole
//! simulators and once under each mutation. Red means that what the adapter says
//! differs from what it says of whole ones. Whatever it says, it may never claim a success that is none. Mutations that a
//! CRM is allowed to show (`Owed::Survive`) must end in the same state instead.
//!
//! The final form of this test has an empty [`OPEN`]: every mutation is caught. What is in it today is listed with the
//! reason, and a mutation that is caught but still listed fails the test as well.

mod reading;
mod roles;

use std::collections::BTreeMap;
use std::time::Duration;

use perennial_core::action::{Done, Receipt};
use perennial_core::signal::Crm;
use perennial_sandbox::{Fault, FaultKind, Mutation, Options, Owed, RouteMatch, Sandbox, SeedRecord, System};
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{Always, BulkWriting, Connection, Job, Known, LookUp, SendError, Tool};
use serde_json::Value;

use crate::crms::{connection, effect, permit, seed, wait, writes};

/// How long one step may take. An adapter that waits longer has noticed that something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an adapter said and did.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// One line for each step.
    said: Vec<String>,
    /// Claims of success that the simulator does not bear out.
    lies: Vec<String>,
    /// What the records hold in the end, without ids.
    state: Vec<String>,
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A time in milliseconds, which HubSpot takes as such and stores as text.
fn instant(text: &str) -> Option<i64> {
    let parsed = text.parse::<i64>().ok();
    parsed.or_else(|| Some(text.parse::<perennial_core::time::Timestamp>().ok()?.us() / 1_000))
}

/// Why a receipt is not true, or nothing.
fn untrue(crms: &Sandbox, system: System, receipt: &Receipt) -> Option<String> {
    let Some(record) = crms.record(system, &receipt.object, &receipt.record) else {
        return Some(format!("{} {} is not there", receipt.object, receipt.record));
    };
    let wrong = receipt.after.iter().find(|(field, value)| {
        let is_note = field.contains(" (");
        let live = record.fields.get(*field).map(plain).unwrap_or_default();
        let same = live == **value
            || instant(&live).is_some_and(|at| Some(at) == instant(value))
            || live
                .parse::<f64>()
                .ok()
                .zip(value.parse::<f64>().ok())
                .is_some_and(|(a, b)| a == b);
        // Notes are turned into the CRM's own markup, and references are its own ids.
        !is_note && !same && record.fields.contains_key(*field) && !live.contains('<') && !field.ends_with("Id")
    });
    let missing = receipt.after.iter().find(|(field, value)| {
        !field.contains(" (") && !value.is_empty() && !record.fields.contains_key(*field) && !field.contains("associat")
    });
    wrong
        .or(missing)
        .map(|(field, value)| format!("{} {field} is not `{value}`", receipt.object))
}

fn state(crms: &Sandbox, system: System) -> Vec<String> {
    let objects: &[&str] = match system {
        System::Salesforce => &["Account", "Opportunity", "Task", "Note", "OpportunityContactRole"],
        System::Hubspot => &["companies", "deals", "tasks", "notes"],
    };
    let mut lines = Vec::new();
    for object in objects {
        for record in crms.records(system, object) {
            let fields: BTreeMap<&String, String> = record
                .fields
                .iter()
                .filter(|(name, _)| !name.ends_with("Id"))
                .map(|(name, value)| (name, plain(value)))
                .collect();
            lines.push(format!("{object} {fields:?} {}", record.associations.len()));
        }
    }
    lines.sort();
    lines
}

async fn scenario(system: System, mutation: Option<Mutation>) -> Outcome {
    let mut seed = seed();
    for n in 1..=3 {
        let (key, name) = (format!("B-{n}"), format!("Batch {n}"));
        let account = SeedRecord::new("Account").field("Name", name.as_str());
        seed.salesforce
            .push(account.field("Perennial_Account_Id__c", key.as_str()));
        let company = SeedRecord::new("companies").field("name", name.as_str());
        seed.hubspot.push(company.field("perennial_account_id", key.as_str()));
    }
    roles::seed(&mut seed);
    let crms = Sandbox::start(Options {
        seed,
        ..Options::default()
    })
    .await
    .unwrap();
    let (crm, address) = match system {
        System::Salesforce => (Crm::Salesforce, crms.salesforce()),
        System::Hubspot => (Crm::HubSpot, crms.hubspot()),
    };
    let connection = connection(&address.url, &address.token);
    let tool: Box<dyn Tool> = match system {
        System::Salesforce => Box::new(Salesforce::new(connection).unwrap()),
        System::Hubspot => Box::new(HubSpot::new(connection).unwrap()),
    };
    crms.mutate(mutation);
    let mut outcome = Outcome::default();
    let findings = match tokio::time::timeout(PATIENCE, tool.check()).await {
        Ok(Ok(findings)) => findings
            .iter()
            .map(|one| format!("{:?}", one.level))
            .collect::<Vec<_>>()
            .join(" "),
        Ok(Err(error)) => format!("error {}", kind(&error)),
        Err(_) => "no answer".to_owned(),
    };
    outcome.said.push(format!("check: {findings}"));
    for (name, write) in writes() {
        let effect = effect(crm, name, write);
        for round in ["first", "again"] {
            let said = match tokio::time::timeout(
                PATIENCE,
                tool.execute(permit(&effect), &effect, &Known::nothing(), crate::crms::NOW),
            )
            .await
            {
                Ok(Ok(receipt)) => {
                    if let Some(lie) = untrue(&crms, system, &receipt) {
                        outcome
                            .lies
                            .push(format!("{name} {round}: {:?}, but {lie}", receipt.done));
                    }
                    done(&receipt)
                }
                Ok(Err(error)) => format!("error {}", kind(&error)),
                Err(_) => "no answer".to_owned(),
            };
            outcome.said.push(format!("{name} {round}: {said}"));
        }
        let found = match tokio::time::timeout(PATIENCE, tool.look_up(&effect, crate::crms::NOW)).await {
            Ok(Ok(LookUp::Done(_))) => "done".to_owned(),
            Ok(Ok(LookUp::Absent)) => "absent".to_owned(),
            Ok(Err(error)) => format!("error {}", kind(&error)),
            Err(_) => "no answer".to_owned(),
        };
        outcome.said.push(format!("{name} look up: {found}"));
    }
    outcome.said.push(format!(
        "batch: {}",
        batch(&crms, system, crm, &*tool, (6, &mut outcome.lies)).await
    ));
    if system == System::Salesforce {
        let address = crms.salesforce();
        let tool = Salesforce::new(Connection {
            bulk_writing: BulkWriting {
                from_records: 2,
                first_pause_ms: 1,
            },
            ..crate::crms::connection(&address.url, &address.token)
        })
        .unwrap();
        outcome.said.push(format!(
            "bulk: {}",
            batch(&crms, system, crm, &tool, (7, &mut outcome.lies)).await
        ));
    }
    if system == System::Hubspot {
        outcome
            .said
            .push(format!("stage: {}", stage(&crms, &mut outcome.lies).await));
    }
    roles::scenario(&crms, system, &mut outcome).await;
    outcome
        .said
        .push(format!("race: {}", race(&crms, system, crm, &*tool).await));
    outcome.state = state(&crms, system);
    reading::scenario(system, mutation, &mut outcome).await;
    outcome
}

/// Several changes in one request, of which the last is of a locked record.
async fn batch(
    crms: &Sandbox,
    system: System,
    crm: Crm,
    tool: &dyn Tool,
    (tens, lies): (u32, &mut Vec<String>),
) -> String {
    let (object, key) = match system {
        System::Salesforce => ("Account", "Perennial_Account_Id__c"),
        System::Hubspot => ("companies", "perennial_account_id"),
    };
    let is_last = |record: &perennial_sandbox::Record| record.fields.get(key).map(plain).as_deref() == Some("B-3");
    let last = crms.records(system, object).into_iter().find(is_last).unwrap();
    assert!(crms.set_locked(system, object, &last.id, true));
    let effects: Vec<_> = (1..=3)
        .map(|n| {
            let write = perennial_core::action::Write::UpdateAccount {
                fields: [(perennial_core::action::AccountField::Health, format!("{tens}{n}"))].into(),
            };
            let mut effect = effect(crm, &format!("batch-{tens}-{n}"), write);
            effect.target.account = perennial_core::ids::AccountId::new(format!("B-{n}"));
            effect
        })
        .collect();
    let known = Known::nothing();
    let jobs = effects.iter().map(|effect| Job {
        permit: permit(effect),
        effect,
        known: &known,
    });
    let answers = tool.execute_many(jobs.collect(), &Always, crate::crms::NOW);
    let Ok(answers) = tokio::time::timeout(PATIENCE, answers).await else {
        return "no answer".to_owned();
    };
    let said = answers.iter().map(|answer| match answer {
        Ok(receipt) => {
            lies.extend(untrue(crms, system, receipt).map(|lie| format!("batch: {:?}, but {lie}", receipt.done)));
            done(receipt)
        }
        Err(SendError::Refused { code, .. }) => code.clone(),
        Err(error) => kind(error),
    });
    said.collect::<Vec<_>>().join(", ")
}

/// A stage of the lifecycle, which a mapping may name.
async fn stage(crms: &Sandbox, lies: &mut Vec<String>) -> String {
    use perennial_core::action::{AccountField, Write};
    let address = crms.hubspot();
    let mut writes = HubSpot::new(connection(&address.url, &address.token))
        .unwrap()
        .writes()
        .clone();
    writes.account.get_mut(&AccountField::Posture).unwrap().field = "lifecyclestage".to_owned();
    let tool = HubSpot::new(Connection {
        writes: Some(writes),
        ..connection(&address.url, &address.token)
    });
    let fields = [(AccountField::Posture, "customer".to_owned())].into();
    let effect = effect(Crm::HubSpot, "stage", Write::UpdateAccount { fields });
    let tool = tool.unwrap();
    let known = Known::nothing();
    let answer = tool.execute(permit(&effect), &effect, &known, crate::crms::NOW);
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(receipt)) => {
            lies.extend(untrue(crms, System::Hubspot, &receipt).map(|lie| format!("stage: {lie}")));
            done(&receipt)
        }
        Ok(Err(error)) => format!("error {}", kind(&error)),
        Err(_) => "no answer".to_owned(),
    }
}

/// A person changes the field just before our write reaches the CRM, some time after the last change.
async fn race(crms: &Sandbox, system: System, crm: Crm, tool: &dyn Tool) -> String {
    let (object, field) = match system {
        System::Salesforce => ("Account", "Perennial_Next_Step__c"),
        System::Hubspot => ("companies", "perennial_next_step"),
    };
    let is_ours = |record: &perennial_sandbox::Record| record.fields.values().any(|value| value == "A-1");
    let ours = crms.records(system, object).into_iter().find(is_ours);
    let Some(id) = ours.map(|record| record.id) else {
        return "no record".to_owned();
    };
    // Times of changes are whole seconds, and some conditions go by them.
    crms.set_clock(perennial_sandbox::Clock::Fixed("2040-01-01T00:00:00Z".parse().unwrap()));
    crms.inject(Fault {
        system,
        route: RouteMatch::route("PATCH", "/"),
        kind: FaultKind::PersonEdits {
            object: object.to_owned(),
            id: id.clone(),
            field: field.to_owned(),
            value: "A person's own".to_owned(),
        },
        times: 1,
    });
    let write = perennial_core::action::Write::UpdateAccount {
        fields: [(perennial_core::action::AccountField::NextStep, "Ours".to_owned())].into(),
    };
    let effect = effect(crm, "race", write);
    let said = match tokio::time::timeout(
        PATIENCE,
        tool.execute(permit(&effect), &effect, &Known::nothing(), crate::crms::NOW),
    )
    .await
    {
        Ok(Ok(receipt)) => done(&receipt),
        Ok(Err(error)) => format!("error {}", kind(&error)),
        Err(_) => "no answer".to_owned(),
    };
    crms.clear_faults();
    let live = crms
        .record(system, object, &id)
        .and_then(|record| record.fields.get(field).map(plain));
    format!("{said}, then {}", live.unwrap_or_default())
}

fn done(receipt: &Receipt) -> String {
    match receipt.done {
        Done::Created => "created",
        Done::Updated => "updated",
        Done::AlreadyDone => "already done",
        Done::NoChange => "no change",
        Done::Deleted => "deleted",
    }
    .to_owned()
}

/// The name of an error, without what it says.
fn kind(error: &SendError) -> String {
    let text = format!("{error:?}");
    text.split([' ', '{', '(']).next().unwrap_or("").to_owned()
}

/// What an adapter still owes us under a mutation, with the reason; nothing when it is caught.
fn owed(mutation: Mutation, whole: &Outcome, broken: &Outcome) -> Option<String> {
    if let Some(lie) = broken.lies.first() {
        return Some(format!("claims a success that is none: {lie}"));
    }
    match mutation.owed() {
        Owed::Notice if broken.said == whole.said => Some("nothing that the adapter says differs".to_owned()),
        Owed::Survive if broken.state != whole.state => Some("the records end in another state".to_owned()),
        Owed::Notice | Owed::Survive => None,
    }
}

#[test]
fn every_mutation_of_a_simulator_turns_the_scenario_red_but_those_that_are_listed() {
    wait(async {
        let mut open = BTreeMap::new();
        for system in [System::Salesforce, System::Hubspot] {
            let whole = scenario(system, None).await;
            println!("{system}, whole: {}", whole.said.join("; "));
            assert_eq!(whole.lies, Vec::<String>::new(), "the scenario itself must be green");
            assert_eq!(
                whole,
                scenario(system, None).await,
                "the scenario must say the same twice"
            );
            for mutation in Mutation::ALL.iter().copied().filter(|one| one.system() == system) {
                let broken = scenario(system, Some(mutation)).await;
                if let Some(why) = owed(mutation, &whole, &broken) {
                    open.insert(mutation.name(), why);
                }
            }
        }
        println!(
            "mutations: {} of {} caught",
            Mutation::ALL.len() - open.len(),
            Mutation::ALL.len()
        );
        for (name, why) in &open {
            println!("  open: {name}: {why}");
        }
        let listed: Vec<&str> = OPEN.to_vec();
        let mut found: Vec<&str> = open.keys().copied().collect();
        found.sort_unstable();
        assert_eq!(found, listed);
    });
}

#[test]
fn the_page_of_the_sandbox_names_every_mutation() {
    let page = std::fs::read_to_string(perennial_tests::root().join("docs/src/operator/sandbox.md")).unwrap();
    for mutation in Mutation::ALL {
        let star = if mutation.owed() == Owed::Survive { "\\*" } else { "" };
        assert!(
            page.contains(&format!("`{}`{star}", mutation.name())),
            "{}",
            mutation.name()
        );
    }
}

/// Mutations that the adapters do not catch yet, by name. The list may only become shorter.
const OPEN: &[&str] = &[];
