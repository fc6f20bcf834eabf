//! One account's episodes, followed from step to step.
//!
//! A decision dates an episode within the weeks that it looks at, so the day on which a long one opened moves along with
//! them. Here the first day that was seen stays. An episode is a new one when the old one was over, or when it opened so
//! late after the last sight of the old one that this one must have cleared and rested in between, or that its detector
//! had rearmed.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::decide::Decision;
use perennial_core::detect::{Detector, State};

use crate::changes::{ChangeRow, Stand};

/// What is followed of one detector.
struct Followed {
    /// As it was last seen, with the first days.
    last: ChangeRow,
    /// The gravest severity so far.
    gravest: f64,
}

/// The episodes of one account.
pub(super) struct Episodes {
    /// Days between two changes of a state at the least.
    quiet_days: i64,
    followed: BTreeMap<Detector, Followed>,
    ended: Vec<ChangeRow>,
}

impl Episodes {
    pub(super) fn new(quiet_days: i64) -> Episodes {
        Episodes {
            quiet_days,
            followed: BTreeMap::new(),
            ended: Vec::new(),
        }
    }

    /// Takes a step in: its rows, and what of them is a change since the step before.
    pub(super) fn see(&mut self, decision: &Decision, rows: impl Iterator<Item = ChangeRow>) -> Vec<ChangeRow> {
        let mut changes = Vec::new();
        let mut mentioned: BTreeSet<Detector> = decision
            .signals
            .iter()
            .filter(|d| matches!(d.state, State::Unknown { .. }))
            .map(|d| d.detector)
            .collect();
        for row in rows {
            mentioned.insert(row.kind);
            changes.extend(self.follow(row));
        }
        // No longer mentioned: it cleared between two steps that lie further apart than what has cleared is shown, or what
        // is known now says that it never was. The first step without it dates its end. Room for growth is not mentioned
        // while a high risk is open, which says nothing about it.
        for (detector, followed) in &mut self.followed {
            let over = followed.last.state != Stand::Cleared && !mentioned.contains(detector);
            if over && !detector.is_expansion() {
                followed.last.state = Stand::Cleared;
                followed.last.cleared_at = Some(decision.as_of.day());
                followed.last.as_of = decision.as_of;
                changes.push(followed.last.clone());
            }
        }
        changes
    }

    pub(super) fn follow(&mut self, mut row: ChangeRow) -> Option<ChangeRow> {
        let quiet_days = self.quiet_days;
        let same = self.followed.get_mut(&row.kind).filter(|f| {
            let rested = f.last.as_of.day().plus(quiet_days);
            match (f.last.state, row.state) {
                (Stand::Cleared, Stand::Cleared) => row.cleared_at.is_none_or(|day| day < rested),
                (Stand::Cleared, Stand::Open | Stand::Confirmed) => false,
                (Stand::Open | Stand::Confirmed, Stand::Open | Stand::Confirmed | Stand::Cleared) => {
                    let rearm = row.kind.rearm_days();
                    let rearmed = rearm > 0
                        && row.opened_at > f.last.as_of.day()
                        && f.last.opened_at.days_until(row.opened_at) >= rearm;
                    row.opened_at < rested && !rearmed
                }
            }
        });
        let Some(followed) = same else {
            let (gravest, opened) = (row.severity, row.opened_at);
            let new = Followed {
                last: row.clone(),
                gravest,
            };
            if let Some(old) = self.followed.insert(row.kind, new) {
                // Of one detector one episode is open at a time: the old one is over where the new one begins.
                let mut old = old.end();
                if old.state != Stand::Cleared {
                    old.state = Stand::Cleared;
                    old.cleared_at = Some(opened);
                }
                self.ended.push(old);
            }
            return Some(row);
        };
        let before = followed.last.state;
        row.opened_at = followed.last.opened_at;
        row.confirmed_at = followed.last.confirmed_at.or(row.confirmed_at);
        if before == Stand::Cleared {
            row.cleared_at = followed.last.cleared_at;
        }
        if (before, row.state) == (Stand::Confirmed, Stand::Open) {
            row.state = Stand::Confirmed;
        }
        followed.gravest = followed.gravest.max(row.severity);
        followed.last = row.clone();
        (row.state != before).then_some(row)
    }

    /// All episodes, in the order of detectors and days.
    pub(super) fn finish(self) -> Vec<ChangeRow> {
        let mut all = self.ended;
        all.extend(self.followed.into_values().map(Followed::end));
        all.sort_by_key(|row| (row.kind, row.opened_at, row.as_of));
        all
    }
}

impl Followed {
    fn end(self) -> ChangeRow {
        ChangeRow {
            severity: self.gravest,
            ..self.last
        }
    }
}
