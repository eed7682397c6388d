//! What a partition's authority says of a job: all that its status is made of.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use strobe_core::model::GangState;
use strobe_crds::parallel_job::{JobFailure, Reason};

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Where the gang is in its life.
    pub state: GangState,
    /// Why, for machines; none when there is nothing to say.
    pub reason: Option<Reason>,
    /// Why, for people; empty when there is nothing to say.
    pub message: String,
    /// The life that this is about.
    pub incarnation: u32,
    /// Restarts that count.
    pub restarts: u32,
    /// How often it lost a pod to preemption or eviction.
    pub preemptions: u32,
    /// False while it runs free on a node.
    pub synchronised: bool,
    /// Rows that it holds.
    pub rows: Vec<u8>,
    /// Rows that gangs hold, all of them.
    pub occupied_rows: u32,
    /// Nodes whose supervisors are up.
    pub up: u32,
    /// Pods that exist.
    pub pods: u32,
    /// Pods that are bound to their nodes.
    pub bound: u32,
    /// Its place in the queue, from 1.
    pub position: Option<u32>,
    /// Quantum of the partition.
    pub quantum: String,
    /// CPU time used, of that of its slots while its ranks were thawed; none before.
    pub efficiency: Option<f64>,
    /// When the ranks were released.
    pub started: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// The first failures.
    pub failures: Vec<JobFailure>,
}
