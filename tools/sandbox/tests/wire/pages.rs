//! The pages for people.

use reqwest::Method;
use serde_json::json;

use crate::{ACCOUNT, Answer, COMPANY, World, send};

async fn page(world: &World, path: &str) -> Answer {
    send(world.client.get(format!("{}{path}", world.sandbox.salesforce().url))).await
}

#[tokio::test]
async fn the_first_page_counts_both_systems_without_a_token() {
    let world = World::start().await;
    let index = page(&world, "/").await;
    assert_eq!(index.status, 200);
    for text in [
        "Sandbox",
        "Salesforce",
        "HubSpot",
        "/records/Account",
        "/records/companies",
        world.sandbox.hubspot().url.as_str(),
    ] {
        assert!(index.text.contains(text), "{text}");
    }
    assert!(index.header("content-security-policy").contains("default-src 'none'"));
    assert!(!index.text.contains(&world.sandbox.salesforce().token));
}

#[tokio::test]
async fn a_record_shows_who_changed_what_with_all_text_escaped() {
    let world = World::start().await;
    let bad = "<script>alert('x')</script>";
    let path = format!("/sobjects/Account/{ACCOUNT}");
    world
        .sf_send(Method::PATCH, &path, json!({ "Perennial_Next_Step__c": "first" }))
        .await;
    world
        .sf_send(
            Method::PATCH,
            &path,
            json!({ "Perennial_Next_Step__c": bad, "Name": bad }),
        )
        .await;
    for path in [
        "/".to_owned(),
        "/records/Account".to_owned(),
        format!("/records/Account/{ACCOUNT}"),
    ] {
        let shown = page(&world, &path).await.text;
        assert!(!shown.contains("<script>"), "{path}");
        assert!(shown.contains("&lt;script&gt;"), "{path}");
    }
    let shown = page(&world, &format!("/records/Account/{ACCOUNT}")).await.text;
    assert!(shown.contains("perennial/0.1.0"));
    assert!(shown.contains("<span class=\"was\">first</span>"));
    let newest = shown.find("&lt;script&gt;alert('x')&lt;/script&gt;</span>");
    assert!(newest < shown.find("<span class=\"now\">first</span>"));
}

#[tokio::test]
async fn a_write_with_a_key_shows_its_marker() {
    let world = World::start().await;
    let task = json!({ "properties": { "hs_timestamp": "2026-05-08T00:00:00Z", "hs_task_subject": "Call", "perennial_key": "effect-7" } });
    let id = world
        .hs_send(Method::POST, "/crm/objects/2026-09/tasks", task)
        .await
        .json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        page(&world, &format!("/records/tasks/{id}"))
            .await
            .text
            .contains("<code>effect-7</code>")
    );
}

#[tokio::test]
async fn what_is_not_there_is_a_404_page() {
    let world = World::start().await;
    for path in [
        "/records/Spaceship",
        "/records/Account/77",
        "/records/companies/1/2",
        "/favicon.ico",
    ] {
        assert_eq!(page(&world, path).await.status, 404, "{path}");
    }
    assert_eq!(page(&world, &format!("/records/companies/{COMPANY}")).await.status, 200);
}
