//! Batches and associations of the HubSpot server.

use perennial_sandbox::System;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{COMPANY, World, send};

const OBJECTS: &str = "/crm/objects/2026-09";

#[tokio::test]
async fn a_partial_batch_is_200_on_dated_paths_and_207_on_v3() {
    let world = World::start().await;
    for (base, status) in [("/crm/objects/2026-09", 200), ("/crm/v3/objects", 207)] {
        let inputs = json!({ "inputs": [
            { "id": COMPANY, "properties": { "city": "Oslo" } },
            { "id": "77", "properties": { "city": "Oslo" } },
        ] });
        let done = world
            .hs_send(Method::POST, &format!("{base}/companies/batch/update"), inputs)
            .await;
        assert_eq!(done.status, status, "{}", done.text);
        let body = done.json();
        assert_eq!(
            (body["results"].as_array().unwrap().len(), &body["numErrors"]),
            (1, &json!(1))
        );
        assert_eq!(body["errors"][0]["context"]["ids"], json!(["77"]));
        let read = world
            .hs_send(
                Method::POST,
                &format!("{base}/companies/batch/read"),
                json!({ "inputs": [{ "id": "77" }] }),
            )
            .await;
        assert_eq!(
            (read.status.as_u16(), &read.json()["errors"][0]["category"]),
            (status, &json!("OBJECT_NOT_FOUND"))
        );
    }
}

#[tokio::test]
async fn a_batch_create_is_whole_unless_every_input_is_traced() {
    let world = World::start().await;
    let path = format!("{OBJECTS}/companies/batch/create");
    let mut inputs = json!([
        { "properties": { "name": "Good" } },
        { "properties": { "perennial_account_id": "umbrella" } },
    ]);
    let whole = world.hs_send(Method::POST, &path, json!({ "inputs": inputs })).await;
    assert_eq!(whole.status, 409);
    assert_eq!(world.sandbox.records(System::Hubspot, "companies").len(), 1);
    assert!(world.sandbox.changes().is_empty());
    for (at, input) in inputs.as_array_mut().unwrap().iter_mut().enumerate() {
        input["objectWriteTraceId"] = json!(format!("t{at}"));
    }
    let traced = world.hs_send(Method::POST, &path, json!({ "inputs": inputs })).await;
    assert_eq!(traced.status, 200);
    assert_eq!(
        traced.json()["errors"][0]["context"]["objectWriteTraceId"],
        json!(["t1"])
    );
    assert_eq!(traced.json()["results"][0]["objectWriteTraceId"], "t0");
    let good = world
        .hs_send(
            Method::POST,
            &path,
            json!({ "inputs": [{ "properties": { "name": "Also" } }] }),
        )
        .await;
    assert_eq!(good.status, 201);
}

#[tokio::test]
async fn a_batch_upsert_says_what_is_new() {
    let world = World::start().await;
    let one = |id: &str, city: &str| json!({ "idProperty": "perennial_account_id", "id": id, "properties": { "city": city } });
    let body = json!({ "inputs": [one("umbrella", "Oslo"), one("hooli", "Rome")] });
    let done = world
        .hs_send(Method::POST, &format!("{OBJECTS}/companies/batch/upsert"), body)
        .await
        .json();
    assert_eq!(
        (&done["results"][0]["new"], &done["results"][1]["new"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(done["results"][0]["id"], COMPANY);
    assert_eq!(done["results"][1]["properties"]["perennial_account_id"], "hooli");
    let wrong = json!({ "inputs": [{ "idProperty": "city", "id": "Oslo", "properties": {} }] });
    let done = world
        .hs_send(Method::POST, &format!("{OBJECTS}/companies/batch/upsert"), wrong)
        .await
        .json();
    assert_eq!(done["numErrors"], 1);
}

fn note(key: &str, type_id: u32) -> Value {
    json!({
        "properties": { "hs_timestamp": "1777620337000", "hs_note_body": "Hello", "perennial_key": key },
        "associations": [{ "to": { "id": COMPANY }, "types": [{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id }] }],
    })
}

#[tokio::test]
async fn a_note_is_created_with_its_association_in_both_directions() {
    let world = World::start().await;
    let made = world
        .hs_send(Method::POST, &format!("{OBJECTS}/notes"), note("effect-1", 190))
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.json()["properties"]["hs_timestamp"], "2026-05-01T07:25:37.000Z");
    let read = world
        .hs_get(&format!("{OBJECTS}/notes/{id}?associations=companies"))
        .await
        .json();
    assert_eq!(
        read["associations"]["companies"]["results"],
        json!([{ "id": COMPANY, "type": "note_to_company" }])
    );
    let path = "/crm/associations/2026-09/companies/notes/batch/read";
    let back = world
        .hs_send(Method::POST, path, json!({ "inputs": [{ "id": COMPANY }] }))
        .await
        .json();
    assert_eq!(back["results"][0]["to"][0]["toObjectId"], json!(id));
    assert_eq!(back["results"][0]["to"][0]["associationTypes"][0]["typeId"], 189);
    let markers: Vec<_> = world
        .sandbox
        .changes()
        .iter()
        .map(|change| change.marker.clone())
        .collect();
    assert!(
        markers.iter().all(|marker| marker.as_deref() == Some("effect-1")),
        "{markers:?}"
    );
}

#[tokio::test]
async fn an_association_number_of_the_other_direction_is_refused_and_nothing_is_written() {
    let world = World::start().await;
    let made = world
        .hs_send(Method::POST, &format!("{OBJECTS}/notes"), note("effect-1", 189))
        .await;
    assert_eq!(
        (made.status.as_u16(), &made.json()["category"]),
        (400, &json!("VALIDATION_ERROR"))
    );
    assert!(world.sandbox.records(System::Hubspot, "notes").is_empty());
}

#[tokio::test]
async fn associations_are_put_by_default_or_by_number_and_taken_away() {
    let world = World::start().await;
    let contact = world
        .hs_send(
            Method::POST,
            &format!("{OBJECTS}/contacts"),
            json!({ "properties": { "email": "Jo@Roe.example" } }),
        )
        .await
        .json();
    assert_eq!(contact["properties"]["email"], "jo@roe.example");
    let id = contact["id"].as_str().unwrap();
    for base in ["/crm/objects/2026-09", "/crm/v4/objects"] {
        let path = format!("{base}/contacts/{id}/associations/default/companies/{COMPANY}");
        let done = send(world.hs(Method::PUT, &path)).await;
        assert_eq!(
            (
                done.status.as_u16(),
                &done.json()["results"][0]["associationSpec"]["associationTypeId"]
            ),
            (200, &json!(279))
        );
    }
    let path = format!("{OBJECTS}/contacts/{id}/associations/companies/{COMPANY}");
    let primary = json!([{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 1 }]);
    assert_eq!(world.hs_send(Method::PUT, &path, primary).await.status, 201);
    let ties = world
        .sandbox
        .record(System::Hubspot, "contacts", id)
        .unwrap()
        .associations;
    assert_eq!(ties.iter().map(|tie| tie.type_id).collect::<Vec<_>>(), [1, 279]);
    assert_eq!(send(world.hs(Method::DELETE, &path)).await.status, 204);
    assert!(
        world
            .sandbox
            .record(System::Hubspot, "companies", COMPANY)
            .unwrap()
            .associations
            .is_empty()
    );
    let missing = format!("{OBJECTS}/contacts/{id}/associations/default/companies/77");
    assert_eq!(send(world.hs(Method::PUT, &missing)).await.status, 404);
}
