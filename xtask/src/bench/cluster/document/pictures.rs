//! The plot of a measurement: how long gangs take to start.

use super::super::results::{Starts, at};
use crate::bench::plot::{Axis, Plot, Scale, Series, Shape};

/// The name of its file.
pub(super) const START: &str = "cluster-start.svg";
/// Steps of a distribution's line.
const STEPS: u32 = 100;
/// Shortest time that the picture shows, in milliseconds: a logarithm has no place for 0.
const SHORTEST_MS: f64 = 1.0;

/// The share of starts that took no longer.
pub(super) fn start(starts: &Starts) -> Plot {
    let kinds = [
        ("ours", &starts.ours),
        ("to the container", &starts.container),
        ("to the first", &starts.first_instruction),
        ("to Running", &starts.running),
    ];
    let series: Vec<Series> =
        kinds.map(|(name, values)| Series { name: name.to_owned(), shape: Shape::Line(shares(values)) }).into_iter().collect();
    let shown: Vec<f64> = kinds.iter().flat_map(|(_, values)| values.iter().map(|value| value.max(SHORTEST_MS))).collect();
    Plot {
        title: "From submission to the first instruction".to_owned(),
        x: Axis { label: "ms".to_owned(), scale: Scale::logarithmic(shown) },
        y: Axis { label: "share that is not longer".to_owned(), scale: Scale::linear_between(0.0, 1.0) },
        series,
        goals: Vec::new(),
    }
}

fn shares(values: &[f64]) -> Vec<(f64, f64)> {
    let share = |step: u32| f64::from(step) / f64::from(STEPS);
    (0..=STEPS).filter_map(|step| Some((at(values, share(step))?.max(SHORTEST_MS), share(step)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_start_has_its_line_and_nothing_can_be_drawn_too() {
        let starts = Starts { ours: vec![40.0, 60.0], ..Starts::default() };
        let plot = start(&starts);
        assert_eq!(plot.series.len(), 4);
        let Shape::Line(line) = &plot.series[0].shape else { panic!("distributions are lines") };
        assert_eq!((line[0], line[100]), ((40.0, 0.0), (60.0, 1.0)));
        assert!(!start(&Starts::default()).svg().contains("NaN"));
    }
}
