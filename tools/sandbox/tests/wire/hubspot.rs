//! The HubSpot server.

use perennial_sandbox::{Clock, Enforcement, Limits, Seed, SeedRecord, System};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Answer, COMPANY, World, send};

const OBJECTS: &str = "/crm/objects/2026-09";

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.json()["errors"][0]["code"], code, "{}", answer.text);
}

#[tokio::test]
async fn a_created_record_answers_its_properties_as_strings() {
    let world = World::start().await;
    let made = world
        .hs_send(
            Method::POST,
            &format!("{OBJECTS}/companies"),
            json!({ "properties": { "name": "Hooli", "perennial_health": "71.5" } }),
        )
        .await;
    assert_eq!(made.status, 201);
    let body = made.json();
    let id = body["id"].as_str().unwrap();
    assert!(id.parse::<u64>().unwrap() > u64::from(u32::MAX));
    assert_eq!(
        (
            &body["properties"]["perennial_health"],
            &body["properties"]["hs_object_id"]
        ),
        (&json!("71.5"), &json!(id))
    );
    assert_eq!(body["properties"]["lifecyclestage"], "lead");
    assert_eq!(body["createdAt"], "2026-05-01T07:25:37.000Z");
    assert_eq!(made.header("x-hubspot-ratelimit-max"), "190");
    assert_eq!(made.header("x-hubspot-ratelimit-remaining"), "189");
    let read = world.hs_get(&format!("/crm/v3/objects/companies/{id}")).await.json();
    assert_eq!(
        read["properties"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>(),
        ["createdate", "domain", "hs_lastmodifieddate", "hs_object_id", "name"]
    );
    let asked = world
        .hs_get(&format!(
            "{OBJECTS}/companies/{id}?properties=perennial_health,city,nonsense"
        ))
        .await
        .json();
    assert_eq!(
        (&asked["properties"]["city"], asked["properties"].get("nonsense")),
        (&Value::Null, None)
    );
}

#[tokio::test]
async fn a_patch_changes_and_an_empty_string_clears() {
    let world = World::start().await;
    let path = format!("{OBJECTS}/companies/{COMPANY}");
    let set = world
        .hs_send(
            Method::PATCH,
            &path,
            json!({ "properties": { "perennial_next_step": "Call" } }),
        )
        .await;
    assert_eq!(
        (set.status.as_u16(), &set.json()["properties"]["perennial_next_step"]),
        (200, &json!("Call"))
    );
    world
        .hs_send(
            Method::PATCH,
            &path,
            json!({ "properties": { "perennial_next_step": "" } }),
        )
        .await;
    let read = world
        .hs_get(&format!("{path}?properties=perennial_next_step"))
        .await
        .json();
    assert_eq!(read["properties"]["perennial_next_step"], Value::Null);
    let history = world
        .sandbox
        .record(System::Hubspot, "companies", COMPANY)
        .unwrap()
        .history;
    assert_eq!(
        (&history[1].fields[0].before, &history[1].fields[0].after),
        (&json!("Call"), &Value::Null)
    );
    let by_key = world
        .hs_get(&format!("{OBJECTS}/companies/umbrella?idProperty=perennial_account_id"))
        .await;
    assert_eq!(by_key.json()["id"], COMPANY);
}

#[tokio::test]
async fn every_check_answers_its_own_code() {
    let world = World::start().await;
    let create = async |of: &str, properties: Value| {
        world
            .hs_send(
                Method::POST,
                &format!("{OBJECTS}/{of}"),
                json!({ "properties": properties }),
            )
            .await
    };
    let unknown = create("companies", json!({ "colour": "red" })).await;
    refused(&unknown, 400, "PROPERTY_DOESNT_EXIST");
    assert_eq!(
        (&unknown.json()["category"], &unknown.json()["status"]),
        (&json!("VALIDATION_ERROR"), &json!("error"))
    );
    refused(
        &create("companies", json!({ "hs_object_id": "1" })).await,
        400,
        "READ_ONLY_VALUE",
    );
    refused(
        &create("companies", json!({ "perennial_health": "good" })).await,
        400,
        "INVALID_NUMBER",
    );
    refused(
        &create("companies", json!({ "perennial_health": [7] })).await,
        400,
        "INVALID_JSON",
    );
    refused(
        &create("companies", json!({ "lifecyclestage": "friend" })).await,
        400,
        "INVALID_OPTION",
    );
    refused(
        &create("companies", json!({ "hubspot_owner_id": "1" })).await,
        400,
        "INVALID_OWNER_ID",
    );
    refused(
        &create("notes", json!({ "hs_note_body": "no time" })).await,
        400,
        "REQUIRED_FIELD",
    );
    refused(
        &create("tasks", json!({ "hs_timestamp": "soon" })).await,
        400,
        "INVALID_LONG",
    );
    let long = json!({ "hs_timestamp": "2026-05-01T00:00:00Z", "hs_note_body": "x".repeat(65_537) });
    refused(&create("notes", long).await, 400, "PROPERTY_VALUE_TOO_LONG");
    refused(
        &create("deals", json!({ "dealname": "R", "dealstage": "nearly" })).await,
        400,
        "INVALID_OPTION",
    );
    refused(
        &create("contacts", json!({ "email": "roe" })).await,
        400,
        "INVALID_EMAIL",
    );
    let both = create("companies", json!({ "colour": "red", "perennial_health": "good" })).await;
    assert_eq!(both.json()["errors"].as_array().unwrap().len(), 2);
    assert_eq!(world.hs_get(&format!("{OBJECTS}/companies/1")).await.status, 404);
    assert_eq!(world.hs_get(&format!("{OBJECTS}/spaceships")).await.status, 400);
    assert!(world.sandbox.changes().is_empty());
}

#[tokio::test]
async fn a_taken_unique_value_is_a_conflict_that_names_the_record() {
    let world = World::start().await;
    let path = format!("{OBJECTS}/companies");
    let taken = world
        .hs_send(
            Method::POST,
            &path,
            json!({ "properties": { "perennial_account_id": "umbrella" } }),
        )
        .await;
    assert_eq!(
        (taken.status.as_u16(), &taken.json()["category"]),
        (409, &json!("CONFLICT"))
    );
    assert_eq!(
        taken.json()["message"],
        format!("Company already exists. Existing ID: {COMPANY}")
    );
    let other = world
        .hs_send(
            Method::POST,
            &path,
            json!({ "properties": { "perennial_account_id": "hooli" } }),
        )
        .await
        .json();
    let path = format!("{path}/{}", other["id"].as_str().unwrap());
    refused(
        &world
            .hs_send(
                Method::PATCH,
                &path,
                json!({ "properties": { "perennial_account_id": "umbrella" } }),
            )
            .await,
        400,
        "CONFLICTING_UNIQUE_VALUE",
    );
}

#[tokio::test]
async fn a_backward_lifecycle_stage_answers_200_and_changes_nothing() {
    let world = World::start().await;
    let path = format!("{OBJECTS}/companies/{COMPANY}");
    let set = async |stage: &str| {
        world
            .hs_send(
                Method::PATCH,
                &path,
                json!({ "properties": { "lifecyclestage": stage } }),
            )
            .await
    };
    let back = set("lead").await;
    assert_eq!(
        (back.status.as_u16(), &back.json()["properties"]["lifecyclestage"]),
        (200, &json!("customer"))
    );
    assert!(world.sandbox.changes()[0].fields.is_empty());
    set("").await;
    assert_eq!(set("lead").await.json()["properties"]["lifecyclestage"], "lead");
    assert_eq!(
        set("evangelist").await.json()["properties"]["lifecyclestage"],
        "evangelist"
    );
}

fn companies(count: usize) -> Seed {
    let one = |number: usize| {
        let record = SeedRecord::new("companies")
            .field("name", format!("Company {number}"))
            .field("perennial_health", number);
        if number.is_multiple_of(2) {
            record.field("city", "Oslo")
        } else {
            record
        }
    };
    Seed {
        hubspot: (0..count).map(one).collect(),
        ..Seed::default()
    }
}

#[tokio::test]
async fn search_filters_sorts_and_pages() {
    let world = World::with(companies(30)).await;
    let names = async |body: Value| -> (Vec<String>, Value) {
        let found = world
            .hs_send(Method::POST, &format!("{OBJECTS}/companies/search"), body)
            .await;
        assert_eq!(found.status, 200, "{}", found.text);
        assert_eq!(found.header("x-hubspot-ratelimit-max"), "");
        let body = found.json();
        let names = body["results"].as_array().unwrap().iter();
        (
            names
                .map(|one| one["properties"]["name"].as_str().unwrap().replace("Company ", ""))
                .collect(),
            body,
        )
    };
    let group = |filters: Value| json!({ "filterGroups": [{ "filters": filters }] });
    let one =
        |property: &str, op: &str, value: &str| json!({ "propertyName": property, "operator": op, "value": value });
    assert_eq!(
        names(group(json!([one("perennial_health", "GT", "27")]))).await.0,
        ["28", "29"]
    );
    assert_eq!(
        names(group(json!([
            one("city", "EQ", "oslo"),
            one("perennial_health", "LTE", "4")
        ])))
        .await
        .0,
        ["0", "2", "4"]
    );
    assert_eq!(
        names(group(
            json!([{ "propertyName": "city", "operator": "NOT_HAS_PROPERTY" }, one("perennial_health", "LT", "4")])
        ))
        .await
        .0,
        ["1", "3"]
    );
    assert_eq!(
        names(group(
            json!([{ "propertyName": "perennial_health", "operator": "IN", "values": ["5", "9"] }])
        ))
        .await
        .0,
        ["5", "9"]
    );
    assert_eq!(
        names(group(json!([one("name", "CONTAINS_TOKEN", "17")]))).await.0,
        ["17"]
    );
    let either = json!({ "filterGroups": [
        { "filters": [one("perennial_health", "EQ", "3")] }, { "filters": [one("perennial_health", "EQ", "4")] },
    ], "sorts": [{ "propertyName": "perennial_health", "direction": "DESCENDING" }] });
    assert_eq!(names(either).await.0, ["4", "3"]);
    let (first, body) = names(json!({ "filterGroups": [], "limit": 20, "after": "" })).await;
    assert_eq!(
        (first.len(), &body["total"], &body["paging"]["next"]["after"]),
        (20, &json!(30), &json!("20"))
    );
    let (rest, body) = names(json!({ "limit": 20, "after": "20" })).await;
    assert_eq!((rest.len(), body.get("paging")), (10, None));
}

#[tokio::test]
async fn search_refuses_what_is_beyond_its_limits() {
    let world = World::start().await;
    let search = async |body: Value| {
        world
            .hs_send(Method::POST, &format!("{OBJECTS}/companies/search"), body)
            .await
            .status
    };
    assert_eq!(search(json!({ "limit": 201 })).await, 400);
    assert_eq!(search(json!({ "limit": 100, "after": "9950" })).await, 400);
    assert_eq!(search(json!({ "filterGroups": [{}, {}, {}, {}, {}, {}] })).await, 400);
    assert_eq!(
        search(json!({ "filterGroups": [{ "filters": [{ "propertyName": "name", "operator": "EQ" }] }] })).await,
        400
    );
    world.sandbox.set_limits(Limits {
        hubspot_searches_per_second: Some(1),
        ..Limits::default()
    });
    assert_eq!(search(json!({})).await, 200);
    assert_eq!(search(json!({})).await, 429);
    world
        .sandbox
        .set_clock(Clock::Fixed("2026-05-01T07:25:39Z".parse().unwrap()));
    assert_eq!(search(json!({})).await, 200);
}

#[tokio::test]
async fn the_burst_budget_is_enforced_only_when_asked_for() {
    let world = World::start().await;
    let get = async || world.hs_get(&format!("{OBJECTS}/companies/{COMPANY}")).await;
    world.sandbox.set_limits(Limits {
        hubspot_burst: 1,
        ..Limits::default()
    });
    assert_eq!((get().await.status.as_u16(), get().await.status.as_u16()), (200, 200));
    world.sandbox.set_limits(Limits {
        hubspot_burst: 1,
        hubspot_burst_rule: Enforcement::Enforced,
        ..Limits::default()
    });
    let refused = get().await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["policyName"]),
        (429, &json!("TEN_SECONDLY_ROLLING"))
    );
}

#[tokio::test]
async fn a_list_comes_in_pages_of_at_most_one_hundred() {
    let world = World::with(companies(25)).await;
    let first = world.hs_get(&format!("{OBJECTS}/companies?limit=20")).await.json();
    let after = first["paging"]["next"]["after"].as_str().unwrap();
    let rest = world
        .hs_get(&format!("{OBJECTS}/companies?limit=20&after={after}"))
        .await
        .json();
    assert_eq!(
        (
            first["results"].as_array().unwrap().len(),
            rest["results"].as_array().unwrap().len()
        ),
        (20, 5)
    );
    assert_eq!(rest.get("paging"), None);
    assert_eq!(
        world.hs_get(&format!("{OBJECTS}/companies?limit=101")).await.status,
        400
    );
}

#[tokio::test]
async fn without_a_token_the_vendors_401_body_comes_back() {
    let world = World::start().await;
    let url = format!("{}{OBJECTS}/companies", world.sandbox.hubspot().url);
    let refused = send(world.client.get(url)).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["category"]),
        (401, &json!("INVALID_AUTHENTICATION"))
    );
    assert!(refused.json()["correlationId"].is_string());
}

#[tokio::test]
async fn properties_pipelines_owners_and_the_account_can_be_read() {
    let world = World::start().await;
    for base in ["/crm/properties/2026-09/companies", "/crm/v3/properties/companies"] {
        let all = world.hs_get(base).await.json();
        let key = all["results"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == "perennial_account_id")
            .unwrap()
            .clone();
        assert_eq!((&key["hasUniqueValue"], &key["type"]), (&json!(true), &json!("string")));
    }
    let pipelines = world.hs_get("/crm/pipelines/2026-09/deals").await.json();
    assert_eq!(pipelines["results"][0]["stages"][5]["metadata"]["isClosed"], "true");
    assert_eq!(
        world.hs_get("/crm/owners/2026-09").await.json()["results"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        world.hs_get("/account-info/2026-09/details").await.json()["accountType"],
        "SANDBOX"
    );
}

#[tokio::test]
async fn an_archived_record_is_gone_and_archiving_again_succeeds() {
    let world = World::start().await;
    let path = format!("{OBJECTS}/companies/{COMPANY}");
    for _ in 0..2 {
        assert_eq!(send(world.hs(Method::DELETE, &path)).await.status, 204);
    }
    assert_eq!(world.hs_get(&path).await.status, 404);
    assert_eq!(world.sandbox.changes().len(), 1);
}
