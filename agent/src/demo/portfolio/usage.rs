//! Weekly use: a level for each customer, the holidays, noise, and the bend that a story gives it.
//!
//! Promises: sums, products and rounding only, so every machine writes the same numbers.

use perennial_core::time::Day;

use super::PortfolioOptions;
use super::customer::Customer;
use super::stories::Story;
use super::stream::{Purpose, Stream};
use super::words::Region;

/// One week of the history, the same for every customer.
#[derive(Debug, Clone)]
pub(super) struct Week {
    pub(super) start: Day,
    /// The start as written in the file.
    pub(super) text: String,
    /// Whole weeks after it up to the newest.
    age: i64,
    season: [f64; 3],
}

/// One row of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UsageRow {
    pub(super) seats: i64,
    pub(super) active_users: i64,
    pub(super) core_events: i64,
    /// None where the source left the cell empty.
    pub(super) features_used: Option<i64>,
}

fn season(region: Region, start: Day) -> f64 {
    let (_, month, day) = start.ymd();
    match (month, day) {
        (12, 21..) => 0.55,
        (1, ..=3) => 0.75,
        (7, 25..) | (8, ..=21) if region == Region::Emea => 0.88,
        (11, 20..=28) if region == Region::Americas => 0.85,
        (4, 27..) | (5, ..=4) if region == Region::Apac => 0.85,
        _ => 1.0,
    }
}

/// The whole weeks before the clock, oldest first.
pub(super) fn weeks(options: &PortfolioOptions) -> Vec<Week> {
    let this_week = options.as_of.week_start();
    (0..i64::from(options.usage_weeks))
        .rev()
        .map(|age| {
            let start = this_week.plus(-7 * (age + 1));
            let season = [Region::Americas, Region::Emea, Region::Apac].map(|region| season(region, start));
            Week {
                start,
                text: start.to_string(),
                age,
                season,
            }
        })
        .collect()
}

/// What the story makes of the usual level, `age` weeks before the newest week.
fn bend(story: Story, age: i64) -> f64 {
    let falling = |from: i64, to: i64, floor: f64| {
        if age >= from {
            1.0
        } else if age <= to {
            floor
        } else {
            floor + (1.0 - floor) * (age - to) as f64 / (from - to) as f64
        }
    };
    match story {
        Story::RenewalAtRisk => falling(12, 2, 0.30),
        Story::UsageDrop | Story::LegalHold => falling(7, 2, 0.35),
        Story::Churned => falling(30, 16, 0.25),
        Story::Calm
        | Story::OnboardingStalled
        | Story::Silent
        | Story::SponsorLeft
        | Story::SeatExpansion
        | Story::QbrDue
        | Story::RenewalProposalDue
        | Story::EscalationOpen
        | Story::AdvocacyAsk
        | Story::NoContractEnd
        | Story::ChampionOptedOut
        | Story::DoNotContact => 1.0,
    }
}

/// The level of one customer, and its draws.
pub(super) struct Level {
    draw: Stream,
    share: f64,
    drift: f64,
    events_per_user: f64,
    features: f64,
}

impl Level {
    pub(super) fn new(customer: &Customer, options: &PortfolioOptions) -> Level {
        let mut draw = Stream::new(options.seed, customer.number, Purpose::Usage);
        let share = 0.60 + 0.20 * draw.fraction();
        let drift = 0.08 * (draw.fraction() - 0.5);
        let events_per_user = 12.0 + 20.0 * draw.fraction();
        let features = 7.0 + 9.0 * draw.fraction();
        Level {
            draw,
            share,
            drift,
            events_per_user,
            features,
        }
    }

    /// The row of one week, or nothing where the customer had no seats or the feed had a gap. Weeks are asked for in
    /// order, oldest first.
    pub(super) fn row(&mut self, customer: &Customer, week: &Week) -> Option<UsageRow> {
        let noise = self.draw.noise();
        let busy = self.draw.noise();
        let gap = self.draw.chance(4);
        let blank = self.draw.chance(3);
        let seats = customer.seats_on(week.start)?;
        if gap {
            return None;
        }
        let age = week.age as f64;
        let season = match customer.region {
            Region::Americas => week.season[0],
            Region::Emea => week.season[1],
            Region::Apac => week.season[2],
        };
        let bend = bend(customer.story, week.age);
        let share = match customer.story {
            Story::SeatExpansion => {
                // From three quarters half a year ago to nearly all today.
                let usual = if week.age >= 26 {
                    0.75
                } else {
                    0.985 - 0.235 * age / 26.0
                };
                usual * season * (1.0 + 0.006 * noise)
            }
            Story::OnboardingStalled => 0.05 * (1.0 + 0.3 * noise),
            Story::Calm
            | Story::RenewalAtRisk
            | Story::UsageDrop
            | Story::Silent
            | Story::SponsorLeft
            | Story::QbrDue
            | Story::RenewalProposalDue
            | Story::EscalationOpen
            | Story::AdvocacyAsk
            | Story::NoContractEnd
            | Story::ChampionOptedOut
            | Story::DoNotContact
            | Story::LegalHold
            | Story::Churned => {
                let level = self.share * (1.0 - self.drift * age / 78.0);
                level * bend * season * (1.0 + 0.03 * noise)
            }
        };
        let active = (share * seats as f64).round().clamp(0.0, seats as f64);
        let events = (active * self.events_per_user * (1.0 + 0.06 * busy)).round().max(0.0);
        let features = match customer.story {
            Story::OnboardingStalled => 2.0,
            Story::Calm
            | Story::RenewalAtRisk
            | Story::UsageDrop
            | Story::Silent
            | Story::SponsorLeft
            | Story::SeatExpansion
            | Story::QbrDue
            | Story::RenewalProposalDue
            | Story::EscalationOpen
            | Story::AdvocacyAsk
            | Story::NoContractEnd
            | Story::ChampionOptedOut
            | Story::DoNotContact
            | Story::LegalHold
            | Story::Churned => (self.features * (0.4 + 0.6 * bend) + 0.5 * busy)
                .round()
                .clamp(1.0, 20.0),
        };
        Some(UsageRow {
            seats,
            active_users: active as i64,
            core_events: events as i64,
            features_used: (!blank).then_some(features as i64),
        })
    }
}
