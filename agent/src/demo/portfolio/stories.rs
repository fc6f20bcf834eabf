//! The stories that are planted in the portfolio, and the forty accounts whose part is written out.
//!
//! Promises: every story stands at least once among the first forty accounts. Beyond them a story is drawn, at the
//! rates of [`story_of_draw`].

use super::tier::Tier;
use super::words::Region;

/// What happens at an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Story {
    /// Nothing out of the ordinary.
    Calm,
    /// Usage falls, an invoice is late, and the contract ends in 75 days.
    RenewalAtRisk,
    /// Usage fell six weeks ago; no renewal is near.
    UsageDrop,
    /// A customer for 50 days, with almost no use.
    OnboardingStalled,
    /// No touch for 150 days.
    Silent,
    /// The only champion left 12 days ago.
    SponsorLeft,
    /// More than 95 % of the seats are used, and rising.
    SeatExpansion,
    /// Strategic, and the last QBR was 112 days ago.
    QbrDue,
    /// Healthy; the contract ends in 100 days, notice is due in 70.
    RenewalProposalDue,
    /// A ticket of severity 1 is open for 6 days and escalated.
    EscalationOpen,
    /// NPS 10, healthy, a customer for years, never asked for a reference.
    AdvocacyAsk,
    /// The contract has no end date, so its renewal cannot be assessed.
    NoContractEnd,
    /// A renewal proposal is due, and the champion wants no mail.
    ChampionOptedOut,
    /// Asked not to be contacted, and is silent.
    DoNotContact,
    /// Under a legal hold while usage falls.
    LegalHold,
    /// Left 95 days ago.
    Churned,
}

impl Story {
    /// Every story, calm included.
    pub const ALL: &'static [Story] = &[
        Story::Calm,
        Story::RenewalAtRisk,
        Story::UsageDrop,
        Story::OnboardingStalled,
        Story::Silent,
        Story::SponsorLeft,
        Story::SeatExpansion,
        Story::QbrDue,
        Story::RenewalProposalDue,
        Story::EscalationOpen,
        Story::AdvocacyAsk,
        Story::NoContractEnd,
        Story::ChampionOptedOut,
        Story::DoNotContact,
        Story::LegalHold,
        Story::Churned,
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Story::Calm => "calm",
            Story::RenewalAtRisk => "renewal_at_risk",
            Story::UsageDrop => "usage_drop",
            Story::OnboardingStalled => "onboarding_stalled",
            Story::Silent => "silent",
            Story::SponsorLeft => "sponsor_left",
            Story::SeatExpansion => "seat_expansion",
            Story::QbrDue => "qbr_due",
            Story::RenewalProposalDue => "renewal_proposal_due",
            Story::EscalationOpen => "escalation_open",
            Story::AdvocacyAsk => "advocacy_ask",
            Story::NoContractEnd => "no_contract_end",
            Story::ChampionOptedOut => "champion_opted_out",
            Story::DoNotContact => "do_not_contact",
            Story::LegalHold => "legal_hold",
            Story::Churned => "churned",
        }
    }
}

/// The story of an account beyond the written forty, from a draw below 1000. About half of the accounts are calm.
pub(super) fn story_of_draw(draw: u64, tier: Tier) -> Story {
    const RATES: &[(u64, Story)] = &[
        (40, Story::RenewalAtRisk),
        (40, Story::UsageDrop),
        (30, Story::OnboardingStalled),
        (40, Story::Silent),
        (30, Story::SponsorLeft),
        (40, Story::SeatExpansion),
        (40, Story::RenewalProposalDue),
        (30, Story::EscalationOpen),
        (30, Story::AdvocacyAsk),
        (30, Story::NoContractEnd),
        (30, Story::ChampionOptedOut),
        (30, Story::DoNotContact),
        (30, Story::LegalHold),
        (30, Story::Churned),
        // Only strategic accounts: 3 % of all, a quarter of them.
        (250, Story::QbrDue),
    ];
    let mut left = draw;
    for &(rate, story) in RATES {
        if left < rate {
            return if story == Story::QbrDue && tier != Tier::Strategic {
                Story::Calm
            } else {
                story
            };
        }
        left -= rate;
    }
    Story::Calm
}

/// Currencies of the portfolio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coin {
    Usd,
    Eur,
    Gbp,
    Jpy,
}

impl Coin {
    pub(super) fn code(self) -> &'static str {
        match self {
            Coin::Usd => "USD",
            Coin::Eur => "EUR",
            Coin::Gbp => "GBP",
            Coin::Jpy => "JPY",
        }
    }

    /// Decimals of the minor unit.
    pub(super) fn places(self) -> u32 {
        match self {
            Coin::Usd | Coin::Eur | Coin::Gbp => 2,
            Coin::Jpy => 0,
        }
    }

    /// Price of 100 dollars' worth in this currency, the fixed rate by which the generator sets prices.
    pub(super) fn per_hundred_usd(self) -> i64 {
        match self {
            Coin::Usd => 100,
            Coin::Eur => 90,
            Coin::Gbp => 80,
            Coin::Jpy => 15_000,
        }
    }
}

/// The part of one of the written accounts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) tier: Tier,
    pub(super) coin: Coin,
    pub(super) industry: Option<&'static str>,
    pub(super) region: Region,
    pub(super) story: Story,
    pub(super) parent: Option<u32>,
}

const fn part(
    name: &'static str,
    tier: Tier,
    coin: Coin,
    industry: &'static str,
    region: Region,
    story: Story,
) -> Part {
    Part {
        name,
        tier,
        coin,
        industry: Some(industry),
        region,
        story,
        parent: None,
    }
}

const LOW: Tier = Tier::LowTouch;
const MID: Tier = Tier::MidTouch;
const TOP: Tier = Tier::Strategic;
const US: Region = Region::Americas;
const EU: Region = Region::Emea;
const AP: Region = Region::Apac;

/// The forty written accounts, number 1 first. Even numbers live in Salesforce, odd ones in HubSpot.
pub(super) const CAST: [Part; 40] = [
    part(
        "Northgate Health Partners",
        TOP,
        Coin::Usd,
        "Healthcare",
        US,
        Story::QbrDue,
    ),
    part(
        "Meridian Freight Systems",
        TOP,
        Coin::Usd,
        "Logistics",
        US,
        Story::RenewalAtRisk,
    ),
    part(
        "Brightwater Analytics",
        MID,
        Coin::Usd,
        "Software",
        US,
        Story::UsageDrop,
    ),
    part(
        "O'Rourke & Daughters Brewing",
        LOW,
        Coin::Usd,
        "Food and Beverage",
        US,
        Story::Calm,
    ),
    part("Société du Vélo Élégant", LOW, Coin::Eur, "Retail", EU, Story::Calm),
    part(
        "株式会社さくら物流",
        MID,
        Coin::Jpy,
        "Logistics",
        AP,
        Story::RenewalProposalDue,
    ),
    part("Kestrel Insurance", TOP, Coin::Gbp, "Insurance", EU, Story::SponsorLeft),
    part(
        "Łódź Narzędzia sp. z o.o.",
        LOW,
        Coin::Eur,
        "Manufacturing",
        EU,
        Story::Calm,
    ),
    part(
        "Blue Heron Robotics",
        MID,
        Coin::Usd,
        "Manufacturing",
        US,
        Story::SeatExpansion,
    ),
    part(
        "Tidewater Credit Union",
        MID,
        Coin::Usd,
        "Financial Services",
        US,
        Story::Silent,
    ),
    part("Fjord & Søn AS", LOW, Coin::Eur, "Marine", EU, Story::Calm),
    part(
        "Copperline Utilities",
        TOP,
        Coin::Usd,
        "Utilities",
        US,
        Story::EscalationOpen,
    ),
    part("Piñata Party Supplies 🎉", LOW, Coin::Usd, "Retail", US, Story::Calm),
    part(
        "Granite State Legal",
        MID,
        Coin::Usd,
        "Professional Services",
        US,
        Story::LegalHold,
    ),
    part(
        "Ulrich <b>Fast</b> Shipping",
        LOW,
        Coin::Eur,
        "Logistics",
        EU,
        Story::Calm,
    ),
    part(
        "Solstice Learning",
        MID,
        Coin::Usd,
        "Education",
        US,
        Story::OnboardingStalled,
    ),
    Part {
        industry: None,
        ..part("Vantage Point Media", LOW, Coin::Usd, "", US, Story::Calm)
    },
    part(
        "Ridgeback Outfitters",
        LOW,
        Coin::Usd,
        "Retail",
        US,
        Story::DoNotContact,
    ),
    part(
        "Aurora Diagnostics",
        TOP,
        Coin::Eur,
        "Healthcare",
        EU,
        Story::AdvocacyAsk,
    ),
    part("Harbor & Main Realty", LOW, Coin::Usd, "Real Estate", US, Story::Calm),
    Part {
        parent: Some(2),
        ..part("Meridian Freight Canada", MID, Coin::Usd, "Logistics", US, Story::Calm)
    },
    Part {
        parent: Some(2),
        ..part(
            "Meridian Freight Europe GmbH",
            LOW,
            Coin::Eur,
            "Logistics",
            EU,
            Story::Calm,
        )
    },
    part(
        "Quillfeather Press",
        LOW,
        Coin::Gbp,
        "Media",
        EU,
        Story::ChampionOptedOut,
    ),
    part(
        "Tallgrass Energy Co-op",
        MID,
        Coin::Usd,
        "Utilities",
        US,
        Story::NoContractEnd,
    ),
    Part {
        parent: Some(7),
        ..part(
            "Kestrel Insurance Ireland",
            LOW,
            Coin::Eur,
            "Insurance",
            EU,
            Story::Calm,
        )
    },
    part("Lumen Dental Group  ", LOW, Coin::Usd, "Healthcare", US, Story::Calm),
    part("Café Lumière", LOW, Coin::Eur, "Hospitality", EU, Story::Silent),
    part("Zephyr Cycles", LOW, Coin::Usd, "Retail", US, Story::SeatExpansion),
    part(
        "Papillon Textiles",
        LOW,
        Coin::Eur,
        "Manufacturing",
        EU,
        Story::UsageDrop,
    ),
    part(
        "Ironwood Construction",
        MID,
        Coin::Usd,
        "Construction",
        US,
        Story::RenewalProposalDue,
    ),
    part(
        "Juniper Street Bakery",
        LOW,
        Coin::Usd,
        "Food and Beverage",
        US,
        Story::Calm,
    ),
    part("Bramble & Finch Ltd", LOW, Coin::Gbp, "Retail", EU, Story::Calm),
    part("Wavelength Audio", LOW, Coin::Usd, "Media", US, Story::Calm),
    part(
        "Castellan Security",
        MID,
        Coin::Gbp,
        "Professional Services",
        EU,
        Story::Calm,
    ),
    part(
        "Hollow Creek Vineyards",
        LOW,
        Coin::Usd,
        "Food and Beverage",
        US,
        Story::Calm,
    ),
    part("Sunda Spice Traders", LOW, Coin::Usd, "Wholesale", AP, Story::Calm),
    part("Lindenbaum Apotheken", MID, Coin::Eur, "Healthcare", EU, Story::Calm),
    part("Pixel & Oak Studio", LOW, Coin::Usd, "Media", US, Story::Churned),
    part(
        "Summit Trail Hostels",
        LOW,
        Coin::Usd,
        "Hospitality",
        US,
        Story::AdvocacyAsk,
    ),
    part("Evergreen Veterinary", LOW, Coin::Usd, "Healthcare", US, Story::Calm),
];
