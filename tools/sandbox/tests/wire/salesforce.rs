//! The Salesforce server. Long because every check of a write has its case here.

use std::collections::BTreeSet;

use perennial_sandbox::{Clock, Limits, Seed, SeedRecord, System};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{ACCOUNT, World, send};

#[tokio::test]
async fn a_created_record_is_there_with_its_location_and_system_fields() {
    let world = World::start().await;
    let made = world
        .sf_send(
            Method::POST,
            "/sobjects/Account",
            json!({ "Name": "Hooli", "Perennial_Health__c": 71.5 }),
        )
        .await;
    assert_eq!(made.status, 201);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.json(), json!({ "id": id, "success": true, "errors": [] }));
    assert_eq!(
        made.header("location"),
        format!("/services/data/v68.0/sobjects/Account/{id}")
    );
    assert_eq!(made.header("sforce-limit-info"), "api-usage=1/15000");
    assert!(id.len() == 18 && id.starts_with("001"));

    let read = world.sf_get(&format!("/sobjects/Account/{}", &id[..15])).await.json();
    assert_eq!(read["Id"], json!(id));
    assert_eq!(read["Perennial_Health__c"], json!(71.5));
    assert_eq!(read["Website"], Value::Null);
    assert_eq!(read["CreatedDate"], "2026-05-01T07:25:37.000+0000");
    assert_eq!(read["attributes"]["type"], "Account");
    let few = world
        .sf_get(&format!("/sobjects/Account/{id}?fields=Name"))
        .await
        .json();
    assert_eq!(
        few.as_object()
            .unwrap()
            .keys()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>(),
        ["Id", "Name", "attributes"]
    );
}

#[tokio::test]
async fn a_patch_answers_204_and_leaves_before_and_after_in_the_history() {
    let world = World::start().await;
    let path = format!("/sobjects/Account/{ACCOUNT}");
    let done = world
        .sf_send(
            Method::PATCH,
            &path,
            json!({ "Perennial_Next_Step__c": "Call the CFO" }),
        )
        .await;
    assert_eq!((done.status.as_u16(), done.text.as_str()), (204, ""));
    world
        .sf_send(Method::PATCH, &path, json!({ "Perennial_Next_Step__c": null }))
        .await;
    let record = world.sandbox.record(System::Salesforce, "Account", ACCOUNT).unwrap();
    let steps: Vec<_> = record
        .history
        .iter()
        .map(|change| (&change.fields[0].before, &change.fields[0].after))
        .collect();
    assert_eq!(
        steps,
        [
            (&Value::Null, &json!("Call the CFO")),
            (&json!("Call the CFO"), &Value::Null)
        ]
    );
    assert!(record.history.iter().all(|change| change.by == "perennial/0.1.0"));
    assert!(!record.fields.contains_key("Perennial_Next_Step__c"));
}

#[tokio::test]
async fn deleting_answers_204_and_then_the_record_is_gone() {
    let world = World::start().await;
    let path = format!("/sobjects/Account/{ACCOUNT}");
    assert_eq!(send(world.sf(Method::DELETE, &path)).await.status, 204);
    assert_eq!(
        world.sf_get(&path).await.refusal(),
        (404, "ENTITY_IS_DELETED".to_owned())
    );
    let count = |text: &'static str| world.query(text);
    assert_eq!(count("SELECT count() FROM Account").await.json()["totalSize"], 0);
    let all = send(world.sf(Method::GET, "/queryAll?q=SELECT+Id,IsDeleted+FROM+Account"))
        .await
        .json();
    assert_eq!(all["records"][0]["IsDeleted"], true);
}

#[tokio::test]
async fn an_upsert_creates_then_updates_and_may_be_told_not_to_create() {
    let world = World::start().await;
    let path = "/sobjects/Account/Perennial_Account_Id__c/hooli%20%2F%201";
    let forbidden = world
        .sf_send(
            Method::PATCH,
            &format!("{path}?updateOnly=true"),
            json!({ "Name": "Hooli" }),
        )
        .await;
    assert_eq!(forbidden.refusal(), (404, "NOT_FOUND".to_owned()));
    let made = world.sf_send(Method::PATCH, path, json!({ "Name": "Hooli" })).await;
    assert_eq!(
        (made.status.as_u16(), made.json()["created"].clone()),
        (201, json!(true))
    );
    let again = world.sf_send(Method::PATCH, path, json!({ "Name": "Hooli Inc" })).await;
    assert_eq!(
        (again.status.as_u16(), again.json()["created"].clone()),
        (200, json!(false))
    );
    assert_eq!(made.json()["id"], again.json()["id"]);
    let read = world.sf_get(path).await.json();
    assert_eq!(
        (&read["Perennial_Account_Id__c"], &read["Name"]),
        (&json!("hooli / 1"), &json!("Hooli Inc"))
    );
    let twice = world
        .sf_send(Method::PATCH, path, json!({ "Perennial_Account_Id__c": "other" }))
        .await;
    assert_eq!(twice.refusal(), (400, "INVALID_FIELD".to_owned()));
}

#[tokio::test]
async fn an_upsert_that_matches_several_answers_300_and_writes_nothing() {
    let world = World::start().await;
    let one = json!({ "Name": "Renewal", "StageName": "Prospecting", "CloseDate": "2026-09-30", "Perennial_Opportunity_Id__c": "o1" });
    for _ in 0..2 {
        assert_eq!(
            world
                .sf_send(Method::POST, "/sobjects/Opportunity", one.clone())
                .await
                .status,
            201
        );
    }
    let before = world.sandbox.changes().len();
    let path = "/sobjects/Opportunity/Perennial_Opportunity_Id__c/o1";
    let several = world.sf_send(Method::PATCH, path, json!({ "NextStep": "x" })).await;
    assert_eq!(several.status, 300);
    let urls = several.json();
    assert_eq!(urls.as_array().unwrap().len(), 2);
    assert!(
        urls[0]
            .as_str()
            .unwrap()
            .starts_with("/services/data/v68.0/sobjects/Opportunity/006")
    );
    assert_eq!(world.sandbox.changes().len(), before);
}

#[tokio::test]
async fn if_match_protects_accounts_and_only_accounts() {
    let world = World::start().await;
    let path = format!("/sobjects/Account/{ACCOUNT}");
    let tag = world.sf_get(&path).await.header("etag").to_owned();
    assert!(tag.ends_with("--gzip\""));
    let patch = |tag: &str| {
        send(
            world
                .sf(Method::PATCH, &path)
                .header("If-Match", tag)
                .json(&json!({ "Phone": "1" })),
        )
    };
    assert_eq!(patch(&tag).await.status, 204);
    assert_eq!(patch(&tag).await.status, 412);
    assert_eq!(patch("no quotes").await.status, 400);
    let contact = world
        .sf_send(Method::POST, "/sobjects/Contact", json!({ "LastName": "Roe" }))
        .await
        .json();
    let path = format!("/sobjects/Contact/{}", contact["id"].as_str().unwrap());
    let other = world
        .sf(Method::PATCH, &path)
        .header("If-Match", "\"stale\"")
        .json(&json!({ "Title": "CEO" }));
    assert_eq!(send(other).await.status, 204);
}

#[tokio::test]
async fn if_unmodified_since_sees_a_later_change() {
    let world = World::start().await;
    let path = format!("/sobjects/Account/{ACCOUNT}");
    let seen = world.sf_get(&path).await.header("last-modified").to_owned();
    assert_eq!(seen, "Fri, 01 May 2026 07:25:37 GMT");
    let patch = || {
        send(
            world
                .sf(Method::PATCH, &path)
                .header("If-Unmodified-Since", &seen)
                .json(&json!({ "Phone": "1" })),
        )
    };
    assert_eq!(patch().await.status, 204);
    world
        .sandbox
        .set_clock(Clock::Fixed("2026-05-01T08:00:00Z".parse().unwrap()));
    assert_eq!(patch().await.status, 204);
    assert_eq!(patch().await.status, 412);
}

#[tokio::test]
async fn a_wrong_token_is_an_invalid_session_and_costs_nothing() {
    let world = World::start().await;
    let url = format!("{}/services/data/v68.0/limits", world.sandbox.salesforce().url);
    let refused = send(world.client.get(&url).bearer_auth("wrong")).await;
    assert_eq!(refused.refusal(), (401, "INVALID_SESSION_ID".to_owned()));
    assert_eq!(
        world.sf_get("/limits").await.header("sforce-limit-info"),
        "api-usage=1/15000"
    );
}

#[tokio::test]
async fn an_exhausted_budget_answers_403_without_effect() {
    let world = World::start().await;
    world.sandbox.set_limits(Limits {
        salesforce_daily: 1,
        ..Limits::default()
    });
    assert_eq!(world.sf_get("/limits").await.status, 200);
    let refused = world
        .sf_send(Method::POST, "/sobjects/Account", json!({ "Name": "Late" }))
        .await;
    assert_eq!(refused.refusal(), (403, "REQUEST_LIMIT_EXCEEDED".to_owned()));
    assert_eq!(refused.header("sforce-limit-info"), "api-usage=1/1");
    assert_eq!(world.sandbox.records(System::Salesforce, "Account").len(), 1);
}

#[tokio::test]
async fn the_token_endpoint_answers_the_token_to_known_grants() {
    let world = World::start().await;
    let url = format!("{}/services/oauth2/token", world.sandbox.salesforce().url);
    let ask = |form: &'static [(&'static str, &'static str)]| send(world.client.post(&url).form(form));
    let given = ask(&[
        ("grant_type", "client_credentials"),
        ("client_id", "a"),
        ("client_secret", "b"),
    ])
    .await
    .json();
    assert_eq!(given["access_token"], json!(world.sandbox.salesforce().token));
    assert_eq!(given["instance_url"], json!(world.sandbox.salesforce().url));
    let refused = ask(&[("grant_type", "password"), ("client_id", "a")]).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["error"]),
        (400, &json!("unsupported_grant_type"))
    );
    let dead = ask(&[("grant_type", "refresh_token"), ("client_id", "a")]).await;
    assert_eq!(dead.json()["error"], "invalid_grant");
}

#[track_caller]
fn same(answer: (u16, String), code: &str) {
    assert_eq!(answer, (400, code.to_owned()));
}

#[tokio::test]
async fn every_check_answers_its_own_code() {
    let world = World::start().await;
    let create =
        async |object: &str, body: Value| world.sf_send(Method::POST, &format!("/sobjects/{object}"), body).await;
    let unknown = create("Account", json!({ "Name": "A", "Colour__c": "red" })).await;
    same(unknown.refusal(), "INVALID_FIELD");
    let missing = create("Opportunity", json!({ "Name": "A" })).await;
    same(missing.refusal(), "REQUIRED_FIELD_MISSING");
    assert_eq!(missing.json()[0]["fields"], json!(["StageName", "CloseDate"]));
    same(
        create("Account", json!({ "Name": "x".repeat(256) })).await.refusal(),
        "STRING_TOO_LONG",
    );
    same(
        create("Account", json!({ "Name": "A", "AnnualRevenue": "much" }))
            .await
            .refusal(),
        "INVALID_TYPE_ON_FIELD_IN_RECORD",
    );
    same(
        create("Account", json!({ "Name": { "first": "A" } })).await.refusal(),
        "JSON_PARSER_ERROR",
    );
    same(create("Account", json!(["A"])).await.refusal(), "JSON_PARSER_ERROR");
    let clean = json!({ "Name": "A", "CleanStatus": "Nearly" });
    same(
        create("Account", clean).await.refusal(),
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
    );
    // A stage that is on no list is taken (recorded).
    let stage = json!({ "Name": "A", "StageName": "In Progress", "CloseDate": "2026-09-30" });
    let taken = create("Opportunity", stage).await;
    assert_eq!(taken.status, 201);
    let path = taken.header("location").replace("/services/data/v68.0", "");
    assert_eq!(world.sf_send(Method::DELETE, &path, json!(null)).await.status, 204);
    let dangling = json!({ "LastName": "Roe", "AccountId": "001Sb00000ZZZZZ" });
    same(
        create("Contact", dangling).await.refusal(),
        "INVALID_CROSS_REFERENCE_KEY",
    );
    same(
        create("Contact", json!({ "LastName": "Roe", "AccountId": "12" }))
            .await
            .refusal(),
        "MALFORMED_ID",
    );
    same(
        create("Contact", json!({ "LastName": "Roe", "Email": "roe" }))
            .await
            .refusal(),
        "INVALID_EMAIL_ADDRESS",
    );
    let taken = create("Account", json!({ "Name": "B", "Perennial_Account_Id__c": "UMBRELLA" })).await;
    same(taken.refusal(), "DUPLICATE_VALUE");
    assert!(taken.json()[0]["message"].as_str().unwrap().contains(ACCOUNT));
    same(
        create("Task", json!({ "IsClosed": true })).await.refusal(),
        "INVALID_FIELD_FOR_INSERT_UPDATE",
    );
    same(world.sf_get("/sobjects/Account/123").await.refusal(), "MALFORMED_ID");
    assert_eq!(
        world.sf_get("/sobjects/Account/001Sb00000ZZZZZ").await.refusal(),
        (404, "NOT_FOUND".to_owned())
    );
    assert_eq!(
        world.sf_get("/sobjects/Spaceship/describe").await.refusal(),
        (404, "NOT_FOUND".to_owned())
    );
    // The stage, made and deleted.
    assert_eq!(world.sandbox.changes().len(), 2);
}

#[tokio::test]
async fn a_locked_record_refuses_every_write() {
    let seed = Seed {
        salesforce: vec![SeedRecord::new("Account").id(ACCOUNT).field("Name", "Kept").locked()],
        ..Seed::default()
    };
    let world = World::with(seed).await;
    let path = format!("/sobjects/Account/{ACCOUNT}");
    same(
        world
            .sf_send(Method::PATCH, &path, json!({ "Name": "Lost" }))
            .await
            .refusal(),
        "ENTITY_IS_LOCKED",
    );
    same(
        send(world.sf(Method::DELETE, &path)).await.refusal(),
        "ENTITY_IS_LOCKED",
    );
}

#[tokio::test]
async fn a_collection_answers_200_and_tells_of_each_record() {
    let world = World::start().await;
    let records = json!([
        { "attributes": { "type": "Account" }, "Name": "One" },
        { "attributes": { "type": "Contact" }, "FirstName": "No surname" },
    ]);
    let mixed = world
        .sf_send(Method::POST, "/composite/sobjects", json!({ "records": records }))
        .await;
    assert_eq!(mixed.status, 200);
    let rows = mixed.json();
    assert_eq!(
        (&rows[0]["success"], &rows[1]["success"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(rows[1]["errors"][0]["statusCode"], "REQUIRED_FIELD_MISSING");
    assert_eq!(rows[1]["errors"][0]["errorCode"], Value::Null);

    let whole = json!({ "allOrNone": true, "records": records });
    let undone = world.sf_send(Method::POST, "/composite/sobjects", whole).await.json();
    assert_eq!(
        undone[0]["errors"][0]["statusCode"],
        "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    );
    assert_eq!(world.sandbox.records(System::Salesforce, "Account").len(), 2);
    assert_eq!(world.sandbox.changes().len(), 1);

    let update = json!({ "records": [{ "attributes": { "type": "Account" }, "id": ACCOUNT, "Phone": "7" }, { "attributes": { "type": "Account" } }] });
    let rows = world.sf_send(Method::PATCH, "/composite/sobjects", update).await.json();
    assert_eq!((&rows[0]["id"], &rows[1]["success"]), (&json!(ACCOUNT), &json!(false)));
    let many: Vec<Value> = (0..201)
        .map(|_| json!({ "attributes": { "type": "Account" }, "Name": "x" }))
        .collect();
    assert_eq!(
        world
            .sf_send(Method::POST, "/composite/sobjects", json!({ "records": many }))
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn a_task_key_makes_a_second_create_a_duplicate_and_marks_the_write() {
    let world = World::start().await;
    let task = json!({ "Subject": "Call", "WhatId": ACCOUNT, "Perennial_Key__c": "effect-1" });
    assert_eq!(
        world.sf_send(Method::POST, "/sobjects/Task", task.clone()).await.status,
        201
    );
    same(
        world.sf_send(Method::POST, "/sobjects/Task", task).await.refusal(),
        "DUPLICATE_VALUE",
    );
    let changes = world.sandbox.changes();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].marker.as_deref(), Some("effect-1"));
}

fn accounts(count: usize) -> Seed {
    let one = |number: usize| {
        let record = SeedRecord::new("Account")
            .field("Name", format!("Account {number:04}"))
            .field("Perennial_Health__c", number);
        if number.is_multiple_of(2) {
            record.field("Industry", "Retail")
        } else {
            record
        }
    };
    Seed {
        salesforce: (0..count).map(one).collect(),
        ..Seed::default()
    }
}

#[tokio::test]
async fn soql_filters_orders_limits_and_counts() {
    let world = World::with(accounts(10)).await;
    let names = async |soql: &str| -> Vec<String> {
        let body = world.query(soql).await.json();
        assert_eq!(body["done"], true, "{body}");
        body["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["Name"].as_str().unwrap().replace("Account 000", ""))
            .collect()
    };
    assert_eq!(
        names("SELECT Name FROM Account WHERE Perennial_Health__c > 6 ORDER BY Name DESC").await,
        ["9", "8", "7"]
    );
    assert_eq!(
        names("SELECT Name FROM Account WHERE Name IN ('account 0001','Account 0003') AND Industry = null").await,
        ["1", "3"]
    );
    assert_eq!(
        names("SELECT Name FROM Account WHERE Industry != null ORDER BY Perennial_Health__c LIMIT 2").await,
        ["0", "2"]
    );
    assert_eq!(
        names("SELECT Name FROM Account WHERE NOT (Perennial_Health__c >= 2 OR Name LIKE '%0')").await,
        ["1"]
    );
    assert_eq!(
        names("SELECT Name FROM Account WHERE CreatedDate >= 2026-05-01T00:00:00Z ORDER BY Name LIMIT 1").await,
        ["0"]
    );
    assert_eq!(
        world
            .query("SELECT count() FROM Account WHERE Industry = 'Retail'")
            .await
            .json(),
        json!({ "totalSize": 5, "done": true, "records": [] })
    );
}

#[tokio::test]
async fn soql_reaches_the_parent_record() {
    let world = World::start().await;
    world
        .sf_send(
            Method::POST,
            "/sobjects/Contact",
            json!({ "LastName": "Roe", "FirstName": "Jo", "AccountId": ACCOUNT }),
        )
        .await;
    let body = world
        .query("SELECT Name, Account.Name FROM Contact WHERE Account.Name = 'umbrella'")
        .await
        .json();
    assert_eq!(body["records"][0]["Account"]["Name"], "Umbrella");
    assert_eq!(body["records"][0]["Name"], "Jo Roe");
}

#[tokio::test]
async fn soql_mistakes_are_named_with_their_place() {
    let world = World::start().await;
    same(world.query("SELECT Id FROM Spaceship").await.refusal(), "INVALID_TYPE");
    same(
        world.query("SELECT Id FROM Account WHERE").await.refusal(),
        "MALFORMED_QUERY",
    );
    same(
        world
            .query("SELECT Id FROM Account WHERE Perennial_Health__c = 'high'")
            .await
            .refusal(),
        "INVALID_FIELD",
    );
    let unknown = world.query("SELECT Id, Colour FROM Account").await;
    same(unknown.refusal(), "INVALID_FIELD");
    assert!(
        unknown.json()[0]["message"]
            .as_str()
            .unwrap()
            .contains("ERROR at Row:1:Column:12")
    );
}

#[tokio::test]
async fn a_long_result_comes_in_pages() {
    let world = World::with(accounts(450)).await;
    let ask = world
        .sf(Method::GET, "/query")
        .query(&[("q", "SELECT Id FROM Account")]);
    let first = send(ask.header("Sforce-Query-Options", "batchSize=200")).await.json();
    assert_eq!((&first["totalSize"], &first["done"]), (&json!(450), &json!(false)));
    let mut seen = first["records"].as_array().unwrap().len();
    let mut next = first["nextRecordsUrl"].as_str().map(str::to_owned);
    for _ in 0..2 {
        let url = next.take().unwrap();
        let page = world
            .sf_get(url.strip_prefix("/services/data/v68.0").unwrap())
            .await
            .json();
        seen += page["records"].as_array().unwrap().len();
        next = page["nextRecordsUrl"].as_str().map(str::to_owned);
    }
    assert_eq!((seen, next), (450, None));
    same(
        world.sf_get("/query/0r8Sb0000000009AAA-200").await.refusal(),
        "INVALID_QUERY_LOCATOR",
    );
}

#[tokio::test]
async fn describe_tells_what_the_checks_check() {
    let world = World::start().await;
    let fields = world.sf_get("/sobjects/Opportunity/describe").await.json()["fields"].clone();
    let keys: Vec<usize> = fields
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field.as_object().unwrap().len())
        .collect();
    assert!(keys.iter().all(|count| *count == 57), "{keys:?}");
    let find = |name: &str| {
        fields
            .as_array()
            .unwrap()
            .iter()
            .find(|field| field["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(
        (&find("NextStep")["length"], &find("NextStep")["type"]),
        (&json!(255), &json!("string"))
    );
    assert_eq!(find("StageName")["restrictedPicklist"], false);
    assert_eq!(find("ForecastCategoryName")["restrictedPicklist"], true);
    assert_eq!(find("StageName")["picklistValues"].as_array().unwrap().len(), 8);
    assert_eq!(find("Perennial_Opportunity_Id__c")["externalId"], true);
    assert_eq!(find("IsClosed")["createable"], false);
    let org = world.query("SELECT IsSandbox FROM Organization").await.json();
    assert_eq!(org["records"][0]["IsSandbox"], true);
}

#[tokio::test]
async fn computed_fields_follow_what_they_are_computed_from() {
    let world = World::start().await;
    let contract = json!({ "AccountId": ACCOUNT, "StartDate": "2026-01-01", "ContractTerm": 12 });
    world.sf_send(Method::POST, "/sobjects/Contract", contract).await;
    assert_eq!(
        world.query("SELECT EndDate FROM Contract").await.json()["records"][0]["EndDate"],
        "2026-12-31"
    );
    let deal = json!({ "Name": "R", "StageName": "Prospecting", "CloseDate": "2026-09-30" });
    let id = world.sf_send(Method::POST, "/sobjects/Opportunity", deal).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    world
        .sf_send(
            Method::PATCH,
            &format!("/sobjects/Opportunity/{id}"),
            json!({ "StageName": "closed won" }),
        )
        .await;
    let read = world.sf_get(&format!("/sobjects/Opportunity/{id}")).await.json();
    assert_eq!(
        (&read["StageName"], &read["IsWon"], &read["Probability"]),
        (&json!("Closed Won"), &json!(true), &json!(100))
    );
}
