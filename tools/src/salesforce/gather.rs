//! Many records read in few requests: by their ids as collections, by external ids with a question.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::map::Place;
use super::wire::QueryPage;
use super::{Record, Salesforce, data, read};
use crate::fields::Live;
use crate::http::path::encode;
use crate::http::{Call, Reply};
use crate::many::Slots;
use crate::{Lane, SendError};

/// Records that one collection reads, the vendor's limit.
pub(super) const READ_MAX: usize = 2_000;
/// Keys of one question.
const KEYS_MAX: usize = 200;
/// Longest address of a question by keys: well below what the vendor takes.
const PATH_MAX: usize = 12_000;
/// Pages of a question by keys: it has one unless several records share keys.
const PAGES_MAX: usize = 20;

/// What stands where a record was looked for.
enum Found {
    One(Record),
    Absent,
    Several(Vec<String>),
}

fn answer_part(
    answers: &mut Slots<Option<Record>>,
    part: &[(usize, &str)],
    found: Result<Vec<Found>, SendError>,
    object: &str,
) {
    match found {
        Ok(found) => {
            for ((slot, _), found) in part.iter().zip(found) {
                answers.put(
                    *slot,
                    match found {
                        Found::One(record) => Ok(Some(record)),
                        Found::Absent => Ok(None),
                        Found::Several(ids) => {
                            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                            Err(several(object, &ids))
                        }
                    },
                );
            }
        }
        Err(error) => part.iter().for_each(|(slot, _)| answers.put(*slot, Err(error.again()))),
    }
}

impl Salesforce {
    /// Reads records, wherever they are found; one answer each, in the order of the places.
    pub(super) async fn read_many(
        &self,
        object: &'static str,
        places: &[&Place],
        names: &[&str],
        lane: Lane,
    ) -> Vec<Result<Option<Record>, SendError>> {
        let mut answers = Slots::new(places.len());
        let mut ids = Vec::new();
        let mut keys: BTreeMap<&'static str, Vec<(usize, &str)>> = BTreeMap::new();
        for (slot, place) in places.iter().enumerate() {
            match place {
                Place::Id(id) => ids.push((slot, id.as_str())),
                Place::Key(field, value) => keys.entry(*field).or_default().push((slot, value.as_str())),
            }
        }
        // Parts that are still to be asked; one whose answer is too large is asked in halves.
        let mut parts: Vec<&[(usize, &str)]> = ids.chunks(READ_MAX).collect();
        while let Some(part) = parts.pop() {
            let found = self.read_by_id(object, part, names, lane).await;
            if part.len() > 1 && matches!(&found, Err(SendError::Refused { code, .. }) if code == "ANSWER_TOO_LARGE") {
                let (one, other) = part.split_at(part.len() / 2);
                parts.extend([one, other]);
                continue;
            }
            answer_part(&mut answers, part, found, object);
        }
        for (field, keys) in &keys {
            for part in within(keys, names.iter().map(|name| name.len() + 1).sum()) {
                let found = self.read_by_key(object, field, part, names, lane).await;
                answer_part(&mut answers, part, found, object);
            }
        }
        answers.close()
    }

    async fn read_by_id(
        &self,
        object: &'static str,
        part: &[(usize, &str)],
        names: &[&str],
        lane: Lane,
    ) -> Result<Vec<Found>, SendError> {
        let ids: Vec<&str> = part.iter().map(|(_, id)| *id).collect();
        let path = format!("{}/composite/sobjects/{object}", data());
        let body = json!({ "ids": ids, "fields": names });
        let call = Call::write(Method::POST, object, path, body).harmless().on(lane);
        let rows: Vec<Option<Live>> = self.http.send(&call).await?.ok()?.json()?;
        if rows.len() != ids.len() {
            return Err(read::unexpected(
                object,
                "a collection was read, and some records are missing",
            ));
        }
        let mut by_id: BTreeMap<String, Record> = BTreeMap::new();
        for record in rows.into_iter().flatten() {
            let record = recorded(object, record)?;
            by_id.insert(short(&record.id).to_owned(), record);
        }
        // By id, not by place: a record under the wrong id would be written over.
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.push(
                by_id
                    .get(short(id))
                    .map_or(Found::Absent, |record| Found::One(record.clone())),
            );
        }
        Ok(found)
    }

    async fn read_by_key(
        &self,
        object: &'static str,
        field: &'static str,
        part: &[(usize, &str)],
        names: &[&str],
        lane: Lane,
    ) -> Result<Vec<Found>, SendError> {
        let keys: Vec<String> = part.iter().map(|(_, key)| quoted(key)).collect();
        let names: BTreeSet<&str> = names.iter().copied().chain([field]).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let question = format!(
            "SELECT {} FROM {object} WHERE {field} IN ({})",
            names.join(","),
            keys.join(",")
        );
        let mut path = format!("{}/query?q={}", data(), encode(&question));
        // External ids are the same in any case.
        let mut by_key: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for _ in 0..PAGES_MAX {
            let call = Call::get(object, path).on(lane);
            let page: QueryPage<Live> = self.http.send(&call).await?.ok()?.json()?;
            for row in page.records {
                let record = recorded(object, row)?;
                if !seen.insert(record.id.clone()) {
                    continue;
                }
                let key = record.live.get(field).and_then(Value::as_str).unwrap_or_default();
                by_key.entry(key.to_lowercase()).or_default().push(record);
            }
            if page.done && page.total_size != seen.len() as u64 {
                return Err(read::unexpected(
                    object,
                    "a question says that it found more than it shows",
                ));
            }
            if page.done {
                let found = part
                    .iter()
                    .map(|(_, key)| match by_key.get(&key.to_lowercase()).map(Vec::as_slice) {
                        None | Some([]) => Found::Absent,
                        Some([record]) => Found::One(record.clone()),
                        Some(several) => Found::Several(several.iter().map(|record| record.id.clone()).collect()),
                    });
                return Ok(found.collect());
            }
            let next = page.next_records_url.as_deref();
            let next = next.ok_or_else(|| read::unexpected(object, "a page that is not the last names no next one"))?;
            path = format!("{}/query/{}", data(), encode(&read::locator(object, next)?));
        }
        Err(read::unexpected(object, "more records than keys"))
    }
}

/// Parts of the keys whose question fits into an address.
fn within<'k, 'a>(keys: &'k [(usize, &'a str)], fields_len: usize) -> Vec<&'k [(usize, &'a str)]> {
    let (mut parts, mut from, mut length) = (Vec::new(), 0, fields_len);
    for (n, (_, key)) in keys.iter().enumerate() {
        let long = encode(&quoted(key)).len() + 3;
        let is_full = length + long > PATH_MAX || n - from >= KEYS_MAX;
        if is_full && n > from {
            parts.extend(keys.get(from..n));
            (from, length) = (n, fields_len);
        }
        length += long;
    }
    parts.extend(keys.get(from..).filter(|part| !part.is_empty()));
    parts
}

/// A text as it stands in a question.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

fn recorded(object: &str, mut live: Map<String, Value>) -> Result<Record, SendError> {
    live.remove("attributes");
    match live.get("Id") {
        Some(Value::String(id)) => Ok(Record {
            id: id.clone(),
            etag: None,
            live,
        }),
        Some(_) | None => Err(read::unexpected(object, "a record without an Id")),
    }
}

fn several(object: &str, ids: &[&str]) -> SendError {
    let names = match ids {
        [] => String::new(),
        ids => format!(" ({})", ids.join(", ")),
    };
    SendError::refused(
        object,
        "MULTIPLE_CHOICES",
        &format!("several records carry this external id; nothing was written{names}"),
        super::wire::remedy("MULTIPLE_CHOICES"),
    )
}

/// Records that an answer names where one was looked for.
const CHOICES_NAMED: usize = 5;

/// The refusal with the records that the answer lists: a person must tell them apart.
pub(super) fn several_of(object: &str, reply: &Reply) -> SendError {
    let urls: Vec<String> = reply.json().unwrap_or_default();
    let ids = urls.iter().filter_map(|url| url.rsplit('/').next());
    let ids: Vec<&str> = ids.filter(|id| super::ids::is_whole(id)).take(CHOICES_NAMED).collect();
    several(object, &ids)
}

/// The part of an id without its checksum: it tells records apart by capital letters.
pub(super) fn short(id: &str) -> &str {
    id.get(..15).unwrap_or(id)
}

pub(super) fn is_same(one: &str, other: &str) -> bool {
    short(one) == short(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_quoted_and_asked_for_in_addresses_of_bounded_length() {
        assert_eq!(quoted("O'Neil \\ x"), "'O\\'Neil \\\\ x'");
        let keys: Vec<String> = (0..1_000).map(|n| format!("key-{n}-{}", "ü'".repeat(n % 40))).collect();
        let keys: Vec<(usize, &str)> = keys.iter().map(String::as_str).enumerate().collect();
        let parts = within(&keys, 100);
        assert_eq!(parts.concat(), keys, "each once, in order");
        for part in &parts {
            let list: Vec<String> = part.iter().map(|(_, key)| quoted(key)).collect();
            assert!(encode(&list.join(",")).len() < PATH_MAX && part.len() <= KEYS_MAX);
        }
        assert!(parts.len() > 5 && within(&[], 100).is_empty());
    }

    #[test]
    fn ids_of_both_lengths_name_the_same_record() {
        assert!(is_same("001000000000001", "001000000000001AAA"));
        assert!(!is_same("001000000000001", "001000000000002AAA") && !is_same("00A", "00a"));
    }
}
