//! People in deals, and the stages of deals.

use perennial_sandbox::SeedRecord;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{ACCOUNT, World, seed};

const DEAL: &str = "006000000000001AAA";

async fn world() -> World {
    let mut seed = seed();
    seed.salesforce.extend([
        SeedRecord::new("Opportunity")
            .id(DEAL)
            .field("Name", "Renewal")
            .field("AccountId", ACCOUNT)
            .field("StageName", "Prospecting")
            .field("CloseDate", "2026-12-31"),
        SeedRecord::new("OpportunityStage")
            .field("ApiName", "Signed")
            .field("MasterLabel", "Unterschrieben")
            .field("IsActive", true)
            .field("IsClosed", true)
            .field("IsWon", true)
            .field("DefaultProbability", 100)
            .field("SortOrder", 9),
        SeedRecord::new("OpportunityStage")
            .field("ApiName", "Closed in the old way")
            .field("MasterLabel", "Closed in the old way")
            .field("IsActive", false)
            .field("DefaultProbability", 40)
            .field("SortOrder", 10),
    ]);
    World::with(seed).await
}

#[tokio::test]
async fn a_contact_role_needs_deal_and_person_and_there_may_be_two_of_the_same() {
    let world = world().await;
    let made = world
        .sf_send(
            Method::POST,
            "/sobjects/Contact",
            json!({ "LastName": "Berg", "AccountId": ACCOUNT }),
        )
        .await;
    let person = made.json()["id"].as_str().unwrap().to_owned();
    let path = "/sobjects/OpportunityContactRole";
    let described = world.sf_get(&format!("{path}/describe")).await.json();
    let fields = described["fields"].as_array().unwrap();
    let flag = |name: &str, flag: &str| fields.iter().find(|field| field["name"] == name).unwrap()[flag].clone();
    assert_eq!(
        (flag("OpportunityId", "createable"), flag("OpportunityId", "updateable")),
        (json!(true), json!(false))
    );
    assert_eq!(
        (flag("Role", "nillable"), flag("ContactId", "updateable")),
        (json!(true), json!(true))
    );
    let missing = world
        .sf_send(
            Method::POST,
            path,
            json!({ "OpportunityId": DEAL, "Role": "Influencer" }),
        )
        .await;
    assert_eq!(missing.refusal(), (400, "REQUIRED_FIELD_MISSING".to_owned()));
    let role = json!({ "OpportunityId": DEAL, "ContactId": person, "Role": "Economic Buyer" });
    let one = world.sf_send(Method::POST, path, role.clone()).await;
    assert_eq!(one.status, 201, "{}", one.text);
    assert_eq!(
        world.sf_send(Method::POST, path, role).await.status,
        201,
        "nothing keeps them apart"
    );
    let question = format!(
        "SELECT Id, Role FROM OpportunityContactRole WHERE OpportunityId = '{DEAL}' AND ContactId = '{person}'"
    );
    assert_eq!(world.query(&question).await.json()["totalSize"], 2);
    let id = one.json()["id"].as_str().unwrap().to_owned();
    let moved = world
        .sf_send(Method::PATCH, &format!("{path}/{id}"), json!({ "OpportunityId": DEAL }))
        .await;
    assert_eq!(moved.refusal().1, "INVALID_FIELD_FOR_INSERT_UPDATE");
    assert_eq!(
        world
            .sf_send(Method::DELETE, &format!("{path}/{id}"), Value::Null)
            .await
            .status,
        204
    );
    // It is in no recycle bin: not even `queryAll` shows it.
    let all = world.sf(Method::GET, "/queryAll").query(&[("q", question.as_str())]);
    assert_eq!(crate::send(all).await.json()["totalSize"], 1);
}

#[tokio::test]
async fn the_stages_of_the_org_say_what_is_closed_and_won() {
    let world = world().await;
    let question = "SELECT ApiName, MasterLabel, IsActive, IsClosed, IsWon, DefaultProbability, ForecastCategoryName, SortOrder \
                    FROM OpportunityStage ORDER BY SortOrder";
    let stages = world.query(question).await.json();
    assert_eq!(stages["totalSize"], 10);
    assert_eq!(stages["records"][6]["IsWon"], true, "{stages}");
    let refused = world
        .sf_send(
            Method::POST,
            "/sobjects/OpportunityStage",
            json!({ "ApiName": "x", "MasterLabel": "x" }),
        )
        .await;
    assert!(refused.status.is_client_error(), "stages are made in the setup");
    // What is closed or won follows from the stage, whatever it is called; a stage on no list is taken all the same.
    let cases = [
        ("Signed", true, true, 100.0),
        ("Closed Lost", true, false, 0.0),
        ("Closed in the old way", false, false, 40.0),
        ("Closed somehow", false, false, 0.0),
    ];
    for (stage, closed, won, chance) in cases {
        let path = format!("/sobjects/Opportunity/{DEAL}");
        let patched = world.sf_send(Method::PATCH, &path, json!({ "StageName": stage })).await;
        assert_eq!(patched.status, 204, "{stage}: {}", patched.text);
        let deal = world.sf_get(&path).await.json();
        assert_eq!(
            (&deal["IsClosed"], &deal["IsWon"]),
            (&json!(closed), &json!(won)),
            "{stage}"
        );
        assert_eq!(deal["Probability"].as_f64(), Some(chance), "{stage}");
    }
}
