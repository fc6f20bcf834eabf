//! Symmetric positive definite systems of a few dozen unknowns, by the method of Cholesky.

/// The factor L of a matrix A = L L'.
pub(super) struct Cholesky {
    n: usize,
    l: Vec<f64>,
}

/// Smallest pivot, relative to its diagonal element, that counts as positive.
const PIVOT_MIN: f64 = 1e-13;

impl Cholesky {
    /// Factors a matrix given row by row; `None` when it is not positive definite.
    pub(super) fn of(a: &[f64], n: usize) -> Option<Cholesky> {
        let mut l = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let dot: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
                let rest = a[i * n + j] - dot;
                if i == j {
                    // Written so that NaN fails too.
                    if !(rest.is_finite() && rest > PIVOT_MIN * a[i * n + i].abs()) {
                        return None;
                    }
                    l[i * n + i] = libm::sqrt(rest);
                } else {
                    l[i * n + j] = rest / l[j * n + j];
                }
            }
        }
        Some(Cholesky { n, l })
    }

    /// Solves A x = b.
    pub(super) fn solve(&self, b: &[f64]) -> Vec<f64> {
        let (n, l) = (self.n, &self.l);
        let mut x = b.to_vec();
        for i in 0..n {
            let dot: f64 = (0..i).map(|k| l[i * n + k] * x[k]).sum();
            x[i] = (x[i] - dot) / l[i * n + i];
        }
        for i in (0..n).rev() {
            let dot: f64 = (i + 1..n).map(|k| l[k * n + i] * x[k]).sum();
            x[i] = (x[i] - dot) / l[i * n + i];
        }
        x
    }

    /// ln |A|.
    pub(super) fn log_determinant(&self) -> f64 {
        (0..self.n).map(|i| 2.0 * libm::log(self.l[i * self.n + i])).sum()
    }

    /// The inverse, row by row.
    pub(super) fn inverse(&self) -> Vec<f64> {
        let n = self.n;
        let mut inverse = vec![0.0; n * n];
        for j in 0..n {
            let mut unit = vec![0.0; n];
            unit[j] = 1.0;
            for (i, value) in self.solve(&unit).into_iter().enumerate() {
                inverse[i * n + j] = value;
            }
        }
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_and_its_determinant_known() {
        let a = [4.0, 2.0, 2.0, 3.0];
        let factor = Cholesky::of(&a, 2).expect("positive definite");
        let x = factor.solve(&[10.0, 8.0]);
        assert!((x[0] - 1.75).abs() < 1e-12 && (x[1] - 1.5).abs() < 1e-12, "{x:?}");
        assert!((factor.log_determinant() - libm::log(8.0)).abs() < 1e-12);
        let inverse = factor.inverse();
        assert!((inverse[0] - 0.375).abs() < 1e-12 && (inverse[1] + 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_singular_matrix_has_no_factor() {
        assert!(Cholesky::of(&[1.0, 1.0, 1.0, 1.0], 2).is_none());
        assert!(Cholesky::of(&[f64::NAN], 1).is_none());
    }
}
