//! The usage drop on a data set of another maker, and by the way that real data takes: as many alarms as the limits
//! promise, and few from holidays.

use std::collections::{BTreeMap, BTreeSet};

use perennial::measure::detect::{HELD_OUT, write_tenant};
use perennial::simulate::SimulationOptions;
use perennial_core::detect::{LogOdds, PeerAdjusted, Peers, alarms, log_odds};
use perennial_core::time::Day;
use perennial_tests::{Database, data_set, run};

use crate::PROGRAM;

/// False alarms an account and year, recall within six weeks, and the share of false alarms in or right after holidays.
struct Judged {
    rate: f64,
    recall: f64,
    holidays: f64,
}

/// Log odds, and whether the champion was seen, by week.
type Account = (LogOdds, Vec<Option<bool>>);

fn read(folder: &std::path::Path) -> BTreeMap<String, Account> {
    const WEEKS: usize = 131;
    let first: Day = "2024-05-06".parse().unwrap();
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    let mut rows = csv::Reader::from_path(folder.join("usage_weekly.csv")).unwrap();
    for row in rows.records() {
        let row = row.unwrap();
        let week = usize::try_from(first.days_until(row[1].parse().unwrap()) / 7).unwrap();
        let account = accounts.entry(row[0].to_owned()).or_insert_with(|| {
            let weeks = vec![None; WEEKS];
            (LogOdds { first, weeks }, vec![None; WEEKS])
        });
        let (seats, active): (f64, f64) = (row[2].parse().unwrap(), row[3].parse().unwrap());
        account.0.weeks[week] = Some(log_odds(active, seats));
        account.1[week] = Some(&row[6] == "1");
    }
    accounts
}

/// First weeks in which the champion is gone, for four weeks or longer.
fn departures(seen: &[Option<bool>]) -> Vec<usize> {
    (1..seen.len().saturating_sub(3))
        .filter(|week| seen[week - 1] == Some(true) && seen[*week..week + 4].iter().all(|s| *s == Some(false)))
        .collect()
}

fn judge(accounts: &BTreeMap<String, Account>, peers: &Peers, limit: f64) -> Judged {
    const FIRST: usize = 44;
    let (mut false_alarms, mut in_holidays, mut weeks, mut found, mut all) = (0, 0, 0, 0, 0);
    for (series, seen) in accounts.values() {
        let raised: Vec<usize> = alarms(&PeerAdjusted::of(&series.into(), peers), limit)
            .into_iter()
            .map(|monday| usize::try_from(series.first.days_until(monday) / 7).unwrap())
            .filter(|week| *week >= FIRST)
            .collect();
        let gone = departures(seen);
        for week in gone.iter().filter(|w| **w >= FIRST + 2 && **w + 6 < seen.len()) {
            all += 1;
            found += usize::from(raised.iter().any(|a| (*week..=week + 6).contains(a)));
        }
        weeks += series.weeks[FIRST..].iter().flatten().count();
        for alarm in raised
            .iter()
            .filter(|a| !gone.iter().any(|w| (*w..=w + 12).contains(a)))
        {
            false_alarms += 1;
            // The holiday weeks of the set and the two after them.
            in_holidays += usize::from([33_usize, 85].iter().any(|h| (*h..h + 4).contains(alarm)));
        }
    }
    Judged {
        rate: f64::from(false_alarms) * 52.0 / weeks as f64,
        recall: found as f64 / f64::from(all),
        holidays: in_holidays as f64 / f64::from(false_alarms),
    }
}

#[test]
fn the_limits_bring_the_false_alarms_they_promise_on_a_tenant_of_another_maker() {
    let test = "the_limits_bring_the_false_alarms_they_promise_on_a_tenant_of_another_maker";
    let Some(folder) = data_set(test, "planted-42") else {
        return;
    };
    let accounts = read(&folder);
    let series: Vec<LogOdds> = accounts.values().map(|a| a.0.clone()).collect();
    let first = series[0].first;
    let peers = Peers::of(&series, first, first.plus(7 * 131));
    for (limit, rate, recall) in [(-0.89, 0.25, 0.55), (-0.74, 0.5, 0.65), (-0.57, 1.0, 0.72)] {
        let judged = judge(&accounts, &peers, limit);
        println!(
            "limit {limit}: {:.3} a year, recall {:.3}, holidays {:.3}",
            judged.rate, judged.recall, judged.holidays
        );
        assert!((0.8..1.2).contains(&(judged.rate / rate)), "{} at {limit}", judged.rate);
        assert!(judged.recall >= recall, "{} at {limit}", judged.recall);
        assert!(judged.holidays <= 0.10, "{} at {limit}", judged.holidays);
    }
}

/// Weeks of use of an exported tenant by account, the first and the last with a row.
fn spans(folder: &std::path::Path, first: Day) -> BTreeMap<String, (i64, i64)> {
    let mut spans = BTreeMap::new();
    for row in csv::Reader::from_path(folder.join("usage_weekly.csv"))
        .unwrap()
        .records()
    {
        let row = row.unwrap();
        let week = first.days_until(row[1].parse().unwrap()) / 7;
        let span = spans.entry(row[0].to_owned()).or_insert((week, week));
        span.1 = week;
    }
    spans
}

#[test]
fn a_history_run_over_exported_tables_finds_the_planted_departures() {
    const ACCOUNTS: u32 = 120;
    const FROM: i64 = 52;
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("tenant");
    let options = SimulationOptions {
        accounts: ACCOUNTS,
        ..SimulationOptions::new(HELD_OUT + 50)
    };
    write_tenant(&folder, &options).unwrap();
    let db = Database::sqlite(temp.path());
    let mapping = perennial_tests::root().join("examples/mappings/planted.toml");
    let (data, mapping) = (folder.display().to_string(), mapping.display().to_string());
    let import = ["import", &data, "--mapping", &mapping, "--db", &db.url];
    run(PROGRAM, temp.path(), &import).ok();
    // A step on each Monday, which sees the week that is over.
    let (from, to) = (
        options.monday(FROM as usize).to_string(),
        options.monday(130).to_string(),
    );
    let walk = [
        "signals",
        "--json",
        "--detector",
        "usage_drop",
        "--from",
        &from,
        "--to",
        &to,
    ];
    let args: Vec<&str> = walk.into_iter().chain(["--every", "7d", "--db", &db.url]).collect();
    let signals = run(PROGRAM, temp.path(), &args).ok().json();
    let mut alarms: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for signal in signals.as_array().unwrap() {
        let sum: i64 = signal["parts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["value_micro"].as_i64().unwrap())
            .sum();
        assert!(
            (signal["value"].as_f64().unwrap() - sum as f64 / 1e6).abs() < 1e-9,
            "{signal}"
        );
        let opened: Day = signal["opened_at"].as_str().unwrap().parse().unwrap();
        let week = options.first.days_until(opened) / 7 - 1;
        // What was open when the walk began opened before it.
        if week >= FROM {
            alarms
                .entry(signal["account"].as_str().unwrap())
                .or_default()
                .insert(week);
        }
    }
    let spans = spans(&folder, options.first);
    let mut departures: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in csv::Reader::from_path(folder.join("truth.csv")).unwrap().records() {
        let row = row.unwrap();
        let week = options.first.days_until(row[1].parse().unwrap()) / 7;
        departures.entry(row[0].to_owned()).or_default().push(week);
    }
    let (mut all, mut found, mut false_alarms, mut weeks) = (0, 0, 0, 0);
    for (account, (first, last)) in &spans {
        let raised = alarms.remove(account.as_str()).unwrap_or_default();
        let gone = departures.remove(account).unwrap_or_default();
        for week in gone.iter().filter(|w| **w >= FROM.max(first + 16) && **w + 6 <= *last) {
            all += 1;
            found += usize::from(raised.range(week..=&(week + 6)).next().is_some());
        }
        let explained = |alarm: &i64| gone.iter().any(|week| (*week..=week + 12).contains(alarm));
        false_alarms += raised.iter().filter(|alarm| !explained(alarm)).count();
        weeks += (last - FROM.max(first + 16)).max(0);
    }
    let (recall, rate) = (found as f64 / all as f64, false_alarms as f64 * 52.0 / weeks as f64);
    println!(
        "{found} of {all} departures found ({recall:.3}), {false_alarms} false alarms ({rate:.3} an account and year)"
    );
    assert!(alarms.is_empty(), "signals of accounts that are not there: {alarms:?}");
    assert!(all >= 20 && recall >= 0.8, "{found} of {all}");
    assert!((0.2..0.65).contains(&rate), "{rate}");
}
