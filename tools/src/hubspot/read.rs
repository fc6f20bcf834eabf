//! Reading records: all by their ids, changes by their time, the archived ones after both.
//!
//! Search shows 200 records a call and a list 100, so all that search can show is read by search, also everything at once. It shows
//! at most 10,000 results of one question, so each window of results ends well before and the next begins where it ended, and all
//! records come by their ids, which have no such end. Search lags, so changes are asked for with an overlap, and it never shows archived
//! records: those are listed, all that ever were, where they are asked for. Associations are read for 1,000 records at once, so a page holds as many where they are asked for.
//!
//! A page that contradicts itself (more results than it shows and no next page, a next page that is this one) is an error: what
//! follows it would be missing or come for ever.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::time::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HubSpot, VERSION, objects, roles, stages, wire};
use crate::SendError;
use crate::budget::Lane;
use crate::http::Call;
use crate::reading::{Ask, ROLES, ReadPage, ReadRow, STAGE, known_name, plain_names};
use crate::text::shown;

/// Records of a page of search.
const PAGE: u64 = 200;
/// Records of a page of a list.
const LISTED: u64 = 100;
/// Records whose associations are read at once.
const ASSOCIATED: u64 = 1_000;
/// Records that are read by their ids at once.
pub(super) const BY_IDS: usize = 100;
/// Results of one question that are paged through; HubSpot ends at 10,000.
const WINDOW: u64 = 9_800;
/// Columns that stand for the records that are associated: `associations.companies`.
const ASSOCIATIONS: &str = "associations.";

/// Where a reading stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cursor {
    /// All records with greater ids.
    Ids { after: u64 },
    /// Records that changed at or after a moment, in milliseconds; `skip` of them are read.
    Changes { from: i64, skip: u64 },
    /// Records of exactly this moment with greater ids: more than a window of them changed at once.
    Moment { at: i64, after: u64 },
    /// Archived records, listed from this point on.
    Archived { after: String },
}

impl Cursor {
    fn first(since: Option<Timestamp>) -> Cursor {
        match since {
            None => Cursor::Ids { after: 0 },
            Some(since) => Cursor::Changes {
                from: since.us().div_euclid(1_000),
                skip: 0,
            },
        }
    }

    fn text(&self) -> String {
        match self {
            Cursor::Ids { after } => format!("i:{after}"),
            Cursor::Changes { from, skip } => format!("c:{from}:{skip}"),
            Cursor::Moment { at, after } => format!("m:{at}:{after}"),
            Cursor::Archived { after } => format!("a:{after}"),
        }
    }

    fn read(text: &str) -> Option<Cursor> {
        let (kind, rest) = text.split_once(':')?;
        let two = || rest.split_once(':');
        Some(match kind {
            "i" => Cursor::Ids {
                after: rest.parse().ok()?,
            },
            "c" => Cursor::Changes {
                from: two()?.0.parse().ok()?,
                skip: two()?.1.parse().ok()?,
            },
            "m" => Cursor::Moment {
                at: two()?.0.parse().ok()?,
                after: two()?.1.parse().ok()?,
            },
            "a" => Cursor::Archived { after: rest.to_owned() },
            _ => return None,
        })
    }

    fn begins_archived(&self) -> bool {
        matches!(self, Cursor::Archived { after } if after.is_empty())
    }

    /// Where to go on after a page of search: `more` when there are results behind its `count` records.
    fn next(&self, more: bool, count: u64, last_id: Option<u64>, last_at: Option<i64>) -> Cursor {
        let archived = Cursor::Archived { after: String::new() };
        match (self, more, last_id, last_at) {
            (Cursor::Ids { .. }, true, Some(id), _) => Cursor::Ids { after: id },
            (Cursor::Changes { from, skip }, true, _, Some(at)) if skip + count + PAGE > WINDOW => {
                if at > *from {
                    Cursor::Changes { from: at, skip: 0 }
                } else {
                    Cursor::Moment { at, after: 0 }
                }
            }
            (Cursor::Changes { from, skip }, true, _, _) => Cursor::Changes {
                from: *from,
                skip: skip + count,
            },
            (Cursor::Moment { at, .. }, true, Some(id), _) => Cursor::Moment { at: *at, after: id },
            (Cursor::Moment { at, .. }, _, _, _) => Cursor::Changes { from: at + 1, skip: 0 },
            (Cursor::Ids { .. } | Cursor::Changes { .. } | Cursor::Archived { .. }, _, _, _) => archived,
        }
    }
}

#[derive(Deserialize)]
struct Listed {
    results: Vec<wire::Record>,
    paging: Option<Paging>,
    /// Of a search only.
    total: Option<u64>,
}

#[derive(Deserialize)]
struct Paging {
    next: Option<Next>,
}

#[derive(Deserialize)]
struct Next {
    after: String,
}

#[derive(Deserialize)]
struct Owners {
    results: Vec<serde_json::Map<String, Value>>,
    paging: Option<Paging>,
}

impl HubSpot {
    pub(super) async fn read_page(&self, ask: &Ask, cursor: Option<&str>) -> Result<ReadPage, SendError> {
        plain_names(ask)?;
        let staged = stages::are_asked(ask)?;
        roles::are_asked(ask)?;
        if ask.object == "owners" {
            return self.owners(cursor).await;
        }
        let bad = || SendError::refused(&ask.object, "BAD_CURSOR", "the cursor cannot be read", "read it again");
        let begins = cursor.is_none();
        let cursor = match cursor {
            Some(text) => Cursor::read(text).ok_or_else(bad)?,
            None => Cursor::first(ask.since),
        };
        let (mut rows, next) = match &cursor {
            Cursor::Archived { after } => self.archived(ask, after).await?,
            searching => self.searched(ask, searching).await?,
        };
        let begins_archived = next.as_ref().is_some_and(Cursor::begins_archived);
        let next = next.filter(|_| ask.deleted || !begins_archived);
        // Whom an archived record belonged to nobody asks.
        let tied = ask.fields.iter().filter_map(|field| field.strip_prefix(ASSOCIATIONS));
        for to in tied.filter(|_| !matches!(cursor, Cursor::Archived { .. })) {
            self.associate(&ask.object, to, &mut rows).await?;
        }
        if !matches!(cursor, Cursor::Archived { .. }) {
            if staged {
                self.stage(ask, begins, &mut rows).await?;
            }
            self.with_roles(ask, &mut rows).await?;
        }
        let reached = match cursor {
            Cursor::Changes { .. } => rows.last().and_then(|row| row.modified),
            Cursor::Ids { .. } | Cursor::Moment { .. } | Cursor::Archived { .. } => None,
        };
        Ok(ReadPage {
            rows,
            next: next.map(|next| next.text()),
            reached,
            pause: None,
        })
    }

    /// Pages of search, so many that their associations are read at once; one where none are asked for.
    async fn searched(&self, ask: &Ask, cursor: &Cursor) -> Result<(Vec<ReadRow>, Option<Cursor>), SendError> {
        let is_tie = |field: &String| field.starts_with(ASSOCIATIONS) || field.starts_with(ROLES);
        let is_tied = ask.fields.iter().any(is_tie);
        let most = if is_tied { ASSOCIATED } else { PAGE };
        let (mut rows, mut next) = self.search(ask, cursor).await?;
        while let Some(following) = &next {
            // What kind of page it is says how far everything has been read, so kinds are not mixed.
            let is_same_kind = std::mem::discriminant(following) == std::mem::discriminant(cursor);
            if !is_same_kind || rows.len() as u64 + PAGE > most {
                break;
            }
            let (mut more, behind) = self.search(ask, following).await?;
            rows.append(&mut more);
            next = behind;
        }
        Ok((rows, next))
    }

    async fn search(&self, ask: &Ask, cursor: &Cursor) -> Result<(Vec<ReadRow>, Option<Cursor>), SendError> {
        let modified = modified_of(&ask.object);
        let id = |after: u64| json!({ "propertyName": "hs_object_id", "operator": "GT", "value": after.to_string() });
        let at = |operator: &str, ms: i64| json!({ "propertyName": modified, "operator": operator, "value": ms.to_string() });
        let (filters, sort, skip) = match cursor {
            Cursor::Ids { after } => (vec![id(*after)], "hs_object_id", 0),
            Cursor::Changes { from, skip } => (vec![at("GTE", *from)], modified, *skip),
            Cursor::Moment { at: ms, after } => (vec![at("EQ", *ms), id(*after)], "hs_object_id", 0),
            Cursor::Archived { .. } => return Ok((Vec::new(), None)),
        };
        let mut body = json!({
            "filterGroups": [{ "filters": filters }],
            "sorts": [{ "propertyName": sort, "direction": "ASCENDING" }],
            "properties": properties(ask),
            "limit": PAGE,
        });
        if skip > 0 {
            body["after"] = json!(skip.to_string());
        }
        let path = format!("{}/search", objects(&ask.object));
        let call = Call::write(Method::POST, known_name(&ask.object), path, body)
            .harmless()
            .on(Lane::Bulk);
        let page: Listed = self.http.send(&call).await?.ok()?.json()?;
        let rows: Vec<ReadRow> = page.results.iter().map(|record| row(modified, record)).collect();
        let count = rows.len() as u64;
        let more = more(&ask.object, &page, skip, count)?;
        let last = rows.last();
        let last_id = last.and_then(|row| row.id.parse().ok());
        let last_at = last.and_then(|row| row.modified).map(|at| at.us().div_euclid(1_000));
        Ok((rows, Some(cursor.next(more, count, last_id, last_at))))
    }

    async fn archived(&self, ask: &Ask, after: &str) -> Result<(Vec<ReadRow>, Option<Cursor>), SendError> {
        let mut path = format!(
            "{}?archived=true&limit={LISTED}&properties={}",
            objects(&ask.object),
            properties(ask).join(",")
        );
        if !after.is_empty() {
            path.push_str(&format!("&after={}", crate::http::path::encode(after)));
        }
        let call = Call::get(known_name(&ask.object), path).on(Lane::Bulk);
        let page: Listed = self.http.send(&call).await?.ok()?.json()?;
        let modified = modified_of(&ask.object);
        if page.results.iter().any(|record| !record.archived) {
            return Err(contradicts(
                &ask.object,
                "a list of archived records with one that is not",
            ));
        }
        let rows = page.results.iter().map(|record| row(modified, record)).collect();
        let next = onwards(&ask.object, page.paging, after)?;
        Ok((rows, next.map(|after| Cursor::Archived { after })))
    }

    /// The records with these ids as they are now; one that is not there comes as deleted.
    pub(super) async fn by_ids(&self, ask: &Ask, ids: &[String]) -> Result<Vec<ReadRow>, SendError> {
        plain_names(ask)?;
        let object = ask.object.as_str();
        if ids.len() > BY_IDS {
            let what = format!("{} ids at once are more than {BY_IDS}", ids.len());
            return Err(SendError::refused(
                object,
                "TOO_MANY",
                &what,
                "report this: it is a defect",
            ));
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let inputs: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
        let body = json!({ "properties": properties(ask), "inputs": inputs });
        let path = format!("{}/batch/read", objects(object));
        let call = Call::write(Method::POST, known_name(object), path, body)
            .harmless()
            .on(Lane::Normal);
        let page: wire::Batch = self.http.send(&call).await?.ok()?.json()?;
        let modified = modified_of(object);
        let mut rows: Vec<ReadRow> = page.results.iter().map(|record| row(modified, record)).collect();
        for to in ask.fields.iter().filter_map(|field| field.strip_prefix(ASSOCIATIONS)) {
            self.associate(object, to, &mut rows).await?;
        }
        if stages::are_asked(ask)? {
            self.stage(ask, false, &mut rows).await?;
        }
        self.with_roles(ask, &mut rows).await?;
        let missing = missing(&page.errors);
        for id in ids
            .iter()
            .filter(|id| !page.results.iter().any(|record| record.id == **id))
        {
            // Whoever is neither there nor said to be missing was left out of the answer.
            if !missing.contains(id.as_str()) {
                return Err(contradicts(object, "a batch of records that leaves some of them out"));
            }
            rows.push(ReadRow::gone("hs_object_id", id));
        }
        Ok(rows)
    }

    /// Puts the first associated record of each row into its column.
    async fn associate(&self, from: &str, to: &str, rows: &mut [ReadRow]) -> Result<(), SendError> {
        if rows.is_empty() {
            return Ok(());
        }
        let inputs: Vec<Value> = rows.iter().map(|row| json!({ "id": row.id })).collect();
        let path = format!("/crm/associations/{VERSION}/{from}/{to}/batch/read");
        let call = Call::write(Method::POST, known_name(from), path, json!({ "inputs": inputs }))
            .harmless()
            .on(Lane::Bulk);
        let reply = self.http.send(&call).await?;
        if reply.status == reqwest::StatusCode::NOT_FOUND {
            return Ok(());
        }
        let read: wire::Associations = reply.ok()?.json()?;
        let first = |of: &wire::AssociationsOf| Some((of.from.as_ref()?.id.clone(), of.to.first()?.id.clone()));
        let first: BTreeMap<String, String> = read.results.iter().filter_map(first).collect();
        for row in rows {
            if let Some(to_id) = first.get(&row.id) {
                row.cells.insert(format!("{ASSOCIATIONS}{to}"), to_id.clone());
            }
        }
        Ok(())
    }

    /// Our people. They have neither search nor times: all are read each time.
    async fn owners(&self, cursor: Option<&str>) -> Result<ReadPage, SendError> {
        let mut path = format!("/crm/owners/{VERSION}?limit={LISTED}");
        if let Some(after) = cursor {
            path.push_str(&format!("&after={}", crate::http::path::encode(after)));
        }
        let page: Owners = self
            .http
            .send(&Call::get("owners", path).on(Lane::Bulk))
            .await?
            .ok()?
            .json()?;
        let row = |record: serde_json::Map<String, Value>| {
            let text = |(name, value): (&String, &Value)| Some((name.clone(), shown(value)?));
            let cells: BTreeMap<String, String> = record.iter().filter_map(text).collect();
            ReadRow {
                id: cells.get("id").cloned().unwrap_or_default(),
                modified: cells.get("updatedAt").and_then(|text| text.parse().ok()),
                deleted: record.get("archived") == Some(&Value::Bool(true)),
                cells,
            }
        };
        Ok(ReadPage {
            rows: page.results.into_iter().map(row).collect(),
            next: onwards("owners", page.paging, cursor.unwrap_or_default())?,
            reached: None,
            pause: None,
        })
    }
}

/// Whether there are results behind a page of search that begins after `skip` of them.
fn more(object: &str, page: &Listed, skip: u64, count: u64) -> Result<bool, SendError> {
    let seen = skip + count;
    let next = page.paging.as_ref().and_then(|paging| paging.next.as_ref());
    if let Some(next) = next
        && next.after != seen.to_string()
    {
        return Err(contradicts(
            object,
            "a page of search whose next page does not follow it",
        ));
    }
    let Some(total) = page.total else {
        return Ok(next.is_some());
    };
    match (total > seen, next) {
        (true, Some(_)) if count > 0 => Ok(true),
        (true, _) => Err(contradicts(
            object,
            "a page of search that shows fewer results than there are",
        )),
        (false, _) => Ok(false),
    }
}

/// Where a list goes on.
fn onwards(object: &str, paging: Option<Paging>, from: &str) -> Result<Option<String>, SendError> {
    match paging.and_then(|paging| paging.next) {
        Some(next) if next.after.is_empty() || next.after == from => {
            Err(contradicts(object, "a list whose next page is the same one"))
        }
        next => Ok(next.map(|next| next.after)),
    }
}

/// Ids that a batch says it did not find.
fn missing(errors: &[wire::ErrorBody]) -> BTreeSet<&str> {
    errors
        .iter()
        .filter(|error| error.category.as_deref() == Some("OBJECT_NOT_FOUND"))
        .filter_map(|error| error.rest.get("context")?.get("ids")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn contradicts(object: &str, what: &str) -> SendError {
    SendError::refused(
        object,
        "CONTRADICTION",
        what,
        "read again; if it stays so, something between us and HubSpot changes its answers",
    )
}

/// The property that says when a record changed: contacts have a name of their own for it.
fn modified_of(object: &str) -> &'static str {
    if object == "contacts" {
        "lastmodifieddate"
    } else {
        "hs_lastmodifieddate"
    }
}

fn properties(ask: &Ask) -> Vec<&str> {
    let mut names = vec!["hs_object_id", modified_of(&ask.object)];
    for field in &ask.fields {
        let field = match field.as_str() {
            staged if staged.starts_with(STAGE) => stages::property(&ask.object).unwrap_or("hs_object_id"),
            field => field,
        };
        if !field.starts_with(ASSOCIATIONS) && !field.starts_with(ROLES) && !names.contains(&field) {
            names.push(field);
        }
    }
    names
}

fn row(modified: &str, record: &wire::Record) -> ReadRow {
    let text = |(name, value): (&String, &Value)| Some((name.clone(), shown(value)?));
    let mut cells: BTreeMap<String, String> = record.properties.iter().filter_map(text).collect();
    cells.insert("hs_object_id".to_owned(), record.id.clone());
    let at = cells.get(modified).and_then(|text| moment(text));
    ReadRow {
        id: record.id.clone(),
        modified: at,
        deleted: record.archived,
        cells,
    }
}

/// A time as text, or as milliseconds since 1970.
fn moment(text: &str) -> Option<Timestamp> {
    match text.parse::<i64>() {
        Ok(ms) => Some(Timestamp::from_us(ms.checked_mul(1_000)?)),
        Err(_) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_results_ends_before_the_limit_and_goes_on_where_it_ended() {
        let mut cursor = Cursor::first("2026-11-29T10:00:00Z".parse().ok());
        let from = 1_795_946_400_000;
        assert_eq!(cursor, Cursor::Changes { from, skip: 0 });
        for _ in 0..48 {
            cursor = cursor.next(true, PAGE, Some(5), Some(from + 9));
        }
        assert_eq!(cursor, Cursor::Changes { from, skip: 9_600 });
        let later = cursor.next(true, PAGE, Some(5), Some(from + 9));
        assert_eq!(
            later,
            Cursor::Changes {
                from: from + 9,
                skip: 0
            }
        );
        // More than a window changed in one millisecond: they are read by their ids.
        let moment = cursor.next(true, PAGE, Some(5), Some(from));
        assert_eq!(moment, Cursor::Moment { at: from, after: 0 });
        let moment = moment.next(true, PAGE, Some(77), Some(from));
        assert_eq!(moment, Cursor::Moment { at: from, after: 77 });
        assert_eq!(
            moment.next(false, 1, Some(78), Some(from)),
            Cursor::Changes {
                from: from + 1,
                skip: 0
            }
        );
        assert_eq!(
            later.next(false, 0, None, None),
            Cursor::Archived { after: String::new() }
        );
        for cursor in [cursor, later, moment, Cursor::Ids { after: 3 }] {
            assert_eq!(Cursor::read(&cursor.text()), Some(cursor));
        }
    }

    fn listed(total: Option<u64>, after: Option<&str>) -> Listed {
        Listed {
            results: Vec::new(),
            total,
            paging: after.map(|after| Paging {
                next: Some(Next {
                    after: after.to_owned(),
                }),
            }),
        }
    }

    #[test]
    fn a_page_of_search_that_contradicts_itself_is_refused() {
        let more = |total, after, skip, count| more("contacts", &listed(total, after), skip, count);
        assert!(more(Some(450), Some("200"), 0, 200).expect("a page"));
        assert!(!more(Some(450), None, 400, 50).expect("the last"));
        assert!(more(None, Some("200"), 0, 200).expect("a page"));
        assert!(
            more(Some(450), None, 0, 200).is_err(),
            "no next page although there is more"
        );
        assert!(more(Some(450), Some("0"), 0, 200).is_err(), "the next page is this one");
        assert!(more(Some(450), Some("0"), 0, 0).is_err(), "more, but nothing shown");
        // Changes that came while it was read: fewer than before, and none is missing.
        assert!(!more(Some(399), None, 400, 0).expect("the last"));
    }

    #[test]
    fn a_list_that_goes_in_a_circle_is_refused() {
        let onwards = |after: &str, from| onwards("owners", listed(None, Some(after)).paging, from);
        assert_eq!(onwards("7", "").expect("a page").as_deref(), Some("7"));
        assert!(onwards("7", "7").is_err());
        assert!(onwards("", "").is_err());
    }

    #[test]
    fn only_what_a_batch_says_it_did_not_find_is_missing() {
        let error = |category: &str| wire::ErrorBody {
            category: Some(category.to_owned()),
            rest: json!({ "context": { "ids": ["7"] } })
                .as_object()
                .cloned()
                .unwrap_or_default(),
            ..wire::ErrorBody::default()
        };
        assert!(missing(&[error("OBJECT_NOT_FOUND")]).contains("7"));
        assert!(missing(&[error("VALIDATION_ERROR")]).is_empty());
    }
}
