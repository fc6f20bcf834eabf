//! One customer: who it is, what it bought, and whom we know there.
//!
//! Promises: a customer follows from the seed, its number and the clock alone, so it is the same in a portfolio of any
//! size. Does not: write anything.

use perennial_core::signal::Crm;
use perennial_core::time::Day;

use super::agreements::{self, Contract, Subscription};
use super::deals::{self, Deal};
use super::people::{self, Contact};
use super::stories::{CAST, Coin, Story, story_of_draw};
use super::stream::{Purpose, Stream};
use super::tier::Tier;
use super::words::{COMPANY_ENDING, COMPANY_FIRST, COMPANY_SECOND, COMPANY_UNUSUAL, INDUSTRIES, Region, slug};
use super::{PortfolioOptions, dirt};

/// One customer and everything that does not need a row of its own per week or touch.
#[derive(Debug, Clone)]
pub(super) struct Customer {
    /// Number, from 1.
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) parent: Option<u32>,
    pub(super) tier: Tier,
    pub(super) coin: Coin,
    pub(super) industry: Option<&'static str>,
    pub(super) region: Region,
    pub(super) story: Story,
    pub(super) owner: Option<String>,
    pub(super) since: Day,
    pub(super) contracts: Vec<Contract>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) contacts: Vec<Contact>,
    pub(super) deals: Vec<Deal>,
}

/// The id of account `number`.
pub(super) fn account_id(number: u32) -> String {
    format!("ACC-{number:06}")
}

impl Customer {
    pub(super) fn new(options: &PortfolioOptions, number: u32) -> Customer {
        let mut draw = Stream::new(options.seed, number, Purpose::Profile);
        let mut customer = match CAST.get(number.saturating_sub(1) as usize) {
            Some(part) => Customer {
                number,
                name: part.name.to_owned(),
                parent: part.parent,
                tier: part.tier,
                coin: part.coin,
                industry: part.industry,
                region: part.region,
                story: part.story,
                owner: None,
                since: options.as_of,
                contracts: Vec::new(),
                subscriptions: Vec::new(),
                contacts: Vec::new(),
                deals: Vec::new(),
            },
            None => drawn(&mut draw, options, number),
        };
        customer.owner = if dirt::has_no_owner(number) {
            None
        } else {
            Some(people::owner_of(number, customer.tier, customer.region))
        };
        agreements::add(&mut customer, options);
        people::add(&mut customer, options);
        deals::add(&mut customer, options);
        customer
    }

    pub(super) fn id(&self) -> String {
        account_id(self.number)
    }

    pub(super) fn crm(&self) -> Crm {
        if self.number.is_multiple_of(2) {
            Crm::Salesforce
        } else {
            Crm::HubSpot
        }
    }

    /// The domain of its mail and web addresses, under the reserved ending `.example`.
    pub(super) fn domain(&self) -> String {
        let slug = slug(self.name.trim());
        let base = if slug.len() < 4 { "kaisha" } else { slug.as_str() };
        if CAST.len() < self.number as usize || slug.len() < 4 {
            format!("{base}-{}.example", self.number)
        } else {
            format!("{base}.example")
        }
    }

    /// Yearly recurring revenue of the contracts that run on `day`, in hundreds of dollars.
    pub(super) fn units_on(&self, day: Day) -> i64 {
        self.contracts
            .iter()
            .filter(|contract| contract.runs_on(day))
            .map(|contract| contract.units)
            .sum()
    }

    /// Seats that are paid for on `day`.
    pub(super) fn seats_on(&self, day: Day) -> Option<i64> {
        self.subscriptions
            .iter()
            .find(|row| row.seats.is_some() && row.runs_on(day))
            .and_then(|row| row.seats)
    }
}

fn drawn(draw: &mut Stream, options: &PortfolioOptions, number: u32) -> Customer {
    let tier = match draw.below(100) {
        0..60 => Tier::LowTouch,
        60..88 => Tier::MidTouch,
        88.. => Tier::Strategic,
    };
    let (coin, region) = match draw.below(100) {
        0..62 => (Coin::Usd, Region::Americas),
        62..68 => (Coin::Usd, Region::Apac),
        68..88 => (Coin::Eur, Region::Emea),
        88.. => (Coin::Gbp, Region::Emea),
    };
    let name = if draw.chance(15) {
        (*draw.pick(COMPANY_UNUSUAL)).to_owned()
    } else {
        format!(
            "{} {}{}",
            draw.pick(COMPANY_FIRST),
            draw.pick(COMPANY_SECOND),
            draw.pick(COMPANY_ENDING)
        )
    };
    // Numbers that end in 0 are never subsidiaries, so a parent is always at the top and no ring can form.
    let parent = (!number.is_multiple_of(10) && draw.chance(60)).then_some(number - number % 10);
    let industry = draw.pick(INDUSTRIES);
    let industry = if draw.chance(20) { None } else { Some(*industry) };
    let story = story_of_draw(draw.below(1000), tier);
    Customer {
        number,
        name,
        parent,
        tier,
        coin,
        industry,
        region,
        story,
        owner: None,
        since: options.as_of,
        contracts: Vec::new(),
        subscriptions: Vec::new(),
        contacts: Vec::new(),
        deals: Vec::new(),
    }
}
