//! What a line measured, a sample a round, and the figures that are made of it.

use serde::Serialize;

/// Samples of ours, and of the peer's where there is one: as many, from the same rounds.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Ours, in the unit of the line.
    pub ours: Vec<f64>,
    /// The peer's; empty where a line is absolute.
    pub peer: Vec<f64>,
}

/// A line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The line.
    pub id: &'static str,
    /// The median of ours.
    pub ours: f64,
    /// The median of the peer's.
    pub peer: Option<f64>,
    /// What both are measured in.
    pub unit: &'static str,
    /// The median of ours / peer, round by round.
    pub ratio: Option<f64>,
    /// How far the ratios (of an absolute line: its samples) lie apart: the distance between their quartiles, as a
    /// part of their median.
    pub spread: f64,
}

impl Samples {
    /// Boils the samples down.
    pub fn figures(&self, id: &'static str, unit: &'static str) -> Figures {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.peer).map(|(ours, peer)| ours / peer).collect();
        let is_absolute = ratios.is_empty();
        let spread_of = if is_absolute { &self.ours } else { &ratios };
        let spread = (quantile(spread_of, 0.75) - quantile(spread_of, 0.25)) / median(spread_of);
        Figures {
            id,
            ours: median(&self.ours),
            peer: (!is_absolute).then(|| median(&self.peer)),
            unit,
            ratio: (!is_absolute).then(|| median(&ratios)),
            spread,
        }
    }
}

/// The sample in the middle.
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The sample below which `part` of all lie, between two of them where need be; not a number where there is none.
pub fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = last as f64 * part;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_one_round_before_it_is_a_median() {
        let samples = Samples { ours: vec![1.0, 4.0, 9.0], peer: vec![10.0, 8.0, 10.0] };
        let figures = samples.figures("id", "s");
        assert_eq!((figures.ours, figures.peer, figures.ratio), (4.0, Some(10.0), Some(0.5)));
        assert!((figures.spread - (0.7 - 0.3) / 0.5).abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn a_line_without_a_peer_has_no_ratio() {
        let figures = Samples { ours: vec![3.0, 1.0, 2.0], peer: Vec::new() }.figures("id", "ms");
        assert_eq!((figures.ours, figures.peer, figures.ratio), (2.0, None, None));
    }

    #[test]
    fn quantiles_lie_between_samples() {
        assert_eq!(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        assert_eq!(quantile(&[1.0, 2.0], 1.0), 2.0);
        assert!(median(&[]).is_nan());
    }
}
