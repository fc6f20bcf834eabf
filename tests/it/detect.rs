//! The usage drop on a data set of another maker: as many alarms as the limits promise, and none from holidays.

use std::collections::BTreeMap;

use perennial_core::detect::{LogOdds, Peers, alarms, log_odds};
use perennial_core::time::Day;
use perennial_tests::data_set;

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
        let raised: Vec<usize> = alarms(series, peers, limit)
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
