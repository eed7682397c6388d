//! From values to places on a picture, and the values that an axis names.

/// How values are laid out on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Scale {
    kind: Kind,
    /// The values at both ends.
    from: f64,
    to: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Linear,
    /// Equal ratios are equally long.
    Logarithmic,
}

/// At most so many values are named on a linear axis.
const TICKS: f64 = 8.0;

// === impl Scale ===

impl Scale {
    /// Holds all of the values and ends at whole steps.
    pub(in super::super) fn linear(values: impl IntoIterator<Item = f64>) -> Self {
        let (least, largest) = ends(values);
        let step = step(least, largest);
        Self { kind: Kind::Linear, from: (least / step).floor() * step, to: (largest / step).ceil() * step }
    }

    /// From one value to another.
    pub(in super::super) const fn linear_between(from: f64, to: f64) -> Self {
        Self { kind: Kind::Linear, from, to }
    }

    /// Holds all of the values, which are positive, with some room on both sides; others are ignored.
    pub(in super::super) fn logarithmic(values: impl IntoIterator<Item = f64>) -> Self {
        const ROOM: f64 = 1.15;
        let (least, largest) = ends(values.into_iter().filter(|value| *value > 0.0));
        let least = if least > 0.0 { least } else { largest / 10.0 };
        Self { kind: Kind::Logarithmic, from: least / ROOM, to: largest * ROOM }
    }

    /// Where a value lies: 0 at the first end, 1 at the last, beyond them for what the axis does not hold. What a logarithm cannot
    /// show lies at the first end.
    pub(in super::super) fn place(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Linear => (value - self.from) / (self.to - self.from),
            Kind::Logarithmic if value <= 0.0 => 0.0,
            Kind::Logarithmic => (value / self.from).ln() / (self.to / self.from).ln(),
        }
    }

    /// Values to name, in order.
    pub(in super::super) fn ticks(&self) -> Vec<f64> {
        match self.kind {
            Kind::Linear => {
                let step = step(self.from, self.to);
                let count = ((self.to - self.from) / step).round() as u32;
                (0..=count).map(|number| self.from + f64::from(number) * step).collect()
            }
            Kind::Logarithmic => {
                let (first, last) = (self.from.log10().floor() as i32, self.to.log10().ceil() as i32);
                let decades = (first..=last).flat_map(|exponent| [1.0, 2.0, 5.0].map(|lead| lead * 10_f64.powi(exponent)));
                decades.filter(|tick| (self.from..=self.to).contains(tick)).collect()
            }
        }
    }
}

/// The least and the largest value; 0 and 1 without any, and some room where they are one.
fn ends(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let (least, largest) =
        values.into_iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, largest), value| (least.min(value), largest.max(value)));
    match (least.is_finite() && largest.is_finite(), least < largest) {
        (false, _) => (0.0, 1.0),
        (true, true) => (least, largest),
        (true, false) => (least, least + least.abs().max(1.0) * 0.1),
    }
}

/// 1, 2 or 5 times a power of ten, so that few of them cover the span.
fn step(from: f64, to: f64) -> f64 {
    let least = (to - from) / TICKS;
    let power = 10_f64.powf(least.log10().floor());
    let lead = [1.0, 2.0, 5.0].into_iter().find(|lead| lead * power >= least * (1.0 - 1e-9)).unwrap_or(10.0);
    lead * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn linear_places_are_shares_of_the_axis() {
        let scale = Scale::linear_between(1.0, 3.0);
        assert!(close(scale.place(1.0), 0.0) && close(scale.place(1.5), 0.25) && close(scale.place(3.0), 1.0));
        assert!(scale.place(4.0) > 1.0 && scale.place(0.0) < 0.0);
    }

    #[test]
    fn equal_ratios_are_equally_long_on_a_logarithmic_axis() {
        let scale = Scale::logarithmic([2.0, 100.0]);
        let (two, twenty, ten, hundred) = (scale.place(2.0), scale.place(20.0), scale.place(10.0), scale.place(100.0));
        assert!(close(twenty - two, hundred - ten));
        assert!(two > 0.0 && hundred < 1.0);
        assert!(close(scale.place(0.0), 0.0));
    }

    #[test]
    fn a_linear_axis_holds_its_values_and_ends_at_whole_steps() {
        let ticks = Scale::linear([1.0023, 1.0571]).ticks();
        let expected = [1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06];
        assert!(ticks.len() == expected.len() && ticks.iter().zip(expected).all(|(tick, wanted)| close(*tick, wanted)), "{ticks:?}");
    }

    #[test]
    fn steps_are_round_numbers() {
        assert!(close(step(0.0, 8.0), 1.0) && close(step(0.0, 9.0), 2.0) && close(step(0.0, 0.3), 0.05) && close(step(0.0, 70.0), 10.0));
    }

    #[test]
    fn a_logarithmic_axis_names_round_numbers() {
        assert_eq!(Scale::logarithmic([2.0, 100.0]).ticks(), [2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn an_axis_of_nothing_or_of_one_value_is_an_axis() {
        assert_eq!(Scale::linear([]), Scale::linear_between(0.0, 1.0));
        let one = Scale::linear([5.0]);
        assert!((0.0..=1.0).contains(&one.place(5.0)) && one.ticks().len() > 1);
        let zeros = Scale::logarithmic([0.0, 0.0]);
        assert!(zeros.place(0.5).is_finite());
    }
}
