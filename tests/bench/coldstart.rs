//! The cold-start curve with boosted trees beside it, on the simulated tenant and on the renewals of planted-42.
//!
//! `cargo bench -p perennial-tests --features boosted --bench coldstart -- [DRAWS] [ACCOUNTS]` prints log loss and AUC at 25 to
//! 800 labels of the scorecard, the scorecard with Platt scaling, the zero-mean logit, the prior-mean logit and gradient-boosted
//! trees (crate `forust-ml`: 300 trees of at most 15 leaves, learning rate .03, not tuned), all on the same draws, and the log loss of each less
//! that of the prior mean. By default 20 draws and 4,000 accounts. planted-42 is left out, out loud, where it is absent. The crate is an optional dependency
//! of the tests: the program never holds it.

use forust_ml::{GradientBooster, Matrix};
use perennial::config::Limits;
use perennial::content::{POLICIES, PROMPTS};
use perennial::measure::backtest::{GatherOptions, gather};
use perennial::measure::coldstart::simulated;
use perennial::simulate::{LEAD_WEEKS, SimulationOptions, simulate};
use perennial_core::backtest::{
    ColdstartModel, ColdstartReport, ColdstartTerms, DrawMean, Labelled, Rival, SIZES, coldstart_against, labelled,
};
use perennial_core::fit::{CannotEstimate, Floor};
use perennial_core::ids::TenantId;
use perennial_core::policy::{Content, Policies};
use perennial_core::score::sigmoid;
use perennial_store::Store;
use perennial_tests::{Database, data_set, run};

/// The program, to import the data set with.
const PROGRAM: &str = env!("CARGO_BIN_EXE_perennial-under-test");
/// Log loss in the specification's own worlds, by labels: prior mean, zero mean, scorecard with Platt, LightGBM.
const REFERENCE: [(usize, [Option<f64>; 4]); 6] = [
    (25, [Some(0.391), Some(0.438), Some(0.387), None]),
    (50, [Some(0.376), Some(0.409), Some(0.377), None]),
    (100, [Some(0.366), Some(0.384), Some(0.366), Some(0.568)]),
    (200, [Some(0.346), Some(0.348), Some(0.357), Some(0.437)]),
    (400, [Some(0.340), Some(0.341), Some(0.356), Some(0.377)]),
    (800, [Some(0.332), Some(0.331), Some(0.354), Some(0.345)]),
];

fn policies() -> Policies {
    let texts = |files: &[(&str, &str)]| {
        let text = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        files.iter().map(text).collect()
    };
    Policies::compile(&Content {
        policies: texts(POLICIES),
        prompts: texts(PROMPTS),
    })
    .expect("the shipped policies compile")
}

/// Values column by column, as the crate wants them.
fn columns(rows: &[&Labelled]) -> (Vec<f64>, usize) {
    let inputs = rows.first().map_or(0, |r| r.inputs.len());
    let column = |place: usize| rows.iter().map(move |r| r.inputs[place]);
    ((0..inputs).flat_map(column).collect(), inputs)
}

/// Boosted trees on the inputs of the risk policy. Without both outcomes among the labels there is nothing to learn: every
/// forecast is then the share of churn, half a count added on each side.
fn boosted(labels: &[&Labelled], tested: &[&Labelled]) -> Result<Vec<f64>, CannotEstimate> {
    let outcomes: Vec<f64> = labels.iter().map(|r| f64::from(u8::from(r.event))).collect();
    let churned: f64 = outcomes.iter().sum();
    if churned < 1.0 || churned >= outcomes.len() as f64 {
        let share = (churned + 0.5) / (outcomes.len() as f64 + 1.0);
        return Ok(vec![share; tested.len()]);
    }
    let (values, inputs) = columns(labels);
    let mut model = GradientBooster::default()
        .set_iterations(300)
        .set_learning_rate(0.03)
        .set_max_leaves(15)
        .set_parallel(false);
    model
        .fit_unweighted(&Matrix::new(&values, labels.len(), inputs), &outcomes, None)
        .expect("boosted trees learn");
    let (values, inputs) = columns(tested);
    let log_odds = model.predict(&Matrix::new(&values, tested.len(), inputs), false);
    Ok(log_odds.into_iter().map(sigmoid).collect())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |at: usize, or: u32| args.get(at).map_or(or, |a| a.parse().expect("a number"));
    let (draws, accounts) = (number(0, 20), number(1, 4_000));
    let policies = policies();
    let terms = ColdstartTerms {
        sizes: SIZES.to_vec(),
        draws,
        seed: 1,
        order: None,
        split: None,
        floor: Floor::default(),
        stated_churn: None,
    };
    let risk = &policies.scoring.risk;
    let rivals = [Rival {
        name: "boosted trees",
        learn: &boosted,
    }];
    let curve = |title: &str, rows: &[Labelled]| {
        println!("\n{title}");
        match coldstart_against(rows, risk, &terms, &rivals) {
            Ok(report) => print(&report),
            Err(why) => println!("cannot estimate: {why}"),
        }
    };
    let options = SimulationOptions {
        accounts,
        ..SimulationOptions::new(1)
    };
    let rows = simulated(&simulate(&options), &options, risk);
    curve(&format!("simulated tenant of {accounts} accounts"), &rows);
    if let Some(rows) = planted(&policies) {
        curve("planted-42, 13 weeks ahead", &rows);
    }
    println!("\nthe specification's own worlds, log loss: prior mean, zero mean, scorecard with Platt, LightGBM");
    for (labels, losses) in REFERENCE {
        let cells: Vec<String> = losses
            .iter()
            .map(|l| l.map_or_else(|| "  -  ".to_owned(), |l| format!("{l:.3}")))
            .collect();
        println!("{labels:>6}  {}", cells.join("  "));
    }
}

/// The renewals of planted-42 as they could be forecast; nothing where the data set is absent.
fn planted(policies: &Policies) -> Option<Vec<Labelled>> {
    let data = data_set("coldstart", "planted-42")?;
    let temp = tempfile::tempdir().expect("a folder");
    let db = Database::sqlite(temp.path());
    let mapping = perennial_tests::root().join("examples/mappings/planted.toml");
    let (data, mapping) = (data.display().to_string(), mapping.display().to_string());
    run(
        PROGRAM,
        temp.path(),
        &["import", &data, "--mapping", &mapping, "--db", &db.url],
    )
    .ok();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let lead_weeks = i64::try_from(LEAD_WEEKS).expect("few");
    let found = runtime.block_on(async {
        let url = db.url.parse().expect("an address");
        let limits = Limits::default().store();
        let store = Store::open(&url, TenantId::DEFAULT, &limits).await.expect("a store");
        let options = GatherOptions {
            leads_weeks: Vec::new(),
            main_lead_weeks: lead_weeks,
            grace_days: 30,
            as_of: "2026-11-02T00:00:00Z".parse().expect("a time"),
            accepted: Vec::new(),
        };
        gather(&store, policies, 500, &options, &mut |_| {})
            .await
            .expect("landmarks")
    });
    Some(labelled(&found.landmarks, lead_weeks))
}

fn print(report: &ColdstartReport) {
    println!(
        "{} renewals of {} accounts, {} churned; {:?}; {:.0} tested in a draw, {:.0} churned; {} draws",
        report.rows, report.accounts, report.events, report.order, report.tested, report.tested_events, report.draws
    );
    if let (Some(loss), Some(area)) = (report.truth_log_loss, report.truth_auc) {
        println!(
            "the true probabilities: log loss {:.4}, AUC {:.3}",
            loss.mean, area.mean
        );
    }
    let table = |title: &str, cell: &dyn Fn(&ColdstartModel) -> String| {
        println!("{title}");
        for size in &report.sizes {
            match &size.cannot_estimate {
                Some(why) => println!("{:>6}  cannot estimate: {why}", size.labels),
                None => {
                    let cells: Vec<String> = size.models.iter().map(cell).collect();
                    println!("{:>6}  {}", size.labels, cells.join("  "));
                }
            }
        }
    };
    let names = report.sizes.iter().find(|s| s.cannot_estimate.is_none());
    let names: Vec<&str> = names
        .map(|s| s.models.iter().map(|m| m.model).collect())
        .unwrap_or_default();
    println!("labels  {}", names.join(", "));
    let se = |m: DrawMean| m.se.unwrap_or(f64::NAN);
    table("log loss", &|m| format!("{:.4}", m.log_loss.mean));
    table("AUC", &|m| format!("{:.3}", m.auc.mean));
    table(
        "log loss less that of the prior mean (standard error over draws)",
        &|m| {
            let vs = m.log_loss_vs_prior_mean;
            format!("{:+.4} ({:.4})", vs.mean, se(vs))
        },
    );
}
