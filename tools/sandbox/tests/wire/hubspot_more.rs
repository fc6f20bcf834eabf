//! HubSpot: associations by name, labels, schemas, budgets, lag, rules of admins, webhooks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use perennial_sandbox::{
    CustomObject, FieldKind, Limits, Mutation, Options, Rule, Sandbox, System, TokenRule, Webhooks, signature,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{COMPANY, World, seed};

const COMPANIES: &str = "/crm/objects/2026-09/companies";

async fn contact(world: &World) -> String {
    let made = world
        .hs_send(
            Method::POST,
            "/crm/v3/objects/contacts",
            json!({ "properties": { "email": "a@example.com" } }),
        )
        .await;
    made.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn v3_associations_go_by_name_and_answer_both_directions() {
    let world = World::start().await;
    let person = contact(&world).await;
    let input = json!({ "from": { "id": person }, "to": { "id": COMPANY }, "type": "contact_to_company" });
    let path = "/crm/v3/associations/contacts/companies/batch";
    let made = world
        .hs_send(Method::POST, &format!("{path}/create"), json!({ "inputs": [input] }))
        .await;
    assert_eq!(made.status, 201);
    let types: Vec<Value> = made.json()["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["type"].clone())
        .collect();
    assert_eq!(types, ["company_to_contact", "contact_to_company"]);
    let read = world
        .hs_send(
            Method::POST,
            &format!("{path}/read"),
            json!({ "inputs": [{ "id": person }] }),
        )
        .await;
    assert_eq!(read.json()["results"][0]["to"][0]["id"], COMPANY);
    let labels = world
        .hs_get("/crm/v4/associations/contacts/companies/labels")
        .await
        .json();
    assert_eq!(labels["results"][1]["label"], "Primary");
    let primary = json!([{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 1 }]);
    let put = format!("/crm/objects/2026-09/contacts/{person}/associations/companies/{COMPANY}");
    assert_eq!(world.hs_send(Method::PUT, &put, primary.clone()).await.status, 201);
    let tie = json!({ "from": { "id": person }, "to": { "id": COMPANY }, "types": primary });
    let archive = "/crm/associations/2026-09/contacts/companies/batch/labels/archive";
    assert_eq!(
        world
            .hs_send(Method::POST, archive, json!({ "inputs": [tie] }))
            .await
            .status,
        204
    );
    let left = &world
        .sandbox
        .record(System::Hubspot, "contacts", &person)
        .unwrap()
        .associations;
    assert_eq!(left.iter().map(|tie| tie.type_id).collect::<Vec<_>>(), [279]);
}

#[tokio::test]
async fn the_daily_budget_and_the_life_of_a_token_are_enforced_when_asked_for() {
    let world = World::start().await;
    world.sandbox.set_limits(Limits {
        hubspot_daily: Some(1),
        ..Limits::default()
    });
    assert_eq!(world.hs_get("/crm/owners/2026-09").await.status, 200);
    let spent = world.hs_get("/crm/owners/2026-09").await;
    assert_eq!(
        (spent.status.as_u16(), &spent.json()["policyName"]),
        (429, &json!("DAILY"))
    );
    world.sandbox.set_limits(Limits::default());
    let rule = TokenRule {
        requests: Some(0),
        lifetime: Some(Duration::from_secs(1_800)),
    };
    world.sandbox.set_tokens(System::Hubspot, rule);
    assert_eq!(world.hs_get("/crm/owners/2026-09").await.status, 401);
    let url = format!("{}/oauth/2026-09/token", world.sandbox.hubspot().url);
    let form = [("grant_type", "refresh_token"), ("refresh_token", "r")];
    let given = crate::send(world.client.post(url).form(&form)).await.json();
    assert_eq!(given["expires_in"], 1_800);
}

#[tokio::test]
async fn search_lags_behind_writes_and_reads_do_not() {
    let world = World::start().await;
    world.sandbox.set_limits(Limits {
        hubspot_search_lag: Some(Duration::from_secs(10)),
        ..Limits::default()
    });
    let at = |time: &str| {
        world
            .sandbox
            .set_clock(perennial_sandbox::Clock::Fixed(time.parse().unwrap()))
    };
    at("2026-05-01T08:00:00Z");
    world
        .hs_send(
            Method::PATCH,
            &format!("{COMPANIES}/{COMPANY}"),
            json!({ "properties": { "city": "Bonn" } }),
        )
        .await;
    world
        .hs_send(Method::POST, COMPANIES, json!({ "properties": { "name": "New" } }))
        .await;
    let found = async |filter: Value| {
        let body = json!({ "filterGroups": [{ "filters": [filter] }], "properties": ["city"] });
        world
            .hs_send(Method::POST, &format!("{COMPANIES}/search"), body)
            .await
            .json()["total"]
            .clone()
    };
    let in_bonn = json!({ "propertyName": "city", "operator": "EQ", "value": "Bonn" });
    let named = json!({ "propertyName": "name", "operator": "HAS_PROPERTY" });
    assert_eq!(
        (found(in_bonn.clone()).await, found(named.clone()).await),
        (json!(0), json!(1))
    );
    let read = world
        .hs_get(&format!("{COMPANIES}/{COMPANY}?properties=city"))
        .await
        .json();
    assert_eq!(read["properties"]["city"], "Bonn");
    at("2026-05-01T08:00:11Z");
    assert_eq!((found(in_bonn).await, found(named).await), (json!(1), json!(2)));
}

#[tokio::test]
async fn rules_of_admins_hold_on_dated_paths_only_and_custom_types_have_schemas() {
    let custom = CustomObject::new("invoices")
        .field("number", FieldKind::Text(20))
        .unique();
    let sandbox = Sandbox::start(Options {
        seed: seed(),
        custom: vec![(System::Hubspot, custom)],
        ..Options::default()
    })
    .await
    .unwrap();
    let world = World {
        sandbox,
        ..World::start().await
    };
    let rule = Rule::ConditionalRequired {
        object: "companies".to_owned(),
        property: "lifecyclestage".to_owned(),
        value: "customer".to_owned(),
        required: "domain".to_owned(),
    };
    world.sandbox.add_rule(rule).unwrap();
    let change = json!({ "properties": { "city": "Ulm" } });
    let dated = world
        .hs_send(Method::PATCH, &format!("{COMPANIES}/{COMPANY}"), change.clone())
        .await;
    assert_eq!(
        (dated.status.as_u16(), &dated.json()["category"]),
        (400, &json!("VALIDATION_ERROR"))
    );
    let older = world
        .hs_send(Method::PATCH, &format!("/crm/v3/objects/companies/{COMPANY}"), change)
        .await;
    assert_eq!(older.status, 200);
    let schemas = world.hs_get("/crm-object-schemas/2026-09/schemas").await.json();
    assert_eq!(schemas["results"][0]["name"], "invoices");
    let made = world
        .hs_send(
            Method::POST,
            "/crm/objects/2026-09/invoices",
            json!({ "properties": { "number": "7" } }),
        )
        .await;
    assert_eq!(made.status, 201);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let tie = format!("/crm/objects/2026-09/invoices/{id}/associations/default/companies/{COMPANY}");
    let tied = world.hs_send(Method::PUT, &tie, Value::Null).await.json();
    assert_eq!(
        tied["results"][0]["associationSpec"]["associationCategory"],
        "USER_DEFINED"
    );
}

type Received = Arc<Mutex<Vec<(HeaderMap, Vec<u8>)>>>;

/// A receiver that refuses the first so many deliveries.
async fn receiver(refusals: usize) -> (String, Received) {
    let received: Received = Arc::default();
    let (kept, left) = (received.clone(), Arc::new(Mutex::new(refusals)));
    let app = axum::Router::new().route(
        "/hook",
        axum::routing::post(move |headers: HeaderMap, body: axum::body::Bytes| async move {
            let mut left = left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            kept.lock().unwrap().push((headers, body.to_vec()));
            StatusCode::NO_CONTENT
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

#[tokio::test]
async fn webhooks_are_signed_come_in_batches_and_again_when_refused() {
    let world = World::start().await;
    let (url, received) = receiver(1).await;
    assert!(
        world
            .sandbox
            .set_webhooks(Webhooks::new("https://example.com/", "s"))
            .is_err()
    );
    world.sandbox.set_webhooks(Webhooks::new(&url, "secret")).unwrap();
    for n in 0..120 {
        let by = [("city".to_owned(), json!(format!("City {n}")))].into();
        world
            .sandbox
            .edit(System::Hubspot, "companies", COMPANY, by, "Ada Meyer")
            .unwrap();
    }
    assert_eq!(world.sandbox.webhooks_waiting(), 120);
    let first = world.sandbox.deliver_webhooks().await;
    assert_eq!(
        first.iter().map(|one| (one.events, one.status)).collect::<Vec<_>>(),
        [(100, Some(503)), (20, Some(204))]
    );
    let again = world.sandbox.deliver_webhooks().await;
    assert_eq!(
        again.iter().map(|one| (one.events, one.attempt)).collect::<Vec<_>>(),
        [(100, 1)]
    );
    assert_eq!(world.sandbox.webhooks_waiting(), 0);
    let received = received.lock().unwrap();
    let (headers, body) = &received[1];
    let header = |name: &str| headers[name].to_str().unwrap();
    let stamp = header("x-hubspot-request-timestamp");
    assert_eq!(
        header("x-hubspot-signature-v3"),
        signature::v3("secret", "POST", &url, body, stamp)
    );
    assert_eq!(stamp, "1777620337000");
    let events: Vec<Value> = serde_json::from_slice(body).unwrap();
    assert_eq!(
        (
            events.len(),
            &events[0]["attemptNumber"],
            &events[0]["subscriptionType"]
        ),
        (100, &json!(1), &json!("company.propertyChange"))
    );
    assert_eq!(
        (&events[0]["propertyValue"], &events[0]["changeSource"]),
        (&json!("City 0"), &json!("CRM_UI"))
    );
}

#[tokio::test]
async fn webhooks_can_repeat_and_reorder_and_be_forged() {
    let world = World::start().await;
    let (url, received) = receiver(0).await;
    let mut rule = Webhooks::new(&url, "secret");
    rule.repeat_every = 2;
    rule.reorder = true;
    world.sandbox.set_webhooks(rule).unwrap();
    for name in ["1", "2"] {
        world
            .hs_send(Method::POST, COMPANIES, json!({ "properties": { "name": name } }))
            .await;
    }
    world.sandbox.deliver_webhooks().await;
    world.sandbox.mutate(Some(Mutation::HsWebhookForged));
    world
        .hs_send(Method::POST, COMPANIES, json!({ "properties": { "name": "3" } }))
        .await;
    world.sandbox.deliver_webhooks().await;
    let received = received.lock().unwrap();
    let numbers = |at: usize| -> Vec<u64> {
        let events: Vec<Value> = serde_json::from_slice(&received[at].1).unwrap();
        events.iter().map(|event| event["eventId"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(0), [2, 2, 1]);
    let (headers, body) = &received[1];
    let stamp = headers["x-hubspot-request-timestamp"].to_str().unwrap();
    assert_ne!(
        headers["x-hubspot-signature-v3"],
        signature::v3("secret", "POST", &url, body, stamp).as_str()
    );
}

#[tokio::test]
async fn labels_are_defined_given_beside_the_plain_kind_and_taken_one_by_one() {
    let world = World::start().await;
    let make = |what: &'static str, properties: Value| {
        let world = &world;
        async move {
            let made = world
                .hs_send(
                    Method::POST,
                    &format!("/crm/objects/2026-09/{what}"),
                    json!({ "properties": properties }),
                )
                .await;
            assert_eq!(made.status, 201, "{}", made.text);
            made.json()["id"].as_str().unwrap().to_owned()
        }
    };
    let deal = make("deals", json!({ "dealname": "Renewal" })).await;
    let person = make("contacts", json!({ "lastname": "Berg" })).await;
    let definitions = "/crm/associations/2026-09/deals/contacts/labels";
    assert_eq!(
        world.hs_get(definitions).await.json()["results"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let refused = world
        .hs_send(Method::POST, definitions, json!({ "label": "Champion" }))
        .await;
    assert_eq!(refused.status, 400);
    let defined =
        |label: &'static str| world.hs_send(Method::POST, definitions, json!({ "label": label, "name": label }));
    let made = defined("Champion").await;
    assert_eq!(made.status, 200, "{}", made.text);
    let made = made.json();
    let (there, back) = (&made["results"][0], &made["results"][1]);
    assert_eq!(
        (&there["category"], &there["label"]),
        (&json!("USER_DEFINED"), &json!("Champion"))
    );
    assert_ne!(there["typeId"], back["typeId"], "a number for each direction");
    assert_eq!(defined("Champion").await.status, 400, "there is one already");
    // The numbered paths show the same ones, and each direction its own.
    let reverse = world.hs_get("/crm/v4/associations/contacts/deals/labels").await.json();
    assert!(
        reverse["results"]
            .as_array()
            .unwrap()
            .iter()
            .any(|kind| kind["typeId"] == back["typeId"])
    );

    let of_deal = format!("/crm/objects/2026-09/deals/{deal}/associations/contacts/{person}");
    let kind = |number: &Value| json!([{ "associationCategory": "USER_DEFINED", "associationTypeId": number }]);
    let wrong = world.hs_send(Method::PUT, &of_deal, kind(&back["typeId"])).await;
    assert_eq!(wrong.status, 400, "the number of the other direction");
    let put = world.hs_send(Method::PUT, &of_deal, kind(&there["typeId"])).await;
    assert_eq!(
        (put.status.as_u16(), &put.json()["labels"]),
        (201, &json!(["Champion"]))
    );
    let read = async |from: &str, to: &str, id: &str| {
        let path = format!("/crm/associations/2026-09/{from}/{to}/batch/read");
        let read = world
            .hs_send(Method::POST, &path, json!({ "inputs": [{ "id": id }] }))
            .await
            .json();
        let kinds = read["results"][0]["to"][0]["associationTypes"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        kinds
            .iter()
            .map(|kind| kind["label"].as_str().unwrap_or("-").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(read("deals", "contacts", &deal).await, ["-", "Champion"]);
    assert_eq!(read("contacts", "deals", &person).await, ["-", "Champion"]);
    let input =
        |kinds: Value| json!({ "inputs": [{ "from": { "id": deal }, "to": { "id": person }, "types": kinds }] });
    let archive = "/crm/associations/2026-09/deals/contacts/batch/labels/archive";
    let taken = world
        .hs_send(Method::POST, archive, input(kind(&there["typeId"])))
        .await;
    assert_eq!(taken.status, 204);
    assert_eq!(
        read("deals", "contacts", &deal).await,
        ["-"],
        "without a label it is still associated"
    );
    world.hs_send(Method::PUT, &of_deal, kind(&there["typeId"])).await;
    // Without its unlabelled kind an association is none.
    let plain = json!([{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3 }]);
    world.hs_send(Method::POST, archive, input(plain)).await;
    assert!(read("deals", "contacts", &deal).await.is_empty());
    // What a person does on the page of a record.
    let (deal, person) = (("deals", deal.as_str()), ("contacts", person.as_str()));
    world.sandbox.set_labels(deal, person, &["Champion"], "Ann").unwrap();
    assert_eq!(world.sandbox.labels(deal, person).unwrap(), ["Champion"]);
    assert!(world.sandbox.set_labels(deal, person, &["Nobody"], "Ann").is_err());
    world.sandbox.set_labels(deal, person, &[], "Ann").unwrap();
    assert!(world.sandbox.labels(deal, person).unwrap().is_empty());
}
