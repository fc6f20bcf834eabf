//! The catalogue of features: name, unit and meaning. The reference in `docs/` and the trigger schema come from it.

/// Unit of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// How many.
    Count,
    /// Hundredths, 100 is the whole.
    Percent,
    /// 0 to 100, higher is healthier or stronger.
    Score,
    /// Whole days.
    Days,
    /// Ratio without a whole.
    Ratio,
    /// Share, 1 is the whole; people read it in percent.
    Share,
    /// Natural logarithm of now to before; people read it as a change in percent.
    LogRatio,
    /// Difference of log odds.
    Logit,
    /// Points on a survey's own scale.
    Points,
    /// Yes or no.
    Flag,
    /// A word.
    Text,
    /// A calendar day.
    Date,
    /// An amount with a currency.
    Money,
}

impl Unit {
    /// The unit in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Count => "count",
            Unit::Percent => "percent",
            Unit::Score => "score 0-100",
            Unit::Days => "days",
            Unit::Ratio => "ratio",
            Unit::Share => "share",
            Unit::LogRatio => "log ratio",
            Unit::Logit => "log odds",
            Unit::Points => "points",
            Unit::Flag => "yes/no",
            Unit::Text => "word",
            Unit::Date => "date",
            Unit::Money => "money",
        }
    }
}

/// One entry of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Name in files, JSON and triggers.
    pub name: &'static str,
    /// Unit.
    pub unit: Unit,
    /// What it says, and when it is unknown.
    pub meaning: &'static str,
    /// For triggers a number becomes a whole number: the value times this, rounded down. Zero: not available there.
    pub trigger_scale: i64,
}

const fn number(name: &'static str, unit: Unit, trigger_scale: i64, meaning: &'static str) -> Definition {
    Definition {
        name,
        unit,
        meaning,
        trigger_scale,
    }
}

const fn other(name: &'static str, unit: Unit, meaning: &'static str) -> Definition {
    Definition {
        name,
        unit,
        meaning,
        trigger_scale: 1,
    }
}

/// Every feature.
pub const CATALOGUE: &[Definition] = &[
    // Money and terms.
    other(
        "arr",
        Unit::Money,
        "yearly recurring revenue in the currency of the policy: live subscriptions, else movements, else live contracts",
    ),
    number(
        "arr_major",
        Unit::Count,
        1,
        "the same in whole units of the policy's currency, for conditions",
    ),
    other(
        "tier",
        Unit::Text,
        "low_touch, mid_touch or strategic: from the account, else from the recurring revenue by the policy's limits",
    ),
    other(
        "churned",
        Unit::Flag,
        "has no live agreement any more although it once had one, or its record says so",
    ),
    other("trial", Unit::Flag, "uses the product on trial and pays nothing"),
    number("tenure_days", Unit::Days, 1, "days since the first day as a customer"),
    number(
        "days_to_renewal",
        Unit::Days,
        1,
        "days to the next end of a term longer than one month",
    ),
    other("renewal_date", Unit::Date, "that end"),
    number(
        "days_to_notice",
        Unit::Days,
        1,
        "days to the last day on which notice can be given; negative when it has passed",
    ),
    other("notice_date", Unit::Date, "that day"),
    other(
        "auto_renew",
        Unit::Flag,
        "the agreement with the next end renews by itself",
    ),
    number(
        "days_late",
        Unit::Days,
        1,
        "most days by which a bill of the last 13 weeks was or is late",
    ),
    // Use.
    number(
        "seats",
        Unit::Count,
        1,
        "seats bought: newest measurement, else live subscriptions, else the account",
    ),
    number(
        "active_users",
        Unit::Count,
        1,
        "mean weekly active users of the last 4 weeks; at least 3 must be known",
    ),
    number(
        "active_users_before",
        Unit::Count,
        1,
        "mean weekly active users of the 12 weeks before; at least 8 must be known",
    ),
    number("active_users_change", Unit::Percent, 1, "change between the two"),
    number(
        "usage_shift",
        Unit::Logit,
        1000,
        "mean log odds of a seat being active, last 4 weeks against the 12 before; in triggers in thousandths",
    ),
    number(
        "seat_utilisation",
        Unit::Percent,
        1,
        "mean active users of the last 4 weeks by seats",
    ),
    number(
        "seat_share",
        Unit::Share,
        1000,
        "the same as a ratio; in triggers in thousandths",
    ),
    number(
        "events_change",
        Unit::Percent,
        1,
        "product events of the last 4 weeks by those of a mean 4 weeks in the 12 before",
    ),
    number(
        "activity_log_ratio",
        Unit::LogRatio,
        1000,
        "natural logarithm of (mean use of the last 4 weeks + 1) / (mean use of the 12 before + 1); active users, else events",
    ),
    number(
        "features_used",
        Unit::Count,
        1,
        "mean number of features in use, last 4 weeks",
    ),
    number(
        "features_used_before",
        Unit::Count,
        1,
        "the same for the 12 weeks before",
    ),
    number("features_lost", Unit::Count, 1, "features in use before and not now"),
    number("feature_breadth", Unit::Share, 1000, "features in use by 20"),
    number(
        "days_since_use",
        Unit::Days,
        1,
        "days since the last measured use above zero",
    ),
    number(
        "usage_age_days",
        Unit::Days,
        1,
        "days since the end of the newest period measured: how stale the feed is",
    ),
    number(
        "stale_feeds",
        Unit::Count,
        1,
        "kinds of records whose source stands still for longer than the policy allows; unknown where it limits none",
    ),
    // People.
    number(
        "contacts_live",
        Unit::Count,
        1,
        "people at the customer who have not left and whose mail does not bounce",
    ),
    other(
        "sponsor_gap",
        Unit::Flag,
        "a champion or sponsor left or bounces in the last 90 days and no other is known",
    ),
    number("sponsor_left_days", Unit::Days, 1, "days since that happened"),
    number(
        "champion_absent",
        Unit::Share,
        1000,
        "share of the last 4 weeks without a log-in of the champion",
    ),
    other("single_threaded", Unit::Flag, "exactly one live contact is known"),
    number(
        "days_since_touch",
        Unit::Days,
        1,
        "days since the last touch between us and the customer",
    ),
    number(
        "days_since_qbr",
        Unit::Days,
        1,
        "days since the last business review; where there was none, since the first day as a customer",
    ),
    other("do_not_contact", Unit::Flag, "asked not to be contacted"),
    other("legal_hold", Unit::Flag, "under a legal hold"),
    other("holdout", Unit::Flag, "in the untreated arm of an experiment"),
    // Support and voice.
    number("tickets_open", Unit::Count, 1, "open support cases"),
    number("tickets_13w", Unit::Count, 1, "cases opened in the last 13 weeks"),
    number(
        "ticket_pressure",
        Unit::Ratio,
        1000,
        "cases of 13 weeks by the square root of seats",
    ),
    number("sev1_open", Unit::Count, 1, "open cases of severity 1"),
    number(
        "escalations_open",
        Unit::Count,
        1,
        "open cases that are of severity 1 or escalated",
    ),
    number("escalation_days", Unit::Days, 1, "age of the oldest of these"),
    number(
        "csat",
        Unit::Points,
        10,
        "mean satisfaction with cases and surveys of the last 26 weeks, 1 to 5; in triggers in tenths",
    ),
    number(
        "nps",
        Unit::Points,
        1,
        "newest promoter score of the last year, 0 to 10",
    ),
    number("nps_age_days", Unit::Days, 1, "its age"),
    number(
        "churn_notice_days",
        Unit::Days,
        1,
        "days since the newest notice of leaving in the last 180 days; unknown when there is none",
    ),
    other(
        "churn_notice",
        Unit::Flag,
        "gave notice of leaving in the last 180 days and has not come back",
    ),
    other(
        "advocated",
        Unit::Flag,
        "gave a reference, case study or review in the last year",
    ),
    // Deals.
    number("opportunities_open", Unit::Count, 1, "open deals"),
    number("opportunity_age_days", Unit::Days, 1, "age of the oldest open deal"),
    other("renewal_opportunity", Unit::Flag, "a renewal deal is open"),
    other("expansion_opportunity", Unit::Flag, "an expansion deal is open"),
    // Signals, where the policy has detectors.
    other(
        "usage_drop_open",
        Unit::Flag,
        "active seats fell against peers and have not come back: the signal `usage_drop` is open or confirmed",
    ),
    other(
        "breadth_loss_open",
        Unit::Flag,
        "features went out of use: the signal `breadth_loss` is open or confirmed",
    ),
    other(
        "seat_contraction_open",
        Unit::Flag,
        "seats were given back: the signal `seat_contraction` is open or confirmed",
    ),
    other(
        "survey_drop_open",
        Unit::Flag,
        "an answer to a survey is far below the one before: the signal `survey_drop` is open or confirmed",
    ),
    other(
        "sentiment_drop_open",
        Unit::Flag,
        "the mood in cases and touches became worse: the signal `sentiment_drop` is open or confirmed",
    ),
    other(
        "single_threaded_open",
        Unit::Flag,
        "one person carries the relationship: the signal `single_threaded` is open or confirmed",
    ),
    number(
        "stakeholder_change_days",
        Unit::Days,
        1,
        "days since the newest change among the people at the customer; unknown when there was none in 60 days",
    ),
    number(
        "seat_limit_days",
        Unit::Days,
        1,
        "days until active users reach the seats, by their trend; unknown when far off or while a high risk is open",
    ),
    other("seat_limit_date", Unit::Date, "that day"),
    // Scores, added once they are computed.
    number(
        "health_override",
        Unit::Score,
        1,
        "health as a person set it, until the day they named; unknown when nobody did",
    ),
    number(
        "risk_override",
        Unit::Percent,
        1,
        "risk as a person set it, until the day they named; unknown when nobody did",
    ),
    number(
        "expansion_override",
        Unit::Score,
        1,
        "expansion as a person set it, until the day they named; unknown when nobody did",
    ),
    number("health", Unit::Score, 1, "health score, 0 to 100, higher is healthier"),
    number(
        "health_confidence",
        Unit::Percent,
        1,
        "share of the health score's weight that is known",
    ),
    number("risk", Unit::Percent, 1, "probability of not renewing, policy estimate"),
    number(
        "expansion",
        Unit::Score,
        1,
        "expansion score, 0 to 100, higher is readier",
    ),
];

/// Features of use, which a scorecard may ask for product by product.
pub const USE_FACTS: &[&str] = &[
    "active_users",
    "active_users_before",
    "active_users_change",
    "activity_log_ratio",
    "days_since_use",
    "events_change",
    "feature_breadth",
    "features_lost",
    "features_used",
    "features_used_before",
    "seat_share",
    "seat_utilisation",
    "seats",
    "usage_age_days",
    "usage_shift",
];

/// The entry of a feature.
#[must_use]
pub fn definition(name: &str) -> Option<&'static Definition> {
    CATALOGUE.iter().find(|d| d.name == name)
}

/// What a feature is called in front of people.
#[must_use]
pub fn label(name: &str) -> String {
    match name {
        "activity_log_ratio" => "use against before".to_owned(),
        "arr" => "yearly revenue".to_owned(),
        "auto_renew" => "renews by itself".to_owned(),
        "champion_absent" => "weeks without the champion".to_owned(),
        "days_late" => "late bills".to_owned(),
        "expansion_override" | "health_override" | "risk_override" => "set by a person".to_owned(),
        "feature_breadth" => "breadth of features".to_owned(),
        "nps" => "promoter score".to_owned(),
        "seat_share" | "seat_utilisation" => "seats in use".to_owned(),
        "sponsor_gap" => "sponsor left".to_owned(),
        "tenure_days" => "customer for".to_owned(),
        "ticket_pressure" => "support cases against seats".to_owned(),
        "usage_shift" => "shift of use".to_owned(),
        _ => name.replace('_', " "),
    }
}
