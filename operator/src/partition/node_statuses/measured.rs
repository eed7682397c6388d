//! What an agent measures, over the last half to whole minute: two slices of time, of which the older one goes when the newer is full.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use strobe_core::model::{AgentIncarnation, GangRun, Instant};
use strobe_crds::duration::Duration;
use strobe_crds::partition_node::{Distribution, Freezer, NodeFigures, Scheduler, StrobeState};
use strobe_proto::agent::{AgentHello, Counters, Figures, SwitchCause, SwitchSample};

use crate::limits::{LONGEST_MEASURED, MEASURED_OVER};

/// Decimal digits of a time that are told apart, and told.
const DIGITS: u8 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Measured {
    agent: AgentIncarnation,
    freezer: Option<Freezer>,
    scheduler: Option<Scheduler>,
    /// The newest figures, without their samples; none before the first.
    newest: Option<Newest>,
    current: Slice,
    previous: Option<Slice>,
}

/// What counts from the beginning of a life.
#[derive(Debug)]
struct Newest {
    strobe: Option<StrobeState>,
    counters: Counters,
    agent_seconds: f64,
    /// CPU seconds of each gang's ranks.
    gangs: BTreeMap<GangRun, f64>,
}

/// What was measured in a slice of time.
#[derive(Debug)]
struct Slice {
    begun: Instant,
    skew: Histogram<u32>,
    switch: Histogram<u32>,
    clock_bound: u64,
    rank_seconds: f64,
    agent_seconds: f64,
}

// === impl Measured ===

impl Measured {
    /// Of a life of an agent that begins now.
    pub(super) fn new(now: Instant, agent: AgentIncarnation) -> Self {
        Self { agent, freezer: None, scheduler: None, newest: None, current: Slice::new(now), previous: None }
    }

    /// The agent says who it is. Another life has measured nothing yet.
    pub(super) fn greeted(&mut self, now: Instant, agent: AgentIncarnation, hello: &AgentHello) {
        if self.agent != agent {
            *self = Self::new(now, agent);
        }
        self.freezer = match hello.freezer.as_str() {
            "cgroup" => Some(Freezer::Cgroup),
            "signal" => Some(Freezer::Signal),
            _ => None,
        };
        self.scheduler = (!hello.scheduler.is_empty()).then(|| if hello.scheduler == "fifo" { Scheduler::Fifo } else { Scheduler::Other });
    }

    /// Takes what the agent tells.
    pub(super) fn take(&mut self, now: Instant, figures: &Figures) {
        if now >= self.current.begun + MEASURED_OVER {
            self.previous = Some(std::mem::replace(&mut self.current, Slice::new(now)));
        }
        let slice = &mut self.current;
        figures.samples.iter().filter_map(switch_cost).for_each(|cost| slice.switch.saturating_record(cost));
        slice.clock_bound = slice.clock_bound.max(figures.clock_bound_nanoseconds);
        let seconds = |gang: &strobe_proto::agent::GangFigures| Some((GangRun::from(gang.run?), gang.cpu_seconds));
        let gangs: BTreeMap<GangRun, f64> = figures.gangs.iter().filter_map(seconds).collect();
        if let Some(before) = &self.newest {
            // Of a gang that was not there before nobody knows when it used what it has.
            let used = gangs.iter().filter_map(|(run, seconds)| Some(seconds - before.gangs.get(run)?));
            slice.rank_seconds += used.map(|seconds| seconds.max(0.0)).sum::<f64>();
            slice.agent_seconds += (figures.agent_cpu_seconds - before.agent_seconds).max(0.0);
        }
        let counters = figures.counters.unwrap_or_default();
        self.newest = Some(Newest { strobe: strobe_state(&figures.state), counters, agent_seconds: figures.agent_cpu_seconds, gangs });
    }

    /// The node switched so many nanoseconds after the first one.
    pub(super) fn behind(&mut self, nanoseconds: u64) {
        self.current.skew.saturating_record(nanoseconds);
    }

    /// The figures of a node with so many CPUs for ranks; none before the agent has told any.
    pub(super) fn figures(&self, now: Instant, cpus: usize) -> Option<NodeFigures> {
        let newest = self.newest.as_ref()?;
        let slices = || self.previous.iter().chain([&self.current]);
        let seconds = self.previous.as_ref().map_or(now.since(self.current.begun), |slice| now.since(slice.begun)).as_secs_f64();
        let part = |used: f64, of: f64| (of > 0.0).then(|| 100.0 * used / of);
        #[expect(clippy::cast_precision_loss, reason = "a node has at most a thousand CPUs")]
        let efficiency = part(slices().map(|slice| slice.rank_seconds).sum(), seconds * cpus as f64);
        let agent = part(slices().map(|slice| slice.agent_seconds).sum(), seconds);
        let bound = slices().map(|slice| slice.clock_bound).max().filter(|bound| *bound > 0);
        let Counters { strobes, late, missed, stragglers, unsynchronised, watchdog_expiries, .. } = newest.counters;
        Some(NodeFigures {
            strobe: newest.strobe,
            freezer: self.freezer,
            scheduler: self.scheduler,
            cpu_efficiency: efficiency.map(|part| format!("{part:.0}%")),
            agent_cpu: agent.map(|part| format!("{part:.1}%")),
            skew: distribution(slices().map(|slice| &slice.skew)),
            switch_cost: distribution(slices().map(|slice| &slice.switch)),
            clock_error_bound: bound.map(rounded),
            strobes,
            late,
            missed,
            stragglers,
            unsynchronised,
            watchdog_expiries,
        })
    }
}

// === impl Slice ===

impl Slice {
    fn new(now: Instant) -> Self {
        Self { begun: now, skew: histogram(), switch: histogram(), clock_bound: 0, rank_seconds: 0.0, agent_seconds: 0.0 }
    }
}

fn histogram() -> Histogram<u32> {
    let longest = u64::try_from(LONGEST_MEASURED.as_nanos()).expect("some seconds have few nanoseconds");
    Histogram::new_with_bounds(1, longest, DIGITS).expect("the bounds and digits are in range")
}

/// How late a node acted on an epoch, in nanoseconds; none where it did not act at the announced instant.
pub(super) fn lateness(sample: &SwitchSample) -> Option<i64> {
    let due = sample.due.filter(|_| sample.cause() == SwitchCause::Epoch)?;
    i64::try_from(i128::from(sample.acted) - i128::from(due)).ok()
}

/// How long a switch took, in nanoseconds, where an epoch changed something.
fn switch_cost(sample: &SwitchSample) -> Option<u64> {
    let of_epoch = matches!(sample.cause(), SwitchCause::Epoch | SwitchCause::Receipt);
    let changed = !sample.freeze.is_empty() || !sample.thaw.is_empty();
    (of_epoch && changed).then(|| sample.thawed.saturating_sub(sample.acted))
}

fn strobe_state(word: &str) -> Option<StrobeState> {
    match word {
        "unsealed" => Some(StrobeState::Unsealed),
        "strobed" => Some(StrobeState::Strobed),
        "free-running" => Some(StrobeState::FreeRunning),
        _ => None,
    }
}

/// What is said of the slices together; none when nothing was recorded.
fn distribution<'a>(slices: impl Iterator<Item = &'a Histogram<u32>>) -> Option<Distribution> {
    let mut all = histogram();
    for slice in slices {
        all.add(slice).expect("all have the same bounds");
    }
    let at = |quantile| rounded(all.value_at_quantile(quantile));
    (!all.is_empty()).then(|| Distribution { p50: at(0.5), p99: at(0.99), max: rounded(all.max()) })
}

/// Nanoseconds to two digits: what is told should change only when it does.
fn rounded(nanoseconds: u64) -> Duration {
    let digits = nanoseconds.checked_ilog10().unwrap_or(0) + 1;
    let unit = 10_u64.pow(digits.saturating_sub(DIGITS.into()));
    std::time::Duration::from_nanos((nanoseconds + unit / 2) / unit * unit).into()
}

#[cfg(test)]
mod tests {
    use strobe_proto::agent::{GangFigures, GangRun as Run};

    use super::*;

    const AGENT: AgentIncarnation = AgentIncarnation(1);

    fn at(seconds: u64) -> Instant {
        Instant::from_nanoseconds(1 + seconds * 1_000_000_000)
    }

    fn figures(rank_seconds: f64, samples: Vec<SwitchSample>) -> Figures {
        let run = Some(Run { gang: 7, incarnation: 1 });
        Figures {
            samples,
            gangs: vec![GangFigures { run, cpu_seconds: rank_seconds, ..GangFigures::default() }],
            state: "strobed".to_owned(),
            agent_cpu_seconds: rank_seconds / 100.0,
            counters: Some(Counters { strobes: 9, stragglers: 2, ..Counters::default() }),
            clock_bound_nanoseconds: 270_812,
            ..Figures::default()
        }
    }

    fn switch(cause: SwitchCause, cost: u64) -> SwitchSample {
        let thaw = vec![Run { gang: 7, incarnation: 1 }];
        SwitchSample { cause: cause.into(), due: Some(900), acted: 1_000, thawed: 1_000 + cost, thaw, ..SwitchSample::default() }
    }

    #[test]
    fn nothing_is_said_before_the_agent_tells_and_then_all_that_it_told() {
        let mut measured = Measured::new(at(0), AGENT);
        measured.greeted(at(0), AGENT, &AgentHello { freezer: "cgroup".into(), scheduler: "fifo".into(), ..AgentHello::default() });
        assert_eq!(measured.figures(at(0), 2), None);
        measured.take(at(0), &figures(100.0, vec![]));
        measured.take(at(10), &figures(105.0, vec![switch(SwitchCause::Epoch, 155_499), switch(SwitchCause::Hold, 9_000_000)]));
        measured.behind(83_210);
        let told = measured.figures(at(10), 2).unwrap();
        let alike = |text: &str| Some(text.parse::<Duration>().unwrap());
        assert_eq!((told.cpu_efficiency.as_deref(), told.agent_cpu.as_deref()), (Some("25%"), Some("0.5%")));
        assert_eq!((told.freezer, told.scheduler, told.strobe), (Some(Freezer::Cgroup), Some(Scheduler::Fifo), Some(StrobeState::Strobed)));
        assert_eq!((told.strobes, told.stragglers, told.clock_error_bound), (9, 2, alike("270us")));
        assert_eq!(told.skew.map(|skew| skew.p99), alike("83us"));
        assert_eq!(told.switch_cost.map(|cost| cost.max), alike("160us"), "a hold is no epoch");
    }

    #[test]
    fn what_is_older_than_two_slices_is_forgotten() {
        let mut measured = Measured::new(at(0), AGENT);
        let slice = MEASURED_OVER.as_secs();
        measured.take(at(0), &figures(0.0, vec![switch(SwitchCause::Epoch, 8_000_000)]));
        measured.take(at(slice), &figures(0.0, vec![switch(SwitchCause::Epoch, 100_000)]));
        let longest = |measured: &Measured, now| measured.figures(at(now), 1).unwrap().switch_cost.map(|cost| cost.max.to_string());
        assert_eq!(longest(&measured, slice).as_deref(), Some("8ms"));
        measured.take(at(2 * slice), &figures(0.0, vec![]));
        assert_eq!(longest(&measured, 2 * slice).as_deref(), Some("100us"));
        measured.take(at(3 * slice), &figures(0.0, vec![]));
        assert_eq!(longest(&measured, 3 * slice), None);
    }

    #[test]
    fn another_life_of_the_agent_has_measured_nothing() {
        let mut measured = Measured::new(at(0), AGENT);
        measured.take(at(1), &figures(0.0, vec![]));
        measured.greeted(at(2), AGENT, &AgentHello::default());
        assert!(measured.figures(at(2), 1).is_some(), "only its session is new");
        measured.greeted(at(3), AgentIncarnation(2), &AgentHello::default());
        assert_eq!(measured.figures(at(3), 1), None);
    }

    #[test]
    fn only_who_acts_at_the_announced_instant_is_late_by_something() {
        assert_eq!(lateness(&switch(SwitchCause::Epoch, 0)), Some(100));
        assert_eq!(lateness(&SwitchSample { acted: 850, ..switch(SwitchCause::Epoch, 0) }), Some(-50));
        assert_eq!(lateness(&SwitchSample { due: None, ..switch(SwitchCause::Receipt, 0) }), None);
        assert_eq!(lateness(&switch(SwitchCause::Watchdog, 0)), None);
    }

    #[test]
    fn times_are_told_to_two_digits() {
        let text = |nanoseconds| rounded(nanoseconds).to_string();
        let told = [0, 850, 1_894, 18_449, 83_500, 1_894_499].map(text);
        assert_eq!(told, ["0s", "0.850us", "1.900us", "18us", "84us", "1ms900us"]);
    }
}
