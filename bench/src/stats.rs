//! Figures and how they are written.

use std::time::{Duration, Instant};

/// A line of the table.
#[derive(Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Our figure.
    pub ours: String,
    /// The floor's.
    pub floor: String,
    /// One by the other.
    pub ratio: String,
    /// What was asked for.
    pub budget: String,
    /// Whether it was met, where there is a budget.
    pub met: Option<bool>,
}

impl Row {
    /// The row as it stands in the table.
    pub fn line(&self) -> String {
        let met = match self.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let Self { what, ours, floor, ratio, budget, .. } = self;
        format!("| {what} | {ours} | {floor} | {ratio} | {budget} | {met} |")
    }
}

/// The value below which a share of the samples lie.
pub fn percentile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    samples.get(index).copied().unwrap_or_default()
}

/// Writes a duration with three digits.
pub fn human(duration: Duration) -> String {
    let ns = duration.as_nanos() as f64;
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// The median time of one call, over batches of calls.
pub fn per_call(batches: usize, calls: u32, mut call: impl FnMut()) -> Duration {
    let mut samples = Vec::with_capacity(batches);
    for _ in 0..batches {
        let begin = Instant::now();
        for _ in 0..calls {
            call();
        }
        samples.push(begin.elapsed() / calls);
    }
    percentile(&mut samples, 0.5)
}
