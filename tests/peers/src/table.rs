//! The table of all rows, with what each system guarantees, and the goals.

use std::collections::BTreeMap;
use std::path::Path;

use crate::goals;
use crate::row::Row;

/// What a system promises about one job, in the words of the table's head.
struct Promise {
    system: &'static str,
    /// Whether it is stored before the work begins that it will be done, and by whose permission.
    intent: &'static str,
    /// What is stored about what the work brought.
    receipt: &'static str,
    order: &'static str,
    key: &'static str,
    ledger: &'static str,
}

const PROMISES: &[Promise] = &[
    Promise {
        system: "Perennial",
        intent: "with its permit, in the decision's transaction",
        receipt: "answer and before-image",
        order: "yes, and tool",
        key: "one per effect; looked up before it is sent again",
        ledger: "hash chain",
    },
    Promise {
        system: "dbos (Rust)",
        intent: "workflow row, no permit",
        receipt: "result of the step",
        order: "only through its queue",
        key: "id of the workflow; a step may run again",
        ledger: "no",
    },
    Promise {
        system: "durare",
        intent: "workflow row, no permit",
        receipt: "result of the step",
        order: "only through its queue",
        key: "id of the workflow; a step may run again",
        ledger: "no",
    },
    Promise {
        system: "Restate",
        intent: "journal, no permit",
        receipt: "result of the step",
        order: "with an object for each",
        key: "of the call; a step may run again",
        ledger: "no (its journal is kept a day)",
    },
    Promise {
        system: "apalis-sqlite",
        intent: "job row",
        receipt: "result of the job",
        order: "no",
        key: "of the job; it may run again",
        ledger: "no",
    },
    Promise {
        system: "apalis-postgres",
        intent: "job row",
        receipt: "result of the job",
        order: "no",
        key: "of the job; it may run again",
        ledger: "no",
    },
    Promise {
        system: "graphile_worker (Rust)",
        intent: "job row",
        receipt: "none: the row is deleted",
        order: "with a queue for each",
        key: "of a waiting job; it may run again",
        ledger: "no",
    },
    Promise {
        system: "graphile-worker (Node)",
        intent: "job row",
        receipt: "none: the row is deleted",
        order: "with a queue for each",
        key: "of a waiting job; it may run again",
        ledger: "no",
    },
    Promise {
        system: "pg-boss",
        intent: "job row",
        receipt: "state of the job",
        order: "not measured",
        key: "of a waiting job; it may run again",
        ledger: "no",
    },
];

/// Prints what a file of rows holds.
pub fn print(file: &Path) {
    let text = std::fs::read_to_string(file).expect("a file of rows");
    let rows: Vec<Row> = text
        .lines()
        .enumerate()
        .map(|(n, line)| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{}:{}: {error}", file.display(), n + 1))
        })
        .collect();
    println!(
        "| system | version | on | work | workers | a second | intent before | receipt | order by account | key | ledger |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for row in rows.iter().filter(|row| row.unit == "/s" || row.value.is_none()) {
        println!("{}", line(row));
    }
    println!();
    println!("| goal | wanted | found | |\n|---|---|---|---|");
    let figures = figures(&rows);
    for goal in goals::all(&figures) {
        println!("{goal}");
    }
}

/// The best figure of each arm: the highest rate, and of anything else the only one.
fn figures(rows: &[Row]) -> BTreeMap<&str, f64> {
    let mut best: BTreeMap<&str, f64> = BTreeMap::new();
    for (arm, value) in rows.iter().filter_map(|row| Some((row.arm.as_str(), row.value?))) {
        best.entry(arm)
            .and_modify(|best| *best = best.max(value))
            .or_insert(value);
    }
    best
}

fn line(row: &Row) -> String {
    let figure = row.value.map_or_else(|| format!("none: {}", row.note), grouped);
    let promise = PROMISES.iter().find(|promise| promise.system == row.system);
    let promise = match (promise, row.unit.as_str(), row.arm.ends_with(".raw")) {
        (Some(p), "/s", false) => [p.intent, p.receipt, p.order, p.key, p.ledger],
        _ => ["", "", "", "", ""],
    };
    format!(
        "| {} | {} | {} | {} | {} | {figure} | {} |",
        row.system,
        row.version,
        row.on,
        row.work,
        row.workers,
        promise.join(" | ")
    )
}

/// A rate as people read it.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_an_arm_counts_and_numbers_are_grouped() {
        let row = |arm: &str, value: Option<f64>| Row {
            arm: arm.to_owned(),
            system: "dbos (Rust)".to_owned(),
            version: "1".to_owned(),
            on: "PostgreSQL".to_owned(),
            work: "work".to_owned(),
            workers: "1".to_owned(),
            value,
            unit: "/s".to_owned(),
            note: "not there".to_owned(),
        };
        let rows = [row("a", Some(1_234_567.4)), row("a", Some(9.0)), row("b", None)];
        assert_eq!(figures(&rows), BTreeMap::from([("a", 1_234_567.4)]));
        assert!(
            line(&rows[0]).contains("| 1,234,567 | workflow row, no permit |"),
            "{}",
            line(&rows[0])
        );
        assert!(line(&rows[2]).contains("| none: not there |"), "{}", line(&rows[2]));
    }
}
