//! What stands where an action would write: so that rules can ask for the size of a change.
//!
//! A value that is not known gives no size, and a rule that asks for one fails closed. What stands in the CRM at this moment is not
//! known here; it is what its last export or reading said.

use std::collections::BTreeMap;

use super::facts::{FactError, Facts, Value};
use super::vocabulary::Place;
use crate::action::{AccountField, Write};
use crate::money::Money;
use crate::number::Micro;
use crate::policy::Settings;
use crate::snapshot::Snapshot;

/// The values before a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Before {
    /// Fields of the account that we may own, where the account's attributes of the same names say them.
    fields: BTreeMap<AccountField, String>,
    /// Amounts of deals by the record in their source.
    deals: BTreeMap<String, Money>,
}

impl Before {
    /// What a snapshot says.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Before {
        let attributes = snapshot.account_fact().and_then(|account| account.attributes.as_ref());
        let field = |field: &AccountField| Some((*field, attributes?.get(field.as_str())?.clone()));
        let deal = |deal: &crate::snapshot::Held<crate::signal::Opportunity>| {
            Some((deal.record.external_id.as_str().to_owned(), deal.fact.amount?))
        };
        Before {
            fields: AccountField::ALL.iter().filter_map(field).collect(),
            deals: snapshot.opportunities.iter().filter_map(deal).collect(),
        }
    }

    /// The same, said directly.
    #[must_use]
    pub fn new(fields: BTreeMap<AccountField, String>, deals: BTreeMap<String, Money>) -> Before {
        Before { fields, deals }
    }
}

/// Thousandths of a point, rounded up: against the agent.
fn up(micro: u64, unit: u64) -> i64 {
    i64::try_from(micro.div_ceil(unit)).unwrap_or(i64::MAX)
}

/// Says the sizes of what the writes of an action change.
pub(super) fn say(facts: &mut Facts, writes: &[&Write], before: &Before, settings: &Settings) -> Result<(), FactError> {
    let (mut points, mut share, mut overwrites) = (Largest::default(), Largest::default(), Some(false));
    let mut fields_written = false;
    let mut deal = Largest::default();
    let mut stage = false;
    let mut deals = false;
    for write in writes {
        match write {
            Write::UpdateAccount { fields } => {
                fields_written |= !fields.is_empty();
                for (field, new) in fields {
                    let old = before.fields.get(field);
                    overwrites = match (overwrites, old) {
                        (Some(so_far), Some(old)) => Some(so_far || (!old.is_empty() && old != new)),
                        (None, _) | (_, None) => None,
                    };
                    // What is not a number has no size.
                    let Ok(new) = new.parse::<Micro>() else { continue };
                    let old = old.and_then(|old| old.parse::<Micro>().ok());
                    let by = old.map(|old| old.0.abs_diff(new.0));
                    points.take(by.map(|by| up(by, 1_000_000)));
                    share.take(by.zip(old).and_then(|(by, old)| match (by, old.0.unsigned_abs()) {
                        (0, _) => Some(0),
                        // From nothing there is no share.
                        (_, 0) => None,
                        (by, old) => by.checked_mul(1000).map(|by| up(by, old)),
                    }));
                }
            }
            Write::UpdateOpportunity { opportunity, .. } | Write::SetContactRole { opportunity, .. } => {
                deals = true;
                stage |= matches!(write, Write::UpdateOpportunity { stage: Some(_), .. });
                let amount = before.deals.get(opportunity);
                deal.take(
                    amount
                        .and_then(|amount| settings.in_base(*amount).ok())
                        .map(|m| m.minor),
                );
            }
            Write::CreateTask { .. } | Write::CreateNote { .. } => {}
        }
    }
    for (name, size) in [("change_points", points), ("change_pm", share), ("deal_minor", deal)] {
        if let Some(size) = size.known() {
            facts.set(Place::Context, name, Value::Number(size))?;
        }
    }
    if let Some(overwrites) = overwrites.filter(|_| fields_written) {
        facts.set(Place::Context, "overwrites", Value::Flag(overwrites))?;
    }
    if deals {
        facts.set(Place::Context, "stage_changes", Value::Flag(stage))?;
    }
    Ok(())
}

/// The largest of several sizes; not known as soon as one of them is not.
#[derive(Debug, Clone, Copy, Default)]
struct Largest {
    largest: Option<i64>,
    unknown: bool,
}

impl Largest {
    fn take(&mut self, size: Option<i64>) {
        match size {
            Some(size) => self.largest = self.largest.max(Some(size)),
            None => self.unknown = true,
        }
    }

    fn known(self) -> Option<i64> {
        self.largest.filter(|_| !self.unknown)
    }
}

#[cfg(test)]
mod tests;
