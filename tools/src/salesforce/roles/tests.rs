use perennial_core::action::{Done, Write};
use perennial_core::signal::{ContactRole, Crm};
use serde_json::json;

use super::*;
use crate::test_kit::{Say, Server, effect, now, permit};
use crate::{Tool, UndoBy};

const DEAL: &str = "006000000000001AAA";
const PERSON: &str = "003000000000001AAA";
const ROW: &str = "00K000000000001EAA";

fn role() -> Effect {
    effect(
        Crm::Salesforce,
        None,
        Write::SetContactRole {
            opportunity: "opp 1".to_owned(),
            crm_id: Some(DEAL.to_owned()),
            contact: PERSON.to_owned(),
            contact_name: Some("Ana".to_owned()),
            role: ContactRole::EconomicBuyer,
            seen: None,
        },
    )
}

fn rows(roles: &[Option<&str>]) -> Say {
    let row = |(n, role): (usize, &Option<&str>)| {
        json!({"attributes": {"type": CONTACT_ROLE}, "Id": format!("00K00000000000{}EAA", n + 1), "Role": role,
            "ContactId": PERSON, "OpportunityId": DEAL})
    };
    let records: Vec<Value> = roles.iter().enumerate().map(row).collect();
    Say::Json(
        200,
        json!({"totalSize": records.len(), "done": true, "records": records}),
    )
}

fn one(role: Option<&str>) -> Say {
    Say::Json(
        200,
        json!({"Id": ROW, "Role": role, "SystemModstamp": "2026-11-21T08:00:09.000+0000"}),
    )
}

fn made() -> Say {
    Say::Json(201, json!({"id": ROW, "success": true, "errors": []}))
}

async fn run(server: &Server, known: &Known) -> Result<Receipt, SendError> {
    let (tool, effect) = (Salesforce::new(server.connection()).expect("a tool"), role());
    tool.execute(permit(&effect), &effect, known, now()).await
}

#[tokio::test]
async fn a_role_that_is_there_is_left_alone_and_one_that_is_missing_is_made_and_read_back() {
    let server = Server::script(vec![rows(&[Some("economic buyer")])]).await;
    let receipt = run(&server, &Known::nothing()).await.expect("a receipt");
    assert_eq!((receipt.done, receipt.record.as_str()), (Done::NoChange, ROW));
    assert_eq!(server.writes(), 0);

    let server = Server::script(vec![rows(&[]), made(), rows(&[Some("Economic Buyer")])]).await;
    let receipt = run(&server, &Known::nothing()).await.expect("a receipt");
    assert_eq!((receipt.done, receipt.object.as_str()), (Done::Created, CONTACT_ROLE));
    assert_eq!(receipt.after["Role"], "Economic Buyer");
    assert_eq!(
        server.seen()[1].body,
        json!({"OpportunityId": DEAL, "ContactId": PERSON, "Role": "Economic Buyer"})
    );
    // A success that the question does not bear out is none.
    let server = Server::script(vec![rows(&[]), made(), rows(&[])]).await;
    let result = run(&server, &Known::nothing()).await;
    assert!(
        matches!(&result, Err(SendError::Refused { code, .. }) if code == "NOT_APPLIED"),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_role_of_somebody_else_is_a_conflict_and_one_that_was_known_is_changed() {
    let server = Server::script(vec![rows(&[Some("Influencer")]), one(Some("Influencer"))]).await;
    let Err(SendError::Conflict { record, fields, .. }) = run(&server, &Known::nothing()).await else {
        panic!("a conflict");
    };
    assert_eq!((record.as_str(), fields[0].field.as_str()), (ROW, "Role"));
    assert_eq!(server.writes(), 0);

    let mut known = Known::nothing();
    known.accept("Role", "Influencer");
    let done = Say::Raw(204, vec![], String::new());
    let answers = vec![
        rows(&[Some("Influencer")]),
        one(Some("Influencer")),
        done,
        one(Some("Economic Buyer")),
    ];
    let server = Server::script(answers).await;
    let receipt = run(&server, &known).await.expect("a receipt");
    assert_eq!(
        (receipt.done, receipt.before["Role"].as_str()),
        (Done::Updated, "Influencer")
    );
    let patch = &server.seen()[2];
    assert_eq!(patch.headers["if-unmodified-since"], "Sat, 21 Nov 2026 08:00:09 GMT");
    assert_eq!(patch.body, json!({"Role": "Economic Buyer"}));

    // Who was known to have a role and stands in the deal no more was taken out by somebody.
    let server = Server::script(vec![rows(&[])]).await;
    assert!(matches!(run(&server, &known).await, Err(SendError::Conflict { .. })));
    let server = Server::script(vec![rows(&[Some("Influencer"), Some("Evaluator")])]).await;
    let result = run(&server, &known).await;
    let Err(SendError::Refused { code, message, .. }) = result else {
        panic!("refused")
    };
    assert_eq!(code, "SEVERAL_ROLES");
    assert!(message.contains("00K000000000001EAA, 00K000000000002EAA"), "{message}");
}

#[tokio::test]
async fn a_lost_answer_is_looked_up_and_keeps_what_undoing_needs() {
    let server = Server::script(vec![rows(&[]), Say::Cut]).await;
    let Err(SendError::Unknown { image: Some(image), .. }) = run(&server, &Known::nothing()).await else {
        panic!("unknown");
    };
    assert_eq!(server.writes(), 1, "sent once");
    let server = Server::script(vec![rows(&[Some("Economic Buyer")])]).await;
    let (tool, effect) = (Salesforce::new(server.connection()).expect("a tool"), role());
    let LookUp::Done(found) = tool.look_up(&effect, now()).await.expect("an answer") else {
        panic!("there");
    };
    // As the engine completes it.
    let receipt = Receipt {
        done: Done::Updated,
        before: image.before,
        after: image.after,
        ..found
    };
    let live = Say::Json(
        200,
        json!({"Id": ROW, "Role": "Economic Buyer", "ContactId": PERSON, "OpportunityId": DEAL}),
    );
    let server = Server::script(vec![live]).await;
    let tool = Salesforce::new(server.connection()).expect("a tool");
    let undoing = tool.undoing(&effect, &receipt).await.expect("an answer");
    assert_eq!(
        (undoing.how, undoing.changed.len()),
        (UndoBy::Deleting, 0),
        "the row was made by us"
    );
}

#[tokio::test]
async fn rows_that_were_not_asked_for_are_refused() {
    let foreign = json!({"Id": ROW, "Role": "Influencer", "ContactId": "003000000000009AAA", "OpportunityId": DEAL});
    let server = Server::script(vec![Say::Json(
        200,
        json!({"totalSize": 1, "done": true, "records": [foreign]}),
    )])
    .await;
    let result = run(&server, &Known::nothing()).await;
    assert!(
        matches!(&result, Err(SendError::Refused { code, .. }) if code == "UNEXPECTED_ANSWER"),
        "{result:?}"
    );
    assert_eq!(server.writes(), 0);
}

#[tokio::test]
async fn people_are_read_with_their_roles_and_again_when_only_those_have_changed() {
    let contact =
        json!({"Id": PERSON, "SystemModstamp": "2026-11-01T00:00:00.000+0000", "IsDeleted": false, "Email": "a@b.c"});
    let server = Server::start(move |seen| {
        let path = seen.path.replace("%20", " ");
        let records = if path.contains("FROM OpportunityContactRole WHERE ContactId") {
            json!([{"Id": ROW, "Role": "Economic Buyer", "ContactId": PERSON, "OpportunityId": DEAL}])
        } else if path.contains("FROM OpportunityContactRole WHERE SystemModstamp") {
            json!([{"Id": ROW, "ContactId": PERSON, "SystemModstamp": "2026-11-20T00:00:00.000+0000"}])
        } else if path.contains("FROM Contact WHERE Id") {
            json!([contact])
        } else {
            json!([])
        };
        let count = records.as_array().map_or(0, Vec::len);
        Say::Json(200, json!({"totalSize": count, "done": true, "records": records}))
    })
    .await;
    let tool = Salesforce::new(server.connection()).expect("a tool");
    let ask = Ask {
        object: CONTACT.to_owned(),
        fields: vec!["Email".to_owned(), ROLES_DEALS.to_owned()],
        since: "2026-11-10T00:00:00Z".parse().ok(),
        deleted: true,
    };
    let page = tool.page(&ask, None).await.expect("a page");
    assert_eq!(page.rows.len(), 1, "the person did not change, their role did");
    assert_eq!(page.rows[0].cells[ROLES_DEALS], format!("{DEAL}=Economic Buyer"));
    assert_eq!(page.rows[0].modified, "2026-11-20T00:00:00Z".parse().ok());
    assert_eq!(page.reached, None, "how far people were read it does not say");
    let last = tool
        .page(&ask, page.next.as_deref())
        .await
        .expect("the people themselves");
    assert!(last.rows.is_empty() && last.next.is_none());
    let wrong = Ask {
        object: "Account".to_owned(),
        ..ask
    };
    assert!(tool.page(&wrong, None).await.is_err());
}

#[test]
fn a_role_without_a_word_is_not_written() {
    let writes = super::super::map::writes();
    let refused = writes.word(CONTACT_ROLE, ContactRole::Champion);
    assert!(matches!(refused, Err(SendError::Refused { code, .. }) if code == "ROLE_NOT_MAPPED"));
    assert_eq!(
        writes.word(CONTACT_ROLE, ContactRole::EconomicBuyer).expect("a word"),
        "Economic Buyer"
    );
}
