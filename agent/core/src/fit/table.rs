//! Rows to fit on, and how many of them are enough.

use super::CannotEstimate;

/// Rows of inputs, each with its outcome: 1 for an event, 0 for none. The intercept is not among the inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    inputs: usize,
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Table {
    /// An empty table with that many inputs a row.
    #[must_use]
    pub fn new(inputs: usize) -> Table {
        Table {
            inputs,
            x: Vec::new(),
            y: Vec::new(),
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`CannotEstimate::Shape`] or [`CannotEstimate::OutOfRange`]; the table is then as it was.
    pub fn push(&mut self, x: &[f64], event: bool) -> Result<(), CannotEstimate> {
        self.push_share(x, if event { 1.0 } else { 0.0 })
    }

    /// Adds a row whose outcome is a share between 0 and 1, such as a smoothed target.
    pub(super) fn push_share(&mut self, x: &[f64], y: f64) -> Result<(), CannotEstimate> {
        if x.len() != self.inputs {
            return Err(CannotEstimate::Shape {
                given: x.len(),
                wanted: self.inputs,
            });
        }
        if x.iter().any(|v| !v.is_finite()) {
            return Err(CannotEstimate::OutOfRange("input"));
        }
        self.x.extend_from_slice(x);
        self.y.push(y);
        Ok(())
    }

    /// Inputs a row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.y.len()
    }

    /// Rows with an event.
    #[must_use]
    pub fn events(&self) -> usize {
        self.y.iter().filter(|y| **y > 0.5).count()
    }

    /// Every row with its outcome.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[f64], f64)> {
        (0..self.y.len()).map(|i| (&self.x[i * self.inputs..(i + 1) * self.inputs], self.y[i]))
    }
}

/// The data floor: below it a fit is refused as "insufficient history".
///
/// Default: 25 events and 25 others. With 25 events among 200 renewals the standard error of an AUC is about .06 (Hanley
/// and McNeil 1982), half of what separates a scorecard of .65 from chance, and about the number of labels from which on
/// a fit with a prior mean beat a merely recalibrated scorecard in planted worlds. Twenty outcomes are below it whatever
/// they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Events needed, and as many others.
    pub events: usize,
}

impl Default for Floor {
    fn default() -> Floor {
        Floor { events: 25 }
    }
}

impl Floor {
    /// No more than one event and one other: for checks of the arithmetic, not for customers.
    pub const NONE: Floor = Floor { events: 1 };

    /// Whether a number of outcomes is enough.
    ///
    /// # Errors
    /// [`CannotEstimate::InsufficientHistory`]; of [`Floor::NONE`] [`CannotEstimate::NoRows`] or
    /// [`CannotEstimate::OneOutcome`].
    pub fn check(&self, rows: usize, events: usize) -> Result<(), CannotEstimate> {
        if events >= self.events && rows - events >= self.events {
            return Ok(());
        }
        if self.events > 1 {
            return Err(CannotEstimate::InsufficientHistory {
                rows,
                events,
                events_min: self.events,
            });
        }
        // One of a kind is all that is asked for, so the kind that is missing says more.
        Err(match (rows, events) {
            (0, _) => CannotEstimate::NoRows,
            (_, 0) => CannotEstimate::OneOutcome("events"),
            (_, _) => CannotEstimate::OneOutcome("rows without an event"),
        })
    }
}
