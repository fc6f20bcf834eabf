//! Faults, starting and stopping.

use std::time::Duration;

use perennial_sandbox::{
    Chance, Chances, Fault, FaultKind, Options, RouteMatch, Sandbox, Seed, SeedRecord, StartError, System,
};
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

#[tokio::test]
async fn faults_by_chance_come_at_their_rate_and_the_same_again() {
    let statuses = async || {
        let world = World::start().await;
        world.sandbox.set_chances(Some(Chances::new(
            3,
            vec![Chance {
                system: System::Hubspot,
                route: RouteMatch::Any,
                kind: FaultKind::BadGateway,
                per_mille: 500,
            }],
        )));
        let mut statuses = Vec::new();
        for _ in 0..40 {
            statuses.push(world.hs_get("/crm/owners/2026-09").await.status.as_u16());
        }
        statuses
    };
    let first = statuses().await;
    let failed = first.iter().filter(|status| **status == 502).count();
    assert!((10..30).contains(&failed), "{failed}");
    assert_eq!(first, statuses().await);
}

#[tokio::test]
async fn a_stall_after_commit_leaves_the_client_without_an_answer_and_the_write_in_place() {
    let world = World::start().await;
    for (kind, changes) in [
        (
            FaultKind::StallBeforeCommit {
                delay: Duration::from_secs(60),
            },
            0,
        ),
        (
            FaultKind::StallAfterCommit {
                delay: Duration::from_secs(60),
            },
            1,
        ),
    ] {
        world.fails(System::Hubspot, RouteMatch::Any, kind);
        let request = world
            .hs(Method::POST, COMPANIES)
            .json(&json!({ "properties": { "name": "Hooli" } }));
        let lost = request.timeout(Duration::from_millis(100)).send().await;
        assert!(lost.unwrap_err().is_timeout());
        assert_eq!(world.sandbox.changes().len(), changes);
    }
}

#[tokio::test]
async fn a_slow_body_comes_whole_in_the_end() {
    let world = World::start().await;
    world.fails(
        System::Hubspot,
        RouteMatch::Any,
        FaultKind::SlowBody {
            delay: Duration::from_millis(20),
        },
    );
    assert_eq!(
        world.hs_get("/crm/owners/2026-09").await.json()["results"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn a_partial_failure_fails_every_so_many_rows_of_one_request() {
    let world = World::start().await;
    world.fails(
        System::Salesforce,
        RouteMatch::Any,
        FaultKind::PartialFailure { every: 2 },
    );
    let row = |name: &str| json!({ "attributes": { "type": "Account" }, "Name": name });
    let body = json!({ "records": [row("A"), row("B"), row("C"), row("D")] });
    let rows = world
        .sf_send(Method::POST, "/composite/sobjects", body.clone())
        .await
        .json();
    let good: Vec<bool> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["success"] == true)
        .collect();
    assert_eq!(good, [true, false, true, false]);
    assert_eq!(rows[1]["errors"][0]["statusCode"], "UNABLE_TO_LOCK_ROW");
    let again = world.sf_send(Method::POST, "/composite/sobjects", body).await.json();
    assert!(again.as_array().unwrap().iter().all(|row| row["success"] == true));
    world.fails(System::Hubspot, RouteMatch::Any, FaultKind::PartialFailure { every: 1 });
    let inputs = json!({ "inputs": [{ "id": COMPANY, "properties": { "city": "Bonn" } }] });
    let batch = world
        .hs_send(Method::POST, &format!("{COMPANIES}/batch/update"), inputs)
        .await;
    assert_eq!((batch.status.as_u16(), &batch.json()["numErrors"]), (200, &json!(1)));
}

#[tokio::test]
async fn a_person_can_come_between_the_read_and_the_write() {
    let world = World::start().await;
    let path = format!("/sobjects/Account/{ACCOUNT}");
    let tag = world.sf_get(&path).await.header("etag").to_owned();
    world.fails(
        System::Salesforce,
        RouteMatch::route("PATCH", "/"),
        FaultKind::PersonEdits {
            object: "Account".to_owned(),
            id: ACCOUNT.to_owned(),
            field: "Perennial_Next_Step__c".to_owned(),
            value: "Mine".to_owned(),
        },
    );
    let ours = world
        .sf(Method::PATCH, &path)
        .header("If-Match", tag)
        .json(&json!({ "Perennial_Next_Step__c": "Ours" }));
    assert_eq!(send(ours).await.status, 412);
    assert_eq!(world.sf_get(&path).await.json()["Perennial_Next_Step__c"], "Mine");
    assert_eq!(world.sandbox.changes()[0].by, "a person");
}

#[tokio::test]
async fn other_programs_set_faults_and_read_changes_and_counts_as_json() {
    let world = World::start().await;
    let url = |path: &str| format!("{}/sandbox/{path}", world.sandbox.salesforce().url);
    let fault = json!({ "kind": "unavailable", "method": "GET", "prefix": "/services/data/v68.0/limits", "times": 1 });
    let unknown = send(world.client.post(url("faults")).json(&fault)).await;
    assert_eq!(unknown.status, 401);
    let set = async |path: &str, body: serde_json::Value| {
        let token = &world.sandbox.salesforce().token;
        send(world.client.post(url(path)).bearer_auth(token).json(&body)).await
    };
    assert_eq!(set("faults", fault).await.status, 204);
    assert_eq!(world.sf_get("/limits").await.status, 503);
    assert_eq!(set("faults", json!({ "kind": "weather" })).await.status, 400);
    assert_eq!(set("settings", json!({ "mutation": "sf-html-503" })).await.status, 204);
    assert_eq!(world.sf_get("/limits").await.status, 503);
    assert_eq!(
        set("settings", json!({ "mutation": "", "latency_ms": 1 })).await.status,
        204
    );
    assert_eq!(set("settings", json!({ "nope": 1 })).await.status, 400);
    let path = format!("/sobjects/Account/{ACCOUNT}");
    world.sf_send(Method::PATCH, &path, json!({ "Phone": "1" })).await;
    let changes = send(world.client.get(url(&format!("changes?id={ACCOUNT}"))))
        .await
        .json();
    assert_eq!(
        (
            &changes["changes"][0]["by"],
            &changes["changes"][0]["fields"][0]["field"]
        ),
        (&json!("perennial/0.1.0"), &json!("Phone"))
    );
    let calls = send(world.client.get(url("calls"))).await.json();
    assert_eq!(calls["calls"]["PATCH /services/data/v68.0/sobjects/Account/{id}"], 1);
    assert_eq!(
        world.sandbox.tally(System::Salesforce)["GET /services/data/v68.0/limits"],
        2
    );
}
