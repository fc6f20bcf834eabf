//! Long because each way in which the vendor may answer has its scene.

use std::collections::BTreeMap;

use perennial_core::action::{AccountField, Done, Priority, Write};
use serde_json::{Value, json};

use super::*;
use crate::test_kit::{Say, Server, effect, now, permit};
use crate::{FieldOwner, Level};

const ACCOUNT_ID: &str = "001000000000001AAA";
const BY_KEY: &str = "/services/data/v68.0/sobjects/Account/Perennial_Account_Id__c/A%2F1%20%C3%BC";

fn update(fields: &[(AccountField, &str)]) -> Write {
    let fields = fields.iter().map(|(field, text)| (*field, (*text).to_owned()));
    Write::UpdateAccount {
        fields: fields.collect::<BTreeMap<_, _>>(),
    }
}

fn task() -> Write {
    Write::CreateTask {
        subject: "Call Ana".to_owned(),
        body: "She asked for it.".to_owned(),
        due: "2026-12-01".parse().expect("a day"),
        priority: Priority::High,
        assignee: None,
    }
}

fn tool(server: &Server) -> Salesforce {
    Salesforce::new(server.connection()).expect("a tool")
}

fn known(field: &str, value: &str) -> Known {
    let mut known = Known::nothing();
    known.accept(field, value);
    known
}

async fn run_knowing(server: &Server, effect: &Effect, known: &Known) -> Result<Receipt, SendError> {
    tool(server).execute(permit(effect), effect, known, now()).await
}

async fn run(server: &Server, effect: &Effect) -> Result<Receipt, SendError> {
    tool(server)
        .execute(permit(effect), effect, &Known::nothing(), now())
        .await
}

fn refusal(result: Result<Receipt, SendError>) -> (String, String) {
    match result {
        Err(SendError::Refused { code, remedy, .. }) => (code, remedy),
        other => panic!("{other:?}"),
    }
}

fn account(etag: &str, health: f64) -> Say {
    let body = json!({"attributes": {"type": "Account"}, "Id": ACCOUNT_ID, "Perennial_Health__c": health});
    let headers = vec![("etag", etag.to_owned())];
    Say::Raw(200, headers, body.to_string())
}

/// The stages of an org, of which one is out of use.
fn stages() -> Say {
    let stage = |name: &str, active: bool, closed: bool| {
        json!({"ApiName": name, "MasterLabel": name, "IsActive": active, "IsClosed": closed, "IsWon": closed,
            "DefaultProbability": 50.0, "ForecastCategoryName": "Pipeline", "SortOrder": 1})
    };
    let all = [
        stage("Negotiation", true, false),
        stage("Haggling", false, false),
        stage("Signed", true, true),
    ];
    Say::Json(200, json!({"totalSize": 3, "done": true, "records": all}))
}

fn not_found() -> Say {
    Say::Json(
        404,
        json!([{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]),
    )
}

fn saved(status: u16, created: bool) -> Say {
    Say::Json(
        status,
        json!({"id": "00T000000000001EAA", "success": true, "errors": [], "created": created}),
    )
}

#[test]
fn effects_become_fields() {
    let fields = update(&[
        (AccountField::Health, "72"),
        (AccountField::RenewalRisk, "12.5"),
        (AccountField::NextStep, ""),
    ]);
    let effect_of = |write| effect(Crm::Salesforce, None, write);
    let Plan::Change { object, place, wanted } = map::plan(&effect_of(fields), &map::writes()).expect("a plan") else {
        panic!("a change");
    };
    assert_eq!((object, place), (ACCOUNT, Place::Key(ACCOUNT_KEY, "A/1 ü".to_owned())));
    let body = Value::Object(fields::body(&wanted));
    assert_eq!(
        body,
        json!({"Perennial_Health__c": 72, "Perennial_Renewal_Risk__c": 12.5, "Perennial_Next_Step__c": null})
    );
    assert!(map::plan(&effect_of(update(&[(AccountField::Health, "good")])), &map::writes()).is_err());

    let Plan::Keyed { object, parent, wanted } = map::plan(&effect_of(task()), &map::writes()).expect("a plan") else {
        panic!("a record of ours");
    };
    assert_eq!((object, parent), ("Task", "WhatId"));
    assert_eq!(
        Value::Object(fields::body(&wanted)),
        json!({"Subject": "Call Ana", "Description": "She asked for it.", "ActivityDate": "2026-12-01",
            "Priority": "High", "Status": "Not Started"})
    );
}

#[test]
fn long_texts_are_cut_and_the_receipt_says_so() {
    let write = Write::CreateNote {
        title: "ü".repeat(100),
        body: "x".repeat(40_000),
    };
    let Plan::Keyed { wanted, .. } = map::plan(&effect(Crm::Salesforce, None, write), &map::writes()).expect("a plan")
    else {
        panic!("a record of ours");
    };
    let after = fields::after(&wanted);
    assert_eq!(after["Title"].chars().count(), 80);
    assert!(after["Body"].ends_with('…') && after["Body"].chars().count() == 32_000);
    assert_eq!(after["Title (cut)"], "the field holds 80 characters, the text has 100");
}

#[test]
fn record_ids_are_ids() {
    for bad in ["", "001", "001000000000001/AA", "../../../composite", "00100000000000é"] {
        assert!(map::record_id(ACCOUNT, bad).is_err(), "{bad}");
    }
    assert_eq!(
        map::record_id(ACCOUNT, " 001000000000001 ").expect("an id"),
        "001000000000001"
    );
}

#[tokio::test]
async fn nothing_is_sent_when_nothing_changes() {
    let server = Server::script(vec![account("\"1\"", 72.0)]).await;
    let effect = effect(Crm::Salesforce, None, update(&[(AccountField::Health, "72")]));
    let receipt = run(&server, &effect).await.expect("a receipt");
    assert_eq!((receipt.done, receipt.record.as_str()), (Done::NoChange, ACCOUNT_ID));
    assert!(receipt.before.is_empty() && receipt.after.is_empty());
    assert_eq!(
        server.lines(),
        [format!("GET {BY_KEY}?fields=Id,SystemModstamp,Perennial_Health__c")]
    );
}

#[tokio::test]
async fn a_change_is_guarded_by_the_tag_and_keeps_its_before_image() {
    let done = Say::Raw(204, vec![], String::new());
    let server = Server::script(vec![account("\"1--gzip\"", 60.0), done, account("\"2\"", 72.0)]).await;
    let wanted = update(&[(AccountField::Health, "72"), (AccountField::Posture, "")]);
    let effect = effect(Crm::Salesforce, None, wanted);
    let receipt = run(&server, &effect).await.expect("a receipt");
    assert_eq!(receipt.done, Done::Updated);
    assert_eq!(receipt.before["Perennial_Health__c"], "60");
    assert_eq!(
        receipt.after,
        BTreeMap::from([("Perennial_Health__c".to_owned(), "72".to_owned())])
    );
    assert_eq!(receipt.url, format!("{}/records/Account/{ACCOUNT_ID}", server.base));
    let patch = &server.seen()[1];
    assert_eq!(
        patch.path,
        format!("/services/data/v68.0/sobjects/Account/{ACCOUNT_ID}")
    );
    assert_eq!(patch.headers["if-match"], "\"1--gzip\"");
    assert_eq!(patch.body, json!({"Perennial_Health__c": 72}));
    // What the answer says is not believed: the record is read again.
    let read = &server.seen()[2];
    assert_eq!((read.method.as_str(), server.seen().len()), ("GET", 3));
}

#[tokio::test]
async fn a_success_that_changed_nothing_is_refused_and_one_that_changed_half_says_so() {
    let done = || Say::Raw(204, vec![], String::new());
    let both = |health: f64, posture: &str| {
        Say::Json(
            200,
            json!({"Id": ACCOUNT_ID, "Perennial_Health__c": health, "Perennial_Posture__c": posture}),
        )
    };
    let wanted = update(&[(AccountField::Health, "72"), (AccountField::Posture, "at risk")]);
    let effect = effect(Crm::Salesforce, None, wanted);
    let server = Server::script(vec![both(60.0, "fine"), done(), both(60.0, "fine")]).await;
    assert_eq!(refusal(run(&server, &effect).await).0, "NOT_APPLIED");
    let server = Server::script(vec![both(60.0, "fine"), done(), both(72.0, "fine")]).await;
    let receipt = run(&server, &effect).await.expect("a receipt");
    assert_eq!(
        receipt.values_after().collect::<Vec<_>>(),
        [("Perennial_Health__c", "72")]
    );
    assert!(receipt.after.contains_key("Perennial_Posture__c (not written)"));
    // It cannot be read back: nobody knows, and what was there before is kept.
    let server = Server::script(vec![both(60.0, "fine"), done(), Say::Raw(401, vec![], String::new())]).await;
    let Err(SendError::Unknown { image: Some(image), .. }) = run(&server, &effect).await else {
        panic!("unknown");
    };
    assert_eq!(image.before["Perennial_Posture__c"], "fine");
}

#[tokio::test]
async fn a_record_without_a_tag_is_guarded_by_the_second_of_its_last_change() {
    let deal = |stage: &str| {
        let modified = "2026-11-21T08:00:09.000+0000";
        Say::Json(
            200,
            json!({"Id": "006000000000001AAA", "SystemModstamp": modified, "StageName": stage}),
        )
    };
    let stale = Say::Json(412, json!([{"errorCode": "PRECONDITION_FAILED", "message": "x"}]));
    let write = Write::UpdateOpportunity {
        opportunity: "opp 1".to_owned(),
        crm_id: None,
        next_step: None,
        stage: Some("Negotiation".to_owned()),
        seen: BTreeMap::new(),
    };
    let effect = effect(Crm::Salesforce, None, write);
    let server = Server::script(vec![stages(), deal("Open"), stale, deal("Closed Won")]).await;
    let result = run_knowing(&server, &effect, &known("StageName", "Open")).await;
    assert!(matches!(result, Err(SendError::Conflict { .. })), "{result:?}");
    let patch = &server.seen()[2];
    assert_eq!(patch.headers["if-unmodified-since"], "Sat, 21 Nov 2026 08:00:09 GMT");
    assert!(!patch.headers.contains_key("if-match"));
}

#[test]
fn moments_are_written_as_headers_have_them() {
    let moment = |text: &str| wire::http_date(text.parse().expect("a time"));
    assert_eq!(moment("1970-01-01T00:00:00Z"), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(moment("2024-02-29T23:59:59.9Z"), "Thu, 29 Feb 2024 23:59:59 GMT");
    assert_eq!(moment("2026-11-29T12:30:05Z"), "Sun, 29 Nov 2026 12:30:05 GMT");
}

#[tokio::test]
async fn a_record_that_changed_meanwhile_is_read_and_decided_again() {
    let stale = || Say::Json(412, json!([{"errorCode": "PRECONDITION_FAILED", "message": "x"}]));
    let wanted = || effect(Crm::Salesforce, None, update(&[(AccountField::Health, "72")]));
    // Someone else wrote the wanted value: there is nothing left to do.
    let server = Server::script(vec![account("\"1\"", 60.0), stale(), account("\"2\"", 72.0)]).await;
    assert_eq!(run(&server, &wanted()).await.expect("a receipt").done, Done::NoChange);
    // Someone else wrote another field: ours goes over the value that we read.
    let done = Say::Raw(204, vec![], String::new());
    let server = Server::script(vec![
        account("\"1\"", 60.0),
        stale(),
        account("\"2\"", 60.0),
        done,
        account("\"3\"", 72.0),
    ])
    .await;
    assert_eq!(
        run(&server, &wanted()).await.expect("a receipt").before["Perennial_Health__c"],
        "60"
    );
    assert_eq!(server.seen()[3].headers["if-match"], "\"2\"");
    // Someone else wrote another value into the same field: it stays, and both are told.
    let server = Server::script(vec![account("\"1\"", 60.0), stale(), account("\"2\"", 61.0)]).await;
    let Err(SendError::Conflict { fields, record, .. }) = run(&server, &wanted()).await else {
        panic!("somebody's edit");
    };
    assert_eq!(record, ACCOUNT_ID);
    let [field] = &fields[..] else { panic!("one field") };
    assert_eq!(
        (field.known.as_deref(), field.theirs.as_str(), field.ours.as_str()),
        (Some("60"), "61", "72")
    );
    assert_eq!(server.writes(), 1);
    // It goes on changing.
    let answers = vec![account("\"1\"", 60.0), stale(), account("\"2\"", 60.0), stale()];
    let server = Server::script(answers).await;
    assert!(matches!(run(&server, &wanted()).await, Err(SendError::Busy { .. })));
    assert_eq!(server.writes(), 2);
}

#[tokio::test]
async fn an_edit_of_somebody_else_is_not_written_over() {
    let effect = effect(Crm::Salesforce, None, update(&[(AccountField::Health, "72")]));
    let server = Server::script(vec![account("\"1\"", 55.0)]).await;
    let result = run_knowing(&server, &effect, &known("Perennial_Health__c", "60")).await;
    assert!(matches!(result, Err(SendError::Conflict { .. })), "{result:?}");
    assert_eq!(server.writes(), 0);
    // They wrote what we want: nothing is left to do, and nobody is asked.
    let server = Server::script(vec![account("\"1\"", 72.0)]).await;
    let receipt = run_knowing(&server, &effect, &known("Perennial_Health__c", "60")).await;
    assert_eq!(receipt.expect("a receipt").done, Done::NoChange);
}

#[tokio::test]
async fn a_field_of_the_crm_is_never_written() {
    let mut writes = map::writes();
    writes.account.get_mut(&AccountField::Posture).expect("a rule").owner = FieldOwner::Crm;
    let done = Say::Raw(204, vec![], String::new());
    let server = Server::script(vec![account("\"1\"", 60.0), done, account("\"2\"", 72.0)]).await;
    let connection = Connection {
        writes: Some(writes),
        ..server.connection()
    };
    let tool = Salesforce::new(connection).expect("a tool");
    let wanted = update(&[(AccountField::Health, "72"), (AccountField::Posture, "at risk")]);
    let effect = effect(Crm::Salesforce, None, wanted);
    let receipt = tool.execute(permit(&effect), &effect, &Known::nothing(), now()).await;
    let receipt = receipt.expect("a receipt");
    assert_eq!(server.seen()[1].body, json!({"Perennial_Health__c": 72}));
    assert_eq!(
        receipt.values_after().collect::<Vec<_>>(),
        [("Perennial_Health__c", "72")]
    );
    assert!(receipt.after["Perennial_Posture__c (not written)"].contains("leaves it to the CRM"));
}

#[tokio::test]
async fn an_undone_change_puts_the_old_values_back_unless_somebody_changed_them() {
    let done = || Say::Raw(204, vec![], String::new());
    let effect = effect(Crm::Salesforce, None, update(&[(AccountField::Health, "72")]));
    let written = [account("\"1\"", 60.0), done(), account("\"2\"", 72.0)];
    let undone = [account("\"2\"", 72.0), done(), account("\"3\"", 60.0)];
    let server = Server::script([written, undone].concat()).await;
    let receipt = run(&server, &effect).await.expect("a receipt");
    let undone = tool(&server).undo(permit(&effect), &effect, &receipt, now()).await;
    let undone = undone.expect("a receipt");
    assert_eq!(
        (undone.done, undone.after["Perennial_Health__c"].as_str()),
        (Done::Updated, "60")
    );
    let back = &server.seen()[4];
    assert_eq!(
        (back.method.as_str(), &back.body),
        ("PATCH", &json!({"Perennial_Health__c": 60}))
    );
    assert_eq!(back.headers["if-match"], "\"2\"");
    // The org kept our value although it reported success.
    let server = Server::script(vec![account("\"2\"", 72.0), done(), account("\"2\"", 72.0)]).await;
    let kept = tool(&server).undo(permit(&effect), &effect, &receipt, now()).await;
    assert_eq!(refusal(kept).0, "NOT_APPLIED");
    // Somebody has changed it since: it stays, and the field is named.
    let server = Server::script(vec![account("\"3\"", 65.0), account("\"3\"", 65.0)]).await;
    let undoing = tool(&server).undoing(&effect, &receipt).await.expect("a picture");
    assert_eq!(undoing.changed[0].field, "Perennial_Health__c");
    let refused = tool(&server).undo(permit(&effect), &effect, &receipt, now()).await;
    assert!(matches!(refused, Err(SendError::Conflict { .. })), "{refused:?}");
    assert_eq!(server.writes(), 0);
    // It is as it was: there is nothing to do.
    let server = Server::script(vec![account("\"4\"", 60.0)]).await;
    let undone = tool(&server).undo(permit(&effect), &effect, &receipt, now()).await;
    assert_eq!(undone.expect("a receipt").done, Done::NoChange);
}

#[tokio::test]
async fn an_undone_task_is_deleted_unless_somebody_worked_on_it() {
    let effect = effect(Crm::Salesforce, Some(ACCOUNT_ID), task());
    let fields = |status: &str| {
        json!({"Id": "00T000000000001EAA", "Subject": "Call Ana", "Description": "She asked for it.",
            "ActivityDate": "2026-12-01", "Priority": "High", "Status": status, "WhatId": ACCOUNT_ID})
    };
    let task = |status: &str| Say::Json(200, fields(status));
    let server = Server::script(vec![not_found(), saved(201, true), task("Not Started")]).await;
    let receipt = run(&server, &effect).await.expect("a receipt");
    let server = Server::script(vec![task("Completed")]).await;
    let refused = tool(&server).undo(permit(&effect), &effect, &receipt, now()).await;
    let Err(SendError::Conflict { fields, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(fields[0].field, "Status");
    let gone = || Say::Raw(204, vec![], String::new());
    let server = Server::script(vec![task("Not Started"), gone(), task("Not Started")]).await;
    let kept = tool(&server).undo(permit(&effect), &effect, &receipt, now()).await;
    assert_eq!(refusal(kept).0, "NOT_APPLIED", "it is still there");
    let answers = vec![task("Not Started"), gone(), not_found(), not_found()];
    let server = Server::script(answers).await;
    let undone = tool(&server).undo(permit(&effect), &effect, &receipt, now()).await;
    assert_eq!(undone.expect("a receipt").done, Done::Deleted);
    assert_eq!(server.seen()[1].method, "DELETE");
    let again = tool(&server).undo(permit(&effect), &effect, &receipt, now()).await;
    assert_eq!(again.expect("a receipt").done, Done::NoChange, "it is gone already");
}

#[tokio::test]
async fn a_lost_change_is_unknown_and_looking_up_settles_it() {
    let answers = vec![
        account("\"1\"", 60.0),
        Say::Raw(503, vec![], "<html>".to_owned()),
        account("\"2\"", 72.0),
    ];
    let server = Server::script(answers).await;
    let effect = effect(Crm::Salesforce, None, update(&[(AccountField::Health, "72")]));
    let Err(SendError::Unknown { image: Some(image), .. }) = run(&server, &effect).await else {
        panic!("unknown, with what it found");
    };
    assert_eq!(image.before["Perennial_Health__c"], "60");
    assert_eq!(server.writes(), 1);
    let LookUp::Done(receipt) = tool(&server).look_up(&effect, now()).await.expect("an answer") else {
        panic!("it took place");
    };
    assert_eq!(
        (receipt.done, receipt.after["Perennial_Health__c"].as_str()),
        (Done::AlreadyDone, "72")
    );
    let server = Server::script(vec![account("\"1\"", 60.0)]).await;
    assert_eq!(
        tool(&server).look_up(&effect, now()).await.expect("an answer"),
        LookUp::Absent
    );
}

#[tokio::test]
async fn a_task_is_made_once_under_the_effect_id() {
    let there = || {
        Say::Json(
            200,
            json!({"Id": "00T000000000001EAA", "Subject": "Call Ana", "WhatId": ACCOUNT_ID}),
        )
    };
    let server = Server::script(vec![not_found(), saved(201, true), there()]).await;
    let effect = effect(Crm::Salesforce, Some(ACCOUNT_ID), task());
    let receipt = run(&server, &effect).await.expect("a receipt");
    assert_eq!(
        (receipt.done, receipt.record.as_str()),
        (Done::Created, "00T000000000001EAA")
    );
    let seen = server.seen();
    let path = format!("/services/data/v68.0/sobjects/Task/Perennial_Key__c/{}", effect.id);
    assert!(seen[0].path.starts_with(&path) && seen[1].path == path);
    assert_eq!(
        (seen[1].method.as_str(), &seen[1].body["WhatId"]),
        ("PATCH", &json!(ACCOUNT_ID))
    );

    // What it lacks is said.
    assert_eq!(receipt.after["Subject"], "Call Ana");
    assert!(receipt.after.contains_key("Description (not written)"));

    // Reported as made, and not there.
    let server = Server::script(vec![not_found(), saved(201, true), not_found()]).await;
    assert_eq!(refusal(run(&server, &effect).await).0, "NOT_APPLIED");
    // Made by someone between our look and our write.
    let server = Server::script(vec![not_found(), saved(200, false), there()]).await;
    assert_eq!(run(&server, &effect).await.expect("a receipt").done, Done::AlreadyDone);
    // Made before: what a person did to it since is left alone.
    let exists = || Say::Json(200, json!({"Id": "00T000000000001EAA", "Status": "Completed"}));
    let server = Server::script(vec![exists(), exists()]).await;
    assert_eq!(run(&server, &effect).await.expect("a receipt").done, Done::AlreadyDone);
    assert!(matches!(
        tool(&server).look_up(&effect, now()).await,
        Ok(LookUp::Done(_))
    ));
    assert_eq!(server.writes(), 0);
}

#[tokio::test]
async fn an_ambiguous_or_failed_upsert_is_refused() {
    let effect = effect(Crm::Salesforce, Some(ACCOUNT_ID), task());
    let several = Say::Json(
        300,
        json!([
            "/services/data/v68.0/sobjects/Task/00T1",
            "/services/data/v68.0/sobjects/Task/00T2"
        ]),
    );
    let server = Server::script(vec![not_found(), several]).await;
    assert_eq!(refusal(run(&server, &effect).await).0, "MULTIPLE_CHOICES");
    let failed =
        json!({"id": null, "success": false, "errors": [{"statusCode": "STRING_TOO_LONG", "message": "Call Ana"}]});
    let server = Server::script(vec![not_found(), Say::Json(200, failed)]).await;
    assert_eq!(refusal(run(&server, &effect).await).0, "STRING_TOO_LONG");
    let server = Server::script(vec![not_found(), Say::Json(201, json!({"created": true}))]).await;
    assert!(matches!(run(&server, &effect).await, Err(SendError::Unknown { .. })));
}

#[tokio::test]
async fn an_unknown_account_is_made_only_in_a_sandbox() {
    let organization = |is_sandbox| {
        Say::Json(
            200,
            json!({"totalSize": 1, "done": true, "records": [{"IsSandbox": is_sandbox}]}),
        )
    };
    let effect = effect(Crm::Salesforce, None, update(&[(AccountField::Health, "72")]));

    let server = Server::script(vec![not_found()]).await;
    let (code, remedy) = refusal(run(&server, &effect).await);
    assert!(
        code == "RECORD_NOT_FOUND" && remedy.contains("Perennial_Account_Id__c"),
        "{remedy}"
    );
    assert_eq!(server.writes(), 0);

    let with = |server: &Server| {
        Salesforce::new(Connection {
            create_missing_accounts: CreateMissing::InSandbox,
            ..server.connection()
        })
        .expect("a tool")
    };
    let server = Server::script(vec![not_found(), organization(false), not_found()]).await;
    let tool = with(&server);
    for _ in 0..2 {
        assert_eq!(
            refusal(tool.execute(permit(&effect), &effect, &Known::nothing(), now()).await).0,
            "RECORD_NOT_FOUND"
        );
    }
    assert_eq!((server.writes(), server.seen().len()), (0, 3), "the org is asked once");

    let done = Say::Raw(204, vec![], String::new());
    let made = Say::Json(
        201,
        json!({"id": ACCOUNT_ID, "success": true, "errors": [], "created": true}),
    );
    let blank = Say::Json(200, json!({"Id": ACCOUNT_ID, "Perennial_Health__c": null}));
    let written = account("\"2\"", 72.0);
    let server = Server::script(vec![not_found(), organization(true), made, blank, done, written]).await;
    let receipt = with(&server)
        .execute(permit(&effect), &effect, &Known::nothing(), now())
        .await
        .expect("a receipt");
    assert_eq!((receipt.done, receipt.before.len()), (Done::Updated, 0));
    let upsert = &server.seen()[2];
    assert_eq!(
        (upsert.path.as_str(), &upsert.body),
        (BY_KEY, &json!({"Name": "Northwind Traders"}))
    );
}

#[tokio::test]
async fn a_deal_is_compared_before_it_is_written() {
    let write = Write::UpdateOpportunity {
        opportunity: "opp 1".to_owned(),
        crm_id: None,
        next_step: Some("Send the paper".to_owned()),
        stage: Some("Negotiation".to_owned()),
        seen: BTreeMap::new(),
    };
    let effect = effect(Crm::Salesforce, None, write);
    let deal = || {
        Say::Json(
            200,
            json!({"Id": "006000000000001AAA", "NextStep": "Wait", "StageName": "Negotiation"}),
        )
    };
    let after = Say::Json(200, json!({"Id": "006000000000001AAA", "NextStep": "Send the paper"}));
    let done = Say::Raw(204, vec![], String::new());
    let server = Server::script(vec![deal(), stages(), deal(), done, after]).await;
    let diff = tool(&server).read(&effect).await.expect("a picture");
    assert_eq!(diff.fields["NextStep"].before.as_deref(), Some("Wait"));
    assert!(diff.fields["NextStep"].is_change() && !diff.fields["StageName"].is_change());
    let receipt = run_knowing(&server, &effect, &known("NextStep", "Wait"))
        .await
        .expect("a receipt");
    assert_eq!(receipt.before["NextStep"], "Wait");
    assert_eq!(server.seen()[3].body, json!({"NextStep": "Send the paper"}));
    assert!(
        server.seen()[0]
            .path
            .contains("/Opportunity/Perennial_Opportunity_Id__c/opp%201?")
    );
    let server = Server::script(vec![not_found(), stages(), not_found()]).await;
    assert_eq!(tool(&server).read(&effect).await.expect("a picture").record, None);
    assert_eq!(refusal(run(&server, &effect).await).0, "RECORD_NOT_FOUND");
}

#[tokio::test]
async fn a_stage_that_the_org_does_not_have_is_refused_before_the_call() {
    let to = |stage: &str| {
        let write = Write::UpdateOpportunity {
            opportunity: "opp 1".to_owned(),
            crm_id: Some("006000000000001AAA".to_owned()),
            next_step: None,
            stage: Some(stage.to_owned()),
            seen: BTreeMap::new(),
        };
        effect(Crm::Salesforce, None, write)
    };
    for (stage, code) in [("Closed Won", "UNKNOWN_STAGE"), ("Haggling", "INACTIVE_STAGE")] {
        let server = Server::script(vec![stages()]).await;
        let (found, remedy) = refusal(run(&server, &to(stage)).await);
        assert_eq!(found, code);
        assert!(
            remedy.contains("Negotiation, Signed") && !remedy.contains("Haggling"),
            "{remedy}"
        );
        assert_eq!(
            (server.writes(), server.seen().len()),
            (0, 1),
            "nothing but the question"
        );
        // The same in a batch.
        let server = Server::script(vec![stages()]).await;
        let (effect, known) = (to(stage), Known::nothing());
        let job = crate::Job {
            permit: permit(&effect),
            effect: &effect,
            known: &known,
        };
        let answers = tool(&server).execute_many(vec![job], &crate::Always, now()).await;
        assert!(
            matches!(&answers[0], Err(SendError::Refused { code: found, .. }) if found == code),
            "{answers:?}"
        );
        assert_eq!(server.writes(), 0);
    }
    // What is known is asked for once; what is not known is asked for again, as it may have been made since.
    let deal = || Say::Json(200, json!({"Id": "006000000000001AAA", "StageName": "Signed"}));
    let server = Server::script(vec![stages(), deal(), deal(), stages()]).await;
    let tool = tool(&server);
    for (stage, done) in [("Signed", true), ("Signed", true), ("Lost", false)] {
        let effect = to(stage);
        let result = tool.execute(permit(&effect), &effect, &Known::nothing(), now()).await;
        assert_eq!(result.is_ok(), done, "{stage}: {result:?}");
    }
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn an_upsert_that_meets_several_records_writes_nothing_and_names_them() {
    let several = Say::Json(
        300,
        json!([
            "/services/data/v68.0/sobjects/Task/00T000000000001EAA",
            "/services/data/v68.0/sobjects/Task/00T000000000002EAA"
        ]),
    );
    let effect = effect(Crm::Salesforce, Some(ACCOUNT_ID), task());
    let server = Server::script(vec![not_found(), several]).await;
    let Err(SendError::Refused { code, message, .. }) = run(&server, &effect).await else {
        panic!("refused");
    };
    assert_eq!(code, "MULTIPLE_CHOICES");
    assert!(message.contains("00T000000000001EAA, 00T000000000002EAA"), "{message}");
    let by_key = format!(
        "PATCH /services/data/v68.0/sobjects/Task/Perennial_Key__c/{}",
        effect.id
    );
    assert_eq!(server.lines()[1], by_key, "what we make is an upsert by our key");
}

#[tokio::test]
async fn a_spent_budget_is_a_long_wait_and_sends_nothing_more() {
    let effect = effect(Crm::Salesforce, Some(ACCOUNT_ID), task());
    let spent = json!([{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]);
    let server = Server::script(vec![Say::Json(403, spent)]).await;
    let Err(SendError::Busy { retry_after, why }) = run(&server, &effect).await else {
        panic!("busy");
    };
    assert!(retry_after.as_secs() >= 600 && why == "REQUEST_LIMIT_EXCEEDED");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_permit_for_another_system_or_action_is_refused() {
    let server = Server::script(vec![]).await;
    let own = effect(Crm::Salesforce, Some(ACCOUNT_ID), task());
    let other = effect(Crm::HubSpot, Some("1"), task());
    assert_eq!(refusal(run(&server, &other).await).0, "WRONG_PERMIT");
    let mut moved = own.clone();
    moved.action = perennial_core::ids::ActionId::new("act_2");
    let result = tool(&server)
        .execute(permit(&own), &moved, &Known::nothing(), now())
        .await;
    assert_eq!(refusal(result).0, "WRONG_PERMIT");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn the_check_speaks_about_token_fields_and_budget() {
    let server = Server::script(vec![Say::Json(
        401,
        json!([{"errorCode": "INVALID_SESSION_ID", "message": "x"}]),
    )])
    .await;
    let findings = tool(&server).check().await.expect("findings");
    assert!(findings.len() == 1 && findings[0].level == Level::Bad && findings[0].remedy.is_some());

    let server = Server::start(|seen| {
        if seen.path.ends_with("/limits") {
            Say::Json(200, json!({"DailyApiRequests": {"Max": 15000, "Remaining": 100}}))
        } else {
            Say::Json(
                200,
                json!({"createable": true, "fields": [{"name": "Subject", "updateable": true}]}),
            )
        }
    })
    .await;
    let findings = tool(&server).check().await.expect("findings");
    let bad = findings.iter().filter(|finding| finding.level == Level::Bad).count();
    // Of the budget two lines: how much is left, and that answers have no header that says so.
    assert_eq!((findings.len(), bad), (10, 4), "{findings:?}");
    assert!(
        findings
            .iter()
            .any(|finding| finding.subject == "API budget" && finding.level == Level::Warn)
    );
    assert_eq!(server.writes(), 0);
}
