//! Reading records: all by their ids, changes by their time, the archived ones after both.
//!
//! Search shows at most 10,000 results of one question, so each window of results ends well before and the next begins
//! where it ended. Search lags, so changes are asked for with an overlap, and it never shows archived records: those are
//! listed.

use std::collections::BTreeMap;

use perennial_core::time::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HubSpot, VERSION, objects, wire};
use crate::SendError;
use crate::budget::Lane;
use crate::http::Call;
use crate::reading::{Ask, ReadPage, ReadRow, known_name, plain_names};
use crate::text::shown;

/// Records of a page of search.
const PAGE: u64 = 200;
/// Records of a page of a list.
const LISTED: u64 = 100;
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

    /// Where to go on after a page of search: `full` when it had as many records as were asked for.
    fn next(&self, full: bool, last_id: Option<u64>, last_at: Option<i64>) -> Cursor {
        let archived = Cursor::Archived { after: String::new() };
        match (self, full, last_id, last_at) {
            (Cursor::Ids { .. }, true, Some(id), _) => Cursor::Ids { after: id },
            (Cursor::Changes { from, skip }, true, _, Some(at)) if skip + PAGE >= WINDOW => {
                if at > *from {
                    Cursor::Changes { from: at, skip: 0 }
                } else {
                    Cursor::Moment { at, after: 0 }
                }
            }
            (Cursor::Changes { from, skip }, true, _, _) => Cursor::Changes {
                from: *from,
                skip: skip + PAGE,
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
        if ask.object == "owners" {
            return self.owners(cursor).await;
        }
        let bad = || SendError::refused(&ask.object, "BAD_CURSOR", "the cursor cannot be read", "read it again");
        let cursor = match cursor {
            Some(text) => Cursor::read(text).ok_or_else(bad)?,
            None => Cursor::first(ask.since),
        };
        let (mut rows, next) = match &cursor {
            Cursor::Archived { after } => self.archived(ask, after).await?,
            searching => self.search(ask, searching).await?,
        };
        for to in ask.fields.iter().filter_map(|field| field.strip_prefix(ASSOCIATIONS)) {
            self.associate(&ask.object, to, &mut rows).await?;
        }
        let reached = match cursor {
            Cursor::Changes { .. } => rows.last().and_then(|row| row.modified),
            Cursor::Ids { .. } | Cursor::Moment { .. } | Cursor::Archived { .. } => None,
        };
        Ok(ReadPage {
            rows,
            next: next.map(|next| next.text()),
            reached,
        })
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
        let full = rows.len() as u64 >= PAGE;
        let last = rows.last();
        let last_id = last.and_then(|row| row.id.parse().ok());
        let last_at = last.and_then(|row| row.modified).map(|at| at.us().div_euclid(1_000));
        Ok((rows, Some(cursor.next(full, last_id, last_at))))
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
        let gone = |record: &wire::Record| ReadRow {
            deleted: true,
            ..row(modified, record)
        };
        let rows = page.results.iter().map(gone).collect();
        let next = page.paging.and_then(|paging| paging.next);
        Ok((rows, next.map(|next| Cursor::Archived { after: next.after })))
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
            next: page.paging.and_then(|paging| paging.next).map(|next| next.after),
            reached: None,
        })
    }
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
        let field = field.as_str();
        if !field.starts_with(ASSOCIATIONS) && !names.contains(&field) {
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
            cursor = cursor.next(true, Some(5), Some(from + 9));
        }
        assert_eq!(cursor, Cursor::Changes { from, skip: 9_600 });
        let later = cursor.next(true, Some(5), Some(from + 9));
        assert_eq!(
            later,
            Cursor::Changes {
                from: from + 9,
                skip: 0
            }
        );
        // More than a window changed in one millisecond: they are read by their ids.
        let moment = cursor.next(true, Some(5), Some(from));
        assert_eq!(moment, Cursor::Moment { at: from, after: 0 });
        let moment = moment.next(true, Some(77), Some(from));
        assert_eq!(moment, Cursor::Moment { at: from, after: 77 });
        assert_eq!(
            moment.next(false, Some(78), Some(from)),
            Cursor::Changes {
                from: from + 1,
                skip: 0
            }
        );
        assert_eq!(later.next(false, None, None), Cursor::Archived { after: String::new() });
        for cursor in [cursor, later, moment, Cursor::Ids { after: 3 }] {
            assert_eq!(Cursor::read(&cursor.text()), Some(cursor));
        }
    }
}
