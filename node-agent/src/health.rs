//! How an agent's pod is: what its probes and its administrator ask, the metrics, and the node's last switches, by plain HTTP.
//!
//! *Alive* is a pod whose event loop turns. *Ready* is one that does what the partition wants of it, which outside of every partition
//! is nothing: such a node must not make the DaemonSet look broken. Every answer says in words what holds.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use strobe_core::model::Instant;
use tokio::{net::TcpListener, sync::watch};

use crate::{switch_trace::SwitchTrace, sys::clock::monotonic_now};

/// The text format, by which a scraper knows that names, units and counters follow OpenMetrics.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An event loop that has not turned for so long hangs: it has a timer that wakes it several times a second, and what it waits for at
/// its start takes seconds at most.
const TURNED_WITHIN: Duration = Duration::from_secs(20);

/// What the agent's pod is about.
#[derive(Debug, Clone)]
pub(crate) enum Occupation {
    /// It asks the operator who it is; with the last answer.
    Enrolling(String),
    /// The node is in no partition, as the operator says: it is asked again.
    Outside(String),
    /// It is the agent of a node in a partition.
    Serving(Arc<Serving>),
}

/// What the agent of a node in a partition shows.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    pub(crate) metrics: Arc<Registry>,
    pub(crate) trace: SwitchTrace,
}

/// What is told of the pod. Clones are of one pod.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    occupation: Arc<watch::Sender<Occupation>>,
    /// Whether kubelet has taken in the volume plugin.
    registered: Arc<watch::Sender<bool>>,
    /// Whether the agent has a session with its authority.
    in_session: Arc<watch::Sender<bool>>,
    /// When the event loop last turned, in nanoseconds of the monotonic clock.
    turned: Arc<AtomicU64>,
}

// === impl Health ===

impl Health {
    pub(crate) fn new() -> Self {
        let occupation = Occupation::Enrolling("the operator was not asked yet".to_owned());
        Self {
            occupation: Arc::new(watch::Sender::new(occupation)),
            registered: Arc::default(),
            in_session: Arc::default(),
            turned: Arc::default(),
        }
    }

    /// What the pod is about from now on.
    pub(crate) fn occupied(&self, occupation: Occupation) {
        self.turned();
        self.occupation.send_replace(occupation);
    }

    /// kubelet has taken in the volume plugin, or has not.
    pub(crate) fn registered(&self, registered: bool) {
        self.registered.send_replace(registered);
    }

    /// The agent has a session with its authority, or has none.
    pub(crate) fn has_session(&self, in_session: bool) {
        self.in_session.send_replace(in_session);
    }

    /// Whether the agent has a session with its authority.
    pub(crate) fn is_in_session(&self) -> bool {
        *self.in_session.borrow()
    }

    /// The event loop has turned.
    pub(crate) fn turned(&self) {
        self.turned.store(monotonic_now().as_nanoseconds(), Ordering::Relaxed);
    }

    /// Whether the pod lives. One that enrols has no event loop: that it answers is its life.
    fn alive(&self) -> (StatusCode, String) {
        let turned = Instant::from_nanoseconds(self.turned.load(Ordering::Relaxed));
        match &*self.occupation.borrow() {
            Occupation::Serving(_) if monotonic_now().since(turned) > TURNED_WITHIN => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("the event loop has not turned for {TURNED_WITHIN:?}\n"))
            }
            Occupation::Serving(_) | Occupation::Enrolling(_) | Occupation::Outside(_) => (StatusCode::OK, "alive\n".to_owned()),
        }
    }

    /// Whether the pod does what is wanted of it.
    fn ready(&self) -> (StatusCode, String) {
        if !*self.registered.borrow() {
            return (StatusCode::SERVICE_UNAVAILABLE, "not ready: kubelet has not taken in the volume plugin\n".to_owned());
        }
        match &*self.occupation.borrow() {
            Occupation::Serving(_) if self.is_in_session() => (StatusCode::OK, "ready: in a partition\n".to_owned()),
            // The operator may be away, and gangs run on: nothing that this pod could mend.
            Occupation::Serving(_) => (StatusCode::OK, "ready: in a partition, without a session of its authority\n".to_owned()),
            Occupation::Outside(answer) => (StatusCode::OK, format!("ready, and idle: {answer}\n")),
            Occupation::Enrolling(answer) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {answer}\n")),
        }
    }

    fn metrics(&self) -> (StatusCode, String) {
        match &*self.occupation.borrow() {
            Occupation::Serving(serving) => (StatusCode::OK, text(&serving.metrics)),
            Occupation::Enrolling(_) | Occupation::Outside(_) => (StatusCode::OK, "# EOF\n".to_owned()),
        }
    }

    /// The node's last switches.
    fn trace(&self) -> String {
        match &*self.occupation.borrow() {
            Occupation::Serving(serving) => serving.trace.document().to_string(),
            Occupation::Enrolling(_) | Occupation::Outside(_) => SwitchTrace::default().document().to_string(),
        }
    }
}

/// Serves `/healthz`, `/readyz`, `/metrics` and `/trace` until the process ends, and returns the port.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) async fn serve(address: SocketAddr, health: &Health) -> io::Result<u16> {
    let [alive, ready, metrics, trace] = std::array::from_fn(|_| health.clone());
    let router = Router::new()
        .route("/healthz", get(move || std::future::ready(alive.alive())))
        .route("/readyz", get(move || std::future::ready(ready.ready())))
        .route("/metrics", get(move || std::future::ready(([(CONTENT_TYPE, OPEN_METRICS)], metrics.metrics().1))))
        .route("/trace", get(move || std::future::ready(([(CONTENT_TYPE, "application/json")], trace.trace()))));
    serve_router(address, router).await
}

/// Serves a router until the process ends, and returns the port.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) async fn serve_router(address: SocketAddr, router: Router) -> io::Result<u16> {
    let listener = TcpListener::bind(address).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are served no more");
        }
    });
    Ok(port)
}

/// The metrics as a scraper reads them.
pub(crate) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).expect("a string takes every text");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_outside_of_every_partition_is_ready_and_one_without_an_answer_is_not() {
        let health = Health::new();
        assert_eq!(health.ready().0, StatusCode::SERVICE_UNAVAILABLE);
        health.registered(true);
        assert_eq!(health.ready().0, StatusCode::SERVICE_UNAVAILABLE);
        health.occupied(Occupation::Outside("the node is in no partition".to_owned()));
        assert_eq!(health.ready(), (StatusCode::OK, "ready, and idle: the node is in no partition\n".to_owned()));
        health.registered(false);
        assert_eq!(health.ready().0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_loop_that_has_not_turned_for_long_is_dead() {
        let health = Health::new();
        health.occupied(Occupation::Serving(Arc::default()));
        assert_eq!(health.alive().0, StatusCode::OK);
        let long_ago = monotonic_now().as_nanoseconds() - u64::try_from(TURNED_WITHIN.as_nanos()).unwrap() - 1_000_000_000;
        health.turned.store(long_ago, Ordering::Relaxed);
        assert_eq!(health.alive().0, StatusCode::SERVICE_UNAVAILABLE);
        health.turned();
        assert_eq!(health.alive().0, StatusCode::OK);
    }
}
