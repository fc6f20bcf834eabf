//! What people are to deals: labels of the association between a deal and a contact.
//!
//! Promises: only labels that the mapping has for roles are given and taken, and all others stay; one that somebody else has given is
//! a conflict; the new one is given before the old one is taken, so that what breaks in between is seen and ended by doing it again; the
//! association is read back. An association is the same however often it is made, so nothing is doubled.
//!
//! Deliberately not here: the making of labels, which admins do in HubSpot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use perennial_core::action::{Done, Effect, Receipt};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::map::{DEALS, Place, RolePlan};
use super::wire::{AssociatedTo, Associations};
use super::{HubSpot, VERSION, missing, objects};
use crate::budget::Lane;
use crate::fields::{self, Live, Wanted};
use crate::http::Call;
use crate::http::path::segment;
use crate::ownership::role_field;
use crate::proof::{self, Sent};
use crate::reading::{Ask, ROLES_DEALS, ReadRow, known_name};
use crate::{Diff, FieldOwner, Known, LookUp, SendError, UndoBy, Undoing, ownership, undo};

pub(super) const CONTACTS: &str = "contacts";
/// Stands in a receipt where the association itself was made.
const ASSOCIATION: &str = "association";
/// Between labels where a person has several of those that stand for roles.
const BETWEEN: &str = "; ";

/// A kind of association.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kind {
    category: String,
    type_id: u64,
    #[serde(default)]
    label: Option<String>,
}

impl Kind {
    fn is(&self, label: &str) -> bool {
        self.label
            .as_deref()
            .is_some_and(|own| own.trim().eq_ignore_ascii_case(label.trim()))
    }

    fn sent(&self) -> Value {
        json!({ "associationCategory": self.category, "associationTypeId": self.type_id })
    }
}

/// Kinds of association from deals to contacts.
pub(super) type Kinds = Vec<Kind>;

#[derive(Deserialize)]
struct Definitions {
    results: Vec<Kind>,
}

/// The association of a deal with a person.
struct Standing {
    deal: String,
    contact: String,
    /// Its kinds; none where there is no association.
    kinds: Option<Vec<Kind>>,
}

impl Standing {
    /// Labels of the association that stand for roles.
    fn roles<'a>(&'a self, words: &'a BTreeSet<String>) -> impl Iterator<Item = &'a Kind> {
        let kinds = self.kinds.iter().flatten();
        kinds.filter(|kind| words.iter().any(|word| kind.is(word)))
    }

    fn has(&self, word: &str) -> bool {
        self.kinds.iter().flatten().any(|kind| kind.is(word))
    }

    /// The association as a record: its roles but for `without`, and whether it is there.
    fn live(&self, words: &BTreeSet<String>, without: Option<&str>) -> Live {
        let mut live = Live::new();
        let kept = self
            .roles(words)
            .filter(|kind| !without.is_some_and(|word| kind.is(word)));
        let labels: BTreeSet<&str> = kept.filter_map(|kind| kind.label.as_deref()).collect();
        if !labels.is_empty() {
            let labels: Vec<&str> = labels.into_iter().collect();
            live.insert(
                role_field(Crm::HubSpot, &self.contact),
                Value::from(labels.join(BETWEEN)),
            );
        }
        if self.kinds.is_some() {
            live.insert(ASSOCIATION.to_owned(), Value::from(self.contact.as_str()));
        }
        live
    }
}

fn kinds_of(to: &AssociatedTo) -> Vec<Kind> {
    let kinds = to.rest.get("associationTypes").cloned().unwrap_or_default();
    serde_json::from_value(kinds).unwrap_or_default()
}

impl HubSpot {
    /// All labels that stand for roles.
    fn role_words(&self) -> BTreeSet<String> {
        self.writes.roles.values().cloned().collect()
    }

    fn wanted_role(plan: &RolePlan) -> Wanted {
        Wanted {
            owner: FieldOwner::Shared,
            ..Wanted::text(role_field(Crm::HubSpot, &plan.contact), plan.word.as_str())
        }
    }

    pub(super) async fn set_role(
        &self,
        effect: &Effect,
        plan: &RolePlan,
        known: &Known,
        at: Timestamp,
    ) -> Result<Receipt, SendError> {
        let standing = self.standing(effect, plan).await?.ok_or_else(|| missing(DEALS))?;
        let words = self.role_words();
        let deal = standing.deal.as_str();
        let (live, others) = (standing.live(&words, None), standing.live(&words, Some(&plan.word)));
        let mut wanted = vec![HubSpot::wanted_role(plan)];
        if standing.kinds.is_none() {
            wanted.push(Wanted::text(ASSOCIATION, plan.contact.as_str()));
        }
        let differing = fields::differing(&wanted, &live);
        if differing.is_empty() {
            return Ok(self.receipt(Done::NoChange, DEALS, deal, deal, at).await);
        }
        let label = self.label(effect, &plan.word).await?;
        ownership::guard(DEALS, deal, &[&wanted[0]], &others, known)?;
        let sent = Sent {
            wanted: &wanted,
            differing: &differing,
            before: &live,
        };
        if !standing.has(&plan.word) {
            let given = self.give(effect, &standing, &[label]).await;
            given.map_err(|error| error.with_image(sent.image()))?;
        }
        let old: Vec<&Kind> = standing.roles(&words).filter(|kind| !kind.is(&plan.word)).collect();
        if !old.is_empty() {
            let taken = self.take(effect, &standing, &old).await;
            let half = |error: SendError| error.after("the role was given, and the old one is still there");
            taken.map_err(|error| half(error).with_image(sent.image()))?;
        }
        let now = self.association(effect, deal, &plan.contact).await;
        let now = now.map_err(|error| error.after("the role was sent").with_image(sent.image()))?;
        if now.kinds.is_none() {
            return Err(proof::not_made(Crm::HubSpot, "associations"));
        }
        if !now.has(&plan.word) {
            return Err(SendError::refused(
                DEALS,
                "NOT_APPLIED",
                "HubSpot reported success, and the association does not have the label",
                "look at the labels of the association in HubSpot and give the role by hand",
            ));
        }
        let now = now.live(&words, None);
        let image = proof::changed(Crm::HubSpot, DEALS, sent, &now)?;
        let done = if standing.kinds.is_some() {
            Done::Updated
        } else {
            Done::Created
        };
        Ok(Receipt {
            before: image.before,
            after: image.after,
            ..self.receipt(done, DEALS, deal, deal, at).await
        })
    }

    pub(super) async fn find_role(&self, effect: &Effect, plan: &RolePlan, at: Timestamp) -> Result<LookUp, SendError> {
        let Some(standing) = self.standing(effect, plan).await? else {
            return Ok(LookUp::Absent);
        };
        let wanted = [HubSpot::wanted_role(plan)];
        if !fields::differing(&wanted, &standing.live(&self.role_words(), None)).is_empty() {
            return Ok(LookUp::Absent);
        }
        let deal = standing.deal.as_str();
        Ok(LookUp::Done(Receipt {
            after: fields::after(&wanted),
            ..self.receipt(Done::AlreadyDone, DEALS, deal, deal, at).await
        }))
    }

    pub(super) async fn live_role(&self, effect: &Effect, plan: &RolePlan) -> Result<Diff, SendError> {
        let standing = self.standing(effect, plan).await?;
        let live = standing
            .as_ref()
            .map(|standing| standing.live(&self.role_words(), None));
        let url = match &standing {
            Some(standing) => Some(self.url(DEALS, &standing.deal, &standing.deal).await),
            None => None,
        };
        Ok(Diff {
            object: DEALS.to_owned(),
            url,
            fields: fields::changes(&[HubSpot::wanted_role(plan)], live.as_ref()),
            record: standing.map(|standing| standing.deal),
        })
    }

    /// What undoing a role would do, and the association as it is.
    async fn role_back(
        &self,
        effect: &Effect,
        plan: &RolePlan,
        receipt: &Receipt,
    ) -> Result<(Standing, Undoing), SendError> {
        let method = undo::method(effect, receipt)?;
        let deal = super::map::record_id(DEALS, &receipt.record)?;
        let standing = self.association(effect, &deal, &plan.contact).await?;
        let live = standing.live(&self.role_words(), None);
        let live = standing.kinds.is_some().then_some(&live);
        let undoing = undo::judge(receipt, method, live);
        Ok((standing, undoing))
    }

    pub(super) async fn undoing_role(
        &self,
        effect: &Effect,
        plan: &RolePlan,
        receipt: &Receipt,
    ) -> Result<Undoing, SendError> {
        Ok(self.role_back(effect, plan, receipt).await?.1)
    }

    /// Puts the roles before it back. An association that was made for the role goes, unless people have given it labels of their own.
    pub(super) async fn take_role_back(
        &self,
        effect: &Effect,
        plan: &RolePlan,
        receipt: &Receipt,
        at: Timestamp,
    ) -> Result<Receipt, SendError> {
        let (standing, undoing) = self.role_back(effect, plan, receipt).await?;
        let deal = standing.deal.as_str();
        if undoing.how == UndoBy::Nothing {
            return Ok(self.receipt(Done::NoChange, DEALS, deal, deal, at).await);
        }
        if !undoing.changed.is_empty() {
            return Err(SendError::Conflict {
                object: DEALS.to_owned(),
                record: standing.deal,
                fields: undoing.changed,
            });
        }
        let words = self.role_words();
        let field = role_field(Crm::HubSpot, &plan.contact);
        let old = receipt.before.get(&field).map_or("", String::as_str);
        let old: Vec<&str> = old
            .split(BETWEEN)
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .collect();
        let others = |kind: &&Kind| kind.label.is_some() && !words.iter().any(|word| kind.is(word));
        let is_ours_alone =
            undoing.how == UndoBy::Deleting && !standing.kinds.iter().flatten().any(|kind| others(&kind));
        let done = if is_ours_alone {
            let path = format!(
                "{}/{}/associations/{CONTACTS}/{}",
                objects(DEALS),
                segment(DEALS, deal)?,
                segment(CONTACTS, &standing.contact)?
            );
            let call = Call {
                body: None,
                ..Call::write(Method::DELETE, DEALS, path, Value::Null)
                    .serving(effect)
                    .on(Lane::Urgent)
            };
            self.http.send(&call).await?.ok()?;
            Done::Deleted
        } else {
            let mut given = Vec::new();
            for word in old.iter().filter(|word| !standing.has(word)) {
                given.push(self.label(effect, word).await?);
            }
            if !given.is_empty() {
                self.give(effect, &standing, &given).await?;
            }
            let taken: Vec<&Kind> = standing
                .roles(&words)
                .filter(|kind| !old.iter().any(|word| kind.is(word)))
                .collect();
            if !taken.is_empty() {
                let half = |error: SendError| error.after("the old role was given, and ours is still there");
                self.take(effect, &standing, &taken).await.map_err(half)?;
            }
            Done::Updated
        };
        let now = self.association(effect, deal, &standing.contact).await;
        let now = now.map_err(|error| error.after("the old role was sent"))?;
        if done == Done::Deleted && now.kinds.is_some() {
            return Err(proof::not_deleted(Crm::HubSpot, "associations"));
        }
        let mut after = undo::values_after(&undoing);
        after.remove(ASSOCIATION);
        proof::back(Crm::HubSpot, DEALS, &after, &now.live(&words, None))?;
        Ok(Receipt {
            before: undo::values_of(&undoing),
            after: if done == Done::Deleted { BTreeMap::new() } else { after },
            ..self.receipt(done, DEALS, deal, deal, at).await
        })
    }

    async fn give(&self, effect: &Effect, standing: &Standing, kinds: &[Kind]) -> Result<(), SendError> {
        let path = format!(
            "{}/{}/associations/{CONTACTS}/{}",
            objects(DEALS),
            segment(DEALS, &standing.deal)?,
            segment(CONTACTS, &standing.contact)?
        );
        let body: Vec<Value> = kinds.iter().map(Kind::sent).collect();
        let call = Call::write(Method::PUT, DEALS, path, Value::Array(body)).serving(effect);
        self.http.send(&call).await?.ok()?;
        Ok(())
    }

    async fn take(&self, effect: &Effect, standing: &Standing, kinds: &[&Kind]) -> Result<(), SendError> {
        let path = format!("/crm/associations/{VERSION}/{DEALS}/{CONTACTS}/batch/labels/archive");
        let types: Vec<Value> = kinds.iter().map(|kind| kind.sent()).collect();
        let input = json!({ "from": { "id": standing.deal }, "to": { "id": standing.contact }, "types": types });
        let call = Call::write(Method::POST, DEALS, path, json!({ "inputs": [input] })).serving(effect);
        self.http.send(&call).await?.ok()?;
        Ok(())
    }

    /// The association that a plan is about; nothing where the deal is not there.
    async fn standing(&self, effect: &Effect, plan: &RolePlan) -> Result<Option<Standing>, SendError> {
        let deal = match &plan.deal {
            Place::Id(id) => id.clone(),
            place @ Place::Key(..) => match self.fetch(effect, DEALS, place, &[]).await? {
                Some(record) => record.id,
                None => return Ok(None),
            },
        };
        Ok(Some(self.association(effect, &deal, &plan.contact).await?))
    }

    async fn association(&self, effect: &Effect, deal: &str, contact: &str) -> Result<Standing, SendError> {
        let path = format!("/crm/associations/{VERSION}/{DEALS}/{CONTACTS}/batch/read");
        let body = json!({ "inputs": [{ "id": deal }] });
        let call = Call::write(Method::POST, DEALS, path, body).harmless().serving(effect);
        let reply = self.http.send(&call).await?;
        let read: Associations = match reply.status {
            StatusCode::NOT_FOUND => Associations::default(),
            _ => reply.ok()?.json()?,
        };
        let found = read.results.iter().flat_map(|of| &of.to).find(|to| to.id == contact);
        let more = read
            .results
            .iter()
            .any(|of| of.rest.get("paging").is_some_and(|paging| !paging.is_null()));
        if found.is_none() && more {
            return Err(SendError::refused(
                DEALS,
                "TOO_MANY",
                "the deal has more people than one answer shows",
                "give the role by hand in HubSpot",
            ));
        }
        Ok(Standing {
            deal: deal.to_owned(),
            contact: contact.to_owned(),
            kinds: found.map(kinds_of),
        })
    }

    /// The kind of association that a label is.
    async fn label(&self, effect: &Effect, word: &str) -> Result<Kind, SendError> {
        let find = |kinds: &Kinds| kinds.iter().find(|kind| kind.is(word)).cloned();
        let known = self.labels.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kind) = known.and_then(|kinds| find(&kinds)) {
            return Ok(kind);
        }
        let kinds = self.ask_labels(Lane::of(effect)).await?;
        find(&kinds).ok_or_else(|| no_label(word))
    }

    /// The labels as they are now.
    pub(super) async fn ask_labels(&self, lane: Lane) -> Result<Arc<Kinds>, SendError> {
        let path = format!("/crm/associations/{VERSION}/{DEALS}/{CONTACTS}/labels");
        let all: Definitions = self.http.send(&Call::get(DEALS, path).on(lane)).await?.ok()?.json()?;
        let kinds = Arc::new(all.results);
        *self.labels.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&kinds));
        Ok(kinds)
    }

    /// Puts what each person is to which deals into their row: one deal a line, with its label behind `=`.
    pub(super) async fn with_roles(&self, ask: &Ask, rows: &mut [ReadRow]) -> Result<(), SendError> {
        if !are_asked(ask)? || rows.is_empty() {
            return Ok(());
        }
        let inputs: Vec<Value> = rows.iter().map(|row| json!({ "id": row.id })).collect();
        let path = format!("/crm/associations/{VERSION}/{CONTACTS}/{DEALS}/batch/read");
        let call = Call::write(Method::POST, known_name(CONTACTS), path, json!({ "inputs": inputs }))
            .harmless()
            .on(Lane::Bulk);
        let reply = self.http.send(&call).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        let read: Associations = reply.ok()?.json()?;
        let mut lines: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for of in &read.results {
            let Some(from) = &of.from else { continue };
            for to in &of.to {
                let labels = kinds_of(to).into_iter().filter_map(|kind| kind.label);
                let labels = labels.filter(|label| !label.trim().is_empty());
                lines
                    .entry(&from.id)
                    .or_default()
                    .extend(labels.map(|label| format!("{}={label}", to.id)));
            }
        }
        for row in rows {
            if let Some(lines) = lines.get(row.id.as_str()).filter(|lines| !lines.is_empty()) {
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                row.cells.insert(ROLES_DEALS.to_owned(), lines.join("\n"));
            }
        }
        Ok(())
    }

    /// What `check` says of the labels that the mapping names.
    pub(super) async fn labels_there(&self) -> Result<Vec<String>, SendError> {
        let kinds = self.ask_labels(Lane::Normal).await?;
        let gone = |word: &String| !kinds.iter().any(|kind| kind.is(word));
        Ok(self.role_words().into_iter().filter(gone).collect())
    }
}

/// Whether roles in deals are asked for. Only people have them.
pub(super) fn are_asked(ask: &Ask) -> Result<bool, SendError> {
    let asked = ask.fields.iter().any(|field| field == ROLES_DEALS);
    if asked && ask.object != CONTACTS {
        return Err(SendError::refused(
            &ask.object,
            "BAD_NAME",
            "`roles.deals` stands for the roles of contacts in deals, and these records have none",
            "correct the mapping",
        ));
    }
    Ok(asked)
}

fn no_label(word: &str) -> SendError {
    SendError::refused(
        DEALS,
        "NO_SUCH_LABEL",
        &format!("there is no association label `{word}` between deals and contacts"),
        "make the label in HubSpot, or correct [write.role] of the mapping",
    )
}

#[cfg(test)]
mod tests;
