//! Ways to break a simulator on purpose. A test of an adapter that stays green while one of them holds is worth nothing.
//!
//! Each changes what the vendor would do in one point, for as long as it is set. Used by tests only.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::record::System;
use crate::wire::{Call, Content, Reply};
use crate::world::World;
use crate::{fault, hubspot, page, salesforce};

/// What an adapter owes us under a mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    /// The CRM is broken: an adapter must notice, and never report a success that is none.
    Notice,
    /// The CRM is allowed to do this, though it seldom does: the outcome must be right all the same.
    Survive,
}

macro_rules! mutations {
    ($($variant:ident $name:literal $system:ident $owed:ident $what:literal;)*) => {
        /// One way to break a simulator.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutation {
            $(#[doc = $what] $variant,)*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &'static [Mutation] = &[$(Mutation::$variant),*];

            /// The name, such as `sf-html-503`.
            pub fn name(self) -> &'static str {
                match self { $(Mutation::$variant => $name,)* }
            }

            /// What is broken, in a sentence.
            pub fn what(self) -> &'static str {
                match self { $(Mutation::$variant => $what,)* }
            }

            /// The server that is broken.
            pub fn system(self) -> System {
                match self { $(Mutation::$variant => System::$system,)* }
            }

            /// What an adapter owes us under it.
            pub fn owed(self) -> Owed {
                match self { $(Mutation::$variant => Owed::$owed,)* }
            }
        }
    };
}

mutations! {
    SfNextUrlDropped "sf-next-url-dropped" Salesforce Notice "A page of a query that is not the last has no `nextRecordsUrl`.";
    SfEndsEarly "sf-ends-early" Salesforce Notice "The first page of a query says it is the last although `totalSize` is larger.";
    SfRowTwice "sf-row-twice" Salesforce Survive "A page of a query shows its first row twice.";
    SfValuesNull "sf-values-null" Salesforce Notice "Query rows have null in every field but the id.";
    SfTimesWithoutOffset "sf-times-without-offset" Salesforce Notice "Times in query rows have no offset.";
    SfIdsLowercased "sf-ids-lowercased" Salesforce Notice "Ids in answers have lost their capital letters.";
    SfSuccessFalse "sf-success-false" Salesforce Notice "Saves answer 2xx with `success: false`, and nothing is written.";
    SfErrorKeysSwapped "sf-error-keys-swapped" Salesforce Notice "`errorCode` and `statusCode` have changed places.";
    SfUpsert300 "sf-upsert-300" Salesforce Notice "Every upsert answers 300 with a list of addresses, and nothing is written.";
    SfAlways412 "sf-always-412" Salesforce Notice "Every conditional write answers 412.";
    SfIfMatchIgnored "sf-if-match-ignored" Salesforce Notice "`If-Match` is passed over, so a person's change is overwritten.";
    SfEtagDropped "sf-etag-dropped" Salesforce Survive "Rows of Account have no `ETag`.";
    SfHtml503 "sf-html-503" Salesforce Notice "Every request answers 503 with an HTML page.";
    SfTokenDies "sf-token-dies" Salesforce Notice "Every request answers 401, also with a new token.";
    SfBudgetGone "sf-budget-gone" Salesforce Notice "Every request answers 403 `REQUEST_LIMIT_EXCEEDED`.";
    SfLimitInfoDropped "sf-limit-info-dropped" Salesforce Notice "Answers have no `Sforce-Limit-Info`.";
    SfCutAfterCommit "sf-cut-after-commit" Salesforce Notice "The connection of every write is cut after it is committed.";
    SfTruncated "sf-truncated" Salesforce Notice "The JSON of every answer ends in the middle.";
    SfPatchIgnored "sf-patch-ignored" Salesforce Notice "Updates answer success and write nothing.";
    SfCreateIgnored "sf-create-ignored" Salesforce Notice "Creates answer success and write nothing.";
    SfCreatedFlipped "sf-created-flipped" Salesforce Notice "An upsert says `created` when it updated, and the other way round.";
    SfRowsReversed "sf-rows-reversed" Salesforce Notice "The results of a collection come in reverse order.";
    SfRowMissing "sf-row-missing" Salesforce Notice "A collection answers one result too few.";
    SfStampFrozen "sf-stamp-frozen" Salesforce Notice "`SystemModstamp` does not move when a record is written.";
    SfGravesHidden "sf-graves-hidden" Salesforce Notice "`queryAll` and the list of deletions leave deleted rows out.";
    SfBulkSilent "sf-bulk-silent" Salesforce Notice "A bulk job tells of no failed records although there are some.";
    SfLocatorLost "sf-locator-lost" Salesforce Notice "The first page of bulk results has the locator `null` although there are more.";
    SfDescribeEmpty "sf-describe-empty" Salesforce Notice "Describe shows no fields.";
    SfRolesLost "sf-roles-lost" Salesforce Notice "Questions for roles of people in deals find none.";
    SfRolesOfOthers "sf-roles-of-others" Salesforce Notice "Questions for roles of people in deals show those of other people.";
    SfStagesInactive "sf-stages-inactive" Salesforce Notice "Every stage is said to be out of use.";
    HsBatchFails "hs-batch-fails" Hubspot Notice "Every input of a batch fails, in an answer that is 200 or 207.";
    HsErrorsDropped "hs-errors-dropped" Hubspot Notice "Every input of a batch fails, and neither `errors` nor `numErrors` is there.";
    HsResultMissing "hs-result-missing" Hubspot Notice "A batch answers one result too few.";
    HsPatchIgnored "hs-patch-ignored" Hubspot Notice "Updates answer what was sent and write nothing.";
    HsCreateIgnored "hs-create-ignored" Hubspot Notice "Creates answer success and write nothing.";
    HsLifecycleIgnored "hs-lifecycle-ignored" Hubspot Notice "A lifecycle stage that is set forward is passed over in silence too.";
    HsNumbersBare "hs-numbers-bare" Hubspot Survive "Property values that look like numbers come as JSON numbers.";
    HsPropertiesNull "hs-properties-null" Hubspot Notice "Every property of a record that is read is null.";
    HsPropertiesMissing "hs-properties-missing" Hubspot Notice "The list of properties is empty.";
    HsSearchEmpty "hs-search-empty" Hubspot Notice "Search finds nothing.";
    HsSearchLoops "hs-search-loops" Hubspot Notice "The next page of a search or list begins where this one did.";
    HsPagingDropped "hs-paging-dropped" Hubspot Notice "A page that is not the last has no `paging`.";
    HsNewFlipped "hs-new-flipped" Hubspot Notice "An upsert says `new` when it updated, and the other way round.";
    HsTiesIgnored "hs-ties-ignored" Hubspot Notice "Associations answer success and are not made.";
    HsAlways429 "hs-always-429" Hubspot Notice "Every request answers 429 without saying which budget is used up.";
    HsRateDropped "hs-rate-dropped" Hubspot Notice "Answers have no rate headers.";
    HsCutAfterCommit "hs-cut-after-commit" Hubspot Notice "The connection of every write is cut after it is committed.";
    HsHtml503 "hs-html-503" Hubspot Notice "Every request answers 503 with an HTML page.";
    HsTokenDies "hs-token-dies" Hubspot Notice "Every request answers 401, also with a new token.";
    HsTruncated "hs-truncated" Hubspot Notice "The JSON of every answer ends in the middle.";
    HsModifiedFrozen "hs-modified-frozen" Hubspot Notice "The time of the last change does not move when a record is written.";
    HsLabelsLost "hs-labels-lost" Hubspot Notice "Associations are shown without their labels.";
    HsLabelNumbersMoved "hs-label-numbers-moved" Hubspot Notice "The list of labels gives each the number of another one.";
    HsWebhookTwice "hs-webhook-twice" Hubspot Survive "Every event of a webhook comes twice.";
    HsWebhookReordered "hs-webhook-reordered" Hubspot Survive "The events of a webhook come in reverse order.";
    HsWebhookForged "hs-webhook-forged" Hubspot Notice "Webhooks are signed with another secret.";
    HsWebhookStale "hs-webhook-stale" Hubspot Notice "Webhooks are older than five minutes.";
    HsWebhookSeconds "hs-webhook-seconds" Hubspot Notice "The timestamp of webhooks is in seconds.";
    HsWebhookLost "hs-webhook-lost" Hubspot Notice "Webhooks are never sent.";
}

impl Mutation {
    /// The mutation of this name.
    pub fn named(name: &str) -> Option<Mutation> {
        Mutation::ALL.iter().copied().find(|one| one.name() == name)
    }
}

/// What happens to the connection of a mutated answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Whole,
    Cut,
    Half,
}

/// What a request is, as far as mutations tell requests apart.
struct Kind {
    writes: bool,
    creates: bool,
    upserts: bool,
    ties: bool,
    batch: bool,
}

fn kind(system: System, call: &Call) -> Kind {
    let path = call.path.as_str();
    let method = call.method.as_str();
    let asks = path.ends_with("/search") || path.ends_with("/read") || path.contains("/oauth");
    let sends = matches!(method, "POST" | "PATCH" | "PUT" | "DELETE");
    let upserts = match system {
        System::Salesforce => {
            let after = path.split("/sobjects/").nth(1).unwrap_or("");
            let parts = after.split('/').filter(|part| !part.is_empty()).count();
            method == "PATCH" && (parts == 3 || (path.contains("/composite/") && parts == 2))
        }
        System::Hubspot => path.ends_with("/upsert"),
    };
    Kind {
        writes: sends && !asks && !path.contains("/jobs/query"),
        creates: method == "POST" && !asks && !path.contains("/update") && !path.contains("/archive"),
        upserts,
        ties: path.contains("/associations/"),
        batch: path.contains("/batch/") || path.contains("/composite/sobjects"),
    }
}

/// Answers a request as the broken simulator would.
pub(crate) fn answer(
    world: &mut World,
    mutation: Mutation,
    call: &Call,
    whole: fn(&mut World, &Call) -> Reply,
) -> (Reply, Wire) {
    let system = mutation.system();
    let kind = kind(system, call);
    // Tokens are given as ever: what is broken are the requests with them.
    if call.path.contains("/oauth") {
        return (whole(world, call), Wire::Whole);
    }
    let refused = |world: &mut World, fault: &fault::FaultKind| match system {
        System::Salesforce => salesforce::fault(world, fault),
        System::Hubspot => hubspot::fault(world, fault),
    };
    let reply = match mutation {
        Mutation::SfHtml503 | Mutation::HsHtml503 => Reply::html(503, page::unavailable()),
        Mutation::SfTokenDies | Mutation::HsTokenDies => refused(world, &fault::FaultKind::TokenExpired),
        Mutation::SfBudgetGone => refused(world, &fault::FaultKind::LimitExhausted),
        Mutation::HsAlways429 => Reply::json(429, json!({ "status": "error", "message": "Too many requests" })),
        Mutation::SfAlways412 if kind.writes && has_condition(&call.headers) => Reply::json(
            412,
            json!([{ "message": "The record does not meet the precondition", "errorCode": "PRECONDITION_FAILED" }]),
        ),
        Mutation::SfIfMatchIgnored => whole(world, &without_condition(call)),
        Mutation::SfGravesHidden if call.path.contains("/queryAll") => {
            let mut call = without_condition(call);
            call.path = call.path.replace("/queryAll", "/query");
            whole(world, &call)
        }
        Mutation::SfSuccessFalse if kind.writes => unwritten(world, system, call, whole, refuse_rows),
        Mutation::SfUpsert300 if kind.upserts && !kind.batch => unwritten(world, system, call, whole, |_, _| {
            let address = |id: &str| format!("/services/data/v68.0/sobjects/Account/{id}");
            Reply::json(
                300,
                json!([address("001Sb0000000001AAA"), address("001Sb0000000002AAA")]),
            )
        }),
        Mutation::SfPatchIgnored if kind.writes && !kind.creates => {
            unwritten(world, system, call, whole, |reply, _| reply)
        }
        Mutation::SfCreateIgnored if kind.creates || kind.upserts => {
            unwritten(world, system, call, whole, |reply, _| reply)
        }
        Mutation::HsCreateIgnored if (kind.creates || kind.upserts) && !kind.ties => {
            unwritten(world, system, call, whole, |reply, _| reply)
        }
        Mutation::HsPatchIgnored
            if kind.writes && (!kind.creates || call.path.contains("/batch/update")) && !kind.ties =>
        {
            unwritten(world, system, call, whole, |reply, _| reply)
        }
        Mutation::HsTiesIgnored if kind.ties => unwritten(world, system, call, whole, |reply, _| reply),
        Mutation::HsBatchFails if kind.batch && kind.writes => unwritten(world, system, call, whole, fail_inputs),
        Mutation::HsErrorsDropped if kind.batch && kind.writes => {
            unwritten(world, system, call, whole, |reply, call| {
                let mut reply = fail_inputs(reply, call);
                if let Content::Json(Value::Object(body)) = &mut reply.content {
                    body.remove("errors");
                    body.remove("numErrors");
                }
                reply
            })
        }
        Mutation::HsLifecycleIgnored if kind.writes => {
            let mut inner = without_condition(call);
            if let Ok(mut body) = call.json() {
                strip(&mut body, "lifecyclestage");
                inner.body = body.to_string().into_bytes().into();
            }
            whole(world, &inner)
        }
        _ => whole(world, call),
    };
    let wire = match mutation {
        Mutation::SfCutAfterCommit | Mutation::HsCutAfterCommit if kind.writes => Wire::Cut,
        Mutation::SfTruncated | Mutation::HsTruncated => Wire::Half,
        _ => Wire::Whole,
    };
    (changed(reply, mutation, call), wire)
}

fn has_condition(headers: &HeaderMap) -> bool {
    headers.contains_key("if-match") || headers.contains_key("if-unmodified-since")
}

fn without_condition(call: &Call) -> Call {
    let mut headers = call.headers.clone();
    headers.remove("if-match");
    headers.remove("if-unmodified-since");
    Call {
        method: call.method.clone(),
        path: call.path.clone(),
        query: call.query.clone(),
        headers,
        body: call.body.clone(),
        base_url: call.base_url.clone(),
    }
}

/// The answer of a request whose writes are undone.
fn unwritten(
    world: &mut World,
    system: System,
    call: &Call,
    whole: fn(&mut World, &Call) -> Reply,
    then: impl Fn(Reply, &Call) -> Reply,
) -> Reply {
    let savepoint = world.save(system);
    let reply = whole(world, call);
    world.roll_back(savepoint);
    // A refusal stays what it is.
    if reply.status < 300 { then(reply, call) } else { reply }
}

fn refuse_rows(mut reply: Reply, _: &Call) -> Reply {
    let row = json!({
        "success": false,
        "errors": [{ "statusCode": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access", "fields": [] }],
    });
    match &mut reply.content {
        Content::Json(Value::Array(rows)) => rows.iter_mut().for_each(|one| *one = row.clone()),
        Content::Json(body) if body.get("success").is_some() => *body = row,
        Content::Empty => {
            reply.status = 200;
            reply.content = Content::Json(row);
        }
        Content::Json(_) | Content::Html(_) | Content::Csv(_) => {}
    }
    reply
}

fn fail_inputs(mut reply: Reply, call: &Call) -> Reply {
    let inputs = call
        .json()
        .ok()
        .and_then(|body| body.get("inputs")?.as_array().cloned())
        .unwrap_or_default();
    let errors: Vec<Value> = inputs
        .iter()
        .map(|input| {
            json!({
                "status": "error", "category": "VALIDATION_ERROR", "message": "Property values were not valid",
                "context": { "ids": [input.get("id")] },
            })
        })
        .collect();
    reply.status = if call.path.contains("/v3/") { 207 } else { 200 };
    reply.content = Content::Json(json!({
        "status": "COMPLETE", "results": [], "numErrors": errors.len(), "errors": errors,
        "startedAt": "2026-05-01T07:25:37.000Z", "completedAt": "2026-05-01T07:25:37.000Z",
    }));
    reply
}

/// The answer with what the mutation changes in it.
fn changed(mut reply: Reply, mutation: Mutation, call: &Call) -> Reply {
    match mutation {
        Mutation::SfEtagDropped => reply.headers.retain(|(name, _)| *name != "etag"),
        Mutation::SfLimitInfoDropped => reply.headers.retain(|(name, _)| *name != "sforce-limit-info"),
        Mutation::HsRateDropped => reply
            .headers
            .retain(|(name, _)| !name.starts_with("x-hubspot-ratelimit")),
        Mutation::SfLocatorLost => {
            for (_, value) in reply.headers.iter_mut().filter(|(name, _)| *name == "sforce-locator") {
                "null".clone_into(value);
            }
        }
        Mutation::SfBulkSilent if call.path.ends_with("/failedResults") => {
            if let Content::Csv(text) = &mut reply.content {
                *text = text.lines().next().map(|line| format!("{line}\n")).unwrap_or_default();
            }
        }
        _ => {}
    }
    if let Content::Json(body) = &mut reply.content {
        json_changed(body, mutation, call, reply.status);
    }
    reply
}

fn json_changed(body: &mut Value, mutation: Mutation, call: &Call, status: u16) {
    let is_query = call.path.contains("/query");
    match mutation {
        Mutation::SfNextUrlDropped => drop_key(body, "nextRecordsUrl"),
        Mutation::SfEndsEarly if is_query => {
            drop_key(body, "nextRecordsUrl");
            if body.get("done").is_some() {
                body["done"] = json!(true);
            }
        }
        Mutation::SfRowTwice if is_query => {
            if let Some(Value::Array(rows)) = body.get_mut("records")
                && let Some(first) = rows.first().cloned()
            {
                rows.push(first);
            }
        }
        Mutation::SfValuesNull if is_query => {
            for row in rows(body, "records") {
                for (name, value) in row.as_object_mut().into_iter().flatten() {
                    if name != "Id" && name != "attributes" {
                        *value = Value::Null;
                    }
                }
            }
        }
        Mutation::SfTimesWithoutOffset => each_text(body, &|text| {
            if let Some(head) = text.strip_suffix(".000+0000") {
                *text = head.to_owned();
            }
        }),
        Mutation::SfIdsLowercased => each_text(body, &|text| {
            if text.len() == 18 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                *text = text.to_ascii_lowercase();
            }
        }),
        Mutation::SfErrorKeysSwapped => swap_keys(body),
        Mutation::SfCreatedFlipped => flip(body, "created"),
        Mutation::HsNewFlipped => flip(body, "new"),
        Mutation::SfRowsReversed if call.path.contains("/composite/sobjects") => {
            if let Value::Array(rows) = body {
                rows.reverse();
            }
        }
        Mutation::SfRowMissing if call.path.contains("/composite/sobjects") => {
            if let Value::Array(rows) = body {
                rows.pop();
            }
        }
        Mutation::SfGravesHidden if call.path.ends_with("/deleted") && status == 200 => {
            body["deletedRecords"] = json!([])
        }
        Mutation::SfBulkSilent if call.path.contains("/jobs/ingest/") && body.get("numberRecordsFailed").is_some() => {
            body["numberRecordsFailed"] = json!(0);
        }
        Mutation::SfDescribeEmpty if call.path.ends_with("/describe") && status == 200 => body["fields"] = json!([]),
        Mutation::SfRolesLost if asks_for(call, "OpportunityContactRole") && status == 200 => {
            *body = json!({ "totalSize": 0, "done": true, "records": [] });
        }
        Mutation::SfRolesOfOthers if asks_for(call, "OpportunityContactRole") => {
            for row in rows(body, "records").filter(|row| row.get("ContactId").is_some()) {
                row["ContactId"] = json!("003Sb0000000009AAA");
            }
        }
        Mutation::SfStagesInactive if asks_for(call, "OpportunityStage") => {
            rows(body, "records").for_each(|row| row["IsActive"] = json!(false));
        }
        Mutation::HsLabelsLost if call.path.contains("/associations/") && call.path.ends_with("/batch/read") => {
            for of in rows(body, "results") {
                for to in rows(of, "to") {
                    if let Some(kinds) = to.get_mut("associationTypes").and_then(Value::as_array_mut) {
                        kinds.retain(|kind| kind["label"].is_null());
                    }
                }
            }
        }
        Mutation::HsLabelNumbersMoved if call.path.ends_with("/labels") => {
            let mut defined: Vec<&mut Value> = rows(body, "results")
                .filter(|kind| kind["category"] == "USER_DEFINED")
                .collect();
            let mut numbers: Vec<Value> = defined.iter().map(|kind| kind["typeId"].clone()).collect();
            let by = numbers.len().min(1);
            numbers.rotate_left(by);
            for (kind, number) in defined.iter_mut().zip(numbers) {
                kind["typeId"] = number;
            }
        }
        Mutation::HsResultMissing if call.path.contains("/batch/") => {
            if let Some(Value::Array(results)) = body.get_mut("results") {
                results.pop();
            }
        }
        Mutation::HsPropertiesMissing if call.path.contains("/properties/") && body.get("results").is_some() => {
            body["results"] = json!([]);
        }
        Mutation::HsSearchEmpty if call.path.ends_with("/search") && status == 200 => {
            *body = json!({ "total": 0, "results": [] });
        }
        Mutation::HsSearchLoops => {
            let begins = match call.parameter("after") {
                Some(after) => Value::from(after),
                None => call
                    .json()
                    .ok()
                    .and_then(|body| body.get("after").cloned())
                    .unwrap_or_else(|| json!("0")),
            };
            if let Some(next) = body.get_mut("paging").and_then(|paging| paging.get_mut("next")) {
                next["after"] = begins;
            }
        }
        Mutation::HsPagingDropped => drop_key(body, "paging"),
        Mutation::HsNumbersBare => properties(body, &|value| {
            if let Some(number) = value.as_str().and_then(|text| text.parse::<f64>().ok()) {
                *value = json!(number);
            }
        }),
        Mutation::HsPropertiesNull
            if call.method == "GET" || call.path.ends_with("/search") || call.path.ends_with("/read") =>
        {
            properties(body, &|value| *value = Value::Null);
        }
        _ => {}
    }
}

/// Whether a request is a question for records of an object.
fn asks_for(call: &Call, object: &str) -> bool {
    call.path.contains("/query")
        && call
            .parameter("q")
            .is_some_and(|q| q.contains(&format!("FROM {object}")))
}

fn drop_key(body: &mut Value, key: &str) {
    if let Value::Object(map) = body {
        map.remove(key);
    }
}

fn rows<'a>(body: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    body.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

fn each_text(body: &mut Value, change: &dyn Fn(&mut String)) {
    match body {
        Value::String(text) => change(text),
        Value::Array(all) => all.iter_mut().for_each(|one| each_text(one, change)),
        Value::Object(map) => map.values_mut().for_each(|one| each_text(one, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn swap_keys(body: &mut Value) {
    match body {
        Value::Array(all) => all.iter_mut().for_each(swap_keys),
        Value::Object(map) => {
            let (code, status) = (map.remove("errorCode"), map.remove("statusCode"));
            if let Some(code) = code {
                map.insert("statusCode".to_owned(), code);
            }
            if let Some(status) = status {
                map.insert("errorCode".to_owned(), status);
            }
            map.values_mut().for_each(swap_keys);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn flip(body: &mut Value, key: &str) {
    match body {
        Value::Array(all) => all.iter_mut().for_each(|one| flip(one, key)),
        Value::Object(map) => {
            if let Some(Value::Bool(truth)) = map.get_mut(key) {
                *truth = !*truth;
            }
            map.values_mut().for_each(|one| flip(one, key));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn strip(body: &mut Value, key: &str) {
    match body {
        Value::Array(all) => all.iter_mut().for_each(|one| strip(one, key)),
        Value::Object(map) => {
            map.remove(key);
            map.values_mut().for_each(|one| strip(one, key));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Changes the values of `properties`, of a record or of each of `results`, but for the id.
fn properties(body: &mut Value, change: &dyn Fn(&mut Value)) {
    let one = |record: &mut Value| {
        let map = record.get_mut("properties").and_then(Value::as_object_mut);
        for (name, value) in map.into_iter().flatten() {
            if name != "hs_object_id" {
                change(value);
            }
        }
    };
    one(body);
    rows(body, "results").for_each(one);
}
