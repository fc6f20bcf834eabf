//! The cold-start curve: how good each way of forecasting renewals is with few labels.
//!
//! Promises: all models of a draw learn from the same labels and are judged on the same renewals, of accounts that gave no
//! label; the labels of a smaller size are among those of a larger one; a size that the history does not hold is refused
//! with its reason. Deliberately not here: boosted trees; whoever has such a learner passes it in as a [`Rival`].

use serde::Serialize;

use super::Landmark;
use crate::draw::Stream;
use crate::fit::{
    Calibrator, CannotEstimate, Floor, Forecast, Prior, Table, auc, fit, fit_by_evidence, intercept_for, log_loss,
};
use crate::policy::Risk;
use crate::score::sigmoid;
use crate::time::Day;

/// Name and version of what is measured.
pub const COLDSTART_DEFINITION: &str = "cold-start curve v1";
/// Numbers of labels that are asked about.
pub const SIZES: [usize; 6] = [25, 50, 100, 200, 400, 800];
/// Models, in the order of the report.
const MODELS: [&str; 4] = ["scorecard", "scorecard_platt", "zero_mean", "prior_mean"];
/// Place of the prior mean among them: what the others are held against.
const PRIOR_MEAN: usize = 3;
/// One outcome of a kind is not needed: a proper prior holds a fit without events.
const NO_FLOOR: Floor = Floor { events: 0 };

/// Learns from labels, and gives a probability of churn for each of the tested, whose outcomes it must not read.
pub type Learn<'a> = dyn Fn(&[&Labelled], &[&Labelled]) -> Result<Vec<f64>, CannotEstimate> + 'a;

/// Another way to forecast, judged on the same draws.
pub struct Rival<'a> {
    /// What it is called in the report.
    pub name: &'static str,
    /// How it learns.
    pub learn: &'a Learn<'a>,
}

/// A renewal decision that could be forecast, with its outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// Whose. Rows of one account never lie on both sides of a draw.
    pub account: String,
    /// The landmark.
    pub at: Day,
    /// Day on which the outcome was known.
    pub known_by: Day,
    /// Inputs of the risk policy in standard deviations from their means.
    pub inputs: Vec<f64>,
    /// The account left.
    pub event: bool,
    /// True probability, 0 to 1, where the world is made up.
    pub truth: Option<f64>,
}

/// The decisions that could be assessed at a lead.
#[must_use]
pub fn labelled(landmarks: &[Landmark], lead_weeks: i64) -> Vec<Labelled> {
    let row = |l: &Landmark| {
        let row = l.rows.iter().find(|r| r.lead_weeks == lead_weeks && r.assessable)?;
        Some(Labelled {
            account: l.account.as_str().to_owned(),
            at: row.at,
            known_by: l.known_by,
            inputs: row.inputs.clone(),
            event: l.churned,
            truth: None,
        })
    };
    landmarks.iter().filter_map(row).collect()
}

/// Which labels may be learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeOrder {
    /// Outcomes known by the split; landmarks from it on are tested.
    Forward,
    /// Outcomes of any time, of other accounts than those tested.
    AnyTime,
}

/// How to measure the curve.
#[derive(Debug, Clone)]
pub struct ColdstartTerms {
    /// Numbers of labels, rising.
    pub sizes: Vec<usize>,
    /// Draws of accounts and labels.
    pub draws: u32,
    /// Seed of the draws.
    pub seed: u64,
    /// Which labels may be learnt from; none takes [`TimeOrder::Forward`] where that holds the smallest size, else any time.
    pub order: Option<TimeOrder>,
    /// Day of the split; by default the one by which half of the churn was known.
    pub split: Option<Day>,
    /// Churned decisions, and others, that may be tested at least.
    pub floor: Floor,
    /// Churn of the book over the horizon, 0 to 1, to which the scorecard's intercept is solved; none leaves it as written.
    pub stated_churn: Option<f64>,
}

/// Mean over draws. The draws share one history, so the standard error says how far the choice of labels and accounts moves
/// the mean, not how far another tenant would.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DrawMean {
    /// Mean.
    pub mean: f64,
    /// Standard error over draws; `None` for a single one.
    pub se: Option<f64>,
}

impl DrawMean {
    fn of(values: &[f64]) -> DrawMean {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        DrawMean {
            mean,
            se: (values.len() > 1).then(|| libm::sqrt(squares / (n - 1.0) / n)),
        }
    }
}

/// How good one model was at one size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColdstartModel {
    /// `scorecard`, `scorecard_platt`, `zero_mean`, `prior_mean`, or the name of a rival.
    pub model: &'static str,
    /// Mean log loss, natural logarithm.
    pub log_loss: DrawMean,
    /// Area under the ROC curve.
    pub auc: DrawMean,
    /// Log loss less that of the prior mean in the same draw, above 0 is worse than it.
    pub log_loss_vs_prior_mean: DrawMean,
    /// AUC less that of the prior mean in the same draw, below 0 is worse than it.
    pub auc_vs_prior_mean: DrawMean,
    /// Draws whose labels could not calibrate the scorecard (none churned, or the riskier ones less often), so that it stood
    /// as written.
    pub as_written: usize,
}

/// One point of the curve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColdstartSize {
    /// Labels.
    pub labels: usize,
    /// Mean number of churned among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<f64>,
    /// Why there is no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cannot_estimate: Option<String>,
    /// Every model.
    pub models: Vec<ColdstartModel>,
}

/// The curve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColdstartReport {
    /// Name and version of the definition.
    pub definition: &'static str,
    /// Renewal decisions that could be assessed.
    pub rows: usize,
    /// Churned among them.
    pub events: usize,
    /// Accounts that they belong to.
    pub accounts: usize,
    /// Which labels were learnt from.
    pub order: TimeOrder,
    /// Day of the split, where time was split.
    pub split: Option<Day>,
    /// Seed.
    pub seed: u64,
    /// Draws.
    pub draws: u32,
    /// Mean number of renewals tested in a draw.
    pub tested: f64,
    /// Mean number of churned among them.
    pub tested_events: f64,
    /// Log loss of the true probabilities on the tested, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truth_log_loss: Option<DrawMean>,
    /// Their AUC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truth_auc: Option<DrawMean>,
    /// Every size that was asked for.
    pub sizes: Vec<ColdstartSize>,
}

/// One draw: labels in the order in which they come in, and the renewals of other accounts.
struct Draw<'a> {
    labels: Vec<&'a Labelled>,
    tested: Vec<&'a Labelled>,
}

/// Measures the curve.
///
/// # Errors
/// [`CannotEstimate`] where there is nothing to test on; a size that is not held is no error of the others.
pub fn coldstart(rows: &[Labelled], risk: &Risk, terms: &ColdstartTerms) -> Result<ColdstartReport, CannotEstimate> {
    coldstart_against(rows, risk, terms, &[])
}

/// As [`coldstart`], with rivals after the models that are here.
///
/// # Errors
/// As [`coldstart`].
pub fn coldstart_against(
    rows: &[Labelled],
    risk: &Risk,
    terms: &ColdstartTerms,
    rivals: &[Rival<'_>],
) -> Result<ColdstartReport, CannotEstimate> {
    let split = terms.split.or_else(|| half_known(rows));
    let smallest = terms.sizes.iter().min().copied().unwrap_or(0);
    let forward = || {
        let split = split?;
        let draws = draws(rows, terms, Some(split));
        let holds = |d: &Draw<'_>| d.labels.len() >= smallest && both(&d.tested);
        Some((draws, split)).filter(|(draws, _)| draws.iter().all(holds))
    };
    let (draws, order, split) = match terms.order {
        Some(TimeOrder::Forward) => (draws(rows, terms, split), TimeOrder::Forward, split),
        Some(TimeOrder::AnyTime) => (draws(rows, terms, None), TimeOrder::AnyTime, None),
        None => match forward() {
            Some((draws, split)) => (draws, TimeOrder::Forward, Some(split)),
            None => (draws(rows, terms, None), TimeOrder::AnyTime, None),
        },
    };
    let can_be_tested: Vec<&Labelled> = rows.iter().filter(|r| split.is_none_or(|s| r.at >= s)).collect();
    terms.floor.check(can_be_tested.len(), events(&can_be_tested))?;
    if !draws.iter().all(|d| both(&d.tested)) {
        return Err(CannotEstimate::OneOutcome(
            "both kinds among the accounts of every draw",
        ));
    }
    let mut accounts: Vec<&str> = rows.iter().map(|r| r.account.as_str()).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let truths: Option<Vec<Vec<Forecast>>> = draws.iter().map(|d| said(&d.tested, |r| r.truth)).collect();
    let mean = |of: &dyn Fn(&Draw<'_>) -> usize| draws.iter().map(of).sum::<usize>() as f64 / draws.len() as f64;
    let over = |measure: fn(&[Forecast]) -> Result<f64, CannotEstimate>| {
        let values = truths
            .as_ref()
            .map(|t| t.iter().map(|f| measure(f)).collect::<Result<Vec<f64>, _>>());
        values.transpose().map(|v| v.map(|v| DrawMean::of(&v)))
    };
    Ok(ColdstartReport {
        definition: COLDSTART_DEFINITION,
        rows: rows.len(),
        events: rows.iter().filter(|r| r.event).count(),
        accounts: accounts.len(),
        order,
        split,
        seed: terms.seed,
        draws: terms.draws,
        tested: mean(&|d| d.tested.len()),
        tested_events: mean(&|d| events(&d.tested)),
        truth_log_loss: over(log_loss)?,
        truth_auc: over(auc)?,
        sizes: terms
            .sizes
            .iter()
            .map(|labels| size(*labels, &draws, risk, terms.stated_churn, rivals))
            .collect(),
    })
}

fn events(rows: &[&Labelled]) -> usize {
    rows.iter().filter(|r| r.event).count()
}

fn both(rows: &[&Labelled]) -> bool {
    let events = events(rows);
    events > 0 && events < rows.len()
}

/// The day by which half of the churn was known.
fn half_known(rows: &[Labelled]) -> Option<Day> {
    let mut known: Vec<Day> = rows.iter().filter(|r| r.event).map(|r| r.known_by).collect();
    known.sort_unstable();
    known.get(known.len() / 2).copied()
}

/// Halves the accounts anew for every draw: labels come from one half, tests from the other.
fn draws<'a>(rows: &'a [Labelled], terms: &ColdstartTerms, split: Option<Day>) -> Vec<Draw<'a>> {
    let mut sorted: Vec<&Labelled> = rows.iter().collect();
    sorted.sort_by(|a, b| (&a.account, a.at, a.known_by).cmp(&(&b.account, b.at, b.known_by)));
    let accounts: Vec<&[&Labelled]> = sorted.chunk_by(|a, b| a.account == b.account).collect();
    let draw = |number: u32| {
        let number = number.to_string();
        // Streams of their own, so that more accounts do not move the order of labels.
        let mut sides = Stream::new(terms.seed, &["cold start", "accounts", &number]);
        let mut order = Stream::new(terms.seed, &["cold start", "labels", &number]);
        let mut places: Vec<usize> = (0..accounts.len()).collect();
        shuffle(&mut places, &mut sides);
        let (tested, training) = places.split_at(places.len() / 2);
        let of = |places: &[usize], kept: &dyn Fn(&Labelled) -> bool| -> Vec<&'a Labelled> {
            let mut places = places.to_vec();
            places.sort_unstable();
            let rows = places.iter().flat_map(|place| accounts[*place].iter().copied());
            rows.filter(|r| kept(r)).collect()
        };
        let mut labels = of(training, &|r| split.is_none_or(|s| r.known_by <= s));
        shuffle(&mut labels, &mut order);
        Draw {
            labels,
            tested: of(tested, &|r| split.is_none_or(|s| r.at >= s)),
        }
    };
    (0..terms.draws).map(draw).collect()
}

/// Fisher and Yates 1938, in the form of Durstenfeld 1964.
fn shuffle<T>(list: &mut [T], stream: &mut Stream) {
    for last in (1..list.len()).rev() {
        list.swap(last, stream.below(last + 1));
    }
}

/// Forecasts of rows; `None` where one has none.
fn said(rows: &[&Labelled], probability: impl Fn(&Labelled) -> Option<f64>) -> Option<Vec<Forecast>> {
    let forecast = |r: &&Labelled| {
        Some(Forecast {
            probability: probability(r)?,
            event: r.event,
            arr: 1.0,
        })
    };
    rows.iter().map(forecast).collect()
}

/// Loss and area of every model in one draw, and whether the scorecard could not be calibrated.
struct Judged {
    loss: Vec<f64>,
    area: Vec<f64>,
    as_written: bool,
}

fn size(
    labels: usize,
    draws: &[Draw<'_>],
    risk: &Risk,
    stated_churn: Option<f64>,
    rivals: &[Rival<'_>],
) -> ColdstartSize {
    let held = draws.iter().map(|d| d.labels.len()).min().unwrap_or(0);
    if held < labels {
        return ColdstartSize {
            labels,
            events: None,
            cannot_estimate: Some(format!(
                "insufficient history: {labels} labels are asked for, and half of the accounts hold {held}"
            )),
            models: Vec::new(),
        };
    }
    let judged: Result<Vec<Judged>, CannotEstimate> = draws
        .iter()
        .map(|d| judge(d, labels, risk, stated_churn, rivals))
        .collect();
    let judged = match judged {
        Ok(judged) => judged,
        Err(why) => {
            return ColdstartSize {
                labels,
                events: None,
                cannot_estimate: Some(why.to_string()),
                models: Vec::new(),
            };
        }
    };
    let over = |of: &dyn Fn(&Judged) -> f64| DrawMean::of(&judged.iter().map(of).collect::<Vec<f64>>());
    let churned: usize = draws.iter().map(|d| events(&d.labels[..labels])).sum();
    let names = MODELS.iter().copied().chain(rivals.iter().map(|r| r.name));
    let model = |(place, model): (usize, &'static str)| ColdstartModel {
        model,
        log_loss: over(&|j| j.loss[place]),
        auc: over(&|j| j.area[place]),
        log_loss_vs_prior_mean: over(&|j| j.loss[place] - j.loss[PRIOR_MEAN]),
        auc_vs_prior_mean: over(&|j| j.area[place] - j.area[PRIOR_MEAN]),
        as_written: if model == "scorecard_platt" {
            judged.iter().filter(|j| j.as_written).count()
        } else {
            0
        },
    };
    ColdstartSize {
        labels,
        events: Some(churned as f64 / draws.len() as f64),
        cannot_estimate: None,
        models: names.enumerate().map(model).collect(),
    }
}

fn judge(
    draw: &Draw<'_>,
    labels: usize,
    risk: &Risk,
    stated_churn: Option<f64>,
    rivals: &[Rival<'_>],
) -> Result<Judged, CannotEstimate> {
    let weights = scorecard(&draw.labels, risk, stated_churn)?;
    let labels = &draw.labels[..labels];
    let mut table = Table::new(risk.inputs.len());
    for row in labels {
        table.push(&row.inputs, row.event)?;
    }
    let by = |probability: &dyn Fn(&Labelled) -> Result<f64, CannotEstimate>, rows: &[&Labelled]| {
        let forecast = |r: &&Labelled| {
            Ok(Forecast {
                probability: probability(r)?,
                event: r.event,
                arr: 1.0,
            })
        };
        rows.iter()
            .map(forecast)
            .collect::<Result<Vec<Forecast>, CannotEstimate>>()
    };
    let card = |r: &Labelled| Ok(sigmoid(log_odds(&weights, &r.inputs)));
    let calibrator = Calibrator::platt(&by(&card, labels)?, NO_FLOOR).ok();
    let platt = |r: &Labelled| {
        let raw = card(r)?;
        Ok(calibrator.as_ref().map_or(raw, |c| c.apply(raw)))
    };
    let zero = fit(&table, &Prior::zero(table.inputs()), NO_FLOOR)?;
    let prior = fit_by_evidence(&table, &weights, NO_FLOOR)?;
    let mut forecasts = vec![
        by(&card, &draw.tested)?,
        by(&platt, &draw.tested)?,
        by(&|r| zero.probability(&r.inputs), &draw.tested)?,
        by(&|r| prior.probability(&r.inputs), &draw.tested)?,
    ];
    for rival in rivals {
        let probabilities = (rival.learn)(labels, &draw.tested)?;
        let forecast = |(r, probability): (&&Labelled, f64)| Forecast {
            probability,
            event: r.event,
            arr: 1.0,
        };
        forecasts.push(draw.tested.iter().zip(probabilities).map(forecast).collect());
    }
    let (mut loss, mut area) = (Vec::new(), Vec::new());
    for forecasts in &forecasts {
        loss.push(log_loss(forecasts)?);
        area.push(auc(forecasts)?);
    }
    Ok(Judged {
        loss,
        area,
        as_written: calibrator.is_none(),
    })
}

/// Intercept and weights of the policy. The stated churn is solved over everybody whose label might come, without the labels.
fn scorecard(book: &[&Labelled], risk: &Risk, stated_churn: Option<f64>) -> Result<Vec<f64>, CannotEstimate> {
    let mut weights = vec![risk.intercept];
    weights.extend(risk.inputs.iter().map(|i| i.weight));
    if let Some(stated) = stated_churn {
        weights[0] = 0.0;
        let odds: Vec<f64> = book.iter().map(|r| log_odds(&weights, &r.inputs)).collect();
        weights[0] = intercept_for(stated, &odds)?;
    }
    Ok(weights)
}

fn log_odds(weights: &[f64], inputs: &[f64]) -> f64 {
    let intercept = weights.first().copied().unwrap_or_default();
    intercept + weights.iter().skip(1).zip(inputs).map(|(w, x)| w * x).sum::<f64>()
}

#[cfg(test)]
mod tests;
