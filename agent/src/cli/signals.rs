//! `perennial signals`: what has changed, at which accounts, since when.

use std::collections::BTreeMap;

use perennial_core::decide::Decision;
use perennial_core::detect::{Detection, Detector, Episode, State};
use perennial_core::ids::AccountId;
use perennial_core::replay::read;
use perennial_store::Store;
use serde_json::{Value, json};

use super::output::{Need, amount, open};
use super::{Failure, Output};
use crate::config::Config;

/// Accounts read at once.
const PAGE: u32 = 500;

#[derive(Debug, clap::Args)]
pub(super) struct SignalsArgs {
    /// Only this detector, such as usage_drop; may be given several times
    #[arg(long, value_parser = detector_argument)]
    detector: Vec<Detector>,
    /// Only accounts of this person
    #[arg(long)]
    owner: Option<String>,
    /// Also what has cleared lately
    #[arg(long)]
    cleared: bool,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

fn detector_argument(word: &str) -> Result<Detector, String> {
    Detector::from_word(word).ok_or_else(|| {
        let known: Vec<&str> = Detector::ALL.iter().map(|d| d.as_str()).collect();
        format!("detectors are {}", known.join(", "))
    })
}

struct Line {
    account: AccountId,
    arr_minor: Option<i64>,
    detector: Detector,
    state: &'static str,
    cells: Vec<String>,
    json: Value,
}

/// How many accounts each detector found, cleared, and could not judge.
#[derive(Debug, Default, Clone, serde::Serialize)]
struct Count {
    active: u64,
    cleared: u64,
    unknown: u64,
}

pub(super) async fn signals(config: &Config, args: &SignalsArgs, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let (mut lines, counts) = collect(&store, args).await?;
    store.close().await;
    // What is confirmed comes before what is new, the largest account first.
    lines.sort_by(|a, b| {
        a.state
            .cmp(b.state)
            .then_with(|| b.arr_minor.cmp(&a.arr_minor))
            .then_with(|| (&a.account, a.detector).cmp(&(&b.account, b.detector)))
    });
    let total = lines.len();
    lines.truncate(args.limit);
    if output.json() {
        let detectors: BTreeMap<&str, &Count> = counts.iter().map(|(d, c)| (d.as_str(), c)).collect();
        let lines: Vec<Value> = lines.into_iter().map(|l| l.json).collect();
        output.document(&json!({ "signals": lines, "total": total, "detectors": detectors }));
        return Ok(());
    }
    output.table(
        &[
            "account",
            "revenue a year",
            "signal",
            "state",
            "since",
            "value",
            "who or what",
        ],
        lines.into_iter().map(|l| l.cells),
    );
    if total > args.limit {
        eprintln!("! the first {} of {total}; --limit shows more", args.limit);
    }
    output.heading("accounts by detector");
    output.table(
        &["detector", "open", "cleared lately", "cannot be judged"],
        counts.iter().map(|(detector, count)| {
            vec![
                detector.as_str().replace('_', " "),
                count.active.to_string(),
                count.cleared.to_string(),
                count.unknown.to_string(),
            ]
        }),
    );
    Ok(())
}

async fn collect(store: &Store, args: &SignalsArgs) -> Result<(Vec<Line>, BTreeMap<Detector, Count>), Failure> {
    let (mut lines, mut counts): (Vec<Line>, BTreeMap<Detector, Count>) = (Vec::new(), BTreeMap::new());
    let wanted = |detector: Detector| args.detector.is_empty() || args.detector.contains(&detector);
    let mut after: Option<AccountId> = None;
    let mut decided = false;
    loop {
        let page = store.account_ids(after.as_ref(), PAGE).await?;
        let Some(last) = page.last().cloned() else { break };
        for (id, row) in store.latest_decisions(&page).await? {
            decided = true;
            let d: Decision = read("decision", &row.output.text()?)?;
            if args.owner.is_some() && d.owner.as_ref().map(|o| o.as_str()) != args.owner.as_deref() {
                continue;
            }
            for found in d.signals.iter().filter(|s| wanted(s.detector)) {
                let count = counts.entry(found.detector).or_default();
                let (state, episode) = match &found.state {
                    State::Confirmed(episode) => ("confirmed", episode),
                    State::Open(episode) => ("open", episode),
                    State::Cleared(episode) => ("past", episode),
                    State::Unknown { .. } => {
                        count.unknown += 1;
                        continue;
                    }
                };
                if state == "past" {
                    count.cleared += 1;
                } else {
                    count.active += 1;
                }
                if state != "past" || args.cleared {
                    lines.push(line(&id, &d, found, state, episode));
                }
            }
        }
        after = Some(last);
    }
    if !decided {
        return Err(Failure::input("nothing was decided yet: `perennial run --once`"));
    }
    Ok((lines, counts))
}

fn line(id: &AccountId, d: &Decision, found: &Detection, state: &'static str, episode: &Episode) -> Line {
    let arr = d.features.money("arr");
    let shown = if state == "past" { "cleared" } else { state };
    Line {
        account: id.clone(),
        arr_minor: arr.map(|a| a.minor),
        detector: found.detector,
        state,
        cells: vec![
            id.as_str().to_owned(),
            amount(arr.map(|a| a.minor), arr.map(|a| a.currency.code())),
            found.detector.as_str().replace('_', " "),
            shown.to_owned(),
            episode.opened.to_string(),
            format!("{} {}", episode.value_micro.display(2), found.detector.unit()),
            episode.subject.clone().unwrap_or_default(),
        ],
        json: json!({
            "account": id,
            "owner": d.owner,
            "arr_minor": arr.map(|a| a.minor),
            "as_of": d.as_of,
            "signal": found,
        }),
    }
}
