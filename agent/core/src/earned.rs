//! Earned autonomy: what people made of a kind of action for a tier, and what follows from it.
//!
//! A cell of the autonomy table may say `auto if earned`. Whether it is earned is a [`Segment`] that a person has promoted, and it is
//! an input of decisions like every other fact. Here it is measured ([`measure`]) and judged ([`judge`]): when the engine proposes a
//! promotion, and when it takes one back.
//!
//! Promises: a promotion is only ever proposed, never made; it counts only what people decided about this kind of action, or about
//! cards that it was part of, for this tier, after whatever ended the promotion before; a regression is found at the first look after it, at the latest when a window has
//! passed.
//!
//! Not here: who may promote, and what is stored.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::action::ActionKind;
use crate::feature::Features;
use crate::ids::ActionId;
use crate::number::Micro;
use crate::policy::gate::{Earning, Vocabulary};
use crate::signal::{Tier, word_enum};
use crate::time::Timestamp;

/// A kind of action for a tier: a cell of the autonomy table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Segment {
    /// Kind.
    pub action: ActionKind,
    /// Tier.
    pub tier: Tier,
}

impl std::fmt::Display for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.action, self.tier)
    }
}

/// The kinds of action that are promoted for an account, by its tier. Where that is not known, or has no name in the policies, none.
#[must_use]
pub fn kinds_of(promoted: &[Segment], features: &Features, named: &Vocabulary) -> Vec<ActionKind> {
    let Some(tier) = features.text("tier").and_then(|word| named.tier(word)) else {
        return Vec::new();
    };
    let of_tier = promoted.iter().filter(|segment| segment.tier == tier);
    of_tier.map(|segment| segment.action).collect()
}

word_enum! {
    /// How an action ended.
    End {
        /// It was carried out.
        Executed = "executed",
        /// A person said no.
        Rejected = "rejected",
        /// Nobody answered in time.
        Expired = "expired",
    }
}

/// An action that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub action: ActionId,
    /// Its own kind, and those of all that it writes: whoever decided about its card decided about each of them.
    pub kinds: BTreeSet<ActionKind>,
    /// How.
    pub end: End,
    /// When.
    pub at: Timestamp,
    /// When a person last said yes or no to it; none where it ran by itself or nobody answered.
    pub decided: Option<Timestamp>,
    /// A person changed what would be written, or held back what would have run. Who then approved it makes no difference.
    pub changed: bool,
    /// When a person undid the first of its effects.
    pub undone: Option<Timestamp>,
    /// An effect of it ran into somebody else's edit.
    pub conflict: bool,
}

/// What became of the actions of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Actions that ended.
    pub ended: u32,
    /// Of these, those that a person said yes or no to.
    pub decided: u32,
    /// Of the decided, those approved as they were proposed.
    pub unedited: u32,
    /// Of the decided, those approved after a person had changed them or held them back.
    pub edited: u32,
    /// Of the decided, those refused.
    pub refused: u32,
    /// Those nobody answered in time; they count for nothing.
    pub expired: u32,
    /// Those carried out, by whoever's word.
    pub executed: u32,
    /// Of the executed, those nobody was asked about.
    pub alone: u32,
    /// Of the executed, those of which a person undid something.
    pub undone: u32,
    /// Of the executed, those that ran into somebody else's edit.
    pub conflicts: u32,
}

/// A share of counts, in millionths rounded down; none of nothing.
fn share(part: u32, of: u32) -> Option<Micro> {
    (of > 0).then(|| Micro(i64::from(part) * 1_000_000 / i64::from(of)))
}

/// Whether `part` of `of` is above a share, exactly.
fn above(part: u32, of: u32, limit: Micro) -> bool {
    i64::from(part) * 1_000_000 > limit.0.saturating_mul(i64::from(of))
}

/// The standard normal quantile for 95 %, two-sided.
const Z: f64 = 1.959_963_984_540_054;

/// The lower end of the 95 % interval of a share by Wilson (Probable inference, the law of succession, and statistical inference,
/// Journal of the American Statistical Association 22, 1927): of 5 in 5 it is 57 %, of 50 in 50 it is 93 %.
#[must_use]
pub fn wilson_lower(part: u32, of: u32) -> Option<Micro> {
    if of == 0 {
        return None;
    }
    let (n, p) = (f64::from(of), f64::from(part.min(of)) / f64::from(of));
    let z2 = Z * Z;
    let spread = Z * libm::sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
    let lower = (p + z2 / (2.0 * n) - spread) / (1.0 + z2 / n);
    Some(Micro::from_f64(lower.clamp(0.0, 1.0)))
}

impl Figures {
    /// Those approved, edited or not.
    #[must_use]
    pub fn approved(&self) -> u32 {
        self.unedited + self.edited
    }

    /// Approved of decided.
    #[must_use]
    pub fn acceptance(&self) -> Option<Micro> {
        share(self.approved(), self.decided)
    }

    /// Approved as proposed, of decided.
    #[must_use]
    pub fn unedited_share(&self) -> Option<Micro> {
        share(self.unedited, self.decided)
    }

    /// The least that the share of unedited ones is with 95 % confidence.
    #[must_use]
    pub fn unedited_lower(&self) -> Option<Micro> {
        wilson_lower(self.unedited, self.decided)
    }

    /// Undone of executed.
    #[must_use]
    pub fn undone_share(&self) -> Option<Micro> {
        share(self.undone, self.executed)
    }

    fn add(&mut self, ended: &Ended) {
        let one = |yes: bool| u32::from(yes);
        let (executed, decided) = (ended.end == End::Executed, ended.decided.is_some());
        self.ended += 1;
        self.expired += one(ended.end == End::Expired);
        self.executed += one(executed);
        self.alone += one(executed && !decided);
        self.undone += one(executed && ended.undone.is_some());
        self.conflicts += one(executed && ended.conflict);
        if decided && ended.end != End::Expired {
            self.decided += 1;
            self.refused += one(ended.end == End::Rejected);
            self.edited += one(executed && ended.changed);
            self.unedited += one(executed && !ended.changed);
        }
    }
}

/// Those that a kind of action is part of.
#[must_use]
pub fn with_kind(all: &[Ended], kind: ActionKind) -> Vec<Ended> {
    all.iter().filter(|one| one.kinds.contains(&kind)).cloned().collect()
}

/// What became of those that ended after a moment. What a person decided before it counts for nothing, even if it ran after it.
#[must_use]
pub fn measure(all: &[Ended], after: Timestamp) -> Figures {
    let mut figures = Figures::default();
    let later = |one: &&Ended| one.at > after && one.decided.is_none_or(|decided| decided > after);
    all.iter().filter(later).for_each(|one| figures.add(one));
    figures
}

/// What has become of a promotion since it was made: the last `most` that were decided and the last `most` that ran, each counted by
/// itself. What was undone since counts, even where it had run before.
fn since(all: &[Ended], after: Timestamp, most: u32) -> Figures {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let newest = |keep: &dyn Fn(&Ended) -> bool| {
        let mut kept: Vec<&Ended> = all.iter().filter(|one| keep(one)).collect();
        kept.sort_by(|a, b| (b.at, &b.action).cmp(&(a.at, &a.action)));
        kept.truncate(most);
        let mut figures = Figures::default();
        kept.into_iter().for_each(|one| figures.add(one));
        figures
    };
    let decided = newest(&|one| one.decided.is_some_and(|at| at > after));
    let ran = newest(&|one| one.end == End::Executed && (one.at > after || one.undone.is_some_and(|at| at > after)));
    Figures {
        ended: decided.ended.max(ran.ended),
        executed: ran.executed,
        alone: ran.alone,
        undone: ran.undone,
        conflicts: ran.conflicts,
        ..decided
    }
}

word_enum! {
    /// Where the promotion of a segment stands.
    Standing {
        /// Nobody was asked yet.
        Open = "open",
        /// The engine proposes it, and a person has to say.
        Proposed = "proposed",
        /// A person has granted it: it is in force.
        Granted = "granted",
        /// A person has refused it.
        Refused = "refused",
        /// The engine has taken it back, because of a regression.
        Demoted = "demoted",
        /// A person has taken it back, or the policies do not have it any more.
        Withdrawn = "withdrawn",
    }
}

/// A promotion as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// Where.
    pub standing: Standing,
    /// Since when.
    pub since: Timestamp,
    /// Only what people decided after it counts for a promotion.
    pub counts_after: Timestamp,
}

impl Promotion {
    /// That of a segment of which nothing is stored.
    pub const NEW: Promotion = Promotion {
        standing: Standing::Open,
        since: Timestamp::EPOCH,
        counts_after: Timestamp::EPOCH,
    };

    /// The same after a change of standing. What ends a promotion, or says no to one, begins the count anew.
    #[must_use]
    pub fn becomes(self, standing: Standing, now: Timestamp) -> Promotion {
        let counts_after = match standing {
            Standing::Open | Standing::Proposed | Standing::Granted => self.counts_after,
            Standing::Refused | Standing::Demoted | Standing::Withdrawn => now,
        };
        Promotion {
            standing,
            since: now,
            counts_after,
        }
    }
}

/// What follows from a look at a promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing.
    Stays,
    /// Everything that the policy asks for is met: a person is asked.
    Propose,
    /// What was proposed is not met any more.
    Lapse,
    /// A regression, in words: the promotion ends.
    Demote(String),
}

/// A look at a promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What was counted: for a promotion what speaks for it, for one in force what has become of it.
    pub figures: Figures,
    /// What a promotion still needs, in words; empty where nothing is missing.
    pub missing: Vec<String>,
    /// What follows.
    pub finding: Finding,
}

/// Judges a segment by what has ended in it.
#[must_use]
pub fn judge(earning: &Earning, promotion: Promotion, all: &[Ended], now: Timestamp) -> Judged {
    let window = now.plus_days(-earning.window_days);
    if promotion.standing == Standing::Granted {
        let figures = since(all, promotion.since.max(window), earning.demote_last);
        let finding = regression(earning, &figures).map_or(Finding::Stays, Finding::Demote);
        return Judged {
            figures,
            missing: Vec::new(),
            finding,
        };
    }
    let figures = measure(all, promotion.counts_after.max(window));
    let missing = missing(earning, &figures);
    let finding = match (promotion.standing, missing.is_empty()) {
        (Standing::Proposed, false) => Finding::Lapse,
        (Standing::Proposed | Standing::Granted, _) | (_, false) => Finding::Stays,
        (Standing::Open | Standing::Refused | Standing::Demoted | Standing::Withdrawn, true) => Finding::Propose,
    };
    Judged {
        figures,
        missing,
        finding,
    }
}

/// What a promotion needs and does not have.
fn missing(earning: &Earning, figures: &Figures) -> Vec<String> {
    let mut missing = Vec::new();
    let (decided, needed) = (figures.decided, earning.decisions);
    if decided < needed {
        missing.push(format!(
            "{} more decisions of people ({decided} of {needed})",
            needed - decided
        ));
    }
    // Not unedited is above what may be.
    if decided > 0
        && above(
            decided - figures.unedited,
            decided,
            Micro(Micro::ONE.0 - earning.unedited.0),
        )
    {
        missing.push(format!(
            "{} of {decided} approved unedited, {} needed",
            figures.unedited,
            percent(earning.unedited)
        ));
    }
    if let (Some(needed), Some(found)) = (earning.unedited_lower, figures.unedited_lower())
        && found < needed
    {
        missing.push(format!(
            "unedited at least {} with 95 % confidence, {} needed",
            percent(found),
            percent(needed)
        ));
    }
    if above(figures.undone, figures.executed, earning.undone_at_most) {
        missing.push(format!(
            "{} of {} undone, at most {} allowed",
            figures.undone,
            figures.executed,
            percent(earning.undone_at_most)
        ));
    }
    missing
}

/// What has become worse than the policy allows.
fn regression(earning: &Earning, figures: &Figures) -> Option<String> {
    let (undone, executed) = (figures.undone, figures.executed);
    if above(undone, executed, earning.demote_undone) {
        let limit = percent(earning.demote_undone);
        return Some(format!(
            "{undone} of {executed} that ran were undone, more than {limit}"
        ));
    }
    let not = figures.decided - figures.unedited;
    if above(not, figures.decided, Micro(Micro::ONE.0 - earning.demote_unedited.0)) {
        return Some(format!(
            "{} of {} that people decided were approved unedited, less than {}",
            figures.unedited,
            figures.decided,
            percent(earning.demote_unedited)
        ));
    }
    None
}

/// A share as people read it: `95 %`, `57.5 %`.
#[must_use]
pub fn percent(share: Micro) -> String {
    let tenths = share.0.div_euclid(1000);
    if tenths % 10 == 0 {
        format!("{} %", tenths / 10)
    } else {
        format!("{}.{} %", tenths / 10, tenths % 10)
    }
}

/// The segments that are in force: granted, and still to be earned by the policies.
#[must_use]
pub fn in_force(
    promotions: &BTreeMap<Segment, Promotion>,
    earned: &BTreeMap<(ActionKind, Tier), Earning>,
) -> Vec<Segment> {
    let granted = promotions.iter().filter(|(_, p)| p.standing == Standing::Granted);
    let held = granted.filter(|(segment, _)| earned.contains_key(&(segment.action, segment.tier)));
    held.map(|(segment, _)| *segment).collect()
}

#[cfg(test)]
mod tests;
