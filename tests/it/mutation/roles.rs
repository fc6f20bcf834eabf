//! The part of the scenario about people in deals and about stages.

use std::collections::BTreeMap;

use perennial_core::action::{DealField, Receipt, Write};
use perennial_core::signal::{ContactRole, Crm};
use perennial_sandbox::{Sandbox, SeedRecord, System};
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{Connection, Known, LookUp, Tool};
use serde_json::Value;

use super::{Outcome, PATIENCE, done, kind};
use crate::crms::{NOW, connection, effect, permit};

const PERSON: &str = "003000000000001AAA";
const DEAL: &str = "006000000000009AAA";
const HUBSPOT_PERSON: &str = "8000000001";
const HUBSPOT_DEAL: &str = "9100000009";

pub(super) fn seed(seed: &mut perennial_sandbox::Seed) {
    seed.salesforce.extend([
        SeedRecord::new("Contact")
            .id(PERSON)
            .field("LastName", "Berg")
            .field("AccountId", "001000000000001"),
        SeedRecord::new("Opportunity")
            .id(DEAL)
            .field("Name", "People")
            .field("StageName", "Prospecting")
            .field("CloseDate", "2026-12-31"),
    ]);
    seed.hubspot.extend([
        SeedRecord::new("contacts").id(HUBSPOT_PERSON).field("lastname", "Berg"),
        SeedRecord::new("deals").id(HUBSPOT_DEAL).field("dealname", "People"),
    ]);
}

/// What the person is to the deal, each time they stand in it.
fn live(crms: &Sandbox, system: System) -> Vec<String> {
    match system {
        System::Salesforce => {
            let rows = crms.records(system, "OpportunityContactRole").into_iter();
            let of_person = rows.filter(|row| row.fields["ContactId"] == PERSON);
            let role =
                |row: perennial_sandbox::Record| row.fields.get("Role").and_then(Value::as_str).map(str::to_owned);
            of_person.map(|row| role(row).unwrap_or_default()).collect()
        }
        System::Hubspot => {
            let labels = crms.labels(("deals", HUBSPOT_DEAL), ("contacts", HUBSPOT_PERSON));
            labels.map(|labels| labels.join("; ")).into_iter().collect()
        }
    }
}

/// A role is given twice and looked up; of Salesforce a stage is set as well.
pub(super) async fn scenario(crms: &Sandbox, system: System, outcome: &mut Outcome) {
    if system == System::Hubspot {
        for label in ["Economic Buyer", "Influencer"] {
            crms.define_label("deals", "contacts", label).unwrap();
        }
    }
    let (crm, address, deal, person) = match system {
        System::Salesforce => (Crm::Salesforce, crms.salesforce(), DEAL, PERSON),
        System::Hubspot => (Crm::HubSpot, crms.hubspot(), HUBSPOT_DEAL, HUBSPOT_PERSON),
    };
    let connection = connection(&address.url, &address.token);
    let mut writes = match system {
        System::Salesforce => Salesforce::new(connection.clone()).unwrap().writes().clone(),
        System::Hubspot => HubSpot::new(connection.clone()).unwrap().writes().clone(),
    };
    writes.roles = BTreeMap::from([
        (ContactRole::EconomicBuyer, "Economic Buyer".to_owned()),
        (ContactRole::Champion, "Influencer".to_owned()),
    ]);
    let connection = Connection {
        writes: Some(writes),
        ..connection
    };
    let tool: Box<dyn Tool> = match system {
        System::Salesforce => Box::new(Salesforce::new(connection).unwrap()),
        System::Hubspot => Box::new(HubSpot::new(connection).unwrap()),
    };
    let role = Write::SetContactRole {
        opportunity: deal.to_owned(),
        crm_id: Some(deal.to_owned()),
        contact: person.to_owned(),
        contact_name: None,
        role: ContactRole::EconomicBuyer,
        seen: None,
    };
    let role = effect(crm, "role", role);
    let (mut first, mut known) = (None, Known::nothing());
    for round in ["first", "again"] {
        let answer = tool.execute(permit(&role), &role, &known, NOW);
        let said = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(receipt)) => {
                let now = live(crms, system);
                if now != ["Economic Buyer"] {
                    outcome
                        .lies
                        .push(format!("role {round}: {:?}, but it is {now:?}", receipt.done));
                }
                let said = done(&receipt);
                first = first.or(Some(receipt));
                said
            }
            Ok(Err(error)) => format!("error {}", kind(&error)),
            Err(_) => "no answer".to_owned(),
        };
        outcome.said.push(format!("role {round}: {said}"));
    }
    let found = match tokio::time::timeout(PATIENCE, tool.look_up(&role, NOW)).await {
        Ok(Ok(LookUp::Done(_))) => "done".to_owned(),
        Ok(Ok(LookUp::Absent)) => "absent".to_owned(),
        Ok(Err(error)) => format!("error {}", kind(&error)),
        Err(_) => "no answer".to_owned(),
    };
    outcome.said.push(format!("role look up: {found}"));
    if let Some(receipt) = first {
        outcome.said.push(format!(
            "role undone: {}",
            undone(crms, system, &*tool, (&role, &receipt), &mut outcome.lies).await
        ));
    }
    if system == System::Salesforce {
        known.accept("StageName", "Prospecting");
        let stage = Write::UpdateOpportunity {
            opportunity: DEAL.to_owned(),
            crm_id: Some(DEAL.to_owned()),
            next_step: None,
            stage: Some("Qualification".to_owned()),
            seen: [(DealField::Stage, "Prospecting".to_owned())].into(),
        };
        let stage = effect(crm, "deal-stage", stage);
        let said = match tokio::time::timeout(PATIENCE, tool.execute(permit(&stage), &stage, &known, NOW)).await {
            Ok(Ok(receipt)) => {
                outcome
                    .lies
                    .extend(super::untrue(crms, system, &receipt).map(|lie| format!("deal stage: {lie}")));
                done(&receipt)
            }
            Ok(Err(error)) => format!("error {}", kind(&error)),
            Err(_) => "no answer".to_owned(),
        };
        outcome.said.push(format!("deal stage: {said}"));
    }
}

async fn undone(
    crms: &Sandbox,
    system: System,
    tool: &dyn Tool,
    (role, receipt): (&perennial_core::action::Effect, &Receipt),
    lies: &mut Vec<String>,
) -> String {
    match tokio::time::timeout(PATIENCE, tool.undo(permit(role), role, receipt, NOW)).await {
        Ok(Ok(undone)) => {
            let now = live(crms, system);
            if !now.is_empty() {
                lies.push(format!("role undone: {:?}, but it is {now:?}", undone.done));
            }
            done(&undone)
        }
        Ok(Err(error)) => format!("error {}", kind(&error)),
        Err(_) => "no answer".to_owned(),
    }
}
