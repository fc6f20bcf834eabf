//! Renewal decisions of a simulated account, each with its true probability of churn.
//!
//! The truth, in log odds of churn: -2.3, plus the sum of weight times (fact - mean) / sd over the facts of [`WEIGHTS`] as
//! they stand 13 weeks before the decision, -.5 in the middle market and -.9 in the enterprise, plus .8 times a standard
//! normal draw that belongs to the account and shows in no fact. The weights are chosen by hand, not fitted to any result:
//! most are larger than those of the policy that is shipped, some are smaller, and the one of support cases has the other
//! sign (who asks, cares). The intercept is set so that about one renewal in ten is lost. The means and deviations are written down here too, so that editing a policy does not
//! change the world. Trust the order of what is measured on it and its size, not its digits.

use super::{FULL_BREADTH, Purpose, Segment, SimulationOptions, UsageWeek, stream};

/// Weeks between the landmark, at which the facts are taken, and the decision.
pub const LEAD_WEEKS: usize = 13;
/// Weeks of use before the landmark.
const HISTORY: usize = 16;
/// Log odds of churn of a small business with average facts.
const INTERCEPT: f64 = -2.3;
const MIDDLE_MARKET: f64 = -0.5;
const ENTERPRISE: f64 = -0.9;
/// Log odds a standard deviation of what nobody sees.
const UNSEEN: f64 = 0.8;

/// Facts of an account at a landmark.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RenewalFacts {
    /// Mean active users of 4 weeks by seats.
    pub seat_share: f64,
    /// Natural logarithm of mean active users of 4 weeks, plus 1, by those of the 12 before, plus 1.
    pub activity_log_ratio: f64,
    /// Share of 4 weeks without a log-in of the champion.
    pub champion_absent: f64,
    /// Most days by which a bill of the last 13 weeks was late.
    pub days_late: f64,
    /// Support cases of 13 weeks by the square root of seats.
    pub ticket_pressure: f64,
    /// Mean features used in 4 weeks, by 20.
    pub feature_breadth: f64,
    /// Renews by itself.
    pub auto_renew: bool,
    /// Days as a customer.
    pub tenure_days: f64,
}

/// One decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Renewal {
    /// Week of the landmark.
    pub landmark: usize,
    /// Week of the decision.
    pub week: usize,
    /// Facts at the landmark.
    pub facts: RenewalFacts,
    /// True probability of churn, 0 to 1.
    pub probability: f64,
    /// The account left.
    pub churned: bool,
}

/// Mean, deviation and weight (log odds a deviation) of each fact in the truth.
const WEIGHTS: [(f64, f64, f64); 8] = [
    (0.55, 0.2, -0.9),
    (0.0, 0.2, -0.5),
    (0.1, 0.3, 0.35),
    // 1 from 8 days on.
    (0.15, 0.35, 0.5),
    (0.6, 0.25, -0.1),
    (0.45, 0.15, -0.5),
    (0.4, 0.5, -0.6),
    // Natural logarithm of 1 + years.
    (0.8, 0.4, -0.4),
];

impl RenewalFacts {
    /// What the truth sees, in the order of [`WEIGHTS`].
    fn values(&self) -> [f64; 8] {
        [
            self.seat_share,
            self.activity_log_ratio,
            self.champion_absent,
            if self.days_late >= 8.0 { 1.0 } else { 0.0 },
            self.ticket_pressure,
            self.feature_breadth,
            if self.auto_renew { 1.0 } else { 0.0 },
            libm::log(1.0 + self.tenure_days / 365.0),
        ]
    }

    /// True log odds of churn of an account with these facts and this unseen draw.
    fn log_odds(&self, segment: Segment, unseen: f64) -> f64 {
        let segment = match segment {
            Segment::Smb => 0.0,
            Segment::Mm => MIDDLE_MARKET,
            Segment::Ent => ENTERPRISE,
        };
        let facts = self.values().into_iter().zip(WEIGHTS);
        let sum: f64 = facts.map(|(x, (mean, sd, weight))| weight * (x - mean) / sd).sum();
        INTERCEPT + segment + sum + UNSEEN * unseen
    }
}

/// The decisions of an account up to the first that is lost. An account that was there from the start has been a customer for
/// up to 200 weeks; terms are of 52 weeks, or one in five of 104.
pub(super) fn renewals(
    options: &SimulationOptions,
    number: u32,
    segment: Segment,
    first_week: usize,
    usage: &[Option<UsageWeek>],
) -> Vec<Renewal> {
    let mut agreement = stream(options.seed, number, Purpose::Agreement);
    let term = if agreement.chance(200) { 104 } else { 52 };
    let auto_renew = agreement.chance(400);
    let unseen = agreement.noise();
    let before = usize::try_from(agreement.below(200)).unwrap_or(0);
    // Weeks as a customer when the history begins; who comes later has none.
    let before = if first_week == 0 { before } else { 0 };
    let mut draw = stream(options.seed, number, Purpose::Renewal);
    let mut found = Vec::new();
    for week in first_week..usage.len() {
        let tenure = week - first_week + before;
        if tenure == 0 || !tenure.is_multiple_of(term) {
            continue;
        }
        // Drawn for every decision, whether or not enough is known to count it.
        let fate = draw.fraction();
        let Some(landmark) = week.checked_sub(LEAD_WEEKS).filter(|l| *l >= first_week + HISTORY) else {
            continue;
        };
        let tenure_days = 7.0 * (tenure - LEAD_WEEKS) as f64;
        let Some(facts) = facts(&usage[landmark - HISTORY..landmark], auto_renew, tenure_days) else {
            continue;
        };
        let z = facts.log_odds(segment, unseen);
        let probability = 1.0 / (1.0 + libm::exp(-z));
        let churned = fate < probability;
        found.push(Renewal {
            landmark,
            week,
            facts,
            probability,
            churned,
        });
        if churned {
            break;
        }
    }
    found
}

/// Facts from 16 weeks of use; `None` where 3 of the last 4 or 8 of the 12 before are not known.
fn facts(weeks: &[Option<UsageWeek>], auto_renew: bool, tenure_days: f64) -> Option<RenewalFacts> {
    let (before, now) = weeks.split_at(weeks.len().checked_sub(4)?);
    let mean = |weeks: &[Option<UsageWeek>], of: fn(&UsageWeek) -> f64, enough: usize| {
        let known: Vec<f64> = weeks.iter().flatten().map(of).collect();
        (known.len() >= enough).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    let active = mean(now, |w| w.active_users as f64, 3)?;
    let active_before = mean(before, |w| w.active_users as f64, 8)?;
    let seats = now.iter().flatten().last()?.seats as f64;
    let quarter = || weeks.iter().rev().take(13).flatten();
    let tickets: i64 = quarter().map(|w| w.tickets).sum();
    let days_late = quarter().filter_map(|w| w.invoice_days_late).max().unwrap_or(0);
    Some(RenewalFacts {
        seat_share: active / seats,
        activity_log_ratio: libm::log((active + 1.0) / (active_before + 1.0)),
        champion_absent: 1.0 - mean(now, |w| if w.champion_seen { 1.0 } else { 0.0 }, 3)?,
        days_late: days_late as f64,
        ticket_pressure: tickets as f64 / libm::sqrt(seats),
        feature_breadth: mean(now, |w| w.features_used as f64, 3)? / FULL_BREADTH,
        auto_renew,
        tenure_days,
    })
}

#[cfg(test)]
mod tests {
    use super::super::simulate;
    use super::*;

    fn all(seed: u64) -> Vec<(Segment, Renewal)> {
        let accounts = simulate(&SimulationOptions::new(seed)).accounts;
        let each = |a: super::super::SimulatedAccount| a.renewals.into_iter().map(move |r| (a.segment, r));
        accounts.into_iter().flat_map(each).collect()
    }

    #[test]
    fn as_many_are_lost_as_the_true_probabilities_say_and_in_their_order() {
        let renewals = all(11);
        let expected: f64 = renewals.iter().map(|(_, r)| r.probability).sum();
        let variance: f64 = renewals
            .iter()
            .map(|(_, r)| r.probability * (1.0 - r.probability))
            .sum();
        let lost = renewals.iter().filter(|(_, r)| r.churned).count() as f64;
        println!("{} renewals, {lost} lost, {expected:.1} expected", renewals.len());
        assert!((lost - expected).abs() < 3.0 * variance.sqrt(), "{lost} {expected}");
        let (mean_lost, mean_kept) = (mean_of(&renewals, true), mean_of(&renewals, false));
        assert!(mean_lost > mean_kept + 0.1, "{mean_lost} {mean_kept}");
    }

    fn mean_of(renewals: &[(Segment, Renewal)], churned: bool) -> f64 {
        let of: Vec<f64> = renewals
            .iter()
            .filter(|(_, r)| r.churned == churned)
            .map(|(_, r)| r.probability)
            .collect();
        of.iter().sum::<f64>() / of.len() as f64
    }

    #[test]
    fn nothing_is_decided_after_a_loss_and_the_facts_are_older_than_the_decision() {
        for account in simulate(&SimulationOptions::new(11)).accounts {
            let lost = account.renewals.iter().position(|r| r.churned);
            assert!(lost.is_none_or(|at| at + 1 == account.renewals.len()), "{}", account.id);
            assert!(account.renewals.iter().all(|r| r.landmark + LEAD_WEEKS == r.week));
        }
    }

    #[test]
    fn the_true_log_odds_are_the_documented_ones() {
        let average = RenewalFacts {
            seat_share: 0.55,
            activity_log_ratio: 0.0,
            champion_absent: 0.1,
            days_late: 8.0,
            ticket_pressure: 0.6,
            feature_breadth: 0.45,
            auto_renew: true,
            tenure_days: 365.0,
        };
        // Late: .5 * .85 / .35; by itself: -.6 * .6 / .5; a year: -.4 * (ln 2 - .8) / .4.
        let wanted = -2.3 - 0.9 + 1.214_285_7 - 0.72 + 0.106_852_8 + 0.8 * 0.5;
        assert!((average.log_odds(Segment::Ent, 0.5) - wanted).abs() < 1e-6);
    }
}
