use super::*;
use crate::ids::{AccountId, SourceId};
use crate::signal::{CrmRef, Fact, Signal};

const BUYER: ContactRole = ContactRole::EconomicBuyer;

fn signal(id: &str, fact: Fact) -> Signal {
    let at = "2026-01-01T00:00:00Z".parse().expect("a time");
    Signal {
        source: SourceId::new("crm"),
        external_id: ExternalId::new(id),
        event_at: at,
        observed_at: at,
        revision_at: at,
        fact,
    }
}

fn in_crm(id: &str) -> Option<CrmRef> {
    Some(CrmRef {
        crm: Crm::HubSpot,
        id: format!("crm-{id}"),
    })
}

fn deal(id: &str, kind: OpportunityKind, state: OpportunityState) -> Signal {
    let fact = Opportunity {
        kind: Some(kind),
        state: Some(state),
        crm: in_crm(id),
        ..Opportunity::default()
    };
    signal(id, Fact::Opportunity(fact))
}

fn person(id: &str, roles: &[(&str, ContactRole)]) -> Contact {
    Contact {
        name: Some(id.to_owned()),
        deal_roles: Some(roles.iter().map(|(deal, role)| ((*deal).to_owned(), *role)).collect()),
        crm: in_crm(id),
        ..Contact::default()
    }
}

/// What would be written about the economic buyer of the renewal; who is there has their name as id.
fn written(people: Vec<Contact>) -> Result<Write, String> {
    let deals = [
        deal("old", OpportunityKind::Renewal, OpportunityState::Won),
        deal("open", OpportunityKind::Renewal, OpportunityState::Open),
    ];
    let people = people
        .into_iter()
        .map(|fact| signal(&fact.name.clone().unwrap_or_default(), Fact::Contact(fact)));
    let as_of = "2026-02-01T00:00:00Z".parse().expect("a time");
    let signals = deals.into_iter().chain(people).collect();
    let snapshot = Snapshot::of(AccountId::new("a"), as_of, signals, Vec::new(), 0);
    role_in_deal(&snapshot, OpportunityKind::Renewal, BUYER, Crm::HubSpot)
}

#[test]
fn the_role_goes_to_the_first_who_is_known_to_have_it_and_can_be_written() {
    let left = Contact {
        left: "2026-01-05".parse().ok(),
        ..person("ada", &[("old", BUYER)])
    };
    let elsewhere = Contact {
        crm: None,
        ..person("ben", &[("old", BUYER)])
    };
    let other = person("cem", &[("old", ContactRole::Champion)]);
    let kim = person("kim", &[("old", BUYER), ("open", ContactRole::User)]);
    let zoe = person("zoe", &[("old", BUYER)]);
    let Ok(Write::SetContactRole {
        opportunity,
        crm_id,
        contact,
        contact_name,
        role,
        seen,
    }) = written(vec![zoe, left, elsewhere, other, kim])
    else {
        panic!("a role");
    };
    assert_eq!((opportunity.as_str(), crm_id.as_deref()), ("open", Some("crm-open")));
    assert_eq!((contact.as_str(), contact_name.as_deref()), ("crm-kim", Some("kim")));
    assert_eq!(
        (role, seen),
        (BUYER, Some(ContactRole::User)),
        "what they were in this deal is said too"
    );
}

#[test]
fn nothing_is_written_where_the_deal_names_somebody_or_nobody_is_known() {
    let why = written(vec![
        person("kim", &[("old", BUYER)]),
        person("zoe", &[("open", BUYER)]),
    ]);
    assert!(why.as_ref().is_err_and(|why| why.contains("already, zoe")), "{why:?}");
    let why = written(vec![person("kim", &[("old", ContactRole::User)])]);
    assert!(why.as_ref().is_err_and(|why| why.contains("nobody")), "{why:?}");
    // Who has left frees the place.
    let gone = Contact {
        left: "2026-01-05".parse().ok(),
        ..person("zoe", &[("open", BUYER)])
    };
    assert!(written(vec![person("kim", &[("old", BUYER)]), gone]).is_ok());
    let snapshot = Snapshot::of(
        AccountId::new("a"),
        "2026-02-01T00:00:00Z".parse().expect("a time"),
        Vec::new(),
        Vec::new(),
        0,
    );
    let why = role_in_deal(&snapshot, OpportunityKind::Expansion, BUYER, Crm::HubSpot);
    assert_eq!(why, Err("no open expansion deal".to_owned()));
}
