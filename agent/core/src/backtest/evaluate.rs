//! Forecasts forward in time, and how good they were.

use serde::Serialize;

use super::{Landmark, LeadRow};
use crate::fit::{
    Calibrator, CannotEstimate, Floor, Forecast, Interval, Logit, Prior, Table, auc, base_rate, bootstrap, brier,
    calibration, calibration_error, constant, decile_lift, fit, fit_by_evidence, fnv1a64, fold, intercept_for,
    log_loss, paired_bootstrap, precision_at, weighted_auc,
};
use crate::policy::Risk;
use crate::score::sigmoid;
use crate::time::Day;

/// Name and version of what is measured.
pub const DEFINITION: &str = "renewal back-test v1";
/// Parts of the accounts: each is forecast by a model fitted on the others.
const FOLDS: u64 = 5;
/// Share of the churned decisions whose outcome falls before the split. Those that lie across it are lost to the test, so
/// this is not more than half.
const TRAINING_SHARE: f64 = 0.5;
/// Days before the decision by which a flag must stand to count.
const FLAG_DAYS: i64 = 60;
const LEVEL: f64 = 0.95;

/// How to evaluate.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Outcomes known by this day are for training; landmarks from it on are tested. By default the day by which
    /// half of the churned decisions that can be assessed at the main lead were known.
    pub split: Option<Day>,
    /// Events that training and test each need, and as many others.
    pub floor: Floor,
    /// Churn of the book over the horizon, 0 to 1, to which the scorecard's intercept is solved; none leaves it as written.
    pub stated_churn: Option<f64>,
    /// Probability, 0 to 1, from which on an account counts as flagged.
    pub flag_from: f64,
    /// Lead of the main result, weeks.
    pub lead_weeks: i64,
    /// Draws of a bootstrap.
    pub draws: usize,
    /// Seed of the bootstraps.
    pub seed: u64,
}

/// A number, with its interval where it has one, or why there is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Measured {
    /// Value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Lower end of the 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cannot_estimate: Option<String>,
}

impl From<Result<f64, CannotEstimate>> for Measured {
    fn from(result: Result<f64, CannotEstimate>) -> Measured {
        match result {
            Ok(value) => Measured {
                value: Some(value),
                ..Measured::default()
            },
            Err(why) => Measured {
                cannot_estimate: Some(why.to_string()),
                ..Measured::default()
            },
        }
    }
}

impl From<Result<Interval, CannotEstimate>> for Measured {
    fn from(result: Result<Interval, CannotEstimate>) -> Measured {
        match result {
            Ok(interval) => Measured {
                value: Some(interval.estimate),
                low: Some(interval.low),
                high: Some(interval.high),
                cannot_estimate: None,
            },
            Err(why) => Err::<f64, _>(why).into(),
        }
    }
}

/// How good one model was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Model {
    /// Name: `scorecard`, `scorecard_platt`, `prior_mean` or `zero_mean`.
    pub model: &'static str,
    /// Why it made no forecasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cannot_estimate: Option<String>,
    /// Deviations of the prior that the evidence chose, one a fold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tau: Vec<f64>,
    /// Area under the ROC curve.
    pub auc: Measured,
    /// The same, weighted by recurring revenue.
    pub arr_auc: Measured,
    /// Mean log loss, natural logarithm.
    pub log_loss: Measured,
    /// Log loss less that of the scorecard, below 0 is better.
    pub log_loss_vs_scorecard: Measured,
    /// Log loss less that of the training base rate, below 0 is better.
    pub log_loss_vs_base_rate: Measured,
    /// Brier score.
    pub brier: Measured,
    /// Calibration slope, 1 is perfect.
    pub slope: Measured,
    /// Calibration intercept, log odds, 0 is perfect.
    pub intercept: Measured,
    /// Expected calibration error over ten bins of equal count. Redrawn accounts add noise to every bin, so the interval
    /// lies high.
    pub ece: Measured,
    /// Share of churned among the `k` highest.
    pub precision_at_k: Measured,
    /// Churned in the highest tenth, relative to all.
    pub decile_lift: Measured,
    /// Share of the churned recurring revenue that was flagged at least 60 days before the decision.
    pub churned_arr_flagged: Measured,
    /// Share of all recurring revenue that was flagged: what that cost.
    pub arr_flagged: Measured,
}

/// One point of the lead-time curve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    /// Weeks before the decision.
    pub lead_weeks: i64,
    /// Decisions that were tested, and churned among them.
    pub rows: usize,
    /// Churned among them.
    pub events: usize,
    /// Decisions left out because too little was known.
    pub not_assessable: usize,
    /// Decisions that the fits learnt from.
    pub training_rows: usize,
    /// Churned among them.
    pub training_events: usize,
    /// Log loss of the training base rate, the same for everybody.
    pub base_rate_log_loss: Measured,
    /// How many `precision_at_k` looks at: a tenth of the rows.
    pub k: usize,
    /// Every model.
    pub models: Vec<Model>,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Name and version of the definition.
    pub definition: &'static str,
    /// Renewal decisions with full follow-up.
    pub decisions: usize,
    /// Churned among them.
    pub churned: usize,
    /// Accounts that they belong to.
    pub accounts: usize,
    /// Day of the split; `None` where nobody churned.
    pub split: Option<Day>,
    /// Seed of the bootstraps.
    pub seed: u64,
    /// Draws of each.
    pub draws: usize,
    /// Events that training and test each needed.
    pub events_min: usize,
    /// Probability from which on an account counted as flagged.
    pub flag_from: f64,
    /// The main lead.
    pub main: Option<Curve>,
    /// Every lead, the shortest first.
    pub leads: Vec<Curve>,
}

/// Evaluates all leads.
#[must_use]
pub fn evaluate(landmarks: &[Landmark], risk: &Risk, terms: &Terms) -> Report {
    let mut accounts: Vec<&str> = landmarks.iter().map(|l| l.account.as_str()).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let split = terms.split.or_else(|| default_split(landmarks, terms.lead_weeks));
    let mut weeks: Vec<i64> = landmarks
        .iter()
        .flat_map(|l| l.rows.iter().map(|r| r.lead_weeks))
        .collect();
    weeks.sort_unstable();
    weeks.dedup();
    let leads: Vec<Curve> = split.map_or_else(Vec::new, |split| {
        weeks
            .iter()
            .map(|lead| Lead::of(landmarks, *lead, split).curve(risk, terms))
            .collect()
    });
    Report {
        definition: DEFINITION,
        decisions: landmarks.len(),
        churned: landmarks.iter().filter(|l| l.churned).count(),
        accounts: accounts.len(),
        split,
        seed: terms.seed,
        draws: terms.draws,
        events_min: terms.floor.events,
        flag_from: terms.flag_from,
        main: leads.iter().find(|c| c.lead_weeks == terms.lead_weeks).cloned(),
        leads,
    }
}

fn default_split(landmarks: &[Landmark], lead_weeks: i64) -> Option<Day> {
    let counts = |l: &&Landmark| l.churned && l.rows.iter().any(|r| r.lead_weeks == lead_weeks && r.assessable);
    let mut known: Vec<Day> = landmarks.iter().filter(counts).map(|l| l.known_by).collect();
    known.sort_unstable();
    let place = (TRAINING_SHARE * known.len() as f64) as usize;
    known.get(place.min(known.len().checked_sub(1)?)).copied()
}

/// The decisions of one lead, apart by time.
struct Lead<'a> {
    weeks: i64,
    training: Vec<(&'a Landmark, &'a LeadRow)>,
    test: Vec<(&'a Landmark, &'a LeadRow)>,
    not_assessable: usize,
}

impl<'a> Lead<'a> {
    fn of(landmarks: &'a [Landmark], weeks: i64, split: Day) -> Lead<'a> {
        let mut lead = Lead {
            weeks,
            training: Vec::new(),
            test: Vec::new(),
            not_assessable: 0,
        };
        for landmark in landmarks {
            let Some(row) = landmark.rows.iter().find(|r| r.lead_weeks == weeks) else {
                continue;
            };
            if !row.assessable {
                lead.not_assessable += 1;
            } else if landmark.known_by <= split {
                lead.training.push((landmark, row));
            } else if row.at >= split {
                lead.test.push((landmark, row));
            }
            // Begun before the split and decided after it: neither trains nor tests.
        }
        lead
    }

    fn curve(&self, risk: &Risk, terms: &Terms) -> Curve {
        let events = |list: &[(&Landmark, &LeadRow)]| list.iter().filter(|(l, _)| l.churned).count();
        let training_events = events(&self.training);
        let enough = terms.floor.check(self.training.len(), training_events);
        let base = enough
            .clone()
            .map(|()| training_events as f64 / self.training.len() as f64);
        let groups: Vec<u64> = self.test.iter().map(|(l, _)| fnv1a64(l.account.as_str())).collect();
        let k = (self.test.len() / 10).max(1);
        let judge = Judge {
            lead: self,
            terms,
            groups,
            k,
            base: base.clone(),
            enough: terms.floor.check(self.test.len(), events(&self.test)),
        };
        let scorecard = self.scorecard(risk, terms);
        let card = scorecard.clone().map(|weights| self.forecasts(&self.test, &weights));
        let platt = enough.clone().and(scorecard.clone()).and_then(|weights| {
            let calibrator = Calibrator::fit(&self.forecasts(&self.training, &weights), terms.floor)?;
            Ok(self
                .forecasts(&self.test, &weights)
                .into_iter()
                .map(|f| Forecast {
                    probability: calibrator.apply(f.probability),
                    ..f
                })
                .collect())
        });
        let prior = enough
            .clone()
            .and(scorecard)
            .and_then(|weights| self.cross_fitted(|table| fit_by_evidence(table, &weights, Floor::NONE)));
        let zero =
            enough.and_then(|()| self.cross_fitted(|table| fit(table, &Prior::zero(table.inputs()), Floor::NONE)));
        let (prior, taus) = match prior {
            Ok((forecasts, taus)) => (Ok(forecasts), taus),
            Err(why) => (Err(why), Vec::new()),
        };
        let against = card.clone().ok();
        let mut models = vec![
            judge.model("scorecard", card, None),
            judge.model("scorecard_platt", platt, against.as_deref()),
            judge.model("prior_mean", prior, against.as_deref()),
            judge.model("zero_mean", zero.map(|(f, _)| f), against.as_deref()),
        ];
        models[2].tau = taus;
        let constant_loss = judge
            .enough
            .clone()
            .and(base)
            .and_then(|rate| log_loss(&constant(&self.outcomes(), rate)));
        Curve {
            lead_weeks: self.weeks,
            rows: self.test.len(),
            events: events(&self.test),
            not_assessable: self.not_assessable,
            training_rows: self.training.len(),
            training_events,
            base_rate_log_loss: constant_loss.into(),
            k,
            models,
        }
    }

    /// Intercept and weights of the policy, a standard deviation.
    fn scorecard(&self, risk: &Risk, terms: &Terms) -> Result<Vec<f64>, CannotEstimate> {
        let mut weights = vec![risk.intercept];
        weights.extend(risk.inputs.iter().map(|i| i.weight));
        if let Some(stated) = terms.stated_churn {
            weights[0] = 0.0;
            // The book before anything is tested; without one, the book that is.
            let book = if self.training.is_empty() {
                &self.test
            } else {
                &self.training
            };
            let odds: Vec<f64> = book.iter().map(|(_, row)| log_odds(&weights, &row.inputs)).collect();
            weights[0] = intercept_for(stated, &odds)?;
        }
        Ok(weights)
    }

    fn forecasts(&self, rows: &[(&Landmark, &LeadRow)], weights: &[f64]) -> Vec<Forecast> {
        rows.iter()
            .map(|(landmark, row)| Forecast {
                probability: sigmoid(log_odds(weights, &row.inputs)),
                event: landmark.churned,
                arr: row.arr_minor as f64,
            })
            .collect()
    }

    fn outcomes(&self) -> Vec<Forecast> {
        self.forecasts(&self.test, &[])
    }

    /// Forecasts of the test rows, each by a fit on the training rows of other accounts, and the deviations chosen.
    fn cross_fitted(
        &self,
        fitted: impl Fn(&Table) -> Result<Logit, CannotEstimate>,
    ) -> Result<(Vec<Forecast>, Vec<f64>), CannotEstimate> {
        let inputs = self.training.first().map_or(0, |(_, row)| row.inputs.len());
        let mut models = Vec::new();
        for part in 0..FOLDS {
            let mut table = Table::new(inputs);
            for (landmark, row) in &self.training {
                if fold(landmark.account.as_str(), FOLDS) != part {
                    table.push(&row.inputs, landmark.churned)?;
                }
            }
            models.push(fitted(&table)?);
        }
        let forecasts = self
            .test
            .iter()
            .map(|(landmark, row)| {
                let part = fold(landmark.account.as_str(), FOLDS);
                let model = models.get(part as usize).ok_or(CannotEstimate::NoRows)?;
                Ok(Forecast {
                    probability: model.probability(&row.inputs)?,
                    event: landmark.churned,
                    arr: row.arr_minor as f64,
                })
            })
            .collect::<Result<Vec<_>, CannotEstimate>>()?;
        Ok((forecasts, models.iter().filter_map(|m| m.tau).collect()))
    }
}

fn log_odds(weights: &[f64], inputs: &[f64]) -> f64 {
    let intercept = weights.first().copied().unwrap_or_default();
    intercept + weights.iter().skip(1).zip(inputs).map(|(w, x)| w * x).sum::<f64>()
}

/// Judges the models of one lead by the same rows.
struct Judge<'a> {
    lead: &'a Lead<'a>,
    terms: &'a Terms,
    groups: Vec<u64>,
    k: usize,
    base: Result<f64, CannotEstimate>,
    enough: Result<(), CannotEstimate>,
}

impl Judge<'_> {
    fn model(
        &self,
        name: &'static str,
        made: Result<Vec<Forecast>, CannotEstimate>,
        scorecard: Option<&[Forecast]>,
    ) -> Model {
        let made = self.enough.clone().and(made);
        let cannot_estimate = made.as_ref().err().map(ToString::to_string);
        let of = |measure: &dyn Fn(&[Forecast]) -> Result<f64, CannotEstimate>| -> Measured {
            made.clone().and_then(|f| measure(&f)).into()
        };
        let spread = |measure: fn(&[Forecast]) -> Result<f64, CannotEstimate>| -> Measured {
            made.clone()
                .and_then(|f| bootstrap(&f, &self.groups, self.terms.draws, self.terms.seed, LEVEL, measure))
                .into()
        };
        let better_than = |theirs: Result<Vec<Forecast>, CannotEstimate>| -> Measured {
            made.clone()
                .and_then(|ours| {
                    let (draws, seed) = (self.terms.draws, self.terms.seed);
                    paired_bootstrap(&ours, &theirs?, &self.groups, draws, seed, LEVEL)
                })
                .into()
        };
        let line = made.clone().and_then(|f| calibration(&f, self.terms.floor));
        Model {
            model: name,
            tau: Vec::new(),
            auc: spread(auc),
            arr_auc: spread(weighted_auc),
            log_loss: spread(log_loss),
            log_loss_vs_scorecard: match scorecard {
                Some(theirs) => better_than(Ok(theirs.to_vec())),
                None => Measured::default(),
            },
            log_loss_vs_base_rate: better_than(self.base.clone().map(|rate| constant(&self.lead.outcomes(), rate))),
            brier: of(&brier),
            slope: match &line {
                Ok(line) => Measured {
                    value: Some(line.slope),
                    low: Some(line.slope - 1.959_964 * line.slope_error),
                    high: Some(line.slope + 1.959_964 * line.slope_error),
                    cannot_estimate: None,
                },
                Err(why) => Err::<f64, _>(why.clone()).into(),
            },
            intercept: line.map(|l| l.intercept).into(),
            ece: spread(calibration_error),
            precision_at_k: of(&|f| precision_at(f, self.k)),
            decile_lift: of(&decile_lift),
            churned_arr_flagged: of(&|f| self.flagged(f, true)),
            arr_flagged: of(&|f| self.flagged(f, false)),
            cannot_estimate,
        }
    }

    /// Share of the recurring revenue, of those who left or of all, whose probability reached the flag.
    fn flagged(&self, forecasts: &[Forecast], churned_only: bool) -> Result<f64, CannotEstimate> {
        if 7 * self.lead.weeks < FLAG_DAYS {
            return Err(CannotEstimate::NotObserved("this lead is shorter than 60 days"));
        }
        base_rate(forecasts)?;
        let (mut flagged, mut all) = (0.0, 0.0);
        for forecast in forecasts.iter().filter(|f| f.event || !churned_only) {
            all += forecast.arr;
            if forecast.probability >= self.terms.flag_from {
                flagged += forecast.arr;
            }
        }
        if all > 0.0 {
            Ok(flagged / all)
        } else {
            Err(CannotEstimate::NoWeight)
        }
    }
}
