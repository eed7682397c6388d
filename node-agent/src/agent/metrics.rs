//! The agent's figures for Prometheus, over plain HTTP on the loopback interface: they hold no secret and take no input.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use axum::{Router, routing::get};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};
use strobe_core::{model::NodeIndex, node::MemberEvent};
use strobe_proto::agent::GangFigures;
use tokio::net::TcpListener;

use crate::strobe_thread::StrobeCounters;

/// Everything that is measured. Cheap to clone: clones share the values.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    registry: Arc<Mutex<Registry>>,
    strobes: Counter,
    late: Counter,
    missed: Counter,
    stragglers: Counter,
    unsynchronised: Counter,
    refused: Counter,
    watchdog_expiries: Counter,
    seals: Counter,
    admissions: Counter,
    gangs: Gauge,
    gang_cpu: Gauge<f64, AtomicU64>,
    clock_error_bound: Gauge<f64, AtomicU64>,
    clock_offset: Gauge<f64, AtomicU64>,
}

impl Metrics {
    pub(super) fn new(node: NodeIndex) -> Self {
        let labels = [("node".into(), node.to_string().into())];
        let mut registry = Registry::with_prefix_and_labels("strobe", labels.into_iter());
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let strobes = counter("strobe_epochs", "Epochs executed");
        let late = counter("strobe_late_epochs", "Epochs acted on later than the tolerance after their instant");
        let missed = counter("strobe_missed_epochs", "Epochs superseded before they were acted on");
        let stragglers = counter("strobe_stragglers", "Gangs not frozen within the straggler bound");
        let unsynchronised =
            counter("strobe_unsynchronised_epochs", "Epochs acted on at receipt: the clock offset was not known well enough");
        let refused = counter("strobe_refused_datagrams", "Datagrams refused: another term, a lower view, not the manager");
        let watchdog_expiries = counter("strobe_watchdog_expiries", "Times that gangs were thawed because no manager was heard");
        let seals = counter("strobe_seals", "Terms promised");
        let admissions = counter("strobe_admissions", "Times that the agent was admitted to a view");
        let gangs = Gauge::default();
        registry.register("gangs", "Gangs on the node", gangs.clone());
        let gang_cpu = Gauge::default();
        registry.register_with_unit("gang_cpu", "CPU time of the ranks of all gangs on the node", Unit::Seconds, gang_cpu.clone());
        let clock_error_bound = Gauge::default();
        registry.register_with_unit(
            "clock_error_bound",
            "Bound of the error of the offset to the manager's clock",
            Unit::Seconds,
            clock_error_bound.clone(),
        );
        let clock_offset = Gauge::default();
        registry.register_with_unit("clock_offset", "The manager's clock minus the own", Unit::Seconds, clock_offset.clone());
        Self {
            registry: Arc::new(Mutex::new(registry)),
            strobes,
            late,
            missed,
            stragglers,
            unsynchronised,
            refused,
            watchdog_expiries,
            seals,
            admissions,
            gangs,
            gang_cpu,
            clock_error_bound,
            clock_offset,
        }
    }

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

    pub(super) fn update(&self, counters: &StrobeCounters, gangs: &[GangFigures], clock: Option<(i64, u64)>) {
        let switcher = &counters.switcher;
        let pairs = [
            (&self.strobes, switcher.executed),
            (&self.late, switcher.late),
            (&self.missed, switcher.missed),
            (&self.stragglers, switcher.stragglers),
            (&self.unsynchronised, switcher.unsynchronised),
            (&self.refused, switcher.refused),
            (&self.watchdog_expiries, switcher.watchdog_expiries),
        ];
        for (counter, value) in pairs {
            counter.inc_by(value.saturating_sub(counter.get()));
        }
        self.gangs.set(i64::try_from(gangs.len()).unwrap_or(i64::MAX));
        self.gang_cpu.set(gangs.iter().map(|gang| gang.cpu_seconds).sum());
        if let Some((offset, bound)) = clock {
            self.clock_offset.set(offset as f64 / 1e9);
            self.clock_error_bound.set(bound as f64 / 1e9);
        }
    }

    fn text(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes every text");
        text
    }
}

/// Serves `/metrics` until the process ends, and returns the port.
pub(super) async fn serve(metrics: &Metrics) -> io::Result<u16> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let port = listener.local_addr()?.port();
    let metrics = metrics.clone();
    let router = Router::new().route("/metrics", get(move || std::future::ready(metrics.text())));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are served no more");
        }
    });
    Ok(port)
}
