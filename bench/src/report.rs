//! Medians of several rounds, and whether goals are met.

use anyhow::ensure;

/// The median of the numbers; NaN for none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What was judged, a line each on standard output.
#[derive(Default)]
pub struct Goals {
    missed: usize,
}

impl Goals {
    /// Prints whether a goal was met.
    pub fn judge(&mut self, met: bool, line: String) {
        println!("  {} {line}", if met { "ok    " } else { "MISSED" });
        self.missed += usize::from(!met);
    }

    /// The end of a benchmark.
    ///
    /// # Errors
    /// When a goal was missed.
    pub fn met(self) -> anyhow::Result<()> {
        ensure!(self.missed == 0, "{} goals were missed", self.missed);
        Ok(())
    }
}
