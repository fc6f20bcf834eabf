//! How fast an import is, printed when asked for by PERENNIAL_SPEED=ROWS; never a reason to fail.

use std::fmt::Write as _;

use super::{Bench, sums};

#[tokio::test(flavor = "multi_thread")]
async fn rows_a_second() {
    let Some(rows) = std::env::var("PERENNIAL_SPEED")
        .ok()
        .and_then(|rows| rows.parse::<u64>().ok())
    else {
        println!("skipped: rows_a_second: set PERENNIAL_SPEED to a number of rows");
        return;
    };
    let mut text = "account_id,week,seats,active,events\n".to_owned();
    for row in 0..rows {
        let (account, week) = (row / 100, row % 100);
        let day = perennial_core::time::Day::from_number(19_723).plus(7 * i64::try_from(week).unwrap_or(0));
        let _ = writeln!(
            text,
            "ACC-{account:07},{day},{},{},{}",
            10 + row % 90,
            row % 77,
            row % 1_013
        );
    }
    let bench = Bench::new(&[("usage.csv", text.as_bytes())]);
    let mapping = "source = \"speed\"\n[[file]]\npath = \"usage.csv\"\nkind = \"usage\"\nkey = [\"account_id\", \"week\"]\n\
                   account = \"account_id\"\n[file.usage]\ngrain = \"week\"\nstart = \"week\"\n\
                   values = { seats = \"seats\", active_users = \"active\", core_events = \"events\" }\n";
    let store = bench.store().await;
    for what in ["first", "again"] {
        #[expect(clippy::disallowed_methods, reason = "a measurement that decides nothing")]
        let started = std::time::Instant::now();
        let report = bench.import_into(&store, mapping).await.expect("an import");
        let seconds = started.elapsed().as_secs_f64();
        assert_eq!(sums(&report).0, rows);
        println!(
            "{what}: {rows} rows in {seconds:.2} s: {:.0} rows/s",
            rows as f64 / seconds
        );
    }
}
