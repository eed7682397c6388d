//! Which replica of the operator leads: one Lease in its namespace, taken and renewed on the condition that nobody wrote it meanwhile
//! (docs/adr/0017). Whoever leads has it only for as long as it can renew it: [`Election::hold`] returns before others may take it.

mod candidate;

use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watch_object};

use crate::limits::ELECTION_AGAIN;
use candidate::{Candidate, Judgement};

/// The Lease's name, in the operator's namespace.
pub const LEASE: &str = "strobe-operator";

/// The times of an election.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long others wait after the last renewal that they saw before they take the Lease.
    pub lease: Duration,
    /// How long after its last renewal the leader stops leading by itself. Shorter than `lease`, so that there are never two.
    pub deadline: Duration,
    /// Period of the leader's renewals.
    pub renewal: Duration,
}

/// Why a replica leads no more.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipLost {
    /// It could not be renewed in time.
    #[error("the Lease was not renewed for {} s", .0.as_secs_f64())]
    NotRenewed(Duration, #[source] Option<Box<kube::Error>>),
    /// Another holds it, though it should not.
    #[error("the Lease was taken by {0:?}")]
    Taken(String),
}

/// One replica's part in the election.
pub struct Election {
    leases: Api<Lease>,
    identity: String,
    times: Times,
    candidate: Candidate,
    /// The Lease as it was last written by this replica, and when that was asked for.
    held: Option<(Lease, Instant)>,
}

// === impl Times ===

impl Default for Times {
    /// Those that Kubernetes' own components take.
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), deadline: Duration::from_secs(10), renewal: Duration::from_secs(2) }
    }
}

// === impl Election ===

impl Election {
    /// A replica that stands for election. Its identity must be its own; the name of its pod is.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String, times: Times) -> Self {
        let candidate = Candidate::new(identity.clone());
        Self { leases: Api::namespaced(client, namespace), identity, times, candidate, held: None }
    }

    /// Returns when this replica leads.
    ///
    /// *Expected flow*: the Lease is watched, and taken when its holder gave it up or let it lapse. *Guarantees*: of several replicas that
    /// try at the same time one succeeds. *Caveats*: the wait for a holder that died is a whole lease by this replica's own clock, counted
    /// from the last renewal that it saw.
    pub async fn elected(&mut self) {
        let mut seen = std::pin::pin!(watch(self.leases.clone()));
        let mut lease = None;
        let mut due = None;
        loop {
            tokio::select! {
                change = seen.next() => lease = change,
                () = until(due) => {}
            }
            let Some(known) = &lease else { continue };
            due = match self.candidate.judge(Instant::now(), known.as_ref()) {
                Judgement::Wait(until) => Some(until),
                Judgement::Take => match self.write(self.taken(known.as_ref())).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::info!(error = &error as &dyn std::error::Error, "the Lease was not taken");
                        // After an outage the watch may see nothing for long, and what it saw last is refused again and again.
                        if is_conflict(&error)
                            && let Ok(read) = self.leases.get_opt(LEASE).await
                        {
                            lease = Some(read);
                        }
                        Some(Instant::now() + ELECTION_AGAIN)
                    }
                },
            };
        }
    }

    /// Keeps the Lease renewed, and returns when that fails for too long.
    pub async fn hold(&mut self) -> LeadershipLost {
        let mut failed = None;
        while let Some((lease, renewed)) = self.held.clone() {
            let deadline = renewed + self.times.deadline;
            let next = if failed.is_none() { renewed + self.times.renewal } else { Instant::now() + ELECTION_AGAIN };
            tokio::time::sleep_until(next.min(deadline).into()).await;
            if Instant::now() >= deadline {
                break;
            }
            if let Ok(Err(error)) = tokio::time::timeout_at(deadline.into(), self.write(renewal_of(lease))).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the Lease was not renewed, and is tried again");
                if let Some(holder) = self.holder_after(&error, deadline).await {
                    self.held = None;
                    return LeadershipLost::Taken(holder);
                }
                failed = Some(Box::new(error));
            } else {
                failed = None;
            }
        }
        self.held = None;
        LeadershipLost::NotRenewed(self.times.deadline, failed)
    }

    /// Gives the Lease up, so that another replica need not wait for it to lapse.
    pub async fn resign(&mut self) {
        let Some((mut lease, _)) = self.held.take() else { return };
        let spec = lease.spec.get_or_insert_default();
        (spec.holder_identity, spec.lease_duration_seconds) = (None, Some(1));
        match tokio::time::timeout(ELECTION_AGAIN, self.replace(lease)).await {
            Ok(Ok(_)) => tracing::info!("gave the Lease up"),
            Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "the Lease was not given up; it lapses"),
            Err(_elapsed) => tracing::warn!("the Lease was not given up in time; it lapses"),
        }
    }

    /// Who has the Lease, where a write was refused because another has written it. One that this replica itself wrote, in a request whose
    /// answer was lost, is its own.
    async fn holder_after(&mut self, error: &kube::Error, deadline: Instant) -> Option<String> {
        if !is_conflict(error) {
            return None;
        }
        let read = tokio::time::timeout_at(deadline.into(), self.leases.get_opt(LEASE)).await;
        let lease = read.ok()?.ok()??;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        if holder != self.identity {
            return Some(holder);
        }
        if let Some((held, _)) = &mut self.held {
            *held = lease;
        }
        None
    }

    /// The Lease as this replica takes it.
    fn taken(&self, lease: Option<&Lease>) -> Lease {
        let mut taken = lease.cloned().unwrap_or_default();
        taken.metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..taken.metadata };
        let now = MicroTime(Timestamp::now());
        let transitions = taken.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        taken.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.times.lease.as_secs().max(1)).unwrap_or(i32::MAX)),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(1)),
            ..LeaseSpec::default()
        });
        taken
    }

    /// Writes the Lease as this replica's. What it is good for counts from before the request: the server may have taken it at once.
    async fn write(&mut self, lease: Lease) -> Result<(), kube::Error> {
        let asked = Instant::now();
        let written = self.replace(lease).await?;
        self.held = Some((written, asked));
        Ok(())
    }

    /// Writes it where it is still what was read, or makes it where it did not exist.
    async fn replace(&self, lease: Lease) -> Result<Lease, kube::Error> {
        if lease.metadata.resource_version.is_some() {
            self.leases.replace(LEASE, &PostParams::default(), &lease).await
        } else {
            self.leases.create(&PostParams::default(), &lease).await
        }
    }
}

/// Another has written it meanwhile.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(answer) if answer.code == 409)
}

/// The Lease as its holder renews it.
fn renewal_of(mut lease: Lease) -> Lease {
    lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
    lease
}

/// The Lease as it is, at once and with each change; none while it does not exist. It never ends.
fn watch(leases: Api<Lease>) -> impl Stream<Item = Option<Lease>> {
    watch_object(leases, LEASE).default_backoff().filter_map(async |seen: Result<Option<Lease>, watcher::Error>| match seen {
        Ok(lease) => Some(lease),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the Lease is not seen for now");
            None
        }
    })
}

/// Returns at an instant; never where there is none.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}
