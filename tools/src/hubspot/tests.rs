use perennial_core::action::{AccountField, Done, Priority, Write};
use serde_json::{Value, json};

use super::*;
use crate::Level;
use crate::test_kit::{Say, Server, effect, now, permit};

fn update(field: AccountField, text: &str) -> Write {
    Write::UpdateAccount {
        fields: BTreeMap::from([(field, text.to_owned())]),
    }
}

fn task() -> Write {
    Write::CreateTask {
        subject: "Call Ana".to_owned(),
        body: "She said <b>now</b>\nor never.".to_owned(),
        due: "2026-12-01".parse().expect("a day"),
        priority: Priority::Normal,
        assignee: None,
    }
}

fn tool(server: &Server) -> HubSpot {
    HubSpot::new(server.connection()).expect("a tool")
}

async fn run(server: &Server, effect: &Effect) -> Result<Receipt, SendError> {
    tool(server)
        .execute(permit(effect), effect, &Known::nothing(), now())
        .await
}

fn refusal(result: Result<Receipt, SendError>) -> (String, String) {
    match result {
        Err(SendError::Refused { code, message, .. }) => (code, message),
        other => panic!("{other:?}"),
    }
}

fn record(id: &str, properties: Value) -> Say {
    Say::Json(200, json!({"id": id, "properties": properties, "archived": false}))
}

fn not_found() -> Say {
    Say::Json(
        404,
        json!({"status": "error", "category": "OBJECT_NOT_FOUND", "message": "resource not found"}),
    )
}

fn upserted(id: &str, new: bool) -> Say {
    Say::Json(
        200,
        json!({"status": "COMPLETE", "results": [{"id": id, "new": new, "properties": {}}]}),
    )
}

fn associated(ids: &[u64]) -> Say {
    let to: Vec<Value> = ids
        .iter()
        .map(|id| json!({"toObjectId": id, "associationTypes": []}))
        .collect();
    Say::Json(
        200,
        json!({"status": "COMPLETE", "results": [{"from": {"id": "77"}, "to": to}]}),
    )
}

fn linked() -> Say {
    Say::Json(200, json!({"status": "COMPLETE", "results": []}))
}

#[test]
fn effects_become_properties_and_every_value_is_text() {
    let plan = |write| map::plan(&effect(Crm::HubSpot, None, write), &map::writes(), now());
    let Plan::Keyed { object, wanted } = plan(task()).expect("a plan") else {
        panic!("a record of ours");
    };
    assert_eq!(object, "tasks");
    let body = fields::body(&wanted);
    assert!(body.values().all(Value::is_string), "{body:?}");
    assert_eq!(body["hs_timestamp"], "1796126400000"); // noon of 2026-12-01, UTC
    assert_eq!(
        (&body["hs_task_status"], &body["hs_task_priority"]),
        (&json!("NOT_STARTED"), &json!("MEDIUM"))
    );
    assert_eq!(body["hs_task_body"], "She said &lt;b&gt;now&lt;/b&gt;\nor never.");
    assert!(
        body["perennial_key"]
            .as_str()
            .is_some_and(|key| key.starts_with("eff_"))
    );

    let note = Write::CreateNote {
        title: "QBR & more".to_owned(),
        body: "<script>alert(1)</script>\nsecond line".to_owned(),
    };
    let Plan::Keyed { wanted, .. } = plan(note).expect("a plan") else {
        panic!("a record of ours");
    };
    assert_eq!(
        wanted[0].text,
        "<strong>QBR &amp; more</strong><br><br>&lt;script&gt;alert(1)&lt;/script&gt;<br>second line"
    );
    assert!(plan(update(AccountField::Health, "fine")).is_err());
}

#[test]
fn a_long_note_fits_with_its_markup() {
    let note = Write::CreateNote {
        title: "t".repeat(300),
        body: "a<b\n".repeat(40_000),
    };
    let Plan::Keyed { wanted, .. } =
        map::plan(&effect(Crm::HubSpot, None, note), &map::writes(), now()).expect("a plan")
    else {
        panic!("a record of ours");
    };
    assert!(wanted[0].text.encode_utf16().count() <= 65_536);
    assert!(wanted[0].cut.is_some());
}

#[tokio::test]
async fn nothing_is_sent_when_nothing_changes() {
    let server = Server::script(vec![record("9", json!({"perennial_health": "72"}))]).await;
    let receipt = run(&server, &effect(Crm::HubSpot, None, update(AccountField::Health, "72")))
        .await
        .expect("a receipt");
    assert_eq!((receipt.done, receipt.record.as_str()), (Done::NoChange, "9"));
    assert_eq!(
        server.lines(),
        [
            "GET /crm/objects/2026-09/companies/A%2F1%20%C3%BC?properties=hs_object_id,perennial_health&idProperty=perennial_account_id"
        ]
    );
}

#[tokio::test]
async fn a_change_keeps_its_before_image() {
    let health = |text: &str| record("9", json!({"perennial_health": text}));
    // What the answer says is not believed: the record is read again.
    let server = Server::script(vec![health("60"), health("72"), health("72")]).await;
    let receipt = run(
        &server,
        &effect(Crm::HubSpot, Some("9"), update(AccountField::Health, "72")),
    )
    .await
    .expect("a receipt");
    assert_eq!(
        (receipt.done, receipt.before["perennial_health"].as_str()),
        (Done::Updated, "60")
    );
    assert_eq!(receipt.url, format!("{}/records/companies/9", server.base));
    let patch = &server.seen()[1];
    assert_eq!(patch.method, "PATCH");
    assert_eq!(patch.body, json!({"properties": {"perennial_health": "72"}}));
}

#[tokio::test]
async fn a_success_that_changed_nothing_is_refused() {
    let stage = |stage: &str| record("5", json!({"dealstage": stage}));
    let write = Write::UpdateOpportunity {
        opportunity: "opp-1".to_owned(),
        crm_id: Some("5".to_owned()),
        next_step: None,
        stage: Some("closedwon".to_owned()),
        seen: BTreeMap::new(),
    };
    let effect = effect(Crm::HubSpot, None, write);
    let mut known = Known::nothing();
    known.accept("dealstage", "open");
    // Also where the answer to the write says that it was applied, or nothing.
    for answers in [
        vec![stage("open"), stage("closedwon"), stage("open")],
        vec![stage("open"), record("5", json!({})), stage("open")],
    ] {
        let server = Server::script(answers).await;
        let result = tool(&server).execute(permit(&effect), &effect, &known, now()).await;
        assert_eq!(refusal(result).0, "NOT_APPLIED");
    }
    let server = Server::script(vec![stage("open"), record("5", json!({})), stage("closedwon")]).await;
    let result = tool(&server).execute(permit(&effect), &effect, &known, now()).await;
    assert_eq!(result.expect("a receipt").done, Done::Updated);
    // A stage that nobody here has seen is somebody's edit.
    let server = Server::script(vec![stage("contractsent")]).await;
    let result = tool(&server).execute(permit(&effect), &effect, &known, now()).await;
    assert!(matches!(result, Err(SendError::Conflict { .. })), "{result:?}");
    assert_eq!(server.writes(), 0);
}

#[tokio::test]
async fn an_undone_change_is_written_back_and_read_again() {
    let health = |text: &str| record("9", json!({"perennial_health": text}));
    let effect = effect(Crm::HubSpot, None, update(AccountField::Health, "72"));
    let server = Server::script(vec![health("60"), health("72"), health("72")]).await;
    let receipt = run(&server, &effect).await.expect("a receipt");
    let undo = async |answers| {
        let server = Server::script(answers).await;
        let undone = tool(&server).undo(permit(&effect), &effect, &receipt, now()).await;
        (undone, server.writes())
    };
    let (undone, writes) = undo(vec![health("72"), health("60"), health("60")]).await;
    assert_eq!(
        (undone.expect("a receipt").after["perennial_health"].as_str(), writes),
        ("60", 1)
    );
    // The portal kept our value although it reported success.
    let (undone, _) = undo(vec![health("72"), health("72"), health("72")]).await;
    assert_eq!(refusal(undone).0, "NOT_APPLIED");
    let (undone, writes) = undo(vec![health("65")]).await;
    assert!(
        matches!(undone, Err(SendError::Conflict { .. })) && writes == 0,
        "{undone:?}"
    );
}

#[tokio::test]
async fn a_task_is_made_once_and_hung_on_the_company() {
    let server = Server::script(vec![
        not_found(),
        record("9", json!({})),
        upserted("77", true),
        record("77", json!({})),
        linked(),
        associated(&[9]),
    ])
    .await;
    let effect = effect(Crm::HubSpot, None, task());
    let receipt = run(&server, &effect).await.expect("a receipt");
    assert_eq!((receipt.done, receipt.record.as_str()), (Done::Created, "77"));
    let seen = server.seen();
    assert_eq!(seen[2].path, "/crm/objects/2026-09/tasks/batch/upsert");
    let input = &seen[2].body["inputs"][0];
    assert_eq!(
        (&input["idProperty"], &input["id"]),
        (&json!("perennial_key"), &json!(effect.id.as_str()))
    );
    assert_eq!(
        (seen[4].method.as_str(), seen[4].path.as_str()),
        ("PUT", "/crm/objects/2026-09/tasks/77/associations/default/companies/9")
    );
}

#[tokio::test]
async fn a_task_without_its_company_is_absent_and_doing_it_again_repairs_it() {
    let effect = effect(Crm::HubSpot, Some("9"), task());
    let denied = || {
        Say::Json(
            403,
            json!({"status": "error", "category": "MISSING_SCOPES", "message": "no"}),
        )
    };
    let down = || Say::Raw(502, vec![], "<html>".to_owned());

    // The association cannot be made for now: the task exists, so "nothing was written" would be a lie.
    let there = || record("77", json!({}));
    let server = Server::script(vec![not_found(), upserted("77", true), there(), down(), down(), down()]).await;
    let error = run(&server, &effect).await.expect_err("half done");
    assert!(
        matches!(
            &error,
            SendError::Unknown {
                source: crate::Lost::Half { .. },
                ..
            }
        ),
        "{error:?}"
    );
    let server = Server::script(vec![not_found(), upserted("77", true), there(), denied()]).await;
    let (code, message) = refusal(run(&server, &effect).await);
    assert!(
        code == "MISSING_SCOPES" && message.starts_with("the record exists"),
        "{message}"
    );

    let server = Server::script(vec![record("77", json!({})), associated(&[])]).await;
    assert_eq!(
        tool(&server).look_up(&effect, now()).await.expect("an answer"),
        LookUp::Absent
    );
    // Reported as made, and not there.
    let server = Server::script(vec![record("77", json!({})), linked(), associated(&[8])]).await;
    assert!(matches!(run(&server, &effect).await, Err(SendError::Unknown { .. })));
    let server = Server::script(vec![not_found(), upserted("77", true), not_found()]).await;
    assert_eq!(refusal(run(&server, &effect).await).0, "NOT_APPLIED");
    let server = Server::script(vec![record("77", json!({})), linked(), associated(&[9])]).await;
    assert_eq!(run(&server, &effect).await.expect("a receipt").done, Done::AlreadyDone);
    assert!(
        server.lines().iter().all(|line| !line.contains("upsert")),
        "the task is left as it is"
    );
    let server = Server::script(vec![record("77", json!({})), associated(&[8, 9])]).await;
    assert!(matches!(
        tool(&server).look_up(&effect, now()).await,
        Ok(LookUp::Done(_))
    ));
}

#[tokio::test]
async fn an_upsert_that_failed_inside_a_success_is_refused() {
    let effect = effect(Crm::HubSpot, Some("9"), task());
    let failed = json!({"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [
        {"status": "error", "category": "VALIDATION_ERROR", "message": "Property \"perennial_key\" rejects Call Ana"}]});
    let server = Server::script(vec![not_found(), Say::Json(200, failed)]).await;
    let (code, message) = refusal(run(&server, &effect).await);
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("VALIDATION_ERROR", "Property \"perennial_key\" rejects …")
    );
    let server = Server::script(vec![
        not_found(),
        Say::Json(200, json!({"results": [], "numErrors": 1})),
    ])
    .await;
    assert_eq!(refusal(run(&server, &effect).await).0, "ERROR");
    let server = Server::script(vec![not_found(), Say::Json(200, json!({"results": []}))]).await;
    assert!(matches!(run(&server, &effect).await, Err(SendError::Unknown { .. })));
}

#[tokio::test]
async fn a_lost_upsert_is_unknown_and_sent_once() {
    let effect = effect(Crm::HubSpot, Some("9"), task());
    for say in [Say::Cut, Say::Half(200, json!({"results": []}).to_string())] {
        let server = Server::script(vec![not_found(), say]).await;
        assert!(matches!(run(&server, &effect).await, Err(SendError::Unknown { .. })));
        assert_eq!(server.writes(), 1);
    }
}

#[tokio::test]
async fn a_short_rate_limit_is_waited_out() {
    let limited = Say::Raw(429, vec![("retry-after", "0".to_owned())], "{}".to_owned());
    let server = Server::script(vec![limited, record("9", json!({"perennial_health": "72"}))]).await;
    let effect = effect(Crm::HubSpot, None, update(AccountField::Health, "72"));
    assert_eq!(run(&server, &effect).await.expect("a receipt").done, Done::NoChange);
    let daily = json!({"status": "error", "errorType": "RATE_LIMIT", "policyName": "DAILY"});
    let server = Server::script(vec![Say::Json(429, daily)]).await;
    let Err(SendError::Busy { retry_after, .. }) = run(&server, &effect).await else {
        panic!("busy");
    };
    assert_eq!((retry_after.as_secs(), server.seen().len()), (3_600, 1));
}

#[tokio::test]
async fn an_unknown_company_is_made_only_in_a_test_account() {
    let details = |kind: &str| Say::Json(200, json!({"portalId": 12345, "accountType": kind}));
    let effect = effect(Crm::HubSpot, None, task());
    let with = |server: &Server| {
        HubSpot::new(Connection {
            create_missing_accounts: CreateMissing::InSandbox,
            ..server.connection()
        })
        .expect("a tool")
    };
    let server = Server::script(vec![not_found(), not_found(), details("STANDARD")]).await;
    assert_eq!(
        refusal(
            with(&server)
                .execute(permit(&effect), &effect, &Known::nothing(), now())
                .await
        )
        .0,
        "RECORD_NOT_FOUND"
    );
    assert_eq!(server.writes(), 0);
    let answers = vec![
        not_found(),
        not_found(),
        details("DEVELOPER_TEST"),
        upserted("9", true),
        upserted("77", true),
        record("77", json!({})),
        linked(),
        associated(&[9]),
    ];
    let server = Server::script(answers).await;
    with(&server)
        .execute(permit(&effect), &effect, &Known::nothing(), now())
        .await
        .expect("a receipt");
    let made = &server.seen()[3].body["inputs"][0];
    assert_eq!(
        made["properties"],
        json!({"name": "Northwind Traders", "perennial_account_id": "A/1 ü"})
    );
}

#[tokio::test]
async fn the_picture_before_shows_live_values() {
    let server = Server::script(vec![record("9", json!({"perennial_health": "60"})), not_found()]).await;
    let tool = tool(&server);
    let diff = tool
        .read(&effect(Crm::HubSpot, None, update(AccountField::Health, "72")))
        .await
        .expect("a picture");
    assert_eq!(diff.fields["perennial_health"].before.as_deref(), Some("60"));
    let diff = tool.read(&effect(Crm::HubSpot, None, task())).await.expect("a picture");
    assert_eq!((diff.record, diff.url), (None, None));
    assert_eq!(diff.fields["hs_task_subject"].after, "Call Ana");
}

#[tokio::test]
async fn the_check_speaks_about_token_properties_and_budget() {
    let server = Server::script(vec![Say::Json(401, json!({"category": "INVALID_AUTHENTICATION"}))]).await;
    let findings = tool(&server).check().await.expect("findings");
    assert!(findings.len() == 1 && findings[0].level == Level::Bad && findings[0].remedy.is_some());

    let server = Server::start(|seen| {
        if seen.path.ends_with("/details") {
            Say::Json(200, json!({"portalId": 1, "accountType": "STANDARD"}))
        } else if seen.path.ends_with("/notes") {
            Say::Json(
                403,
                json!({"status": "error", "category": "MISSING_SCOPES", "message": "no"}),
            )
        } else {
            Say::Json(
                200,
                json!({"results": [{"name": "perennial_key", "hasUniqueValue": true}]}),
            )
        }
    })
    .await;
    let findings = tool(&server).check().await.expect("findings");
    let bad: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Bad).collect();
    assert_eq!((findings.len(), bad.len()), (7, 4), "{findings:?}");
    assert!(bad.iter().all(|finding| finding.remedy.is_some()));
    assert_eq!(server.writes(), 0);
}
