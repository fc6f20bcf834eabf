//! The adapters against the local CRMs: every kind of write, twice, with and without a lost answer.

use std::collections::BTreeMap;
use std::future::Future;

use perennial_core::action::{
    AccountField, ActionState, Done, Effect, Permit, PermitRecord, Priority, Target, Write, effects_hash,
};
use perennial_core::approval::{Asks, Event, Item, Need, Person, apply};
use perennial_core::ids::{AccountId, ActionId, EffectId};
use perennial_core::replay::Hash;
use perennial_core::signal::{Crm, OwnerRole};
use perennial_core::time::{Day, Timestamp};
use perennial_sandbox::{ChangeKind, Fault, FaultKind, Options, RouteMatch, Sandbox, Seed, SeedRecord, System};
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{Connection, CreateMissing, Known, Level, LookUp, SendError, Tool};
use secrecy::SecretString;

pub(crate) const NOW: Timestamp = Timestamp::EPOCH;

pub(crate) fn permit(effect: &Effect) -> Permit {
    let effects = vec![effect.clone()];
    let item = Item {
        action: effect.action.clone(),
        state: ActionState::Pending,
        effects: effects.clone(),
        needs: vec![Need {
            role: OwnerRole::CSM,
            sufficient: [OwnerRole::CSM].into(),
        }],
        votes: Vec::new(),
        own_roles_only: true,
        asks: Asks::default(),
        last_editor: None,
        expires_at: None,
        content: Hash::ZERO,
    };
    let person = Person {
        id: "dana".to_owned(),
        roles: vec![OwnerRole::CSM],
        lent: Vec::new(),
    };
    let step = apply(
        &item,
        &Event::Approve {
            seen: effects_hash(&effects),
            reason: None,
        },
        Some(&person),
        NOW,
    )
    .unwrap();
    let record: PermitRecord = step.permit.unwrap().record().clone();
    record.verify(effect, &effects).unwrap()
}

pub(crate) fn effect(tool: Crm, key: &str, write: Write) -> Effect {
    let action = ActionId::new(format!("act_{key}"));
    Effect {
        id: EffectId::derive(&action, 0),
        action,
        step: 0,
        tool,
        target: Target {
            account: AccountId::new("A-1"),
            account_name: "Größe & Co <b>".to_owned(),
            crm_id: None,
        },
        write,
    }
}

pub(crate) fn writes() -> Vec<(&'static str, Write)> {
    let fields = [
        (AccountField::Health, "71"),
        (AccountField::RenewalRisk, "12"),
        (AccountField::Posture, "on track"),
        (AccountField::NextStep, "Call <Ann> & \"Bob\""),
        (AccountField::Summary, "Line one\nline two"),
    ];
    let task = Write::CreateTask {
        subject: "Call Ann".to_owned(),
        body: "Ask <why> & when".to_owned(),
        due: Day::from_ymd(2026, 9, 18).unwrap(),
        priority: Priority::High,
        assignee: None,
    };
    vec![
        (
            "fields",
            Write::UpdateAccount {
                fields: fields.iter().map(|(f, v)| (*f, (*v).to_owned())).collect(),
            },
        ),
        ("task", task),
        (
            "note",
            Write::CreateNote {
                title: "Review".to_owned(),
                body: "# Review\n\n* one".to_owned(),
            },
        ),
        (
            "deal",
            Write::UpdateOpportunity {
                opportunity: "OPP-1".to_owned(),
                crm_id: None,
                next_step: Some("Send the proposal".to_owned()),
                stage: None,
                seen: BTreeMap::new(),
            },
        ),
    ]
}

pub(crate) fn seed() -> Seed {
    Seed {
        salesforce: vec![
            SeedRecord::new("Account")
                .id("001000000000001")
                .field("Name", "One")
                .field("Perennial_Account_Id__c", "A-1"),
            SeedRecord::new("Opportunity")
                .field("Name", "Renewal")
                .field("StageName", "Prospecting")
                .field("CloseDate", "2026-12-31")
                .field("Perennial_Opportunity_Id__c", "OPP-1"),
        ],
        hubspot: vec![
            SeedRecord::new("companies")
                .id("9000000001")
                .field("name", "One")
                .field("perennial_account_id", "A-1"),
            SeedRecord::new("deals")
                .field("dealname", "Renewal")
                .field("perennial_opportunity_id", "OPP-1"),
        ],
    }
}

pub(crate) fn connection(url: &str, token: &str) -> Connection {
    Connection {
        requests_per_second: 1000,
        burst: 100,
        create_missing_accounts: CreateMissing::InSandbox,
        ..Connection::new(url, SecretString::from(token.to_owned()))
    }
}

struct Bed {
    crms: Sandbox,
    tools: Vec<(System, Crm, Box<dyn Tool>)>,
}

async fn bed(seed: Seed) -> Bed {
    let crms = Sandbox::start(Options {
        seed,
        ..Options::default()
    })
    .await
    .unwrap();
    let (s, h) = (crms.salesforce(), crms.hubspot());
    let tools: Vec<(System, Crm, Box<dyn Tool>)> = vec![
        (
            System::Salesforce,
            Crm::Salesforce,
            Box::new(Salesforce::new(connection(&s.url, &s.token)).unwrap()),
        ),
        (
            System::Hubspot,
            Crm::HubSpot,
            Box::new(HubSpot::new(connection(&h.url, &h.token)).unwrap()),
        ),
    ];
    Bed { crms, tools }
}

pub(crate) fn wait<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

#[test]
fn every_write_happens_once_and_a_repeat_changes_nothing() {
    wait(async {
        let bed = bed(seed()).await;
        for (system, crm, tool) in &bed.tools {
            for (name, write) in writes() {
                let effect = effect(*crm, name, write);
                let before = tool.read(&effect).await.unwrap();
                assert!(
                    before.fields.values().any(perennial_tools::Change::is_change),
                    "{crm} {name}: {before:?}"
                );
                let first = tool
                    .execute(permit(&effect), &effect, &Known::nothing(), NOW)
                    .await
                    .unwrap();
                assert!(
                    matches!(first.done, Done::Created | Done::Updated),
                    "{crm} {name}: {first:?}"
                );
                assert!(first.url.starts_with("http://127.0.0.1:"), "{}", first.url);
                let changes = bed.crms.changes().len();
                let again = tool
                    .execute(permit(&effect), &effect, &Known::nothing(), NOW)
                    .await
                    .unwrap();
                assert!(
                    matches!(again.done, Done::NoChange | Done::AlreadyDone),
                    "{crm} {name}: {again:?}"
                );
                assert_eq!(again.record, first.record, "{crm} {name}");
                let more: Vec<_> = bed.crms.changes().split_off(changes);
                assert!(
                    more.iter().all(|c| c.fields.is_empty() && c.kind != ChangeKind::Create),
                    "{crm} {name}: {more:?}"
                );
                assert!(
                    matches!(tool.look_up(&effect, NOW).await.unwrap(), LookUp::Done(_)),
                    "{crm} {name}"
                );
                let record = bed.crms.record(*system, &first.object, &first.record);
                assert!(
                    record.is_some(),
                    "{crm} {name}: {} {} is not there",
                    first.object,
                    first.record
                );
            }
        }
    });
}

#[test]
fn a_write_whose_answer_is_lost_is_found_and_not_repeated() {
    wait(async {
        let bed = bed(seed()).await;
        for (system, crm, tool) in &bed.tools {
            for (name, write) in writes() {
                let effect = effect(*crm, &format!("lost-{crm}-{name}"), write);
                let methods = ["PATCH", "POST"];
                for method in methods {
                    let route = RouteMatch::route(method, "/");
                    bed.crms.inject(Fault {
                        system: *system,
                        route,
                        kind: FaultKind::DropAfterCommit,
                        times: 1,
                    });
                }
                let lost = tool.execute(permit(&effect), &effect, &Known::nothing(), NOW).await;
                assert!(matches!(lost, Err(SendError::Unknown { .. })), "{crm} {name}: {lost:?}");
                bed.crms.clear_faults();
                if let LookUp::Absent = tool.look_up(&effect, NOW).await.unwrap() {
                    // Only a HubSpot record that is not yet tied to its company may be half there.
                    assert_eq!(*crm, Crm::HubSpot, "{name}");
                    tool.execute(permit(&effect), &effect, &Known::nothing(), NOW)
                        .await
                        .unwrap();
                }
                assert!(
                    matches!(tool.look_up(&effect, NOW).await.unwrap(), LookUp::Done(_)),
                    "{crm} {name}"
                );
                let mut count: BTreeMap<String, u32> = BTreeMap::new();
                for change in bed.crms.changes() {
                    if let (ChangeKind::Create, Some(marker)) = (change.kind, change.marker) {
                        *count.entry(marker).or_default() += 1;
                    }
                }
                assert!(count.values().all(|n| *n == 1), "{crm} {name}: {count:?}");
            }
        }
    });
}

#[test]
fn an_account_that_is_missing_is_made_only_in_a_sandbox() {
    wait(async {
        let bed = bed(Seed::default()).await;
        for (_, crm, tool) in &bed.tools {
            let (name, write) = writes().swap_remove(1);
            let effect = effect(*crm, name, write);
            let receipt = tool
                .execute(permit(&effect), &effect, &Known::nothing(), NOW)
                .await
                .unwrap();
            assert_eq!(receipt.done, Done::Created);
        }
        let (s, h) = (bed.crms.salesforce(), bed.crms.hubspot());
        let never = |url: &str, token: &str| Connection {
            create_missing_accounts: CreateMissing::Never,
            ..connection(url, token)
        };
        let strict: Vec<(Crm, Box<dyn Tool>)> = vec![
            (
                Crm::Salesforce,
                Box::new(Salesforce::new(never(&s.url, &s.token)).unwrap()),
            ),
            (Crm::HubSpot, Box::new(HubSpot::new(never(&h.url, &h.token)).unwrap())),
        ];
        for (crm, tool) in &strict {
            let (name, write) = writes().swap_remove(1);
            let mut effect = effect(*crm, &format!("strict-{name}"), write);
            effect.target.account = AccountId::new("A-2");
            let refused = tool.execute(permit(&effect), &effect, &Known::nothing(), NOW).await;
            assert!(matches!(refused, Err(SendError::Refused { .. })), "{crm}: {refused:?}");
        }
    });
}

#[test]
fn a_locked_record_is_refused_and_the_reason_is_the_vendors_code() {
    wait(async {
        let bed = bed(seed()).await;
        assert!(
            bed.crms
                .set_locked(System::Salesforce, "Account", "001000000000001AAA", true)
        );
        let (_, crm, tool) = &bed.tools[0];
        let (name, write) = writes().swap_remove(0);
        let effect = effect(*crm, name, write);
        match tool.execute(permit(&effect), &effect, &Known::nothing(), NOW).await {
            Err(SendError::Refused { code, .. }) => assert_eq!(code, "ENTITY_IS_LOCKED"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn the_check_of_a_healthy_crm_finds_nothing_bad() {
    wait(async {
        let bed = bed(seed()).await;
        for (_, crm, tool) in &bed.tools {
            let findings = tool.check().await.unwrap();
            assert!(!findings.is_empty());
            assert!(findings.iter().all(|f| f.level != Level::Bad), "{crm}: {findings:?}");
        }
    });
}
