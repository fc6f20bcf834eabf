//! Faults, starting and stopping.

use std::time::Duration;

use perennial_sandbox::{Fault, FaultKind, Options, RouteMatch, Sandbox, Seed, SeedRecord, StartError, System};
use reqwest::Method;
use serde_json::json;

use crate::{ACCOUNT, COMPANY, World, send};

const ACCOUNTS: &str = "/services/data/v68.0/sobjects/Account";
const COMPANIES: &str = "/crm/objects/2026-09/companies";

#[tokio::test]
async fn a_write_whose_answer_is_lost_has_happened() {
    let world = World::start().await;
    world.fails(
        System::Salesforce,
        RouteMatch::route("POST", ACCOUNTS),
        FaultKind::DropAfterCommit,
    );
    let lost = world
        .sf(Method::POST, "/sobjects/Account")
        .json(&json!({ "Name": "Hooli" }))
        .send()
        .await;
    assert!(lost.is_err());
    assert_eq!(
        world
            .query("SELECT count() FROM Account WHERE Name = 'Hooli'")
            .await
            .json()["totalSize"],
        1
    );
    assert_eq!(world.sandbox.calls()[0].status, None);
}

#[tokio::test]
async fn a_write_that_is_cut_before_its_commit_has_not_happened() {
    let world = World::start().await;
    world.fails(
        System::Hubspot,
        RouteMatch::route("post", COMPANIES),
        FaultKind::DropBeforeCommit,
    );
    let lost = world
        .hs(Method::POST, COMPANIES)
        .json(&json!({ "properties": { "name": "Hooli" } }))
        .send()
        .await;
    assert!(lost.is_err());
    assert_eq!(world.sandbox.records(System::Hubspot, "companies").len(), 1);
    assert!(world.sandbox.changes().is_empty());
}

#[tokio::test]
async fn refusing_faults_come_in_order_and_only_on_their_route() {
    let world = World::start().await;
    let route = RouteMatch::route("GET", COMPANIES);
    world.sandbox.inject(Fault {
        system: System::Hubspot,
        route: route.clone(),
        kind: FaultKind::TooManyRequests { retry_after_s: Some(2) },
        times: 2,
    });
    world.fails(System::Hubspot, route, FaultKind::Unavailable);
    let get = async |path: &str| world.hs_get(path).await;
    let owners = get("/crm/owners/2026-09").await;
    assert_eq!(owners.status, 200);
    let path = format!("{COMPANIES}/{COMPANY}");
    let first = get(&path).await;
    assert_eq!((first.status.as_u16(), first.header("retry-after")), (429, "2"));
    assert_eq!(get(&path).await.status, 429);
    let third = get(&path).await;
    assert_eq!(third.status, 503);
    assert!(third.header("content-type").starts_with("text/html"));
    assert_eq!(get(&path).await.status, 200);
}

#[tokio::test]
async fn salesforce_faults_carry_the_vendors_codes() {
    let world = World::start().await;
    for (kind, status, code) in [
        (FaultKind::LimitExhausted, 403, "REQUEST_LIMIT_EXCEEDED"),
        (FaultKind::TokenExpired, 401, "INVALID_SESSION_ID"),
        (FaultKind::ServerError, 500, "UNKNOWN_EXCEPTION"),
    ] {
        world.fails(System::Salesforce, RouteMatch::Any, kind);
        assert_eq!(world.sf_get("/limits").await.refusal(), (status, code.to_owned()));
    }
    assert_eq!(world.sf_get("/limits").await.status, 200);
}

#[tokio::test]
async fn a_truncated_answer_does_not_parse_but_the_write_is_there() {
    let world = World::start().await;
    world.fails(System::Salesforce, RouteMatch::Any, FaultKind::TruncatedJson);
    let half = world
        .sf_send(Method::POST, "/sobjects/Account", json!({ "Name": "Hooli" }))
        .await;
    assert_eq!(half.status, 201);
    assert!(serde_json::from_str::<serde_json::Value>(&half.text).is_err());
    assert_eq!(world.sandbox.changes().len(), 1);
}

#[tokio::test]
#[allow(
    clippy::disallowed_methods,
    reason = "the lateness of an answer can only be measured with a clock"
)]
async fn a_slow_answer_comes_late_and_whole() {
    let world = World::start().await;
    let delay = Duration::from_millis(20);
    world.fails(System::Hubspot, RouteMatch::Any, FaultKind::Slow { delay });
    let start = std::time::Instant::now();
    assert_eq!(world.hs_get("/crm/owners/2026-09").await.status, 200);
    assert!(start.elapsed() >= delay);
}

#[tokio::test]
async fn faults_can_be_forgotten_and_pages_never_meet_them() {
    let world = World::start().await;
    world.fails(System::Salesforce, RouteMatch::Any, FaultKind::ServerError);
    let page = send(world.client.get(format!("{}/", world.sandbox.salesforce().url))).await;
    assert_eq!(page.status, 200);
    world.sandbox.clear_faults();
    assert_eq!(world.sf_get("/limits").await.status, 200);
}

#[tokio::test]
async fn a_taken_port_is_named_with_what_to_do() {
    let world = World::start().await;
    let port: u16 = world.sandbox.hubspot().url.rsplit(':').next().unwrap().parse().unwrap();
    let failed = Sandbox::start(Options {
        hubspot_port: port,
        ..Options::default()
    })
    .await
    .unwrap_err();
    assert!(matches!(
        failed,
        StartError::PortTaken {
            system: System::Hubspot,
            ..
        }
    ));
    let message = failed.to_string();
    assert!(
        message.contains(&port.to_string()) && message.contains("choose another port"),
        "{message}"
    );
}

#[tokio::test]
async fn after_shutdown_nobody_answers() {
    let world = World::start().await;
    let url = world.sandbox.salesforce().url.clone();
    assert_eq!(world.sf_get("/limits").await.status, 200);
    world.sandbox.shutdown().await;
    assert!(
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(url)
            .send()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn made_up_tokens_differ_and_given_ones_are_kept() {
    let one = Sandbox::start(Options::default()).await.unwrap();
    let other = Sandbox::start(Options::default()).await.unwrap();
    assert_ne!(one.salesforce().token, other.salesforce().token);
    let token = Some(("one".to_owned(), "two".to_owned()));
    let given = Sandbox::start(Options {
        token,
        ..Options::default()
    })
    .await
    .unwrap();
    assert_eq!(
        (given.salesforce().token.as_str(), given.hubspot().token.as_str()),
        ("one", "two")
    );
}

#[tokio::test]
async fn a_bad_seed_is_refused_with_its_place() {
    let start = async |seed: Seed| {
        Sandbox::start(Options {
            seed,
            ..Options::default()
        })
        .await
        .unwrap_err()
        .to_string()
    };
    let salesforce = |record: SeedRecord| Seed {
        salesforce: vec![SeedRecord::new("Account").field("Name", "A"), record],
        ..Seed::default()
    };
    let unknown = start(salesforce(SeedRecord::new("Spaceship"))).await;
    assert!(unknown.contains("Salesforce seed record 2 (`Spaceship`)"), "{unknown}");
    let dangling = start(salesforce(
        SeedRecord::new("Contact")
            .field("LastName", "Roe")
            .field("AccountId", ACCOUNT),
    ))
    .await;
    assert!(dangling.contains("AccountId"), "{dangling}");
    let tied = SeedRecord::new("contacts").associated_with("companies", COMPANY);
    let missing = start(Seed {
        hubspot: vec![tied],
        ..Seed::default()
    })
    .await;
    assert!(missing.contains(COMPANY), "{missing}");
}

#[tokio::test]
async fn a_person_can_edit_beside_the_api_and_is_checked_too() {
    let world = World::start().await;
    let fields = |value: &str| [("Perennial_Next_Step__c".to_owned(), json!(value))].into();
    world
        .sandbox
        .edit(System::Salesforce, "Account", ACCOUNT, fields("Mine"), "Ada Meyer")
        .unwrap();
    let change = &world.sandbox.changes()[0];
    assert_eq!(
        (change.by.as_str(), &change.fields[0].after),
        ("Ada Meyer", &json!("Mine"))
    );
    let long = world.sandbox.edit(
        System::Salesforce,
        "Account",
        ACCOUNT,
        fields(&"x".repeat(256)),
        "Ada Meyer",
    );
    assert!(long.unwrap_err().message.contains("too large"));
}
