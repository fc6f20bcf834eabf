//! Salesforce: several requests in one, bulk jobs, change lists, rules of the org.

use perennial_sandbox::{Access, CustomObject, FieldKind, Mutation, Options, Rule, Sandbox, System};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{ACCOUNT, World, seed, send};

#[tokio::test]
async fn a_composite_costs_one_call_refers_to_its_parts_and_is_undone_as_a_whole() {
    let world = World::start().await;
    let used = || world.sandbox.used(System::Salesforce);
    let part = |method: &str, url: &str, id: &str, body: Value| json!({ "method": method, "url": format!("/services/data/v68.0{url}"), "referenceId": id, "body": body });
    let before = used();
    let parts = json!([
        part("POST", "/sobjects/Account", "one", json!({ "Name": "New" })),
        part(
            "POST",
            "/sobjects/Contact",
            "two",
            json!({ "LastName": "Roe", "AccountId": "@{one.id}" })
        ),
        part("GET", "/sobjects/Foo", "three", Value::Null),
    ]);
    let good = world
        .sf_send(Method::POST, "/composite", json!({ "compositeRequest": parts }))
        .await
        .json();
    let parts = good["compositeResponse"].as_array().unwrap();
    let statuses: Vec<&Value> = parts.iter().map(|part| &part["httpStatusCode"]).collect();
    assert_eq!(statuses, [201, 201, 404]);
    assert!(parts[0]["httpHeaders"]["Location"].is_string());
    assert_eq!(parts[2]["body"][0]["errorCode"], "NOT_FOUND");
    assert_eq!(used() - before, 1);
    assert_eq!(world.sandbox.records(System::Salesforce, "Account").len(), 2);
    let undone = json!({ "allOrNone": true, "compositeRequest": [
        part("POST", "/sobjects/Account", "a", json!({ "Name": "Undone" })),
        part("POST", "/sobjects/Contact", "b", json!({})),
    ] });
    let undone = world.sf_send(Method::POST, "/composite", undone).await.json();
    assert_eq!(
        undone["compositeResponse"][0]["body"][0]["errorCode"],
        "PROCESSING_HALTED"
    );
    assert_eq!(world.sandbox.records(System::Salesforce, "Account").len(), 2);
    assert_eq!(world.sandbox.changes().len(), 2);
}

#[tokio::test]
async fn each_part_of_a_batch_counts_and_stands_alone_and_a_graph_does_not() {
    let world = World::start().await;
    let before = world.sandbox.used(System::Salesforce);
    let parts = json!([
        { "method": "GET", "url": format!("v68.0/sobjects/Account/{ACCOUNT}?fields=Name") },
        { "method": "GET", "url": "v68.0/sobjects/Foo/1" },
        { "method": "POST", "url": "v68.0/sobjects/Account", "richInput": { "Name": "Batched" } },
    ]);
    let body = world
        .sf_send(Method::POST, "/composite/batch", json!({ "batchRequests": parts }))
        .await
        .json();
    assert_eq!(body["hasErrors"], true);
    assert_eq!(body["results"][0]["result"]["Name"], "Umbrella");
    assert_eq!(body["results"][2]["statusCode"], 201);
    assert_eq!(world.sandbox.used(System::Salesforce) - before, 3);
    let halted = json!({ "haltOnError": true, "batchRequests": [parts[1], parts[0]] });
    let body = world.sf_send(Method::POST, "/composite/batch", halted).await.json();
    assert_eq!(body["results"][1]["result"][0]["errorCode"], "BATCH_PROCESSING_HALTED");
    let node = |name: &str, body: Value| json!({ "method": "POST", "url": "/services/data/v68.0/sobjects/Account", "referenceId": name, "body": body });
    let graphs = json!({ "graphs": [
        { "graphId": "good", "compositeRequest": [node("a", json!({ "Name": "Graph" }))] },
        { "graphId": "bad", "compositeRequest": [node("b", json!({ "Name": "Gone" })), node("c", json!({}))] },
    ] });
    let body = world.sf_send(Method::POST, "/composite/graph", graphs).await.json();
    let good: Vec<&Value> = body["graphs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|graph| &graph["isSuccessful"])
        .collect();
    assert_eq!(good, [true, false]);
    assert_eq!(world.sandbox.records(System::Salesforce, "Account").len(), 3);
}

async fn state(world: &World, path: &str) -> String {
    world.sf_get(path).await.json()["state"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_bulk_job_goes_through_its_states_and_tells_of_every_row() {
    let world = World::start().await;
    let job = json!({ "object": "Account", "operation": "upsert", "externalIdFieldName": "Perennial_Account_Id__c" });
    let made = world.sf_send(Method::POST, "/jobs/ingest", job).await.json();
    assert_eq!((&made["state"], &made["apiVersion"]), (&json!("Open"), &json!(68.0)));
    let path = format!("/jobs/ingest/{}", made["id"].as_str().unwrap());
    let data =
        "Perennial_Account_Id__c,Name,NumberOfEmployees,Phone\numbrella,Umbrella 2,12,#N/A\nnew,New,3,1\nbad,,x,\n";
    let upload = world.sf(Method::PUT, &format!("{path}/batches"));
    let put = send(upload.header("content-type", "text/csv").body(data)).await;
    assert_eq!((put.status.as_u16(), put.text.as_str()), (201, ""));
    let closed = world
        .sf_send(Method::PATCH, &path, json!({ "state": "UploadComplete" }))
        .await
        .json();
    assert_eq!(closed["state"], "UploadComplete");
    assert_eq!(state(&world, &path).await, "InProgress");
    let done = world.sf_get(&path).await.json();
    assert_eq!(
        (
            &done["state"],
            &done["numberRecordsProcessed"],
            &done["numberRecordsFailed"]
        ),
        (&json!("JobComplete"), &json!(3), &json!(1))
    );
    let good = world.sf_get(&format!("{path}/successfulResults")).await;
    assert!(good.header("content-type").starts_with("text/csv"));
    let lines: Vec<&str> = good.text.lines().collect();
    assert_eq!(
        lines[0],
        "\"sf__Id\",\"sf__Created\",\"Perennial_Account_Id__c\",\"Name\",\"NumberOfEmployees\",\"Phone\""
    );
    assert!(
        lines[1].contains("\"false\"") && lines[2].contains("\"true\""),
        "{lines:?}"
    );
    let bad = world.sf_get(&format!("{path}/failedResults")).await.text;
    assert!(bad.contains("INVALID_TYPE_ON_FIELD_IN_RECORD"), "{bad}");
    assert_eq!(
        world
            .sf_get(&format!("{path}/unprocessedrecords"))
            .await
            .text
            .lines()
            .count(),
        1
    );
    assert_eq!(world.sf_send(Method::DELETE, &path, Value::Null).await.status, 204);
    assert_eq!(world.sf_get(&path).await.status, 404);
}

#[tokio::test]
async fn an_aborted_job_leaves_its_rows_unprocessed_and_an_unknown_column_fails_it() {
    let world = World::start().await;
    let start = async |data: &'static str| {
        let job = json!({ "object": "Account", "operation": "insert", "lineEnding": "LF" });
        let made = world.sf_send(Method::POST, "/jobs/ingest", job).await.json();
        let path = format!("/jobs/ingest/{}", made["id"].as_str().unwrap());
        let upload = world.sf(Method::PUT, &format!("{path}/batches"));
        send(upload.header("content-type", "text/csv").body(data)).await;
        path
    };
    let path = start("Name\nOne\nTwo\n").await;
    let aborted = world
        .sf_send(Method::PATCH, &path, json!({ "state": "Aborted" }))
        .await
        .json();
    assert_eq!(aborted["state"], "Aborted");
    assert_eq!(
        world
            .sf_get(&format!("{path}/unprocessedrecords"))
            .await
            .text
            .lines()
            .count(),
        3
    );
    assert_eq!(world.sandbox.records(System::Salesforce, "Account").len(), 1);
    let path = start("Name,Nope\nOne,1\n").await;
    world
        .sf_send(Method::PATCH, &path, json!({ "state": "UploadComplete" }))
        .await;
    state(&world, &path).await;
    let failed = world.sf_get(&path).await.json();
    assert_eq!(failed["state"], "Failed");
    assert!(failed["errorMessage"].as_str().unwrap().contains("Nope"));
}

#[tokio::test]
async fn bulk_results_come_in_pages_that_end_with_a_null_locator() {
    let world = World::start().await;
    for name in ["A", "B", "C"] {
        world
            .sf_send(Method::POST, "/sobjects/Account", json!({ "Name": name }))
            .await;
    }
    let job = json!({ "operation": "query", "query": "SELECT Id, Name, Owner.Name FROM Account" });
    let made = world.sf_send(Method::POST, "/jobs/query", job).await.json();
    let path = format!("/jobs/query/{}", made["id"].as_str().unwrap());
    assert_eq!(state(&world, &path).await, "InProgress");
    assert_eq!(state(&world, &path).await, "JobComplete");
    let first = world.sf_get(&format!("{path}/results?maxRecords=3")).await;
    assert_eq!(first.header("sforce-numberofrecords"), "3");
    assert_eq!(first.text.lines().next(), Some("\"Id\",\"Name\",\"Owner.Name\""));
    let locator = first.header("sforce-locator").to_owned();
    let last = world
        .sf_get(&format!("{path}/results?maxRecords=3&locator={locator}"))
        .await;
    assert_eq!(
        (last.header("sforce-locator"), last.header("sforce-numberofrecords")),
        ("null", "1")
    );
    let grouped = json!({ "operation": "query", "query": "SELECT COUNT(Id) FROM Account" });
    assert_eq!(world.sf_send(Method::POST, "/jobs/query", grouped).await.status, 400);
}

#[tokio::test]
async fn change_lists_cover_whole_minutes_and_refuse_what_is_too_long_ago() {
    let world = World::start().await;
    let gone = world
        .sf_send(Method::POST, "/sobjects/Account", json!({ "Name": "Gone" }))
        .await
        .json();
    let gone = gone["id"].as_str().unwrap().to_owned();
    world
        .sf_send(Method::DELETE, &format!("/sobjects/Account/{gone}"), Value::Null)
        .await;
    let list = async |kind: &str, start: &str, end: &str| {
        world
            .sf_get(&format!("/sobjects/Account/{kind}/?start={start}&end={end}"))
            .await
    };
    let now = list("updated", "2026-05-01T07:00:00Z", "2026-05-01T07:25:59Z")
        .await
        .json();
    assert_eq!(
        now,
        json!({ "ids": [], "latestDateCovered": "2026-05-01T07:25:00.000+0000" })
    );
    world
        .sandbox
        .set_clock(perennial_sandbox::Clock::Fixed("2026-05-01T07:27:00Z".parse().unwrap()));
    let later = list("updated", "2026-05-01T07:25:00%2B0000", "2026-05-01T07:26:00%2B0000")
        .await
        .json();
    assert_eq!(later["ids"], json!([ACCOUNT]));
    let deleted = list("deleted", "2026-05-01T07:00:00Z", "2026-05-01T07:26:00Z")
        .await
        .json();
    assert_eq!(deleted["deletedRecords"][0]["id"], json!(gone));
    assert_eq!(
        list("updated", "2026-03-01T00:00:00Z", "2026-05-01T07:26:00Z")
            .await
            .status,
        400
    );
    assert_eq!(
        list("deleted", "2026-04-10T00:00:00Z", "2026-05-01T07:26:00Z")
            .await
            .status,
        400
    );
    assert_eq!(
        list("updated", "2026-05-01T07:26:00Z", "2026-05-01T07:26:30Z")
            .await
            .status,
        400
    );
    let shown = world
        .sf(Method::GET, "/queryAll")
        .query(&[("q", "SELECT Id FROM Account WHERE IsDeleted = true")]);
    assert_eq!(send(shown).await.json()["totalSize"], 1);
    assert_eq!(world.query("SELECT Id FROM Account").await.json()["totalSize"], 1);
}

#[tokio::test]
async fn queries_reach_children_groups_and_the_kind_of_a_reference() {
    let world = World::start().await;
    let person = json!({ "LastName": "Roe", "AccountId": ACCOUNT });
    let id = world.sf_send(Method::POST, "/sobjects/Contact", person).await.json()["id"].clone();
    for amount in [10, 30] {
        let deal = json!({ "Name": "D", "StageName": "Prospecting", "CloseDate": "2026-09-30", "Amount": amount, "AccountId": ACCOUNT });
        world.sf_send(Method::POST, "/sobjects/Opportunity", deal).await;
    }
    let family = world
        .query("SELECT Name, (SELECT LastName FROM Contacts), (SELECT Id FROM Cases) FROM Account")
        .await
        .json();
    let row = &family["records"][0];
    assert_eq!(
        (&row["Contacts"]["totalSize"], &row["Cases"]),
        (&json!(1), &Value::Null)
    );
    let sums = world
        .query("SELECT AccountId, SUM(Amount), MAX(Amount) most FROM Opportunity GROUP BY AccountId")
        .await
        .json();
    let row = &sums["records"][0];
    assert_eq!(
        (&row["expr0"], &row["most"], &row["attributes"]),
        (&json!(40.0), &json!(30), &json!({ "type": "AggregateResult" }))
    );
    let ungrouped = world.query("SELECT Name, COUNT(Id) FROM Account").await;
    assert_eq!(ungrouped.refusal(), (400, "MALFORMED_QUERY".to_owned()));
    world
        .sf_send(
            Method::POST,
            "/sobjects/Task",
            json!({ "Subject": "Call", "WhoId": id, "WhatId": ACCOUNT }),
        )
        .await;
    let kinds = "SELECT TYPEOF Who WHEN Contact THEN LastName ELSE Id END, Account.Owner.Name FROM Task";
    let row = world.query(kinds).await.json()["records"][0].clone();
    assert_eq!(
        (&row["Who"]["LastName"], &row["Account"]["Owner"]["Name"]),
        (&json!("Roe"), &json!("Perennial Integration"))
    );
}

#[tokio::test]
async fn rules_of_the_org_refuse_with_their_codes_and_can_be_passed_as_the_vendor_says() {
    let world = World::start().await;
    let rule = |rule: Rule| world.sandbox.add_rule(rule);
    rule(Rule::Validation {
        object: "Opportunity".to_owned(),
        condition: "StageName = 'Closed Won' AND Amount = null".to_owned(),
        message: "Betrag fehlt".to_owned(),
    })
    .unwrap();
    rule(Rule::Duplicate {
        object: "Contact".to_owned(),
        fields: vec!["Email".to_owned()],
    })
    .unwrap();
    assert!(
        rule(Rule::Duplicate {
            object: "Contact".to_owned(),
            fields: vec!["Nope".to_owned()]
        })
        .is_err()
    );
    let deal = json!({ "Name": "D", "StageName": "Closed Won", "CloseDate": "2026-09-30" });
    let refused = world.sf_send(Method::POST, "/sobjects/Opportunity", deal).await;
    assert_eq!(refused.refusal(), (400, "FIELD_CUSTOM_VALIDATION_EXCEPTION".to_owned()));
    let person = json!({ "LastName": "Roe", "Email": "roe@example.com" });
    assert_eq!(
        world
            .sf_send(Method::POST, "/sobjects/Contact", person.clone())
            .await
            .status,
        201
    );
    let twice = world.sf_send(Method::POST, "/sobjects/Contact", person.clone()).await;
    assert_eq!(twice.refusal().1, "DUPLICATES_DETECTED");
    assert_eq!(twice.json()[0]["duplicateResult"]["matchResults"][0]["size"], 1);
    let allowed = world.sf(Method::POST, "/sobjects/Contact").json(&person);
    let allowed = allowed.header(
        "Sforce-Duplicate-Rule-Header",
        "allowSave=true; includeRecordDetails=false",
    );
    assert_eq!(send(allowed).await.status, 201);
    world.sandbox.set_busy(System::Salesforce, "Account", ACCOUNT, 1);
    let path = format!("/sobjects/Account/{ACCOUNT}");
    let busy = world.sf_send(Method::PATCH, &path, json!({ "Phone": "1" })).await;
    assert_eq!(busy.refusal().1, "UNABLE_TO_LOCK_ROW");
    assert_eq!(
        world
            .sf_send(Method::PATCH, &path, json!({ "Phone": "1" }))
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn a_hidden_field_looks_missing_and_custom_objects_are_objects() {
    let world = World::start().await;
    assert!(
        world
            .sandbox
            .set_access(System::Salesforce, "Account", "Phone", Access::Hidden)
    );
    assert!(
        world
            .sandbox
            .set_access(System::Salesforce, "Account", "Fax", Access::ReadOnly)
    );
    let refused = world.query("SELECT Phone FROM Account").await;
    assert_eq!(refused.refusal(), (400, "INVALID_FIELD".to_owned()));
    assert!(refused.text.contains("No such column"));
    let path = format!("/sobjects/Account/{ACCOUNT}");
    let fax = world.sf_send(Method::PATCH, &path, json!({ "Fax": "1" })).await;
    assert_eq!(fax.refusal().1, "INVALID_FIELD_FOR_INSERT_UPDATE");
    let custom = CustomObject::new("Invoice__c")
        .field("Number__c", FieldKind::Text(20))
        .unique()
        .field("Account__c", FieldKind::Reference("Account".to_owned()));
    let sandbox = Sandbox::start(Options {
        seed: seed(),
        custom: vec![(System::Salesforce, custom)],
        ..Options::default()
    })
    .await
    .unwrap();
    let world = World { sandbox, ..world };
    let invoice = json!({ "Name": "I", "Account__r": { "Perennial_Account_Id__c": "umbrella" } });
    let made = world
        .sf_send(Method::PATCH, "/sobjects/Invoice__c/Number__c/7", invoice)
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let found = world
        .query("SELECT Number__c, Account__r.Name FROM Invoice__c")
        .await
        .json();
    assert_eq!(found["records"][0]["Account__r"]["Name"], "Umbrella");
    let unchanged = world.sf(Method::GET, "/sobjects/Invoice__c/describe");
    let unchanged = send(unchanged.header("If-Modified-Since", "Sat, 01 Jan 2050 00:00:00 GMT")).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.text.as_str()), (304, ""));
    assert!(!unchanged.header("last-modified").is_empty());
}

#[tokio::test]
async fn mutations_are_many_named_once_and_break_what_they_say() {
    let mut names: Vec<&str> = Mutation::ALL.iter().map(|one| one.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Mutation::ALL.len());
    assert!(names.len() >= 25, "{}", names.len());
    assert!(
        Mutation::ALL
            .iter()
            .all(|one| Mutation::named(one.name()) == Some(*one))
    );
    let world = World::start().await;
    let path = format!("/sobjects/Account/{ACCOUNT}");
    let name = async || world.sf_get(&path).await.json()["Name"].clone();
    world.sandbox.mutate(Some(Mutation::SfPatchIgnored));
    let ignored = world.sf_send(Method::PATCH, &path, json!({ "Name": "Changed" })).await;
    assert_eq!((ignored.status.as_u16(), name().await), (204, json!("Umbrella")));
    assert!(world.sandbox.changes().is_empty());
    world.sandbox.mutate(Some(Mutation::SfErrorKeysSwapped));
    assert!(world.query("SELECT").await.json()[0]["statusCode"].is_string());
    world.sandbox.mutate(Some(Mutation::SfUpsert300));
    let several = world
        .sf_send(
            Method::PATCH,
            "/sobjects/Account/Perennial_Account_Id__c/x",
            json!({ "Name": "X" }),
        )
        .await;
    assert_eq!((several.status.as_u16(), world.sandbox.changes().len()), (300, 0));
    world.sandbox.mutate(None);
    assert_eq!(
        world
            .sf_send(Method::PATCH, &path, json!({ "Name": "Changed" }))
            .await
            .status,
        204
    );
    assert_eq!(name().await, "Changed");
}
