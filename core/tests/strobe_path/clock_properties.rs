//! Two clocks of unlike rate, exchanges of random and unfair delays: the estimate is never further off than it says.

use std::time::Duration;

use proptest::prelude::*;
use strobe_core::{
    limits::CLOCK_SAMPLES,
    model::Instant,
    node::{CLOCK_AGREEING, ClockExchange, OffsetEstimator, SampleVerdict},
};

/// A manager's clock that differs from the own one by an offset and a rate.
#[derive(Debug, Clone, Copy)]
struct Clock {
    offset_ns: i128,
    rate_ppb: i128,
}

/// One exchange: time since the one before, and the delay there and back.
type Delays = (u64, u64, u64);

impl Clock {
    fn at(self, own: Instant) -> Instant {
        let own = i128::from(own.as_nanoseconds());
        let elapsed = own - i128::from(start().as_nanoseconds());
        Instant::from_nanoseconds(u64::try_from(own + self.offset_ns + elapsed * self.rate_ppb / 1_000_000_000).expect("far from the ends"))
    }
}

fn start() -> Instant {
    Instant::from_nanoseconds(86_400_000_000_000)
}

fn microseconds(microseconds: u64) -> Duration {
    Duration::from_micros(microseconds)
}

fn exchange(clock: Clock, asked: Instant, there: u64, back: u64) -> ClockExchange {
    let arrived = asked + microseconds(there);
    let left = arrived + microseconds(3);
    ClockExchange { asked, received: clock.at(arrived), replied: clock.at(left), heard: left + microseconds(back) }
}

fn clocks() -> impl Strategy<Value = Clock> {
    (-3_600_000_000_000_i128..3_600_000_000_000, -1_000_000_i128..=1_000_000)
        .prop_map(|(offset_ns, rate_ppb)| Clock { offset_ns, rate_ppb })
}

fn delays() -> impl Strategy<Value = Vec<Delays>> {
    prop::collection::vec((1_u64..300_000, 1_u64..2_000, 1_u64..2_000), 3..60)
}

fn error(estimator: &OffsetEstimator, clock: Clock, own: Instant) -> Duration {
    let estimate = estimator.to_manager(own).expect("it is synchronised");
    let truth = clock.at(own);
    estimate.since(truth).max(truth.since(estimate))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_error_is_within_the_bound(clock in clocks(), delays in delays(), later in 0_u64..5_000_000) {
        let mut estimator = OffsetEstimator::of_other_node();
        let mut now = start();
        for (index, (pause, there, back)) in delays.into_iter().enumerate() {
            let exchange = exchange(clock, now + microseconds(pause), there, back);
            now = exchange.heard;
            prop_assert_eq!(estimator.observe(exchange), SampleVerdict::Agrees);
            prop_assert_eq!(estimator.bound(now).is_some(), index + 1 >= CLOCK_AGREEING);
        }
        for own in [now, now + microseconds(later)] {
            let bound = estimator.bound(own).expect("enough samples agree");
            prop_assert!(error(&estimator, clock, own) <= bound, "error {:?} beyond {bound:?}", error(&estimator, clock, own));
        }
    }

    #[test]
    fn translations_are_inverse(clock in clocks(), delays in delays(), ahead in 0_u64..10_000_000) {
        let mut estimator = OffsetEstimator::of_other_node();
        let mut now = start();
        for (pause, there, back) in delays {
            let exchange = exchange(clock, now + microseconds(pause), there, back);
            now = exchange.heard;
            estimator.observe(exchange);
        }
        let own = now + microseconds(ahead);
        let back = estimator.to_manager(own).and_then(|at| estimator.to_own(at)).expect("enough samples agree");
        prop_assert!(back.since(own).max(own.since(back)) <= Duration::from_nanos(3));
    }

    #[test]
    fn a_step_beyond_the_bounds_is_noticed_at_the_next_sample(clock in clocks(), delays in delays(), backwards: bool) {
        let mut estimator = OffsetEstimator::of_other_node();
        let mut now = start();
        for (pause, there, back) in delays {
            let exchange = exchange(clock, now + microseconds(pause), there, back);
            now = exchange.heard;
            estimator.observe(exchange);
        }
        let step_ns = if backwards { -20_000_000 } else { 20_000_000 };
        let stepped = Clock { offset_ns: clock.offset_ns + step_ns, ..clock };
        prop_assert_eq!(estimator.observe(exchange(stepped, now, 10, 10)), SampleVerdict::Contradicts);
        prop_assert_eq!(estimator.bound(now), None);
        for _ in 1..CLOCK_AGREEING {
            now = now + microseconds(2_000);
            prop_assert_eq!(estimator.observe(exchange(stepped, now, 10, 10)), SampleVerdict::Agrees);
        }
        prop_assert!(error(&estimator, stepped, now) <= estimator.bound(now).expect("fresh samples agree"));
    }
}

#[test]
fn a_quiet_link_gives_a_bound_of_half_the_round_trip() {
    let clock = Clock { offset_ns: -5_000_000, rate_ppb: 40_000 };
    let mut estimator = OffsetEstimator::of_other_node();
    let mut now = start();
    for _ in 0..16 {
        now = now + microseconds(250_000);
        estimator.observe(exchange(clock, now, 50, 50));
    }
    let bound = estimator.bound(now).expect("enough samples agree");
    assert!(bound >= microseconds(50) && bound <= microseconds(70), "{bound:?}");
    let later = estimator.bound(now + Duration::from_secs(1)).expect("it only grows");
    assert!(later > bound && later < microseconds(200), "the compared rates keep it from growing by a millisecond: {later:?}");
}

/// Exchanges that begin a quarter of a second apart, as many as are kept, each with delays of 50 µs and 4 µs of answering.
fn steady(clock: Clock) -> (OffsetEstimator, ClockExchange) {
    let mut estimator = OffsetEstimator::of_other_node();
    let exchanges = (0..CLOCK_SAMPLES as u64).map(|index| {
        let asked = start() + microseconds(250_000 * index);
        let (arrived, left) = (asked + microseconds(50), asked + microseconds(54));
        ClockExchange { asked, received: clock.at(arrived), replied: clock.at(left), heard: asked + microseconds(104) }
    });
    let last = exchanges.inspect(|exchange| assert_eq!(estimator.observe(*exchange), SampleVerdict::Agrees)).last();
    (estimator, last.expect("some samples are kept"))
}

#[test]
fn equal_delays_give_the_exact_offset_and_rate_and_a_bound_that_grows_with_the_doubt_about_them() {
    for rate_ppb in [0, 100_000, -1_000_000, 1_000_000] {
        let clock = Clock { offset_ns: 7_000_000, rate_ppb };
        let (estimator, last) = steady(clock);
        let middle = last.asked + microseconds(52);
        assert!(error(&estimator, clock, middle + Duration::from_secs(1)) <= Duration::from_nanos(10), "the rate is {rate_ppb}");
        // Half of a round trip of 100 µs, less or more by what the manager's clock makes of 4 µs, and the error of reading.
        let bound = |own| i64::try_from(estimator.bound(own).expect("enough samples agree").as_nanos()).expect("short");
        assert!((bound(middle) - 51_000).abs() <= 4, "{}", bound(middle));
        // Two samples that are two seconds apart, each wrong by half a round trip, and read with an error: 50.5 ppm, and 10 ppm of wander.
        assert!((bound(middle + Duration::from_secs(1)) - 111_500).abs() <= 8, "{}", bound(middle + Duration::from_secs(1)));
    }
}

#[test]
fn the_middle_of_a_slow_answer_counts_and_its_length_is_no_part_of_the_bound() {
    let clock = Clock { offset_ns: -3_000, rate_ppb: 0 };
    let mut estimator = OffsetEstimator::of_other_node();
    for index in 0..3 {
        let asked = start() + microseconds(20_000 * index);
        let (arrived, left) = (asked + microseconds(20), asked + microseconds(9_020));
        let exchange = ClockExchange { asked, received: clock.at(arrived), replied: clock.at(left), heard: left + microseconds(20) };
        assert_eq!(estimator.observe(exchange), SampleVerdict::Agrees);
    }
    let now = start() + microseconds(40_000 + 4_520);
    assert_eq!((error(&estimator, clock, now), estimator.bound(now)), (Duration::ZERO, Some(microseconds(21))));
}

#[test]
fn a_clock_that_gains_more_than_any_clock_is_slewed_is_not_trusted_to_go_on_so() {
    // Each sample is the most that the one before it allows, and seen the more clearly: together they are too fast.
    let samples = [(0, 1_000), (1_003_000, 1_000), (2_021_800, 900), (3_046_800, 800)];
    let mut estimator = OffsetEstimator::of_other_node();
    let mut bounds = Vec::new();
    for (index, (ahead, half)) in (0..).zip(samples) {
        let middle = start() + Duration::from_secs(index);
        let shown = middle + Duration::from_nanos(ahead);
        let (asked, heard) = (middle - Duration::from_nanos(half), middle + Duration::from_nanos(half));
        assert_eq!(estimator.observe(ClockExchange { asked, received: shown, replied: shown, heard }), SampleVerdict::Agrees);
        bounds.push(estimator.bound(middle + Duration::from_secs(1)));
    }
    let nanoseconds = |nanoseconds| Some(Duration::from_nanos(nanoseconds));
    // Half a round trip, an error of reading, and what a second may add: the doubt about the compared rate, or what any two clocks may drift.
    assert_eq!(bounds, [None, None, nanoseconds(900 + 1_000 + 11_450), nanoseconds(800 + 1_000 + 1_000_000)]);
}

#[test]
fn a_round_trip_may_be_shorter_than_clocks_are_read_exactly_and_not_by_more() {
    let mut estimator = OffsetEstimator::of_other_node();
    let mut observe = |answered: u64, heard: u64| {
        let after = |nanoseconds| start() + Duration::from_nanos(nanoseconds);
        estimator.observe(ClockExchange { asked: start(), received: start(), replied: after(answered), heard: after(heard) })
    };
    assert_eq!(observe(0, 0), SampleVerdict::Agrees, "all within one tick of the clocks");
    assert_eq!(observe(0, 700), SampleVerdict::Agrees);
    assert_eq!(observe(2_000, 1_000), SampleVerdict::Agrees, "as if the answer came a reading error early");
    assert_eq!(observe(2_001, 1_000), SampleVerdict::Impossible);
    let early = start() - Duration::from_nanos(500);
    let backwards = ClockExchange { asked: start(), received: start(), replied: start(), heard: early };
    assert_eq!(estimator.observe(backwards), SampleVerdict::Impossible, "one clock does not go back, however little");
}

#[test]
fn impossible_exchanges_change_nothing() {
    let clock = Clock { offset_ns: 0, rate_ppb: 0 };
    let good = exchange(clock, start(), 10, 10);
    let backwards = ClockExchange { heard: good.asked - microseconds(1), ..good };
    let manager_backwards = ClockExchange { replied: good.received - microseconds(1), ..good };
    let too_slow = ClockExchange { replied: good.received + microseconds(500), ..good };
    let mut estimator = OffsetEstimator::of_other_node();
    let fresh = estimator.clone();
    for wrong in [backwards, manager_backwards, too_slow] {
        assert_eq!(estimator.observe(wrong), SampleVerdict::Impossible);
    }
    assert_eq!(estimator, fresh);
}

#[test]
fn the_manager_s_own_node_needs_no_samples_and_a_disturbed_clock_needs_fresh_ones() {
    let own = OffsetEstimator::of_own_node();
    assert_eq!((own.bound(start()), own.to_own(start()), own.to_manager(start())), (Some(Duration::ZERO), Some(start()), Some(start())));
    let clock = Clock { offset_ns: 9, rate_ppb: 0 };
    let mut estimator = OffsetEstimator::of_other_node();
    for index in 0..4 {
        estimator.observe(exchange(clock, start() + microseconds(index * 2_000), 10, 10));
    }
    assert!(estimator.to_own(start()).is_some());
    estimator.disturb();
    assert_eq!((estimator.bound(start()), estimator.to_own(start()), estimator.to_manager(start())), (None, None, None));
}
