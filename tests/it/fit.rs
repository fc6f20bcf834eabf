//! Fitted risk on data that others publish figures for, and the back-test as a person runs it.

use std::fmt::Write as _;
use std::path::Path;

use perennial_core::fit::{
    Calibrator, Floor, Forecast, Hazard, Prior, Spell, Table, auc, base_rate, calibration, constant, fit,
    fit_by_evidence, fold, kaplan_meier, log_loss, log_rank, person_periods,
};
use perennial_core::score::sigmoid;
use perennial_tests::{Database, Said, data_set, run};

use crate::PROGRAM;

/// One customer of the Telco sample.
struct Customer {
    id: String,
    tenure: f64,
    monthly: f64,
    total: f64,
    churned: bool,
    /// Every other column, by its name in the header.
    words: std::collections::BTreeMap<String, String>,
}

impl Customer {
    fn is(&self, column: &str, word: &str) -> f64 {
        if self.words[column] == word { 1.0 } else { 0.0 }
    }
}

fn telco(test: &str) -> Option<Vec<Customer>> {
    let file = data_set(test, "telco")?.join("telco_train.csv");
    let mut reader = csv::Reader::from_path(file).unwrap();
    let header = reader.headers().unwrap().clone();
    Some(
        reader
            .records()
            .map(|record| {
                let record = record.unwrap();
                let words: std::collections::BTreeMap<String, String> = header
                    .iter()
                    .zip(record.iter())
                    .map(|(name, word)| (name.to_owned(), word.to_owned()))
                    .collect();
                Customer {
                    id: words["customerID"].clone(),
                    tenure: words["tenure"].parse().unwrap(),
                    monthly: words["MonthlyCharges"].parse().unwrap(),
                    // Blank for customers of the first month, who have paid nothing yet.
                    total: words["TotalCharges"].trim().parse().unwrap_or(0.0),
                    churned: words["Churn"] == "Yes",
                    words,
                }
            })
            .collect(),
    )
}

#[track_caller]
fn near(found: f64, wanted: f64, digits: i32) {
    let half = 0.5 * 10_f64.powi(-digits);
    assert!((found - wanted).abs() <= half * 1.000_001, "{found} is not {wanted}");
}

fn spells(customers: &[&Customer]) -> Vec<Spell> {
    customers
        .iter()
        .map(|c| Spell {
            periods: c.tenure as u32,
            event: c.churned,
        })
        .collect()
}

#[test]
fn survival_of_the_telco_customers_is_the_published_one() {
    let Some(all) = telco("survival_of_the_telco_customers_is_the_published_one") else {
        return;
    };
    let seen: Vec<&Customer> = all.iter().filter(|c| c.tenure > 0.0).collect();
    let curve = kaplan_meier(&spells(&seen)).unwrap();
    assert_eq!((curve.rows, curve.events), (4_987, 1_312));
    for (month, share) in [
        (1, 0.948_466),
        (6, 0.887_386),
        (12, 0.846_309),
        (24, 0.792_209),
        (36, 0.750_460),
        (48, 0.708_696),
        (60, 0.663_872),
        (72, 0.601_094),
    ] {
        near(curve.at(month).unwrap(), share, 6);
    }
    let (monthly, rest): (Vec<&Customer>, Vec<&Customer>) =
        seen.iter().partition(|c| c.is("Contract", "Month-to-month") > 0.0);
    let curve = kaplan_meier(&spells(&monthly)).unwrap();
    near(curve.at(12).unwrap(), 0.708_488, 6);
    near(curve.at(24).unwrap(), 0.594_633, 6);
    assert_eq!(curve.median(), Ok(36));
    near(log_rank(&spells(&monthly), &spells(&rest)).unwrap(), 1621.9554, 4);
}

/// An input of a test, not a result that is stored: six digits are compared.
#[allow(clippy::disallowed_methods)]
fn log(month: u32) -> f64 {
    f64::from(month).ln()
}

#[test]
fn the_monthly_hazard_of_the_telco_customers_is_the_published_one() {
    let Some(all) = telco("the_monthly_hazard_of_the_telco_customers_is_the_published_one") else {
        return;
    };
    let seen: Vec<&Customer> = all.iter().filter(|c| c.tenure > 0.0).collect();
    let fixed: Vec<[f64; 5]> = seen
        .iter()
        .map(|c| {
            [
                c.is("Contract", "One year"),
                c.is("Contract", "Two year"),
                c.is("InternetService", "Fiber optic"),
                c.is("OnlineSecurity", "No"),
                c.monthly,
            ]
        })
        .collect();
    let table = person_periods(&spells(&seen), 6, |customer, month, row| {
        row.push(log(month));
        row.extend_from_slice(&fixed[customer]);
    })
    .unwrap();
    assert_eq!(table.rows(), 162_063);
    let hazard = Hazard::fit(&table, Floor::default()).unwrap();
    let wanted = [
        -2.883_271, -0.333_898, -1.730_750, -3.223_243, 1.070_270, 0.713_949, -0.018_107,
    ];
    for (found, wanted) in hazard.logit.weights.iter().zip(wanted) {
        near(*found, wanted, 6);
    }
    near(hazard.logit.log_likelihood, -6394.7363, 4);
    // Months one to twelve of a monthly fibre customer: less likely to stay than the average one.
    let months: Vec<Vec<f64>> = (1..=12)
        .map(|month| vec![log(month), 0.0, 0.0, 1.0, 1.0, 80.0])
        .collect();
    let stays = hazard.stays(months.iter().map(Vec::as_slice)).unwrap();
    assert!((0.3..0.75).contains(&stays), "{stays}");
}

/// Inputs of the scorecard as its author gives them, and its weights with the intercept first.
const SCORECARD: [f64; 8] = [-1.386, 1.2, -1.5, -0.03, 0.6, 0.4, -0.3, -0.3];

fn card_inputs(c: &Customer) -> Vec<f64> {
    vec![
        c.is("Contract", "Month-to-month"),
        c.is("Contract", "Two year"),
        (c.tenure - 24.0).clamp(-24.0, 48.0),
        c.is("InternetService", "Fiber optic"),
        c.is("PaymentMethod", "Electronic check"),
        c.is("TechSupport", "Yes"),
        c.is("OnlineSecurity", "Yes"),
    ]
}

/// Every column: numbers in standard deviations, words as 0 and 1, each word but the first of a column.
fn all_inputs(all: &[Customer]) -> Vec<Vec<f64>> {
    let skipped = ["customerID", "tenure", "MonthlyCharges", "TotalCharges", "Churn"];
    let columns: Vec<(String, Vec<String>)> = all[0]
        .words
        .keys()
        .filter(|name| !skipped.contains(&name.as_str()))
        .map(|name| {
            let mut words: Vec<String> = all.iter().map(|c| c.words[name].clone()).collect();
            words.sort();
            words.dedup();
            // These say once more what the column of the line or the net itself says.
            words.retain(|w| !w.starts_with("No internet") && !w.starts_with("No phone"));
            (name.clone(), words.split_off(1))
        })
        .collect();
    let numbers = |c: &Customer| [c.tenure, c.monthly, c.total];
    let n = all.len() as f64;
    let scale: Vec<(f64, f64)> = (0..3)
        .map(|j| {
            let mean = all.iter().map(|c| numbers(c)[j]).sum::<f64>() / n;
            let variance = all.iter().map(|c| (numbers(c)[j] - mean).powi(2)).sum::<f64>() / n;
            (mean, variance.sqrt())
        })
        .collect();
    all.iter()
        .map(|c| {
            let mut row: Vec<f64> = numbers(c).iter().zip(&scale).map(|(x, (m, s))| (x - m) / s).collect();
            for (name, words) in &columns {
                row.extend(words.iter().map(|word| c.is(name, word)));
            }
            row
        })
        .collect()
}

/// Forecasts of every customer by a model fitted on the other folds.
fn by_folds(all: &[Customer], x: &[Vec<f64>], fitted: impl Fn(&Table) -> Box<dyn Fn(&[f64]) -> f64>) -> Vec<Forecast> {
    let mut forecasts = Vec::new();
    for part in 0..5 {
        let mut table = Table::new(x[0].len());
        for (c, x) in all.iter().zip(x).filter(|(c, _)| fold(&c.id, 5) != part) {
            table.push(x, c.churned).unwrap();
        }
        let model = fitted(&table);
        for (c, x) in all.iter().zip(x).filter(|(c, _)| fold(&c.id, 5) == part) {
            forecasts.push(Forecast {
                probability: model(x),
                event: c.churned,
                arr: c.monthly,
            });
        }
    }
    assert_eq!(forecasts.len(), all.len());
    forecasts
}

#[test]
fn five_folds_of_telco_give_the_published_losses_and_honest_probabilities() {
    let Some(all) = telco("five_folds_of_telco_give_the_published_losses_and_honest_probabilities") else {
        return;
    };
    let x: Vec<Vec<f64>> = all.iter().map(card_inputs).collect();
    let card = by_folds(&all, &x, |_| {
        Box::new(|x| sigmoid(SCORECARD[0] + SCORECARD[1..].iter().zip(x).map(|(w, v)| w * v).sum::<f64>()))
    });
    near(log_loss(&card).unwrap(), 0.4751, 4);
    let prior = by_folds(&all, &x, |table| {
        let model = fit_by_evidence(table, &SCORECARD, Floor::default()).unwrap();
        Box::new(move |x| model.probability(x).unwrap())
    });
    let wide = all_inputs(&all);
    let logit = by_folds(&all, &wide, |table| {
        // One standard deviation around zero is what C = 1 says elsewhere; the intercept is free there.
        let mut one = Prior::zero(table.inputs());
        one.deviation[0] = f64::INFINITY;
        let model = fit(table, &one, Floor::default()).unwrap();
        Box::new(move |x| model.probability(x).unwrap())
    });
    let base = log_loss(&constant(&card, base_rate(&card).unwrap())).unwrap();
    for (name, forecasts) in [("scorecard", &card), ("prior mean", &prior), ("logit", &logit)] {
        let line = calibration(forecasts, Floor::default()).unwrap();
        eprintln!(
            "{name}: log loss {:.4} (base rate {base:.4}), AUC {:.4}, slope {:.3}, intercept {:.3}",
            log_loss(forecasts).unwrap(),
            auc(forecasts).unwrap(),
            line.slope,
            line.intercept
        );
    }
    let loss = log_loss(&logit).unwrap();
    assert!((loss - 0.4146).abs() < 0.001, "{loss}");
    let loss = log_loss(&prior).unwrap();
    assert!(loss < log_loss(&card).unwrap() - 0.03, "{loss}");
    for forecasts in [&prior, &logit] {
        let slope = calibration(forecasts, Floor::default()).unwrap().slope;
        assert!((0.8..=1.2).contains(&slope), "{slope}");
    }
    // Calibrated on one half of the accounts, the scorecard is honest on the other.
    let halves: (Vec<_>, Vec<_>) = card.iter().enumerate().partition(|(i, _)| i % 2 == 0);
    let calibrator = Calibrator::fit(&halves.0.iter().map(|(_, f)| **f).collect::<Vec<_>>(), Floor::default()).unwrap();
    let mended: Vec<Forecast> = halves
        .1
        .iter()
        .map(|(_, f)| Forecast {
            probability: calibrator.apply(f.probability),
            ..**f
        })
        .collect();
    let slope = calibration(&mended, Floor::default()).unwrap().slope;
    assert!((0.8..=1.2).contains(&slope), "{slope}");
}

const MAPPING: &str = r#"
source = "test"

[defaults]
currency = "USD"
dates = "%Y-%m-%d"

[[file]]
path = "accounts.csv"
kind = "account"
key = "id"
event = "since"

[file.fields]
since = "since"

[file.fields.attributes]
industry_code = "industry_code"
churn_reason = "churn_reason"

[[file]]
path = "accounts.csv"
kind = "contract"
key = "id"
account = "id"
event = "since"

[file.fields]
start = "since"
term_months = { value = 12 }

[[file]]
path = "movements.csv"
kind = "movement"
key = ["id", "date", "kind"]
account = "id"
event = "date"
observed = { column = "date", plus_days = 1 }

[file.fields]
kind = "kind"
delta = "delta"
"#;

/// A history of 80 customers, one in four lost after eleven months, with a reason in the account's record or without.
fn import(folder: &Path, reasons: bool) -> Database {
    let (mut accounts, mut movements) = (
        "id,since,industry_code,churn_reason\n".to_owned(),
        "id,date,kind,delta\n".to_owned(),
    );
    for n in 0..80 {
        let (left, since) = (n % 4 == 0, format!("2023-01-{:02}", 1 + n % 28));
        let reason = if left && reasons { "price" } else { "" };
        writeln!(accounts, "a{n:02},{since},c{},{reason}", n % 5).unwrap();
        writeln!(movements, "a{n:02},{since},new,12000").unwrap();
        if left {
            writeln!(movements, "a{n:02},2023-12-{:02},churn,-12000", 1 + n % 28).unwrap();
        } else {
            writeln!(movements, "a{n:02},2024-06-01,expansion,100").unwrap();
        }
    }
    std::fs::write(folder.join("accounts.csv"), accounts).unwrap();
    std::fs::write(folder.join("movements.csv"), movements).unwrap();
    std::fs::write(folder.join("mapping.toml"), MAPPING).unwrap();
    let db = Database::sqlite(folder);
    run(
        PROGRAM,
        folder,
        &["import", ".", "--mapping", "mapping.toml", "--db", &db.url],
    )
    .ok();
    db
}

fn backtest(folder: &Path, db: &Database, more: &[&str]) -> Said {
    let mut args = vec!["measure", "backtest", "--db", &db.url, "--draws", "20"];
    args.extend(more);
    run(PROGRAM, folder, &args)
}

#[test]
fn a_field_that_is_filled_after_churn_fails_the_backtest_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let db = import(temp.path(), true);
    let said = backtest(temp.path(), &db, &[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("`account.attributes.churn_reason`"), "{}", said.err);
    assert!(!said.err.contains("industry_code"), "{}", said.err);
    assert_eq!(said.out, "", "no figure may be printed");
    let document = backtest(temp.path(), &db, &["--json"]).json();
    assert_eq!(document["leaks"][0]["field"], "account.attributes.churn_reason");
    let vouched = backtest(temp.path(), &db, &["--accept", "account.attributes.churn_reason"]);
    assert_eq!(vouched.code, 0, "{vouched:?}");
}

#[test]
fn twenty_lost_customers_are_insufficient_history() {
    let temp = tempfile::tempdir().unwrap();
    let db = import(temp.path(), false);
    let text = backtest(temp.path(), &db, &[]).ok().out;
    assert!(text.contains("80 renewals of 80 accounts"), "{text}");
    assert!(text.contains("20 of them churned"), "{text}");
    assert!(text.contains("cannot estimate: insufficient history"), "{text}");
    let document = backtest(temp.path(), &db, &["--json"]).ok().json();
    let main = &document["backtest"]["main"];
    assert!(main["models"][0]["auc"]["value"].is_null(), "{main}");
    assert_eq!(document["leaks"], serde_json::json!([]));
}

/// The planted book, imported.
fn planted(test: &str) -> Option<(tempfile::TempDir, Database)> {
    let data = data_set(test, "planted-42")?;
    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    let mapping = perennial_tests::root().join("examples/mappings/planted.toml");
    let (data, mapping) = (data.display().to_string(), mapping.display().to_string());
    let import = ["import", &data, "--mapping", &mapping, "--db", &db.url];
    run(PROGRAM, temp.path(), &import).ok();
    Some((temp, db))
}

#[test]
fn the_planted_book_is_forecast_better_and_more_honestly_than_by_the_scorecard() {
    let Some((temp, db)) = planted("the_planted_book_is_forecast_better_and_more_honestly_than_by_the_scorecard")
    else {
        return;
    };
    let document = backtest(temp.path(), &db, &["--as-of", "2026-11-20", "--json"])
        .ok()
        .json();
    let main = &document["backtest"]["main"];
    assert_eq!(
        (main["lead_weeks"].as_i64(), main["events"].as_u64()),
        (Some(13), Some(45))
    );
    let model = |name: &str| {
        let models = main["models"].as_array().unwrap();
        models.iter().find(|m| m["model"] == name).unwrap().clone()
    };
    let (card, fitted) = (model("scorecard"), model("prior_mean"));
    let value = |m: &serde_json::Value, what: &str| m[what]["value"].as_f64().unwrap();
    assert!(value(&fitted, "auc") > value(&card, "auc") + 0.05, "{fitted}");
    assert!(
        fitted["log_loss_vs_base_rate"]["high"].as_f64().unwrap() < 0.0,
        "{fitted}"
    );
    assert!((0.8..=1.2).contains(&value(&fitted, "slope")), "{fitted}");
    let leads: Vec<i64> = document["backtest"]["leads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["lead_weeks"].as_i64().unwrap())
        .collect();
    assert_eq!(leads, [4, 8, 13, 26]);
    let fit = run(
        PROGRAM,
        temp.path(),
        &["measure", "fit", "--as-of", "2026-11-20", "--db", &db.url, "--json"],
    );
    let fit = fit.ok().json();
    assert!(fit["fit"]["events"].as_u64().unwrap() > 100, "{fit}");
    // Too few of one kind: said, and nothing printed to take over.
    let few = run(
        PROGRAM,
        temp.path(),
        &[
            "measure",
            "fit",
            "--as-of",
            "2026-11-20",
            "--db",
            &db.url,
            "--min-events",
            "5000",
        ],
    );
    assert_eq!(few.code, 1, "{few:?}");
    assert!(few.err.contains("the risk cannot be fitted"), "{}", few.err);
    assert!(
        fit["toml"].as_str().unwrap().starts_with("[risk]\nintercept = -"),
        "{fit}"
    );
}

#[test]
fn the_planted_book_refuses_labels_it_does_not_hold_and_values_actions_by_its_rule_of_priority() {
    let Some((temp, db)) =
        planted("the_planted_book_refuses_labels_it_does_not_hold_and_values_actions_by_its_rule_of_priority")
    else {
        return;
    };
    let measure = |what: &str, more: &[&str]| {
        let mut args = vec!["measure", what, "--db", &db.url, "--as-of", "2026-11-20", "--json"];
        args.extend(more);
        run(PROGRAM, temp.path(), &args)
    };
    let curve = measure("coldstart", &["--draws", "4"]).ok().json();
    let sizes = curve["coldstart"]["sizes"].as_array().unwrap();
    assert_eq!(curve["coldstart"]["order"], "forward");
    let refused = |size: &serde_json::Value| size["cannot_estimate"].is_string();
    assert!(!refused(&sizes[0]) && refused(&sizes[5]), "{sizes:?}");
    assert_eq!(sizes[5]["labels"], 800);

    let order = "champion_rebuild,enablement,exec_outreach,expansion_offer,commercial_review";
    let with = measure("ope", &["--prefer", "exec_outreach", "--priority", order])
        .ok()
        .json();
    assert_eq!(
        (with["from"].as_str(), with["rows"].as_u64()),
        (Some("2025-11-03"), Some(4_392))
    );
    assert!(with["refused"].is_null(), "{with}");
    // Every occasion is one choice whose weights have mean 1, whatever action is preferred.
    let (mean, se) = (
        with["weight_mean"].as_f64().unwrap(),
        with["weight_se"].as_f64().unwrap(),
    );
    assert!((mean - 1.0).abs() < 3.0 * se, "{mean} {se}");
    let unknown = measure("ope", &["--prefer", "a_visit"]);
    assert!(
        unknown.code != 0 && unknown.err.contains("there is no action `a_visit`"),
        "{unknown:?}"
    );
}

#[test]
fn the_effects_of_the_e_mail_trial_are_the_published_ones() {
    use perennial_core::ope::{Logged, estimators};

    let Some(folder) = data_set("the_effects_of_the_e_mail_trial_are_the_published_ones", "hillstrom") else {
        return;
    };
    let mut rows = Vec::new();
    for row in csv::Reader::from_path(folder.join("hillstrom_train.csv"))
        .unwrap()
        .records()
    {
        let row = row.unwrap();
        let number = |at: usize| row[at].parse::<f64>().unwrap();
        rows.push((row[9].to_owned(), number(10), number(12)));
    }
    let count = |arm: &str| rows.iter().filter(|r| r.0 == arm).count();
    let (control, men, women) = ("No E-Mail", "Mens E-Mail", "Womens E-Mail");
    assert_eq!([control, men, women].map(count), [10_670, 10_559, 10_771]);
    // What everybody would have brought under one arm, by the log of the trial: an arm's mean, with its standard error.
    let under = |arm: &str, reward: fn(&(String, f64, f64)) -> f64| {
        let propensity = |arm: &str| count(arm) as f64 / rows.len() as f64;
        let logged: Vec<Logged> = rows
            .iter()
            .map(|row| Logged {
                propensity: propensity(&row.0),
                target: f64::from(u8::from(row.0 == arm)),
                reward: reward(row),
                predicted: 0.0,
                value: 0.0,
            })
            .collect();
        estimators(&logged).unwrap().snips
    };
    let visit = |row: &(String, f64, f64)| row.1;
    let spend = |row: &(String, f64, f64)| row.2;
    type Reward = fn(&(String, f64, f64)) -> f64;
    let wanted = [
        (
            visit as Reward,
            0.108_247,
            [(0.071_126, 0.004_795), (0.044_292, 0.004_588)],
        ),
        (spend, 0.639_656, [(0.736_763, 0.200_964), (0.579_856, 0.190_419)]),
    ];
    for (reward, base, effects) in wanted {
        let none = under(control, reward);
        near(none.mean, base, 6);
        for (arm, (effect, se)) in [men, women].into_iter().zip(effects) {
            let some = under(arm, reward);
            near(some.mean - none.mean, effect, 6);
            // Rows of two arms are different people. The published errors are those of samples of each arm; ours of a ratio
            // over all rows.
            let all = rows.len() as f64;
            let of_sample = |se: f64, arm: &str| {
                let n = count(arm) as f64;
                se * ((all - 1.0) / all * n / (n - 1.0)).sqrt()
            };
            near(of_sample(some.se, arm).hypot(of_sample(none.se, control)), se, 6);
        }
    }
}
