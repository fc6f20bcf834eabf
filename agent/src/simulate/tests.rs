//! The history is repeatable, and shows what was planted.

use super::*;

fn mean_log_odds(account: &SimulatedAccount, weeks: std::ops::Range<usize>) -> Option<f64> {
    let known: Vec<f64> = weeks
        .filter_map(|w| account.usage.get(w).copied().flatten())
        .map(|w| perennial_core::detect::log_odds(w.active_users as f64, w.seats as f64))
        .collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

#[test]
fn the_same_seed_gives_the_same_history_and_another_seed_another() {
    let small = |seed| SimulationOptions {
        accounts: 20,
        ..SimulationOptions::new(seed)
    };
    assert_eq!(simulate(&small(1)), simulate(&small(1)));
    assert_ne!(simulate(&small(1)), simulate(&small(2)));
    // An account is the same in a larger tenant.
    let larger = SimulationOptions {
        accounts: 30,
        ..SimulationOptions::new(1)
    };
    assert_eq!(simulate(&small(1)).accounts, simulate(&larger).accounts[..20]);
}

#[test]
fn the_history_has_the_shape_of_a_tenant_and_shows_what_was_planted() {
    let simulation = simulate(&SimulationOptions::new(7));
    let count = |segment| simulation.accounts.iter().filter(|a| a.segment == segment).count();
    assert!((380..480).contains(&count(Segment::Smb)) && (50..130).contains(&count(Segment::Ent)));
    // Two weeks a year, 130 weeks from May: two turns of the year.
    assert_eq!(simulation.holidays.iter().filter(|h| **h).count(), 4);
    let gaps = simulation.accounts.iter().filter(|a| {
        let first = a.usage.iter().position(Option::is_some).unwrap_or(0);
        a.usage[first..].iter().any(Option::is_none)
    });
    assert!((10..50).contains(&gaps.count()));
    let departures: usize = simulation.accounts.iter().map(|a| a.departures.len()).sum();
    assert!((150..450).contains(&departures), "{departures}");
    let mut fall = Vec::new();
    for account in &simulation.accounts {
        for d in account.departures.iter().filter(|d| d.week > 12) {
            assert!(account.usage[d.week].is_none_or(|w| !w.champion_seen));
            let before = mean_log_odds(account, d.week - 8..d.week);
            let after = mean_log_odds(account, d.week..d.week + 3);
            fall.extend(before.zip(after).map(|(b, a)| a - b));
        }
    }
    let mean = fall.iter().sum::<f64>() / fall.len() as f64;
    assert!((-1.2..-0.7).contains(&mean), "{mean}");
}
