//! Linear contextual bandits: the expected reward is a linear function of the context, learned by ridge regression with
//! penalty 1. `M = I + Σ x xᵀ`, `b = Σ r x`, `θ = M⁻¹ b`.
//!
//! LinUCB (Li, Chu, Langford and Schapire 2010) adds to the expectation what is not known yet; Thompson sampling
//! (Agrawal and Goyal 2013) draws θ from what is believed. Neither says what may
//! be explored.

use crate::draw::Stream;

/// Why a context cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BanditError {
    /// A context of another length.
    #[error("a context of {found} numbers where {expected} are expected")]
    Length {
        /// What came.
        found: usize,
        /// What the model has.
        expected: usize,
    },
    /// A value that is no number.
    #[error("a context or reward that is not a finite number")]
    NotFinite,
}

/// What was learned about one action.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// M, row by row; symmetric and positive definite by construction.
    m: Vec<Vec<f64>>,
    b: Vec<f64>,
}

impl Linear {
    /// Nothing learned yet, for contexts of `length` numbers.
    #[must_use]
    pub fn new(length: usize) -> Linear {
        let mut m = vec![vec![0.0; length]; length];
        for (i, row) in m.iter_mut().enumerate() {
            row[i] = 1.0;
        }
        Linear {
            m,
            b: vec![0.0; length],
        }
    }

    fn check(&self, x: &[f64]) -> Result<(), BanditError> {
        if x.len() != self.b.len() {
            return Err(BanditError::Length {
                found: x.len(),
                expected: self.b.len(),
            });
        }
        if x.iter().all(|v| v.is_finite()) {
            Ok(())
        } else {
            Err(BanditError::NotFinite)
        }
    }

    /// Learns that the reward followed in the context.
    ///
    /// # Errors
    /// When the context has another length or a value is no number; nothing is learned then.
    pub fn learn(&mut self, x: &[f64], reward: f64) -> Result<(), BanditError> {
        self.check(x)?;
        if !reward.is_finite() {
            return Err(BanditError::NotFinite);
        }
        for (row, xi) in self.m.iter_mut().zip(x) {
            for (cell, xj) in row.iter_mut().zip(x) {
                *cell += xi * xj;
            }
        }
        for (b, xi) in self.b.iter_mut().zip(x) {
            *b += reward * xi;
        }
        Ok(())
    }

    /// Lower triangle L of `M = L Lᵀ` (Cholesky).
    fn root(&self) -> Vec<Vec<f64>> {
        let n = self.b.len();
        let mut l = vec![vec![0.0; n]; n];
        for i in 0..n {
            for j in 0..=i {
                let dot: f64 = (0..j).map(|k| l[i][k] * l[j][k]).sum();
                let rest = self.m[i][j] - dot;
                l[i][j] = if i == j { libm::sqrt(rest) } else { rest / l[j][j] };
            }
        }
        l
    }

    /// θ, the weights of the context.
    #[must_use]
    pub fn weights(&self) -> Vec<f64> {
        let root = self.root();
        backward(&root, &forward(&root, &self.b))
    }

    /// Expected reward in a context.
    ///
    /// # Errors
    /// When the context has another length or a value is no number.
    pub fn mean(&self, x: &[f64]) -> Result<f64, BanditError> {
        self.check(x)?;
        Ok(dot(x, &self.weights()))
    }

    /// Upper confidence bound `xᵀθ + alpha sqrt(xᵀ M⁻¹ x)`.
    ///
    /// # Errors
    /// As [`Linear::mean`].
    pub fn upper(&self, x: &[f64], alpha: f64) -> Result<f64, BanditError> {
        let mean = self.mean(x)?;
        let half = forward(&self.root(), x);
        Ok(mean + alpha * libm::sqrt(dot(&half, &half)))
    }

    /// One draw of the expected reward: `xᵀ θ'` with `θ' ~ N(θ, v² M⁻¹)`, from draws that are passed in.
    ///
    /// # Errors
    /// As [`Linear::mean`].
    pub fn thompson(&self, x: &[f64], v: f64, draws: &mut Stream) -> Result<f64, BanditError> {
        let mean = self.mean(x)?;
        let noise: Vec<f64> = x.iter().map(|_| draws.normal()).collect();
        // L⁻ᵀ z has the covariance M⁻¹.
        Ok(mean + v * dot(x, &backward(&self.root(), &noise)))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Solves `L y = b`.
fn forward(l: &[Vec<f64>], b: &[f64]) -> Vec<f64> {
    let mut y: Vec<f64> = Vec::with_capacity(b.len());
    for (row, value) in l.iter().zip(b) {
        let i = y.len();
        y.push((value - dot(&row[..i], &y)) / row[i]);
    }
    y
}

/// Solves `Lᵀ x = y`.
fn backward(l: &[Vec<f64>], y: &[f64]) -> Vec<f64> {
    let n = y.len();
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        let rest: f64 = (i + 1..n).map(|k| l[k][i] * x[k]).sum();
        x[i] = (y[i] - rest) / l[i][i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned() -> Linear {
        let mut model = Linear::new(2);
        for (x, reward) in [
            ([1.0, 0.2], 0.0),
            ([1.0, 0.8], 1.0),
            ([1.0, 0.5], 1.0),
            ([1.0, 0.1], 0.0),
        ] {
            model.learn(&x, reward).unwrap();
        }
        model
    }

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-7, "{found} is not {expected}");
    }

    #[test]
    fn weights_mean_and_upper_bound_equal_the_reference_figures() {
        let model = learned();
        near(model.weights()[0], 0.252_101);
        near(model.weights()[1], 0.462_185);
        near(model.mean(&[1.0, 0.6]).unwrap(), 0.529_412);
        near(model.upper(&[1.0, 0.6], 1.0).unwrap(), 1.034_290);
    }

    #[test]
    fn draws_spread_as_the_confidence_bound_says() {
        let (model, x) = (learned(), [1.0, 0.6]);
        let sd = model.upper(&x, 1.0).unwrap() - model.mean(&x).unwrap();
        let mut draws = Stream::new(3, &["thompson"]);
        let list: Vec<f64> = (0..20_000)
            .map(|_| model.thompson(&x, 0.5, &mut draws).unwrap())
            .collect();
        let mean = list.iter().sum::<f64>() / 20_000.0;
        let spread = libm::sqrt(list.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / 20_000.0);
        assert!((mean - model.mean(&x).unwrap()).abs() < 0.01, "{mean}");
        assert!((spread / (0.5 * sd) - 1.0).abs() < 0.03, "{spread}");
    }

    #[test]
    fn a_context_that_does_not_fit_teaches_nothing() {
        let mut model = learned();
        assert_eq!(
            model.learn(&[1.0], 1.0),
            Err(BanditError::Length { found: 1, expected: 2 })
        );
        assert_eq!(model.learn(&[1.0, f64::NAN], 1.0), Err(BanditError::NotFinite));
        assert_eq!(model.learn(&[1.0, 1.0], f64::INFINITY), Err(BanditError::NotFinite));
        assert_eq!(model, learned());
        assert!(model.mean(&[]).is_err());
    }
}
