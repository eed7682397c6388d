//! The operator's figures for Prometheus, over plain HTTP: they hold no secret and take no input.
//!
//! Each replica has its own. What is of the cluster, such as the jobs, is told by the one that leads alone, so that a sum over replicas is
//! right.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use strobe_fabric::counters::Refusal;
use tokio::net::TcpListener;

use crate::leading::Leading;

/// The text format, by which a scraper knows that names, units and counters follow OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is measured. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    leads: Gauge,
    enrolments: Counter,
    refused: Family<[(&'static str, &'static str); 1], Counter>,
    reconciliations: Family<[(&'static str, &'static str); 1], Counter>,
    jobs: Family<[(&'static str, String); 1], Gauge>,
    /// Held by whoever shows the figures: what is of the cluster is brought up to date for each that asks.
    shown: Arc<Mutex<()>>,
}

/// Why an agent, or who says that it is one, was not enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotEnrolled {
    /// TLS has refused it, or it took too long.
    Tls(Refusal),
    /// No common version of the contract.
    WrongVersion,
    /// Its token proves nobody.
    BadToken,
    /// Its token proves somebody else, or a pod that goes.
    NotAnAgent,
    /// What it says of itself cannot be read, or its certificate's request cannot be signed.
    BadRequest,
    /// The API server does not answer, or another replica leads.
    Unavailable,
    /// No partition takes its node.
    NoPlace,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("strobe_operator");
        let leads = Gauge::default();
        registry.register("leads", "1 for the replica that leads", leads.clone());
        let enrolments = Counter::default();
        registry.register("enrolments", "Agents that were given a certificate and a place", enrolments.clone());
        let refused = Family::<_, Counter>::default();
        let help = "Connections and requests refused where agents enrol, by the reason";
        registry.register("refused", help, refused.clone());
        for kind in NotEnrolled::ALL {
            drop(refused.get_or_create_owned(&kind.labels()));
        }
        let reconciliations = Family::<_, Counter>::default();
        registry.register("reconciliations", "Times that a job was looked at, by whether that failed", reconciliations.clone());
        for outcome in [true, false] {
            drop(reconciliations.get_or_create_owned(&outcome_labels(outcome)));
        }
        let jobs = Family::default();
        registry.register("jobs", "Jobs by their state, from the replica that leads", jobs.clone());
        Self { registry: Arc::new(registry), leads, enrolments, refused, reconciliations, jobs, shown: Arc::default() }
    }
}

impl Metrics {
    pub(crate) fn enrolled(&self) {
        self.enrolments.inc();
    }

    pub(crate) fn refused(&self, reason: NotEnrolled) {
        self.refused.get_or_create_owned(&reason.labels()).inc();
    }

    pub(crate) fn reconciled(&self, succeeded: bool) {
        self.reconciliations.get_or_create_owned(&outcome_labels(succeeded)).inc();
    }

    /// The figures, with the states of all jobs; none for a replica that does not lead.
    fn show(&self, jobs: Option<Vec<String>>) -> String {
        let _others_wait = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        self.leads.set(i64::from(jobs.is_some()));
        self.jobs.clear();
        for state in jobs.unwrap_or_default() {
            self.jobs.get_or_create_owned(&[("state", state)]).inc();
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes every text");
        text
    }
}

const fn outcome_labels(succeeded: bool) -> [(&'static str, &'static str); 1] {
    [("outcome", if succeeded { "done" } else { "failed" })]
}

/// Serves `/metrics`, and `/readyz` for the probe of a pod whose other sockets listen, until it breaks.
///
/// # Errors
/// What the listener's are.
pub async fn serve(listener: TcpListener, metrics: Metrics, leading: Leading) -> std::io::Result<()> {
    let shown = move || {
        let states = leading.borrow().as_ref().map(|partitions| partitions.states_of_jobs());
        std::future::ready(([(CONTENT_TYPE, OPEN_METRICS)], metrics.show(states)))
    };
    let router = Router::new().route("/metrics", get(shown)).route("/readyz", get(|| std::future::ready("ready\n")));
    axum::serve(listener, router).await
}

// === impl NotEnrolled ===

impl NotEnrolled {
    /// Every kind; of TLS those that a handshake without a client's certificate can have.
    const ALL: [Self; 8] = [
        Self::Tls(Refusal::Stranger),
        Self::Tls(Refusal::TimedOut),
        Self::WrongVersion,
        Self::BadToken,
        Self::NotAnAgent,
        Self::BadRequest,
        Self::Unavailable,
        Self::NoPlace,
    ];

    const fn labels(self) -> [(&'static str, &'static str); 1] {
        let reason = match self {
            Self::Tls(refusal) => refusal.label(),
            Self::WrongVersion => "wrong_version",
            Self::BadToken => "bad_token",
            Self::NotAnAgent => "not_an_agent",
            Self::BadRequest => "bad_request",
            Self::Unavailable => "unavailable",
            Self::NoPlace => "no_place",
        };
        [("reason", reason)]
    }
}
