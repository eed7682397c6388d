//! Two clocks of unlike rate, exchanges of random and unfair delays: the estimate is never further off than it says.

use std::time::Duration;

use proptest::prelude::*;
use strobe_core::{
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
