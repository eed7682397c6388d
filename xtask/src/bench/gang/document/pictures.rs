//! The plots of a measurement.

use super::super::cell::{GRAINS_US, QUANTA_MS, Sharing};
use super::super::goals::{RATIO_GOALS, SKEW_GOALS, SWITCH_GOALS};
use super::super::report::Distributions;
use super::super::results::Results;
use crate::bench::plot::{Axis, Mark, Plot, Point, Scale, Series, Shape};
use crate::bench::statistics::quantile;

/// Steps of a distribution's line.
const STEPS: u32 = 200;
/// Shortest time that a picture of a distribution shows, in microseconds: a logarithm has no place for 0.
const SHORTEST_MICROS: f64 = 0.5;

/// The plots with the names of their files.
pub(super) fn all(results: &Results<'_>) -> Vec<(&'static str, Plot)> {
    let switch = distribution(results, "Switch cost (traced runs)", &SWITCH_GOALS, |traced| &traced.switch_micros);
    let skew = distribution(results, "Skew between two agents (traced runs)", &SKEW_GOALS, |traced| &traced.skew_micros);
    vec![("gang-ratio.svg", ratio(results)), ("gang-switch.svg", switch), ("gang-skew.svg", skew)]
}

fn ratio(results: &Results<'_>) -> Plot {
    let series: Vec<Series> = GRAINS_US.iter().map(|grain_us| ratio_series(results, *grain_us)).collect();
    let goals = RATIO_GOALS.map(|(quantum_ms, most)| Mark { x: f64::from(quantum_ms), y: most });
    let bounds =
        results.ratios.iter().filter(|ratio| ratio.sharing != Sharing::Kernel).flat_map(|ratio| [ratio.of_runs.low, ratio.of_runs.high]);
    let shown = bounds.chain(goals.map(|goal| goal.y)).chain([1.0]);
    Plot {
        title: "Two jobs as gangs: time together over the sum of the times alone".to_owned(),
        x: Axis { label: "quantum, ms".to_owned(), scale: Scale::logarithmic(QUANTA_MS.map(f64::from)) },
        y: Axis { label: "ratio (median, 95 % interval)".to_owned(), scale: Scale::linear(shown) },
        series,
        goals: goals.to_vec(),
    }
}

fn ratio_series(results: &Results<'_>, grain_us: u32) -> Series {
    let ratios =
        QUANTA_MS.iter().filter_map(|quantum_ms| Some((*quantum_ms, results.ratio(grain_us, Sharing::GangAtMs(*quantum_ms))?.of_runs)));
    let points = ratios.map(|(quantum_ms, ratio)| Point { x: f64::from(quantum_ms), y: ratio.median, low: ratio.low, high: ratio.high });
    Series { name: format!("grain {grain_us} µs"), shape: Shape::Points(points.collect()) }
}

/// The share of values that are not larger, a line for each quantum.
fn distribution(results: &Results<'_>, title: &str, goals: &[(f64, f64)], of: fn(&Distributions) -> &Vec<f64>) -> Plot {
    let measured = results.quanta.iter().filter(|quantum| !of(&quantum.traced).is_empty());
    let series: Vec<Series> = measured
        .clone()
        .map(|quantum| Series { name: format!("{} ms", quantum.quantum_ms), shape: Shape::Line(shares(of(&quantum.traced))) })
        .collect();
    let goals: Vec<Mark> = goals.iter().map(|(share, most)| Mark { x: *most, y: *share }).collect();
    let values = measured.flat_map(|quantum| of(&quantum.traced).iter().map(|value| value.max(SHORTEST_MICROS)));
    let shown: Vec<f64> = values.chain(goals.iter().map(|goal| goal.x)).collect();
    Plot {
        title: title.to_owned(),
        x: Axis { label: "µs; a line that passes left of a goal, or above it, meets it".to_owned(), scale: Scale::logarithmic(shown) },
        y: Axis { label: "share that is not longer".to_owned(), scale: Scale::linear_between(0.0, 1.0) },
        series,
        goals,
    }
}

fn shares(sorted: &[f64]) -> Vec<(f64, f64)> {
    let share = |step: u32| f64::from(step) / f64::from(STEPS);
    (0..=STEPS).filter_map(|step| Some((quantile(sorted, share(step))?.max(SHORTEST_MICROS), share(step)))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::results::tests::records;
    use super::super::super::store::tests::header;
    use super::*;

    #[test]
    fn each_plot_has_its_series_and_goals() {
        let (header, records) = (header(), records(3));
        let results = Results::of(&header, &records);
        let counts: Vec<(usize, usize)> = all(&results).iter().map(|(_, plot)| (plot.series.len(), plot.goals.len())).collect();
        assert_eq!(counts, [(2, 3), (5, 2), (5, 1)]);
        let Shape::Points(points) = &ratio(&results).series[0].shape else { panic!("ratios are points") };
        assert_eq!((points.len(), points[0].x), (5, 100.0));
    }

    #[test]
    fn a_distribution_rises_from_its_least_to_its_largest_value() {
        let line = shares(&[0.0, 1.0, 2.0]);
        assert_eq!((line[0], line[100], line[200]), ((SHORTEST_MICROS, 0.0), (1.0, 0.5), (2.0, 1.0)));
    }

    #[test]
    fn plots_of_nothing_can_be_drawn() {
        let header = header();
        let results = Results::of(&header, &[]);
        assert!(all(&results).iter().all(|(_, plot)| !plot.svg().contains("NaN")));
    }
}
