//! What people are to deals: rows of `OpportunityContactRole`, written one by one and read beside the people.
//!
//! Promises: a row is looked for by deal and person before one is made, also where an earlier answer was lost, because Salesforce takes a
//! second one; a role that somebody else has given is a conflict; of what is made or changed the row itself is read back.
//!
//! Deliberately not here: which of the people is the primary one (`IsPrimary` is left as it is), and other objects that hold roles.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::action::{Done, Effect, Receipt};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::gather::{is_same, short};
use super::map::{OPPORTUNITY, Place, RolePlan};
use super::read::{self, unexpected};
use super::wire::QueryPage;
use super::{Change, Salesforce, data, missing, saved, sobject};
use crate::budget::Lane;
use crate::error::Image;
use crate::fields::{self, Live, Wanted};
use crate::http::Call;
use crate::http::path::encode;
use crate::reading::{Ask, ROLES_DEALS, ReadPage, ReadRow};
use crate::{Diff, FieldOwner, Known, LookUp, SendError, ownership, proof};

/// The object whose rows say what a person is to a deal.
pub(super) const CONTACT_ROLE: &str = "OpportunityContactRole";
/// Objects that have roles in deals.
pub(super) const CONTACT: &str = "Contact";

/// People whose roles one question asks for: their ids fill an address.
const PEOPLE_MAX: usize = 200;
/// Pages of one such question.
const PAGES_MAX: usize = 50;

/// The rows of one person in one deal.
struct Standing {
    deal: String,
    rows: Vec<Live>,
}

impl Standing {
    /// The row that says the wanted word already.
    fn with(&self, word: &str) -> Option<&Live> {
        // The org takes values of a picklist in any case.
        let is = |row: &&Live| text(row, "Role").trim().eq_ignore_ascii_case(word.trim());
        self.rows.iter().find(is)
    }
}

fn text<'a>(row: &'a Live, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The role, as a field that people share with us.
fn role(word: &str) -> Wanted {
    Wanted {
        owner: FieldOwner::Shared,
        ..Wanted::text("Role", word)
    }
}

impl Salesforce {
    pub(super) async fn set_role(
        &self,
        effect: &Effect,
        plan: &RolePlan,
        known: &Known,
        at: Timestamp,
    ) -> Result<Receipt, SendError> {
        let standing = self.standing(effect, plan).await?;
        let standing = standing.ok_or_else(|| missing(OPPORTUNITY))?;
        let url = |receipt: Receipt| self.seen_on(&standing.deal, receipt);
        if let Some(row) = standing.with(&plan.word) {
            return Ok(url(self.receipt(Done::NoChange, CONTACT_ROLE, text(row, "Id"), at)));
        }
        match standing.rows.as_slice() {
            [] => {
                // Where one was known, somebody has taken it away.
                let wanted = role(&plan.word);
                ownership::guard(CONTACT_ROLE, &standing.deal, &[&wanted], &Live::new(), known)?;
                Ok(url(self.give_role(effect, plan, &standing.deal, at).await?))
            }
            [row] => {
                let change = Change {
                    object: CONTACT_ROLE,
                    place: &Place::Id(text(row, "Id").to_owned()),
                    wanted: &[role(&plan.word)],
                    known,
                };
                Ok(url(self.change(effect, change, at).await?))
            }
            several => {
                let ids: Vec<&str> = several.iter().map(|row| text(row, "Id")).collect();
                Err(SendError::refused(
                    CONTACT_ROLE,
                    "SEVERAL_ROLES",
                    &format!("the person stands in this deal several times: {}", ids.join(", ")),
                    "leave one of these rows in Salesforce, then approve the action again",
                ))
            }
        }
    }

    /// Makes the row. Nothing but the question before keeps it from being made twice, so a lost answer is looked up.
    async fn give_role(
        &self,
        effect: &Effect,
        plan: &RolePlan,
        deal: &str,
        at: Timestamp,
    ) -> Result<Receipt, SendError> {
        let wanted = [
            role(&plan.word),
            Wanted::text("ContactId", plan.contact.as_str()),
            Wanted::text("OpportunityId", deal),
        ];
        // That the person was not in the deal is what undoing must know, also where only a look-up finds the row.
        let image = || Image {
            before: BTreeMap::new(),
            after: fields::after(&wanted),
        };
        let body = Value::Object(fields::body(&wanted));
        let call = Call::write(Method::POST, CONTACT_ROLE, sobject(CONTACT_ROLE), body).serving(effect);
        let reply = self.http.send(&call).await;
        let result = reply.and_then(|reply| saved(CONTACT_ROLE, &reply.ok()?, call.body.as_ref()));
        let result = result.map_err(|error| error.with_image(image()))?;
        let id = result.id.ok_or_else(|| SendError::unreadable("success without an id"));
        let id = id.map_err(|error| error.with_image(image()))?;
        // Read back as it is looked for: what that question does not find would be made again.
        let now = self.standing(effect, plan).await;
        let now = now.map_err(|error| error.after("the role was written").with_image(image()))?;
        let rows = now.map(|now| now.rows).unwrap_or_default();
        let row = rows.iter().find(|row| is_same(text(row, "Id"), &id));
        let row = row.ok_or_else(|| proof::not_made(Crm::Salesforce, CONTACT_ROLE))?;
        Ok(Receipt {
            after: proof::made(Crm::Salesforce, &wanted, row),
            ..self.receipt(Done::Created, CONTACT_ROLE, &id, at)
        })
    }

    pub(super) async fn find_role(&self, effect: &Effect, plan: &RolePlan, at: Timestamp) -> Result<LookUp, SendError> {
        let Some(standing) = self.standing(effect, plan).await? else {
            return Ok(LookUp::Absent);
        };
        Ok(match standing.with(&plan.word) {
            Some(row) => {
                let found = self.found(CONTACT_ROLE, text(row, "Id"), &[role(&plan.word)], at);
                LookUp::Done(self.seen_on(&standing.deal, found))
            }
            None => LookUp::Absent,
        })
    }

    pub(super) async fn live_role(&self, effect: &Effect, plan: &RolePlan) -> Result<Diff, SendError> {
        let standing = self.standing(effect, plan).await?;
        let row = standing.as_ref().and_then(|standing| {
            let [only] = standing.rows.as_slice() else {
                return standing.with(&plan.word).or_else(|| standing.rows.first());
            };
            Some(only)
        });
        let id = row.map(|row| text(row, "Id"));
        let place = |id| match &standing {
            Some(standing) => self.seen_on(
                &standing.deal,
                self.receipt(Done::NoChange, CONTACT_ROLE, id, Timestamp::EPOCH),
            ),
            None => self.receipt(Done::NoChange, CONTACT_ROLE, id, Timestamp::EPOCH),
        };
        Ok(Diff {
            object: CONTACT_ROLE.to_owned(),
            url: id.map(|id| place(id).url),
            fields: fields::changes(&[role(&plan.word)], row),
            record: id.map(str::to_owned),
        })
    }

    /// A row has no page of its own: people see it on that of the deal.
    fn seen_on(&self, deal: &str, receipt: Receipt) -> Receipt {
        if self.http.base().is_loopback() {
            return receipt;
        }
        Receipt {
            url: self.url(OPPORTUNITY, deal),
            ..receipt
        }
    }

    /// The rows of the person in the deal; nothing where the deal is not there.
    async fn standing(&self, effect: &Effect, plan: &RolePlan) -> Result<Option<Standing>, SendError> {
        let deal = match &plan.deal {
            Place::Id(id) => id.clone(),
            place @ Place::Key(..) => match self.fetch(effect, OPPORTUNITY, place, &[]).await? {
                Some(record) => record.id,
                None => return Ok(None),
            },
        };
        // Both ids are letters and digits, so they need no quoting.
        let question = format!(
            "SELECT Id,Role,ContactId,OpportunityId FROM {CONTACT_ROLE} WHERE OpportunityId = '{deal}' AND ContactId = '{}' \
             ORDER BY Id",
            plan.contact
        );
        let path = format!("{}/query?q={}", data(), encode(&question));
        let reply = self.http.send(&Call::get(CONTACT_ROLE, path).serving(effect)).await?;
        let page: QueryPage<Live> = reply.ok()?.json()?;
        let mut rows = page.records;
        distinct(&mut rows);
        if !page.done || page.total_size > rows.len() as u64 {
            return Err(unexpected(
                CONTACT_ROLE,
                "a question says that it found more than it shows",
            ));
        }
        // What is written over must be what was asked for.
        let fits =
            |row: &Live| is_same(text(row, "OpportunityId"), &deal) && is_same(text(row, "ContactId"), &plan.contact);
        if rows
            .iter()
            .any(|row| !fits(row) || !super::ids::is_whole(text(row, "Id")))
        {
            return Err(unexpected(
                CONTACT_ROLE,
                "a question was answered with rows that were not asked for",
            ));
        }
        Ok(Some(Standing { deal, rows }))
    }

    /// Puts what each person is to which deals into their row: one deal a line, with its word behind `=`.
    pub(super) async fn with_roles(&self, ask: &Ask, rows: &mut [ReadRow]) -> Result<(), SendError> {
        if !are_asked(ask)? {
            return Ok(());
        }
        let mut lines: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let people: Vec<String> = rows
            .iter()
            .filter(|row| !row.deleted)
            .map(|row| row.id.clone())
            .collect();
        for some in people.chunks(PEOPLE_MAX) {
            let ids: Vec<String> = some.iter().map(|id| format!("'{id}'")).collect();
            let question = format!(
                "SELECT Id,Role,ContactId,OpportunityId FROM {CONTACT_ROLE} WHERE ContactId IN ({})",
                ids.join(",")
            );
            for row in self.all_rows(&question).await? {
                let person = short(text(&row, "ContactId")).to_owned();
                let (deal, word) = (text(&row, "OpportunityId"), text(&row, "Role"));
                if !deal.is_empty() && !word.is_empty() {
                    lines.entry(person).or_default().insert(format!("{deal}={word}"));
                }
            }
        }
        for row in rows.iter_mut() {
            if let Some(lines) = lines.get(short(&row.id)) {
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                row.cells.insert(ROLES_DEALS.to_owned(), lines.join("\n"));
            }
        }
        Ok(())
    }

    /// All rows of a question.
    async fn all_rows(&self, question: &str) -> Result<Vec<Live>, SendError> {
        let mut path = format!("{}/query?q={}", data(), encode(question));
        let mut rows: Vec<Live> = Vec::new();
        for _ in 0..PAGES_MAX {
            let call = Call::get(CONTACT_ROLE, path).on(Lane::Bulk);
            let page: QueryPage<Live> = self.http.send(&call).await?.ok()?.json()?;
            rows.extend(page.records);
            if page.done {
                distinct(&mut rows);
                if page.total_size > rows.len() as u64 {
                    return Err(read::incomplete(CONTACT_ROLE, rows.len() as u64, page.total_size));
                }
                return Ok(rows);
            }
            let next = page.next_records_url.as_deref();
            let next = next.ok_or_else(|| unexpected(CONTACT_ROLE, "a page that is not the last names no next one"))?;
            path = format!("{}/query/{}", data(), encode(&read::locator(CONTACT_ROLE, next)?));
        }
        Err(unexpected(
            CONTACT_ROLE,
            "more roles of so few people than there can be",
        ))
    }

    /// The people whose roles have changed: a page of the rows that did, as people. Rows change without the people they are about.
    pub(super) async fn changed_roles(&self, ask: &Ask, cursor: &Changed) -> Result<ReadPage, SendError> {
        let path = match cursor {
            Changed::First => {
                let of_roles = Ask {
                    object: CONTACT_ROLE.to_owned(),
                    fields: vec!["ContactId".to_owned()],
                    since: ask.since,
                    deleted: true,
                };
                let question = read::question(&of_roles, read::Order::ByChange)?;
                format!("{}/queryAll?q={}", data(), encode(&question))
            }
            Changed::Page { locator } => format!("{}/query/{}", data(), encode(locator)),
        };
        let call = Call::get(CONTACT_ROLE, path).on(Lane::Bulk);
        let page: RolePage = self.http.send(&call).await?.ok()?.json()?;
        let next = match (page.done, page.next_records_url) {
            (true, _) => None,
            (false, Some(url)) => Some(Changed::Page {
                locator: read::locator(CONTACT_ROLE, &url)?,
            }),
            (false, None) => {
                return Err(unexpected(
                    CONTACT_ROLE,
                    "a page that is not the last names no next one",
                ));
            }
        };
        let mut people: BTreeMap<String, Timestamp> = BTreeMap::new();
        for row in &page.records {
            let at = read::moment(text(row, "SystemModstamp").to_owned()).parse::<Timestamp>();
            let at = at.map_err(|_| unexpected(CONTACT_ROLE, "a row without a time of change"))?;
            let person = text(row, "ContactId");
            if super::ids::is_whole(person) {
                let latest = people.entry(person.to_owned()).or_insert(at);
                *latest = at.max(*latest);
            }
        }
        let ids: Vec<String> = people.keys().cloned().collect();
        let mut rows = Vec::new();
        for some in ids.chunks(PEOPLE_MAX) {
            rows.extend(self.by_ids(ask, some).await?);
        }
        // Whom only we may not see any more has not gone for that: their own record says it. So far has been read, so that the same
        // roles are not read for ever where no person changes.
        rows.retain(|row| row.modified.is_some());
        for row in &mut rows {
            let at = people
                .iter()
                .find(|(id, _)| short(id) == short(&row.id))
                .map(|(_, at)| *at);
            row.modified = row.modified.max(at);
        }
        let next = next.map_or_else(|| read::Cursor::Begin.text(), |next| next.text());
        Ok(ReadPage {
            rows,
            next: Some(next),
            reached: None,
            pause: None,
        })
    }
}

/// Leaves one of each row: a page may show one twice.
fn distinct(rows: &mut Vec<Live>) {
    let mut seen = BTreeSet::new();
    rows.retain(|row| seen.insert(text(row, "Id").to_owned()));
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RolePage {
    done: bool,
    next_records_url: Option<String>,
    records: Vec<Map<String, Value>>,
}

/// Where the reading of changed roles stands, before that of changed people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Changed {
    First,
    Page { locator: String },
}

impl Changed {
    pub(super) fn text(&self) -> String {
        match self {
            Changed::First => "c:".to_owned(),
            Changed::Page { locator } => format!("c:{locator}"),
        }
    }

    pub(super) fn read(locator: &str) -> Changed {
        match locator {
            "" => Changed::First,
            locator => Changed::Page {
                locator: locator.to_owned(),
            },
        }
    }
}

/// Whether roles in deals are asked for. Only people have them.
pub(super) fn are_asked(ask: &Ask) -> Result<bool, SendError> {
    let asked = ask.fields.iter().any(|field| field == ROLES_DEALS);
    if asked && ask.object != CONTACT {
        return Err(SendError::refused(
            &ask.object,
            "BAD_NAME",
            "`roles.deals` stands for the roles of contacts in deals, and these records have none",
            "correct the mapping",
        ));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests;
