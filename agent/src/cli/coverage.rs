//! `perennial coverage`: who looks after what, what nobody looks after, and what a departure would mean.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::decide::Decision;
use perennial_core::ids::AccountId;
use perennial_core::policy::CoverageTerms;
use perennial_core::replay::read;
use perennial_core::signal::{Fact, OwnerRole, Tier};
use perennial_store::Store;
use serde::Serialize;

use super::output::{Need, amount, open};
use super::{Failure, Output};
use crate::config::Config;
use crate::content;

/// Accounts read at once.
const PAGE: u32 = 500;
/// Accounts that a list names before it only counts.
const NAMED: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct CoverageArgs {
    /// What if this person left: whose accounts would need a home, and who has room
    #[arg(long, value_name = "PERSON")]
    without: Option<String>,
}

/// One account, as far as coverage goes.
struct Line {
    id: AccountId,
    owner: Option<String>,
    tier: Option<Tier>,
    arr_minor: Option<i64>,
    touch_days: Option<i64>,
}

/// Sums over some accounts.
#[derive(Debug, Clone, Default, Serialize)]
struct Book {
    accounts: u64,
    /// Yearly revenue in minor units of the policy's currency, of the accounts whose revenue is known.
    arr_minor: i64,
    arr_unknown: u64,
    /// Load: accounts weighted by tier, a mid-touch account is 1.
    load: f64,
    past_touch: u64,
    touch_unknown: u64,
}

impl Book {
    fn add(&mut self, line: &Line, terms: &CoverageTerms) {
        self.accounts += 1;
        match line.arr_minor {
            Some(minor) => self.arr_minor += minor,
            None => self.arr_unknown += 1,
        }
        self.load += load(line, terms);
        match line.touch_days {
            Some(days) => self.past_touch += u64::from(is_past(line.tier, days, terms)),
            None => self.touch_unknown += 1,
        }
    }
}

fn load(line: &Line, terms: &CoverageTerms) -> f64 {
    line.tier.and_then(|tier| terms.load.get(&tier)).copied().unwrap_or(1.0)
}

fn is_past(tier: Option<Tier>, days: i64, terms: &CoverageTerms) -> bool {
    tier.and_then(|tier| terms.touch_days.get(&tier))
        .is_some_and(|limit| days > *limit)
}

#[derive(Debug, Serialize)]
struct Report {
    currency: String,
    accounts_max: i64,
    total: Book,
    tiers: BTreeMap<String, Book>,
    people: Vec<PersonBook>,
    unowned: Book,
    unowned_examples: Vec<AccountId>,
    /// Accounts that no run has decided about yet; they are in no other number.
    not_decided: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    without: Option<Departure>,
}

#[derive(Debug, Serialize)]
struct PersonBook {
    person: String,
    name: Option<String>,
    book: Book,
    /// More accounts than the policy thinks one person can look after.
    too_many: bool,
}

#[derive(Debug, Serialize)]
struct Departure {
    person: String,
    book: Book,
    /// Who would take how many if each account went to the person with the least load.
    taken_by: Vec<Taken>,
    /// Accounts nobody could take within the limit of accounts.
    homeless: u64,
}

#[derive(Debug, Serialize)]
struct Taken {
    person: String,
    accounts: u64,
    arr_minor: i64,
    load_before: f64,
    load_after: f64,
}

pub(super) async fn coverage(config: &Config, args: &CoverageArgs, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let (_, policies) = content::compile(config)?;
    let terms = &policies.scoring.coverage;
    let (lines, not_decided) = lines(&store).await?;
    let people = people(&store).await?;
    let report = report(&lines, not_decided, &people, terms, policies.settings.base.code(), args)?;
    store.close().await;
    if output.json() {
        output.document(&report);
    } else {
        print(&report, output);
    }
    Ok(())
}

async fn lines(store: &Store) -> Result<(Vec<Line>, u64), Failure> {
    let (mut lines, mut not_decided) = (Vec::new(), 0);
    let mut after: Option<AccountId> = None;
    loop {
        let page = store.account_ids(after.as_ref(), PAGE).await?;
        let Some(last) = page.last().cloned() else { break };
        let latest = store.latest_decisions(&page).await?;
        not_decided += (page.len() - latest.len()) as u64;
        for (id, row) in latest {
            let d: Decision = read("decision", &row.output.text()?)?;
            let f = &d.features;
            if f.flag("churned") == Some(true) {
                continue;
            }
            lines.push(Line {
                id,
                owner: d.owner.as_ref().map(|o| o.as_str().to_owned()),
                tier: f.text("tier").and_then(Tier::from_word),
                arr_minor: f.money("arr").map(|a| a.minor),
                touch_days: f.number("days_since_touch").map(|d| d as i64),
            });
        }
        after = Some(last);
    }
    Ok((lines, not_decided))
}

/// Names of the people who look after accounts, by id.
async fn people(store: &Store) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let mut people = BTreeMap::new();
    for signal in store.portfolio_signals().await? {
        if let Fact::Owner(owner) = signal.fact
            && matches!(owner.role, Some(OwnerRole::CSM) | None)
        {
            people.insert(signal.external_id.as_str().to_owned(), owner.name);
        }
    }
    Ok(people)
}

fn report(
    lines: &[Line],
    not_decided: u64,
    people: &BTreeMap<String, Option<String>>,
    terms: &CoverageTerms,
    currency: &str,
    args: &CoverageArgs,
) -> Result<Report, Failure> {
    let (mut total, mut unowned) = (Book::default(), Book::default());
    let mut tiers: BTreeMap<String, Book> = BTreeMap::new();
    // Everybody who could have accounts is listed, also with none.
    let mut books: BTreeMap<String, Book> = people.keys().map(|id| (id.clone(), Book::default())).collect();
    let mut unowned_examples = Vec::new();
    for line in lines {
        total.add(line, terms);
        let tier = line.tier.map_or("not known", Tier::as_str);
        tiers.entry(tier.to_owned()).or_default().add(line, terms);
        match &line.owner {
            Some(owner) => books.entry(owner.clone()).or_default().add(line, terms),
            None => {
                unowned.add(line, terms);
                if unowned_examples.len() < NAMED {
                    unowned_examples.push(line.id.clone());
                }
            }
        }
    }
    let without = match &args.without {
        Some(name) => Some(departure(name, lines, &books, people, terms)?),
        None => None,
    };
    let mut people_books: Vec<PersonBook> = books
        .into_iter()
        .map(|(person, book)| PersonBook {
            name: people.get(&person).cloned().flatten(),
            too_many: book.accounts > u64::try_from(terms.accounts_max).unwrap_or(0),
            person,
            book,
        })
        .collect();
    people_books.sort_by(|a, b| {
        b.book
            .load
            .total_cmp(&a.book.load)
            .then_with(|| a.person.cmp(&b.person))
    });
    Ok(Report {
        currency: currency.to_owned(),
        accounts_max: terms.accounts_max,
        total,
        tiers,
        people: people_books,
        unowned,
        unowned_examples,
        not_decided,
        without,
    })
}

fn departure(
    name: &str,
    lines: &[Line],
    books: &BTreeMap<String, Book>,
    people: &BTreeMap<String, Option<String>>,
    terms: &CoverageTerms,
) -> Result<Departure, Failure> {
    let person = books
        .keys()
        .find(|id| *id == name || people.get(*id).and_then(Option::as_deref) == Some(name))
        .cloned()
        .ok_or_else(|| {
            let known: Vec<&str> = books.keys().take(NAMED).map(String::as_str).collect();
            Failure::input(format!(
                "`{name}` looks after nothing and is nobody we know; known are {}",
                known.join(", ")
            ))
        })?;
    let mut loads: BTreeMap<&str, (f64, u64)> = books
        .iter()
        .filter(|(id, _)| **id != person)
        .map(|(id, book)| (id.as_str(), (book.load, book.accounts)))
        .collect();
    let before: BTreeMap<&str, f64> = loads.iter().map(|(id, (load, _))| (*id, *load)).collect();
    let mut leaving: Vec<&Line> = lines
        .iter()
        .filter(|l| l.owner.as_deref() == Some(person.as_str()))
        .collect();
    // The heaviest first, so that the light ones even things out.
    leaving.sort_by(|a, b| {
        load(b, terms)
            .total_cmp(&load(a, terms))
            .then_with(|| b.arr_minor.cmp(&a.arr_minor))
            .then_with(|| a.id.cmp(&b.id))
    });
    let room = u64::try_from(terms.accounts_max).unwrap_or(0);
    let (mut book, mut homeless) = (Book::default(), 0);
    let mut taken: BTreeMap<&str, (u64, i64)> = BTreeMap::new();
    for line in leaving {
        book.add(line, terms);
        let least = loads
            .iter()
            .filter(|(_, (_, accounts))| *accounts < room)
            .min_by(|a, b| a.1.0.total_cmp(&b.1.0).then_with(|| a.0.cmp(b.0)))
            .map(|(id, _)| *id);
        let Some(id) = least else {
            homeless += 1;
            continue;
        };
        if let Some(entry) = loads.get_mut(id) {
            entry.0 += load(line, terms);
            entry.1 += 1;
        }
        let entry = taken.entry(id).or_default();
        entry.0 += 1;
        entry.1 += line.arr_minor.unwrap_or(0);
    }
    let takers: BTreeSet<&str> = taken.keys().copied().collect();
    Ok(Departure {
        person,
        book,
        taken_by: takers
            .into_iter()
            .map(|id| Taken {
                person: id.to_owned(),
                accounts: taken[id].0,
                arr_minor: taken[id].1,
                load_before: before[id],
                load_after: loads[id].0,
            })
            .collect(),
        homeless,
    })
}

fn cells(name: &str, book: &Book, report: &Report, mark: &str) -> Vec<String> {
    let unknown = |n: u64, what: &str| {
        if n == 0 {
            String::new()
        } else {
            format!(" ({n} {what} not known)")
        }
    };
    vec![
        name.to_owned(),
        format!("{}{mark}", book.accounts),
        format!(
            "{}{}",
            amount(Some(book.arr_minor), Some(&report.currency)),
            unknown(book.arr_unknown, "accounts'")
        ),
        format!("{:.1}", book.load),
        format!("{}{}", book.past_touch, unknown(book.touch_unknown, "accounts'")),
    ]
}

fn print(report: &Report, output: &Output) {
    let header = ["", "accounts", "revenue a year", "load", "past touch"];
    output.line(&output.bold("coverage: live accounts by tier"));
    let tiers = report
        .tiers
        .iter()
        .map(|(tier, book)| cells(&tier.replace('_', "-"), book, report, ""));
    output.table(&header, tiers.chain([cells("all", &report.total, report, "")]));
    output.heading("by person, the most load first");
    let people = report.people.iter().map(|p| {
        let name = p
            .name
            .as_ref()
            .map_or_else(|| p.person.clone(), |n| format!("{n} ({})", p.person));
        cells(&name, &p.book, report, if p.too_many { " !" } else { "" })
    });
    output.table(&header, people.chain([cells("nobody", &report.unowned, report, "")]));
    let too_many = report.people.iter().filter(|p| p.too_many).count();
    if too_many > 0 {
        output.line(&format!(
            "! people with more than {1} accounts: {0}",
            too_many, report.accounts_max
        ));
    }
    if report.unowned.accounts > 0 {
        let names: Vec<&str> = report.unowned_examples.iter().map(AccountId::as_str).collect();
        output.line(&format!(
            "accounts that belong to nobody: {}, such as {}; give them an owner in the CRM",
            report.unowned.accounts,
            names.join(", ")
        ));
    }
    if report.not_decided > 0 {
        output.line(&format!(
            "accounts not decided yet: {}; `perennial run --once`",
            report.not_decided
        ));
    }
    if let Some(departure) = &report.without {
        output.heading(&format!("without {}", departure.person));
        output.line(&format!(
            "accounts that need a home: {}, with {} a year; each goes to the person with the least load",
            departure.book.accounts,
            amount(Some(departure.book.arr_minor), Some(&report.currency))
        ));
        output.table(
            &["person", "takes", "revenue a year", "load before", "load after"],
            departure.taken_by.iter().map(|t| {
                vec![
                    t.person.clone(),
                    t.accounts.to_string(),
                    amount(Some(t.arr_minor), Some(&report.currency)),
                    format!("{:.1}", t.load_before),
                    format!("{:.1}", t.load_after),
                ]
            }),
        );
        if departure.homeless > 0 {
            output.line(&format!(
                "! accounts for which nobody has room below {1}: {0}",
                departure.homeless, report.accounts_max
            ));
        }
    }
}
