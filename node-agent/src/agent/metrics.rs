//! The agent's figures for Prometheus, over plain HTTP on the loopback interface: they hold no secret and take no input.
//!
//! An agent sees one clock, its own, so it cannot measure the skew between two nodes. It exports what skew is made of: how
//! late it acted after each announced instant, and the bound of the error of that instant in its own clock. Two nodes are
//! apart by no more than the difference of their latenesses and the sum of their bounds.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use strobe_core::{
    model::{GangRun, NodeIndex},
    node::{MemberEvent, SwitchSample},
};
use strobe_fabric::blocks::BlockCounters;
use strobe_proto::agent::GangFigures;

use super::{cpu_manager::CpuManagerPolicy, refusals::Refusals};
use crate::{
    health::{OPEN_METRICS, serve_router, text},
    strobe_thread::{StrobeCounters, SwitchRecord},
    sys::scheduler::Scheduler,
};

/// The smallest bound of the histograms, in seconds: a good switch takes some tens of microseconds.
const BUCKET_MIN_SECONDS: f64 = 1e-5;

/// Bounds of the histograms, each twice the one before: up to 82 ms, beyond which a switch lasts longer than a quantum.
const BUCKETS: u16 = 14;

/// Everything that is measured.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Arc<Registry>,
    strobe: StrobeMetrics,
    clock: ClockMetrics,
    blocks: BlockMetrics,
    seals: Counter,
    admissions: Counter,
    affinity_escapes: Counter,
    cpu_set_mends: Counter,
    cpu_manager: Family<[(&'static str, &'static str); 1], Gauge>,
    gangs: Gauge,
    gang_cpu: Family<GangLabels, Counter<f64, AtomicU64>>,
    /// The gangs that have a series in `gang_cpu`; at most those of one node, so that the series are bounded.
    known_gangs: BTreeSet<GangRun>,
}

/// Of the strobe thread.
#[derive(Debug)]
struct StrobeMetrics {
    epochs: Counter,
    late: Counter,
    missed: Counter,
    stragglers: Counter,
    version_missing: Counter,
    unsynchronised: Counter,
    refused: Counter,
    watchdog_expiries: Counter,
    switch: Histogram,
    lateness: Histogram,
}

/// Of the estimate of the manager's clock.
#[derive(Debug)]
struct ClockMetrics {
    offset: Gauge<f64, AtomicU64>,
    error_bound: Gauge<f64, AtomicU64>,
    disturbances: Counter,
}

/// Of the task that carries blocks.
#[derive(Debug)]
struct BlockMetrics {
    held: Gauge,
    received: Counter,
    given: Counter,
    given_up: Counter,
}

/// Gang and incarnation.
type GangLabels = [(&'static str, u64); 2];

// === impl Metrics ===

impl Metrics {
    /// No figure yet, of a node whose strobe thread got this scheduling class.
    pub(super) fn new(node: NodeIndex, scheduler: &Scheduler, refusals: &Refusals) -> Self {
        let labels = [("node".into(), node.to_string().into())];
        let mut registry = Registry::with_prefix_and_labels("strobe", labels.into_iter());
        let class = Info::new([("class", scheduler.label())]);
        registry.register("scheduler", "Scheduling class of the strobe thread: fifo or other", class);
        let strobe = StrobeMetrics::registered(&mut registry);
        let clock = ClockMetrics::registered(&mut registry);
        let blocks = BlockMetrics::registered(&mut registry);
        let seals = counter(&mut registry, "seals", "Terms promised");
        let admissions = counter(&mut registry, "admissions", "Times that the agent was admitted to a view");
        let escapes = "Threads of ranks that had left the CPUs of their gang, and were pinned again";
        let affinity_escapes = counter(&mut registry, "affinity_escapes", escapes);
        let mends = "Containers whose CPUs somebody had changed, and that got those of their gang again";
        let cpu_set_mends = counter(&mut registry, "cpu_set_mends", mends);
        let cpu_manager = Family::default();
        let policy = "1 for the policy of kubelet's CPU manager on the node, of a cluster; gangs need none";
        registry.register("kubelet_cpu_manager", policy, cpu_manager.clone());
        let refused = "Connections, links, frames and datagrams refused, by the socket where they came and the reason";
        registry.register("refused", refused, refusals.family());
        let gangs = Gauge::default();
        registry.register("gangs", "Gangs on the node", gangs.clone());
        let gang_cpu = Family::default();
        registry.register_with_unit("gang_cpu", "CPU time of a gang's ranks on the node", Unit::Seconds, gang_cpu.clone());
        Self {
            registry: Arc::new(registry),
            strobe,
            clock,
            blocks,
            seals,
            admissions,
            affinity_escapes,
            cpu_set_mends,
            cpu_manager,
            gangs,
            gang_cpu,
            known_gangs: BTreeSet::new(),
        }
    }

    /// What a scraper is shown.
    pub(super) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Counts what the member did.
    pub(super) fn member_event(&self, event: &MemberEvent) {
        match event {
            MemberEvent::Sealed(_) => {
                self.seals.inc();
            }
            MemberEvent::Admitted(_) => {
                self.admissions.inc();
            }
            MemberEvent::StaleRefused(_) | MemberEvent::GangFailed { .. } | MemberEvent::Signalled { .. } | MemberEvent::Planned(_) => {}
        }
    }

    /// Takes an executed epoch or another switch into the distributions.
    pub(super) fn switched(&self, record: &SwitchRecord) {
        if !record.frozen.is_empty() || !record.thawed.is_empty() {
            self.strobe.switch.observe(record.thawed_at.since(record.started_at).as_secs_f64());
        }
        if let Some(SwitchSample { due: Some(due), acted, .. }) = record.sample {
            self.strobe.lateness.observe(acted.since(due).as_secs_f64());
        }
    }

    /// Counts threads that had left their gang's CPUs.
    pub(super) fn escaped(&self, threads: u64) {
        self.affinity_escapes.inc_by(threads);
    }

    /// Counts containers whose CPUs were set again.
    pub(super) fn mended(&self, containers: u64) {
        self.cpu_set_mends.inc_by(containers);
    }

    /// The policy that kubelet's CPU manager has now.
    pub(super) fn cpu_manager(&self, policy: CpuManagerPolicy) {
        for other in CpuManagerPolicy::ALL {
            self.cpu_manager.get_or_create_owned(&[("policy", other.label())]).set(i64::from(other == policy));
        }
    }

    /// Takes over what others have counted. `clock`: the manager's clock minus the own one, and the bound of its error,
    /// both in nanoseconds; none while it is not known.
    pub(super) fn update(&mut self, counters: &StrobeCounters, blocks: &BlockCounters, gangs: &[GangFigures], clock: Option<(i64, u64)>) {
        self.strobe.update(counters);
        self.blocks.update(blocks);
        raise(&self.clock.disturbances, counters.switcher.clock_disturbances);
        if let Some((offset, bound)) = clock {
            self.clock.offset.set(offset as f64 / 1e9);
            self.clock.error_bound.set(Duration::from_nanos(bound).as_secs_f64());
        }
        self.gangs.set(i64::try_from(gangs.len()).unwrap_or(i64::MAX));
        self.update_gangs(gangs);
    }

    fn update_gangs(&mut self, gangs: &[GangFigures]) {
        let mut present = BTreeSet::new();
        for figures in gangs {
            let Some(run) = figures.run.map(GangRun::from) else { continue };
            present.insert(run);
            let cpu = self.gang_cpu.get_or_create_owned(&labels(run));
            cpu.inc_by((figures.cpu_seconds - cpu.get()).max(0.0));
        }
        for forgotten in self.known_gangs.difference(&present) {
            self.gang_cpu.remove(&labels(*forgotten));
        }
        self.known_gangs = present;
    }
}

// === impl StrobeMetrics ===

impl StrobeMetrics {
    fn registered(registry: &mut Registry) -> Self {
        let switch = "Time from a switch's first command to its last thaw, of switches that froze or thawed a gang";
        let lateness = "Time from an epoch's announced instant, as the own clock has it, to the moment that it was acted on";
        Self {
            epochs: counter(registry, "epochs", "Strobes: epochs executed"),
            late: counter(registry, "late_epochs", "Epochs acted on later than the tolerance after their instant"),
            missed: counter(registry, "missed_epochs", "Epochs superseded before they were acted on"),
            stragglers: counter(registry, "stragglers", "Gangs not frozen within the straggler bound"),
            version_missing: counter(registry, "version_missing_epochs", "Epochs that kept their row: its table had not come"),
            unsynchronised: counter(
                registry,
                "unsynchronised_epochs",
                "Epochs acted on at receipt: the clock offset was not known well enough",
            ),
            refused: counter(
                registry,
                "refused_datagrams",
                "Sealed datagrams of members refused: another term, a lower view, not the manager",
            ),
            watchdog_expiries: counter(registry, "watchdog_expiries", "Times that gangs were thawed because no manager was heard"),
            switch: seconds_histogram(registry, "switch", switch),
            lateness: seconds_histogram(registry, "epoch_lateness", lateness),
        }
    }

    fn update(&self, counters: &StrobeCounters) {
        let switcher = &counters.switcher;
        let pairs = [
            (&self.epochs, switcher.executed),
            (&self.late, switcher.late),
            (&self.missed, switcher.missed),
            (&self.stragglers, switcher.stragglers),
            (&self.version_missing, switcher.version_missing),
            (&self.unsynchronised, switcher.unsynchronised),
            (&self.refused, switcher.refused),
            (&self.watchdog_expiries, switcher.watchdog_expiries),
        ];
        for (counter, value) in pairs {
            raise(counter, value);
        }
    }
}

// === impl BlockMetrics ===

impl BlockMetrics {
    fn registered(registry: &mut Registry) -> Self {
        let (held, received, given) = (Gauge::default(), Counter::default(), Counter::default());
        let in_memory = "Bytes of staged blocks in the agent's memory, whole or in part";
        registry.register_with_unit("blocks_held", in_memory, Unit::Bytes, held.clone());
        registry.register_with_unit("blocks_received", "Bytes of staged blocks that came from other nodes", Unit::Bytes, received.clone());
        registry.register_with_unit("blocks_given", "Bytes of staged blocks that went to other nodes", Unit::Bytes, given.clone());
        Self {
            held,
            received,
            given,
            given_up: counter(registry, "blocks_given_up", "Blocks that were asked for and are not held: their operations were aborted"),
        }
    }

    fn update(&self, counters: &BlockCounters) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.held.set(i64::try_from(read(&counters.held_bytes)).unwrap_or(i64::MAX));
        raise(&self.received, read(&counters.received_bytes));
        raise(&self.given, read(&counters.given_bytes));
        raise(&self.given_up, read(&counters.given_up));
    }
}

// === impl ClockMetrics ===

impl ClockMetrics {
    fn registered(registry: &mut Registry) -> Self {
        let offset = "The manager's clock minus the own one, at the last epoch acted on at its instant; NaN before the first";
        let error_bound = "Bound of the error of the clock offset, this node's part of the error of a skew; NaN before the first";
        let disturbances = "Clock samples that contradicted the prediction, and disturbances of the own clock";
        Self {
            offset: unknown_seconds(registry, "clock_offset", offset),
            error_bound: unknown_seconds(registry, "clock_error_bound", error_bound),
            disturbances: counter(registry, "clock_disturbances", disturbances),
        }
    }
}

/// Serves `/metrics` on the loopback interface until the process ends, and returns the port.
///
/// # Errors
/// When no port of it can be listened on.
pub(super) async fn serve(metrics: &Metrics) -> io::Result<u16> {
    let registry = metrics.registry();
    let answer = move || std::future::ready(([(CONTENT_TYPE, OPEN_METRICS)], text(&registry)));
    serve_router(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Router::new().route("/metrics", get(answer))).await
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn seconds_histogram(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(BUCKET_MIN_SECONDS, 2.0, BUCKETS));
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

/// A gauge that is not a number until it is known: zero would claim a perfect clock.
fn unknown_seconds(registry: &mut Registry, name: &str, help: &str) -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(f64::NAN);
    registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
    gauge
}

/// Brings a counter up to a value that only grows.
fn raise(counter: &Counter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

fn labels(run: GangRun) -> GangLabels {
    [("gang", run.gang.0), ("incarnation", run.incarnation.0.into())]
}
