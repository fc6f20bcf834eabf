//! `perennial signals`: what has changed, at which accounts, since when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use perennial_core::decide::Decision;
use perennial_core::detect::{Detector, State};
use perennial_core::ids::AccountId;
use perennial_core::money::Currency;
use perennial_core::replay::read;
use perennial_core::time::Timestamp;
use perennial_store::Store;

use super::output::{Need, amount, open, progress_bar};
use super::{Failure, Output, time_argument, walk};
use crate::changes::{self, ChangeRow, Stand};
use crate::config::Config;
use crate::content;

/// Accounts read at once.
const PAGE: u32 = 500;
/// Rows that the table shows where nobody asks for another number.
const SHOWN: usize = 100;

#[derive(Debug, clap::Args)]
pub(super) struct SignalsArgs {
    /// Only this detector, such as usage_drop; may be given several times
    #[arg(long, value_parser = detector_argument)]
    detector: Vec<Detector>,
    /// Only accounts of this person
    #[arg(long)]
    owner: Option<String>,
    /// Also what has cleared lately; with --json it is there in any case
    #[arg(long)]
    cleared: bool,
    /// At most so many [default: 100 in a table, all with --json]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// No limit
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Decide with what was known then, and write nothing [default: as the latest run decided]
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    as_of: Option<Timestamp>,
    /// Every episode of a walk through past time: its first step
    #[arg(long, value_name = "TIME", value_parser = time_argument, requires_all = ["to", "every"], conflicts_with = "as_of")]
    from: Option<Timestamp>,
    /// No step of the walk is later
    #[arg(long, value_name = "TIME", value_parser = time_argument, requires = "from")]
    to: Option<Timestamp>,
    /// From one step of the walk to the next, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = super::run::duration, requires = "from")]
    every: Option<Duration>,
}

fn detector_argument(word: &str) -> Result<Detector, String> {
    Detector::from_word(word).ok_or_else(|| {
        let known: Vec<&str> = Detector::ALL.iter().map(|d| d.as_str()).collect();
        format!("detectors are {}", known.join(", "))
    })
}

impl SignalsArgs {
    fn wants(&self, detector: Detector) -> bool {
        self.detector.is_empty() || self.detector.contains(&detector)
    }

    fn is_of_owner(&self, owner: Option<&str>) -> bool {
        self.owner.is_none() || self.owner.as_deref() == owner
    }
}

/// Episodes, and at how many accounts each detector cannot judge.
#[derive(Debug, Default)]
struct Found {
    rows: Vec<ChangeRow>,
    /// `None` for a walk: what could not be judged at one step could be at another.
    unknown: Option<BTreeMap<Detector, u64>>,
}

/// What one decision says: whose account, its episodes, and what cannot be judged.
struct Said {
    owner: Option<String>,
    rows: Vec<ChangeRow>,
    unknown: Vec<Detector>,
}

impl Said {
    fn of(decision: &Decision) -> Said {
        let unknown = decision
            .signals
            .iter()
            .filter(|d| matches!(d.state, State::Unknown { .. }));
        Said {
            owner: decision.owner.as_ref().map(|o| o.as_str().to_owned()),
            rows: changes::rows(decision).collect(),
            unknown: unknown.map(|d| d.detector).collect(),
        }
    }
}

impl Found {
    fn take(&mut self, said: Said, args: &SignalsArgs) {
        if !args.is_of_owner(said.owner.as_deref()) {
            return;
        }
        self.rows.extend(said.rows.into_iter().filter(|r| args.wants(r.kind)));
        let unknown = self.unknown.get_or_insert_default();
        for detector in said.unknown.into_iter().filter(|d| args.wants(*d)) {
            *unknown.entry(detector).or_default() += 1;
        }
    }
}

pub(super) async fn signals(config: &Config, args: &SignalsArgs, output: &Output) -> Result<(), Failure> {
    let mut found = match (args.from, args.to, args.every, args.as_of) {
        (Some(from), Some(to), Some(every), _) => {
            let steps = walk::options(from, to, every, 0);
            let mut rows = walk::walked(config, &steps, output).await?.episodes;
            rows.retain(|r| args.wants(r.kind) && args.is_of_owner(r.owner.as_ref().map(|o| o.as_str())));
            Found { rows, unknown: None }
        }
        (_, _, _, Some(as_of)) => anew(config, as_of, args, output).await?,
        (_, _, _, None) => {
            let store = open(config, Need::Existing).await?;
            let found = latest(&store, args).await?;
            store.close().await;
            found
        }
    };
    changes::sort(&mut found.rows);
    if output.json() {
        found.rows.truncate(args.limit.unwrap_or(usize::MAX));
        output.document(&found.rows);
        return Ok(());
    }
    print(&found, args, output);
    Ok(())
}

/// What the latest decision about each account says.
async fn latest(store: &Store, args: &SignalsArgs) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut after: Option<AccountId> = None;
    let mut decided = false;
    loop {
        let page = store.account_ids(after.as_ref(), PAGE).await?;
        let Some(last) = page.last().cloned() else { break };
        for row in store.latest_decisions(&page).await?.into_values() {
            decided = true;
            let decision: Decision = read("decision", &row.output.text()?)?;
            found.take(Said::of(&decision), args);
        }
        after = Some(last);
    }
    if !decided {
        return Err(Failure::input(
            "nothing was decided yet: `perennial run --once`, or give a time with --as-of",
        ));
    }
    Ok(found)
}

/// What is said with what was known at a time.
async fn anew(config: &Config, as_of: Timestamp, args: &SignalsArgs, output: &Output) -> Result<Found, Failure> {
    let (_, policies) = content::compile(config)?;
    let store = open(config, Need::Existing).await?;
    let bar = progress_bar(output, "deciding");
    let mut found = Found::default();
    let mut take = |said: Vec<Said>| {
        bar.inc(said.len() as u64);
        said.into_iter().for_each(|said| found.take(said, args));
    };
    let policies = Arc::new(policies);
    let ended = crate::cycle::each_at(config, &store, &policies, as_of, Said::of, &mut take).await;
    bar.finish_and_clear();
    store.close().await;
    ended?;
    Ok(found)
}

fn print(found: &Found, args: &SignalsArgs, output: &Output) {
    let shown: Vec<&ChangeRow> = found
        .rows
        .iter()
        .filter(|r| r.state != Stand::Cleared || args.cleared || args.from.is_some())
        .collect();
    let limit = if args.all {
        usize::MAX
    } else {
        args.limit.unwrap_or(SHOWN)
    };
    output.table(
        &[
            "account",
            "revenue a year",
            "signal",
            "state",
            "since",
            "severity",
            "value",
            "who or what",
        ],
        shown.iter().take(limit).map(|r| cells(r)),
    );
    if shown.len() > limit {
        eprintln!("! the first {limit} of {}; --limit or --all shows more", shown.len());
    }
    let mut counts: BTreeMap<Detector, [u64; 3]> = BTreeMap::new();
    for row in &found.rows {
        let [active, cleared, _] = counts.entry(row.kind).or_default();
        let place = if row.state == Stand::Cleared { cleared } else { active };
        *place += 1;
    }
    for (detector, accounts) in found.unknown.iter().flatten() {
        let [_, _, unknown] = counts.entry(*detector).or_default();
        *unknown += accounts;
    }
    let (heading, mut header) = match found.unknown {
        Some(_) => ("accounts by detector", vec!["detector", "open", "cleared lately"]),
        None => ("episodes by detector", vec!["detector", "open at the end", "cleared"]),
    };
    if found.unknown.is_some() {
        header.push("cannot be judged");
    }
    output.heading(heading);
    output.table(
        &header,
        counts.iter().map(|(detector, count)| {
            std::iter::once(detector.as_str().replace('_', " "))
                .chain(count.iter().map(u64::to_string))
                .take(header.len())
                .collect()
        }),
    );
}

fn cells(row: &ChangeRow) -> Vec<String> {
    vec![
        row.account.as_str().to_owned(),
        amount(row.arr_minor, row.currency.map(Currency::code)),
        row.kind.as_str().replace('_', " "),
        row.state.as_str().to_owned(),
        row.opened_at.to_string(),
        format!("{:.2}", row.severity),
        format!("{:.2} {}", row.value, row.unit),
        row.subject.clone().unwrap_or_default(),
    ]
}
