//! Products, contracts and subscriptions.
//!
//! Promises: the subscriptions of a contract add up to its revenue; a renewed contract is followed without a gap.

use perennial_core::time::Day;

use super::PortfolioOptions;
use super::customer::Customer;
use super::stories::{Coin, Story};
use super::stream::{Purpose, Stream};
use super::tier::Tier;

/// Something the made-up vendor, Fieldstone, sells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) family: &'static str,
    /// In dollars a year.
    pub(super) list_price_usd: i64,
}

pub(super) const WORKSPACE: Product = Product {
    id: "workspace",
    name: "Fieldstone Workspace",
    family: "Platform",
    list_price_usd: 360,
};
const INSIGHTS: Product = Product {
    id: "insights",
    name: "Fieldstone Insights",
    family: "Analytics",
    list_price_usd: 6_000,
};
const AUTOMATE: Product = Product {
    id: "automate",
    name: "Fieldstone Automate",
    family: "Automation",
    list_price_usd: 9_000,
};
const CONNECT: Product = Product {
    id: "connect",
    name: "Fieldstone Connect",
    family: "Integration",
    list_price_usd: 3_600,
};
const VAULT: Product = Product {
    id: "vault",
    name: "Fieldstone Vault",
    family: "Security",
    list_price_usd: 12_000,
};

/// The whole price list.
pub(super) const PRODUCTS: [Product; 5] = [WORKSPACE, INSIGHTS, AUTOMATE, CONNECT, VAULT];

/// An agreement. Amounts are `units` of 100 dollars' worth in the customer's currency.
#[derive(Debug, Clone)]
pub(super) struct Contract {
    pub(super) id: String,
    pub(super) start: Day,
    pub(super) end: Option<Day>,
    pub(super) ended: Option<Day>,
    pub(super) notice_days: Option<i64>,
    pub(super) term_months: Option<i32>,
    pub(super) units: i64,
    pub(super) renews: Renews,
    /// Contractual rise a year, as written in the file.
    pub(super) escalator: &'static str,
}

/// What happens at the end of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renews {
    ByItself,
    BySignature,
    /// The source does not say.
    Unsaid,
}

impl Renews {
    /// The word in the files.
    pub(super) fn word(self) -> &'static str {
        match self {
            Renews::ByItself => "true",
            Renews::BySignature => "false",
            Renews::Unsaid => "",
        }
    }
}

impl Contract {
    pub(super) fn runs_on(&self, day: Day) -> bool {
        self.start <= day && self.ended.is_none_or(|ended| day <= ended)
    }
}

/// A product bought under a contract.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    pub(super) id: String,
    /// Position of its contract.
    pub(super) contract: usize,
    pub(super) product: Product,
    pub(super) start: Day,
    pub(super) end: Option<Day>,
    pub(super) ended: Option<Day>,
    pub(super) units: i64,
    pub(super) seats: Option<i64>,
}

impl Subscription {
    pub(super) fn runs_on(&self, day: Day) -> bool {
        self.start <= day && self.ended.is_none_or(|ended| day <= ended)
    }
}

/// `minor` units as a decimal number in major units.
pub(super) fn decimal(minor: i64, coin: Coin) -> String {
    match coin.places() {
        0 => minor.to_string(),
        places => {
            let unit = 10_u64.pow(places);
            let all = minor.unsigned_abs();
            let sign = if minor < 0 { "-" } else { "" };
            format!("{sign}{}.{:0width$}", all / unit, all % unit, width = places as usize)
        }
    }
}

/// The worth of `units` of 100 dollars, in minor units.
pub(super) fn minor(units: i64, coin: Coin) -> i64 {
    units * coin.per_hundred_usd() * 10_i64.pow(coin.places())
}

/// When the present term runs.
struct Term {
    start: Day,
    end: Option<Day>,
    months: i32,
    earlier: i64,
    notice_days: i64,
}

fn term(customer: &Customer, as_of: Day, draw: &mut Stream) -> Term {
    let usual_notice = match customer.tier {
        Tier::LowTouch => 30,
        Tier::MidTouch => *draw.pick(&[30, 60]),
        Tier::Strategic => *draw.pick(&[60, 90]),
    };
    let ends = |ahead: i64, months: i32, earlier: i64, notice_days: i64| {
        let end = as_of.plus(ahead);
        Term {
            start: end.plus(1).plus_months(-months),
            end: Some(end),
            months,
            earlier,
            notice_days,
        }
    };
    match customer.story {
        Story::RenewalAtRisk => ends(75, 12, draw.between(1, 3), 45),
        Story::RenewalProposalDue | Story::ChampionOptedOut => ends(100, 12, draw.between(1, 3), 30),
        Story::Churned => ends(-95, 12, draw.between(0, 2), usual_notice),
        Story::OnboardingStalled => {
            let start = as_of.plus(-50);
            Term {
                start,
                end: Some(start.plus_months(12).plus(-1)),
                months: 12,
                earlier: 0,
                notice_days: usual_notice,
            }
        }
        Story::NoContractEnd => Term {
            start: as_of.plus(-draw.between(420, 900)),
            end: None,
            months: 12,
            earlier: 0,
            notice_days: 0,
        },
        Story::Calm
        | Story::UsageDrop
        | Story::Silent
        | Story::SponsorLeft
        | Story::SeatExpansion
        | Story::QbrDue
        | Story::EscalationOpen
        | Story::AdvocacyAsk
        | Story::DoNotContact
        | Story::LegalHold => {
            let months = match customer.tier {
                Tier::LowTouch => *draw.pick(&[12, 12, 12, 12, 24]),
                Tier::MidTouch => *draw.pick(&[12, 12, 24, 24, 36]),
                Tier::Strategic => *draw.pick(&[12, 24, 24, 36, 36]),
            };
            let earlier = match (customer.story, customer.tier) {
                (Story::AdvocacyAsk, _) => 3,
                (_, Tier::Strategic) => draw.between(1, 3),
                (_, Tier::LowTouch | Tier::MidTouch) => *draw.pick(&[0, 1, 1, 2, 2, 3]),
            };
            // At least 150 days before the end, and 170 days a customer: neither renewing nor new.
            let youngest = if earlier == 0 { 170 } else { 15 };
            let ahead = draw.between(150, i64::from(months) * 30 - youngest);
            ends(ahead, months, earlier, usual_notice)
        }
    }
}

fn renews(customer: &Customer, draw: &mut Stream) -> Renews {
    let per_mille = match customer.tier {
        Tier::LowTouch => 850,
        Tier::MidTouch => 600,
        Tier::Strategic => 300,
    };
    let by_itself = draw.chance(per_mille);
    match customer.story {
        Story::NoContractEnd => Renews::Unsaid,
        Story::RenewalAtRisk | Story::RenewalProposalDue | Story::ChampionOptedOut | Story::Churned => {
            Renews::BySignature
        }
        Story::Calm
        | Story::UsageDrop
        | Story::OnboardingStalled
        | Story::Silent
        | Story::SponsorLeft
        | Story::SeatExpansion
        | Story::QbrDue
        | Story::EscalationOpen
        | Story::AdvocacyAsk
        | Story::DoNotContact
        | Story::LegalHold => {
            if by_itself {
                Renews::ByItself
            } else {
                Renews::BySignature
            }
        }
    }
}

/// Gives the customer its contracts and subscriptions, and its first day.
pub(super) fn add(customer: &mut Customer, options: &PortfolioOptions) {
    let as_of = options.as_of;
    let draw = &mut Stream::new(options.seed, customer.number, Purpose::Agreements);
    let total = match customer.tier {
        Tier::LowTouch => draw.between(30, 200),
        Tier::MidTouch => draw.between(250, 900),
        Tier::Strategic => draw.between(1_200, 6_000),
    };
    let term = term(customer, as_of, draw);
    let renews = renews(customer, draw);
    let escalates = draw.chance(match customer.tier {
        Tier::LowTouch => 0,
        Tier::MidTouch => 100,
        Tier::Strategic => 400,
    });
    let escalator = if escalates {
        *draw.pick(&["0.03", "0.04", "0.05"])
    } else {
        ""
    };

    let second = match customer.tier {
        Tier::LowTouch => false,
        Tier::MidTouch => draw.chance(300),
        Tier::Strategic => true,
    } && !matches!(
        customer.story,
        Story::OnboardingStalled | Story::NoContractEnd | Story::Churned
    );
    let second_units = if second { total * draw.between(18, 32) / 100 } else { 0 };
    let main_units = total - second_units;

    let add_ons: &[Product] = match customer.tier {
        Tier::LowTouch => &[CONNECT],
        Tier::MidTouch => &[INSIGHTS, CONNECT],
        Tier::Strategic => &[INSIGHTS, AUTOMATE],
    };
    let wanted = match customer.tier {
        Tier::LowTouch => usize::from(draw.chance(300)),
        Tier::MidTouch => usize::from(draw.chance(700)) + usize::from(draw.chance(300)),
        Tier::Strategic => 2,
    };
    let price_per_seat = draw.between(240, 420);

    earlier_terms(customer, &term, main_units, price_per_seat, draw);

    let contract = customer.contracts.len();
    let ended = term.end.filter(|&end| end < as_of);
    customer.contracts.push(Contract {
        id: format!("CON-{:06}-{}", customer.number, contract + 1),
        start: term.start,
        end: term.end,
        ended,
        notice_days: term.end.map(|_| term.notice_days),
        term_months: term.end.map(|_| term.months),
        units: main_units,
        renews,
        escalator,
    });
    let mut rest = main_units;
    let mut rows = Vec::new();
    for &product in &add_ons[..wanted.min(add_ons.len())] {
        let units = (main_units * draw.between(10, 20) / 100).max(1);
        rest -= units;
        rows.push((product, units, None));
    }
    let seats = (rest * 100 / price_per_seat).max(5);
    rows.insert(0, (WORKSPACE, rest, Some(seats)));
    for (product, units, seats) in rows {
        push(customer, contract, product, units, seats);
    }

    if second {
        let months = *draw.pick(&[12, 24]);
        let end = as_of.plus(draw.between(200, i64::from(months) * 30 - 120));
        let start = end.plus(1).plus_months(-months);
        // An add-on cannot be older than the customer.
        let start = start.max(customer.contracts.iter().map(|row| row.start).min().unwrap_or(start));
        let contract = customer.contracts.len();
        customer.contracts.push(Contract {
            id: format!("CON-{:06}-{}", customer.number, contract + 1),
            start,
            end: Some(end),
            ended: None,
            notice_days: Some(term.notice_days),
            term_months: Some(months),
            units: second_units,
            renews: Renews::ByItself,
            escalator: "",
        });
        let first = second_units * 3 / 5;
        push(customer, contract, VAULT, first, None);
        push(
            customer,
            contract,
            if customer.tier == Tier::Strategic {
                CONNECT
            } else {
                AUTOMATE
            },
            second_units - first,
            None,
        );
    }
    customer.since = customer.contracts.iter().map(|row| row.start).min().unwrap_or(as_of);
}

fn push(customer: &mut Customer, contract: usize, product: Product, units: i64, seats: Option<i64>) {
    let agreed = &customer.contracts[contract];
    let row = Subscription {
        id: format!("SUB-{:06}-{}", customer.number, customer.subscriptions.len() + 1),
        contract,
        product,
        start: agreed.start,
        end: agreed.end,
        ended: agreed.ended,
        units,
        seats,
    };
    customer.subscriptions.push(row);
}

/// The terms before the present one, oldest first. Most grew at each renewal, some shrank.
fn earlier_terms(customer: &mut Customer, term: &Term, units: i64, price_per_seat: i64, draw: &mut Stream) {
    let mut earlier = Vec::new();
    let (mut start, mut units) = (term.start, units);
    for _ in 0..term.earlier {
        let end = start.plus(-1);
        start = start.plus_months(-12);
        units = (units * draw.between(80, 106) / 100).max(10);
        earlier.push((start, end, units));
    }
    for (start, end, units) in earlier.into_iter().rev() {
        let contract = customer.contracts.len();
        customer.contracts.push(Contract {
            id: format!("CON-{:06}-{}", customer.number, contract + 1),
            start,
            end: Some(end),
            ended: Some(end),
            notice_days: Some(term.notice_days),
            term_months: Some(12),
            units,
            renews: Renews::BySignature,
            escalator: "",
        });
        push(
            customer,
            contract,
            WORKSPACE,
            units,
            Some((units * 100 / price_per_seat).max(5)),
        );
    }
}
