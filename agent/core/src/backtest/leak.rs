//! The search for leaks: what tells the outcome too well to have been known before it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Landmark;
use crate::fit::{Floor, Forecast, auc};

/// Area under the curve from which on one feature alone is not believed. The strongest public churn models reach .93 with
/// everything together.
const AREA_MAX: f64 = 0.95;
/// Landmarks, all but one in twenty of them churned, from which on a filled field is not believed.
const FILLED_MIN: u64 = 10;
const FILLED_SHARE: f64 = 0.95;
/// Events, and others, below which an area says nothing.
const OUTCOMES_MIN: usize = 10;

/// A field that gives the outcome away.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Feature, or field of a record.
    pub field: String,
    /// Why it is not believed.
    pub why: String,
}

/// Counts of everything that was known at the landmarks, by outcome.
#[derive(Debug, Clone, Default)]
pub struct LeakCheck {
    numbers: BTreeMap<&'static str, Vec<Forecast>>,
    fields: BTreeMap<String, (u64, u64)>,
}

impl LeakCheck {
    /// Counts a decision and forgets what only this search needs.
    pub fn take(&mut self, landmark: &mut Landmark) {
        for row in &mut landmark.rows {
            for (name, number) in std::mem::take(&mut row.numbers) {
                self.numbers.entry(name).or_default().push(Forecast {
                    probability: number,
                    event: landmark.churned,
                    arr: 1.0,
                });
            }
            for field in std::mem::take(&mut row.fields) {
                let counts = self.fields.entry(field).or_default();
                counts.0 += 1;
                counts.1 += u64::from(landmark.churned);
            }
        }
    }

    /// What gives the outcome away, by name, except what somebody vouches for.
    #[must_use]
    pub fn findings(&self, accepted: &[String]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let floor = Floor { events: OUTCOMES_MIN };
        for (name, values) in &self.numbers {
            let events = values.iter().filter(|v| v.event).count();
            if floor.check(values.len(), events).is_err() {
                continue;
            }
            if let Ok(area) = auc(values)
                && area.max(1.0 - area) >= AREA_MAX
            {
                findings.push(Finding {
                    field: (*name).to_owned(),
                    why: format!(
                        "alone it tells {events} who left from {} who stayed with an AUC of {:.3}",
                        values.len() - events,
                        area.max(1.0 - area)
                    ),
                });
            }
        }
        for (field, (filled, churned)) in &self.fields {
            if *filled >= FILLED_MIN && *churned as f64 >= FILLED_SHARE * *filled as f64 {
                findings.push(Finding {
                    field: field.clone(),
                    why: format!("of {filled} landmarks where it is filled {churned} left: it looks as if it was filled afterwards"),
                });
            }
        }
        findings.retain(|finding| !accepted.contains(&finding.field));
        findings.sort_by(|a, b| a.field.cmp(&b.field));
        findings
    }
}
