//! The goals of durable execution, as ratios within one run.

use std::collections::BTreeMap;

use crate::table::grouped;

/// Figures by the name of their arm.
type Figures<'a> = BTreeMap<&'a str, f64>;

/// How a goal is met.
#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

struct Goal {
    what: &'static str,
    wanted: Wanted,
    unit: &'static str,
    /// The figure, and what it was made of.
    found: fn(&Figures<'_>) -> Option<(f64, String)>,
}

/// Ours against another's: the goal's own reading takes all of our work, from the decision's commit to the outcome.
fn against(figures: &Figures<'_>, ours: &str, theirs: &str) -> Option<(f64, String)> {
    let (ours, theirs) = (*figures.get(ours)?, *figures.get(theirs)?);
    Some((ours / theirs, format!("{} to {}", grouped(ours), grouped(theirs))))
}

fn alone(figures: &Figures<'_>, arm: &str) -> Option<(f64, String)> {
    Some((*figures.get(arm)?, String::new()))
}

const GOALS: &[Goal] = &[
    Goal {
        what: "SQLite full, intent and outcome, to durare",
        wanted: Wanted::AtLeast(15.0),
        unit: "x",
        found: |f| against(f, "ours.sqlite", "durare.sqlite"),
    },
    Goal {
        what: "SQLite full, 20,000 waiting, to apalis-sqlite",
        wanted: Wanted::AtLeast(100.0),
        unit: "x",
        found: |f| against(f, "ours.sqlite.waiting.20000", "apalis.sqlite.20000"),
    },
    Goal {
        what: "SQLite full, one by one (lease, outcome), of half the raw commits",
        wanted: Wanted::AtLeast(70.0),
        unit: " %",
        found: |f| {
            let (ours, half) = (*f.get("ours.sqlite.single")?, *f.get("ours.sqlite.raw")? / 2.0);
            Some((ours / half * 100.0, format!("{} of {}", grouped(ours), grouped(half))))
        },
    },
    Goal {
        what: "SQLite, most waiting (1,000,000 by default) to 3,000 waiting",
        wanted: Wanted::AtLeast(0.8),
        unit: "x",
        found: |f| against(f, "ours.sqlite.waiting.most", "ours.sqlite.waiting.3000"),
    },
    Goal {
        what: "PostgreSQL, the same",
        wanted: Wanted::AtLeast(0.8),
        unit: "x",
        found: |f| against(f, "ours.postgres.waiting.most", "ours.postgres.waiting.3000"),
    },
    Goal {
        what: "PostgreSQL, order by account, intent and outcome, to dbos",
        wanted: Wanted::AtLeast(15.0),
        unit: "x",
        found: |f| against(f, "ours.postgres", "dbos"),
    },
    Goal {
        what: "the same to Restate",
        wanted: Wanted::AtLeast(10.0),
        unit: "x",
        found: |f| against(f, "ours.postgres", "restate"),
    },
    Goal {
        what: "the same to graphile_worker with its local queue",
        wanted: Wanted::AtLeast(1.0),
        unit: "x",
        found: |f| against(f, "ours.postgres", "graphile_rs.local"),
    },
    Goal {
        what: "lease and outcome alone to graphile_worker, one queue an account (no goal)",
        wanted: Wanted::AtLeast(0.0),
        unit: "x",
        found: |f| against(f, "ours.postgres.drain", "graphile_rs.ordered"),
    },
    Goal {
        what: "one action to its committed intent, idle, PostgreSQL, p99",
        wanted: Wanted::AtMost(2.0),
        unit: " ms",
        found: |f| alone(f, "ours.postgres.intent.p99"),
    },
    Goal {
        what: "the same on SQLite",
        wanted: Wanted::AtMost(2.0),
        unit: " ms",
        found: |f| alone(f, "ours.sqlite.intent.p99"),
    },
    Goal {
        what: "kill -9 to the account's next effect, longest",
        wanted: Wanted::AtMost(3.0),
        unit: " s",
        found: |f| alone(f, "ours.crash"),
    },
    Goal {
        what: "8 workers, one limit of calls: calls above it",
        wanted: Wanted::AtMost(0.0),
        unit: "",
        found: |f| alone(f, "ours.limit.above"),
    },
    Goal {
        what: "the same: share of it that was used",
        wanted: Wanted::AtLeast(95.0),
        unit: " %",
        found: |f| alone(f, "ours.limit.used"),
    },
    Goal {
        what: "others' p99 beside a tenant with 100,000 waiting, to their solo, calls of 50 ms",
        wanted: Wanted::AtMost(2.0),
        unit: "x",
        found: |f| {
            let (beside, solo) = (*f.get("ours.tenants.beside.50")?, *f.get("ours.tenants.solo.50")?);
            Some((beside / solo, format!("{beside:.1} ms to {solo:.1} ms")))
        },
    },
    Goal {
        what: "the same, calls that take no time",
        wanted: Wanted::AtMost(2.0),
        unit: "x",
        found: |f| {
            let (beside, solo) = (*f.get("ours.tenants.beside.0")?, *f.get("ours.tenants.solo.0")?);
            Some((beside / solo, format!("{beside:.1} ms to {solo:.1} ms")))
        },
    },
    Goal {
        what: "memory of a worker for one of the parked approvals",
        wanted: Wanted::AtMost(1.0),
        unit: " bytes",
        found: |f| alone(f, "ours.parked.bytes"),
    },
    Goal {
        what: "beside them: from a yes, its checks included, to the call, p99",
        wanted: Wanted::AtMost(10.0),
        unit: " ms",
        found: |f| alone(f, "ours.parked.yes.p99"),
    },
    Goal {
        what: "beside them: from the committed yes to the call, p99",
        wanted: Wanted::AtMost(10.0),
        unit: " ms",
        found: |f| alone(f, "ours.parked.start.p99"),
    },
    Goal {
        what: "beside them: other actions of the same accounts that were carried out",
        wanted: Wanted::AtLeast(100.0),
        unit: " %",
        found: |f| alone(f, "ours.parked.others"),
    },
];

/// Lines of the table of goals.
pub fn all(figures: &Figures<'_>) -> Vec<String> {
    GOALS.iter().map(|goal| line(goal, figures)).collect()
}

fn line(goal: &Goal, figures: &Figures<'_>) -> String {
    let unit = goal.unit;
    let (word, most) = match goal.wanted {
        Wanted::AtLeast(least) => ("at least", least),
        Wanted::AtMost(most) => ("at most", most),
    };
    let (found, met) = match (goal.found)(figures) {
        None => ("not measured".to_owned(), ""),
        Some((found, of)) => {
            let met = match goal.wanted {
                Wanted::AtLeast(least) => found >= least,
                Wanted::AtMost(most) => found <= most,
            };
            let of = if of.is_empty() { of } else { format!(" ({of})") };
            (format!("{found:.2}{unit}{of}"), if met { "met" } else { "missed" })
        }
    };
    let (wanted, met) = match goal.wanted {
        Wanted::AtLeast(0.0) => ("none".to_owned(), ""),
        _ => (format!("{word} {most}{unit}"), met),
    };
    format!("| {} | {wanted} | {found} | {met} |", goal.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let figures = BTreeMap::from([
            ("ours.sqlite", 30_000.0),
            ("durare.sqlite", 1_500.0),
            ("ours.crash", 3.1),
        ]);
        let lines = all(&figures);
        assert!(
            lines[0].ends_with("| at least 15x | 20.00x (30,000 to 1,500) | met |"),
            "{}",
            lines[0]
        );
        let crash = lines.iter().find(|line| line.contains("kill -9")).expect("a line");
        assert!(crash.ends_with("| at most 3 s | 3.10 s | missed |"), "{crash}");
        assert!(lines[5].ends_with("| at least 15x | not measured |  |"), "{}", lines[5]);
    }
}
