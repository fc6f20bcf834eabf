//! A made-up portfolio of customers, as CSV files and as CRM records, for the demo and the benchmarks.
//!
//! Promises: the same options give the same bytes on every machine; account number i is the same in a portfolio of any
//! size (for the same seed, clock and history); memory does not grow with the number of accounts. Among the first forty
//! accounts every [`Story`] stands at least once, and a few rows are wrong on purpose and listed in the [`Summary`].
//!
//! Does not: imitate any real company or person. Mail and web addresses end in the reserved `.example`.

mod agreements;
mod crm;
mod customer;
mod deals;
mod dirt;
mod history;
mod people;
mod stories;
pub(crate) mod stream;
mod table;
#[cfg(test)]
mod tests;
pub mod tier;
mod usage;
mod words;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use tier::Tier;

use perennial_core::signal::{Crm, OpportunityState};
use perennial_core::time::Day;

use agreements::{PRODUCTS, decimal, minor};
use customer::{Customer, account_id};
use people::Mail;
use table::{FILES, Tables};
use usage::{Level, Week};

pub use crm::crm_seed;
pub use stories::Story;

/// 2026-09-15 as days since 1970-01-01: the clock of the demo.
const DEMO_DAY: i32 = 20_711;

/// Accounts whose stories are listed by name in a [`Summary`]; further ones are only counted.
const LISTED_ACCOUNTS: u32 = 40;

/// Which portfolio to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortfolioOptions {
    /// Number of accounts.
    pub accounts: u32,
    /// Chooses names, numbers and noise.
    pub seed: u64,
    /// The day on which the portfolio is looked at; nothing happened after it.
    pub as_of: Day,
    /// Months of touches, tickets, surveys and bills before that day.
    pub months: u32,
    /// Whole weeks of measured use before that day.
    pub usage_weeks: u32,
}

impl Default for PortfolioOptions {
    /// The portfolio of the demo: 40 accounts and 18 months, seen on 15 September 2026.
    fn default() -> PortfolioOptions {
        PortfolioOptions {
            accounts: 40,
            seed: 42,
            as_of: Day::from_number(DEMO_DAY),
            months: 18,
            usage_weeks: 78,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of accounts.
    pub accounts: u32,
    /// Rows below the header, by file.
    pub rows: BTreeMap<&'static str, u64>,
    /// Accounts by tier.
    pub accounts_by_tier: BTreeMap<Tier, u32>,
    /// Yearly recurring revenue by tier in whole dollars, at the generator's fixed rates.
    pub arr_usd_by_tier: BTreeMap<Tier, i64>,
    /// The stories of the first forty accounts, calm ones left out.
    pub stories: Vec<PlantedStory>,
    /// Number of accounts with each story, calm ones included, by the word for it.
    pub story_counts: BTreeMap<&'static str, u32>,
    /// Rows that an import must refuse.
    pub rejects: Vec<PlantedRow>,
    /// Rows that an import must take and warn about: nobody knows their account.
    pub orphans: Vec<PlantedRow>,
    /// What is odd but must be borne, in plain sentences with the account's id.
    pub oddities: Vec<String>,
}

/// A story and where it plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlantedStory {
    /// Id of the account.
    pub account: String,
    /// Its name.
    pub name: String,
    /// What happens there.
    pub story: Story,
}

/// A row that is wrong on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlantedRow {
    /// File it stands in.
    pub file: &'static str,
    /// Line, counted from 1, the header included.
    pub line: u64,
    /// Id in its first column.
    pub id: &'static str,
    /// Account after whose rows it stands.
    pub account: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Why a portfolio could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PortfolioError {
    /// A file or folder could not be made or written.
    #[error("cannot write `{path}`", path = path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes the portfolio as CSV files into `dir`, which is made when it is not there. Files of an earlier portfolio are
/// replaced.
///
/// # Errors
/// [`PortfolioError::Write`] when the folder or a file cannot be written.
pub fn write_csv(options: &PortfolioOptions, dir: &Path) -> Result<Summary, PortfolioError> {
    let mut tables = Tables::create(dir)?;
    let mut summary = Summary {
        accounts: options.accounts,
        ..Summary::default()
    };
    write_owners(options, &mut tables)?;
    write_products(&mut tables)?;
    let weeks = usage::weeks(options);
    for number in 1..=options.accounts {
        let customer = Customer::new(options, number);
        write_account(&customer, options, &mut tables)?;
        write_agreements(&customer, &mut tables)?;
        write_contacts(&customer, &mut tables)?;
        write_usage(&customer, options, &weeks, &mut tables)?;
        write_deals(&customer, &mut tables)?;
        history::write(&customer, options, &mut tables)?;
        summary.count(&customer, options.as_of, &mut tables);
    }
    tables.finish()?;
    for ((name, _), table) in FILES.iter().zip(tables.all()) {
        summary.rows.insert(*name, table.rows());
    }
    Ok(summary)
}

impl Summary {
    fn count(&mut self, customer: &Customer, as_of: Day, tables: &mut Tables) {
        *self.accounts_by_tier.entry(customer.tier).or_default() += 1;
        *self.arr_usd_by_tier.entry(customer.tier).or_default() += customer.units_on(as_of) * 100;
        *self.story_counts.entry(customer.story.word()).or_default() += 1;
        if customer.number > LISTED_ACCOUNTS {
            return;
        }
        if customer.story != Story::Calm {
            self.stories.push(PlantedStory {
                account: customer.id(),
                name: customer.name.trim().to_owned(),
                story: customer.story,
            });
        }
        // Bad rows stand after the rows of their account, so theirs is the newest line of their file.
        for bad in dirt::BAD_ROWS.iter().filter(|bad| bad.account == customer.number) {
            if let Some(table) = tables.named(bad.file) {
                let rows = if bad.is_orphan() {
                    &mut self.orphans
                } else {
                    &mut self.rejects
                };
                rows.push(bad.planted(table.line()));
            }
        }
        self.oddities.extend(dirt::oddities(customer));
    }
}

fn write_owners(options: &PortfolioOptions, tables: &mut Tables) -> Result<(), PortfolioError> {
    for owner in people::owners(options.accounts) {
        tables.owners.row(&[
            &owner.id,
            &owner.name,
            &owner.email,
            owner.role.as_str(),
            owner.manager.as_deref().unwrap_or(""),
            owner.team,
            &owner.capacity_minutes.to_string(),
        ])?;
    }
    Ok(())
}

fn write_products(tables: &mut Tables) -> Result<(), PortfolioError> {
    for product in PRODUCTS {
        let price = format!("{}.00", product.list_price_usd);
        tables
            .products
            .row(&[product.id, product.name, product.family, &price, "USD"])?;
    }
    Ok(())
}

fn truth(what: bool) -> &'static str {
    if what { "true" } else { "false" }
}

fn segment(tier: Tier) -> &'static str {
    match tier {
        Tier::LowTouch => "Small Business",
        Tier::MidTouch => "Mid-Market",
        Tier::Strategic => "Enterprise",
    }
}

fn write_account(customer: &Customer, options: &PortfolioOptions, tables: &mut Tables) -> Result<(), PortfolioError> {
    let (crm, record) = if dirt::crm_unknown_to_us(customer.number) {
        ("", String::new())
    } else {
        (customer.crm().as_str(), crm::account_record(customer))
    };
    tables.accounts.of(customer.crm()).row(&[
        &customer.id(),
        &customer.name,
        &customer.parent.map(account_id).unwrap_or_default(),
        customer.tier.as_str(),
        segment(customer.tier),
        customer.industry.unwrap_or(""),
        customer.region.word(),
        &customer.since.to_string(),
        customer.owner.as_deref().unwrap_or(""),
        &customer
            .seats_on(options.as_of)
            .map(|seats| seats.to_string())
            .unwrap_or_default(),
        crm,
        &record,
        truth(customer.story == Story::DoNotContact),
        truth(customer.story == Story::LegalHold),
        truth(customer.story == Story::Churned),
        &format!("https://{}", customer.domain()),
    ])
}

fn day_text(day: Option<Day>) -> String {
    day.map(|day| day.to_string()).unwrap_or_default()
}

fn write_agreements(customer: &Customer, tables: &mut Tables) -> Result<(), PortfolioError> {
    let account = customer.id();
    let coin = customer.coin;
    for contract in &customer.contracts {
        tables.contracts.row(&[
            &contract.id,
            &account,
            &contract.start.to_string(),
            &day_text(contract.end),
            &day_text(contract.ended),
            &contract.notice_days.map(|days| days.to_string()).unwrap_or_default(),
            &contract
                .term_months
                .map(|months| months.to_string())
                .unwrap_or_default(),
            &decimal(minor(contract.units, coin), coin),
            coin.code(),
            contract.renews.word(),
            contract.escalator,
        ])?;
    }
    for row in &customer.subscriptions {
        let contract = &customer.contracts[row.contract];
        tables.subscriptions.row(&[
            &row.id,
            &account,
            &contract.id,
            row.product.id,
            &row.start.to_string(),
            &day_text(row.end),
            &day_text(row.ended),
            &contract
                .term_months
                .map(|months| months.to_string())
                .unwrap_or_default(),
            &decimal(minor(row.units, coin), coin),
            coin.code(),
            &row.seats.map(|seats| seats.to_string()).unwrap_or_default(),
            contract.renews.word(),
        ])?;
    }
    Ok(())
}

fn write_contacts(customer: &Customer, tables: &mut Tables) -> Result<(), PortfolioError> {
    for contact in &customer.contacts {
        let bounced = match contact.mail {
            Mail::Bounced(day) => day.to_string(),
            Mail::Welcome | Mail::OptedOut => String::new(),
        };
        let times = if dirt::is_doubled(customer, contact) { 2 } else { 1 };
        for _ in 0..times {
            tables.contacts.of(customer.crm()).row(&[
                &contact.id(customer.number),
                &customer.id(),
                &format!("{} {}", contact.given, contact.family),
                &contact.email,
                &contact.title,
                contact.role.map(|role| role.as_str()).unwrap_or(""),
                &contact.since.to_string(),
                &day_text(contact.left),
                truth(contact.mail == Mail::OptedOut),
                &bounced,
                contact.time_zone,
                customer.crm().as_str(),
                &crm::contact_record(customer, contact),
            ])?;
        }
    }
    Ok(())
}

fn write_usage(
    customer: &Customer,
    options: &PortfolioOptions,
    weeks: &[Week],
    tables: &mut Tables,
) -> Result<(), PortfolioError> {
    let account = customer.id();
    let mut level = Level::new(customer, options);
    for week in weeks {
        if let Some(row) = level.row(customer, week) {
            let numbers = [
                Some(row.seats),
                Some(row.active_users),
                Some(row.core_events),
                row.features_used,
            ];
            tables.usage.row_of_numbers([&account, &week.text], numbers)?;
        }
    }
    Ok(())
}

fn write_deals(customer: &Customer, tables: &mut Tables) -> Result<(), PortfolioError> {
    for deal in &customer.deals {
        let open = deal.stage.state() == OpportunityState::Open;
        // Only open deals are records of the CRM at the start.
        let (crm, record): (&str, String) = if open {
            (Crm::as_str(customer.crm()), crm::deal_record(customer, deal))
        } else {
            ("", String::new())
        };
        tables.opportunities.of(customer.crm()).row(&[
            &deal.id(customer.number),
            &customer.id(),
            &deal.name,
            deal.kind.as_str(),
            deal.stage.word(customer.crm()),
            deal.stage.state().as_str(),
            deal.product.id,
            &decimal(minor(deal.units, customer.coin), customer.coin),
            customer.coin.code(),
            &deal.opened.to_string(),
            &if open { String::new() } else { deal.close.to_string() },
            customer.owner.as_deref().unwrap_or(""),
            deal.next_step,
            crm,
            &record,
        ])?;
    }
    Ok(())
}
