//! What goes into an authority and what comes out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::limits::{BACK_OFF_DEFAULT, START_UP_DEFAULT};
use crate::{
    matrix::{NoPlacement, NodeCapacity},
    message::PartitionReport,
    model::{
        Appointment, EndCause, GangId, GangIncarnation, GangRun, GangState, NodeIncarnation, NodeIndex, NodePlacement, NodeSet,
        PartitionUid, Plan, RowIndex, RowSet, Settings, Term, TermRecord,
    },
};

/// A partition as its user describes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionConfiguration {
    /// Its UID.
    pub partition: PartitionUid,
    /// Times, rows and policy, validated.
    pub settings: Settings,
    /// How long the first term waits for all nodes.
    pub start_up: Duration,
    /// Most ranks that the jobs of one namespace may have in the matrix together; none for as many as fit.
    pub ranks_per_namespace: Option<u32>,
    /// How long a gang keeps away from a node that could not take it.
    pub back_off: BackOff,
    /// Its nodes, at most [`crate::limits::MEMBERS_MAX`], each once.
    pub nodes: Vec<NodeCapacity>,
}

/// How long a gang keeps away from a node where it could not be placed: doubled each time that it fails there again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BackOff {
    /// After the first time.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

/// When a gang whose run ended badly is run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RestartPolicy {
    /// How often at most.
    pub limit: u32,
    /// After a rank or its supervisor failed, or could not be started.
    pub on_rank_failure: bool,
    /// After a node was lost.
    pub on_node_lost: bool,
}

/// A job as its user describes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobSpecification {
    /// Its gang; never used again.
    pub gang: GangId,
    /// Whose it is: jobs of one namespace share what [`PartitionConfiguration::ranks_per_namespace`] allows.
    pub namespace: String,
    /// Higher goes first.
    pub priority: i32,
    /// Its place among jobs of the same priority: lower goes first. No two jobs have the same.
    pub submitted: u64,
    /// Nodes, each once.
    pub nodes: u16,
    /// Ranks on each node.
    pub ranks_per_node: u32,
    /// CPUs of each rank.
    pub cpus_per_rank: u16,
    /// Memory on each node, in bytes.
    pub memory_bytes: u64,
    /// When it is run again.
    pub restart: RestartPolicy,
    /// It shall hold nothing for now.
    pub suspended: bool,
    /// It shall keep memory and rows and not run.
    pub paused: bool,
    /// How long it may hold slots, over all its runs; time queued or suspended does not count.
    pub active_deadline: Option<Duration>,
    /// Time between SIGTERM and SIGKILL when the authority ends it.
    pub grace: Duration,
}

/// What an authority must not forget of a job once its gang has lived: with it another authority goes on where this one stood.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recollection {
    /// The job's gang.
    pub gang: GangId,
    /// The newest life of its gang.
    pub incarnation: GangIncarnation,
    /// Restarts that count.
    pub restarts: u32,
    /// How often it lost a pod to preemption or eviction.
    #[serde(default)]
    pub preemptions: u32,
    /// How often one after the other it could not be placed on each of these nodes: as often it doubles the time for which it keeps away.
    /// At most one entry a node, and none once it has been placed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unplaced: BTreeMap<NodeIndex, u32>,
    /// How long its earlier runs held slots.
    pub active: Duration,
    /// The life that holds slots.
    pub run: Option<RecalledRun>,
    /// How it ended, if it has: it shall not be run again.
    pub ended: Option<GangState>,
}

/// A life of a gang that holds slots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecalledRun {
    /// The row that it was given.
    pub home: RowIndex,
    /// Its nodes, sorted by node.
    pub placement: Vec<NodePlacement>,
    /// Nodes where nothing of it lives, by proof.
    pub dead: NodeSet,
}

/// What can happen to an authority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AuthorityInput {
    /// The partition as it shall be. A later one changes the settings at once, takes new nodes in at once, and changes rows and what
    /// is known of other nodes when no gang holds a slot; its partition's UID must be the same.
    Configure(PartitionConfiguration),
    /// What the store holds. Needed once before the first term; again whenever the store refused a write because it
    /// holds a newer record.
    Recovered(Option<TermRecord>),
    /// A new job. A repetition changes nothing.
    Submit(JobSpecification),
    /// A job of an earlier authority, with what that had not forgotten; in place of its submission, in the matrix of that time, and
    /// before any agent is reached. A repetition changes nothing.
    Resume {
        /// The job.
        specification: JobSpecification,
        /// What was known of it.
        recollection: Recollection,
        /// How long ago its run was admitted, under whichever authority: time for its deadline. Not kept in the recollection, where another
        /// authority would count it once more.
        held: Duration,
    },
    /// A job shall have another place in the queue. One that has slots keeps them.
    SetPriority {
        /// The job's gang.
        gang: GangId,
        /// Higher goes first.
        priority: i32,
    },
    /// A job shall be paused, or go on.
    SetPaused {
        /// The job's gang.
        gang: GangId,
        /// Whether it shall be paused.
        paused: bool,
    },
    /// A job shall be suspended, or queue again.
    SetSuspended {
        /// The job's gang.
        gang: GangId,
        /// Whether it shall be suspended.
        suspended: bool,
    },
    /// A job shall end for good.
    Cancel {
        /// The job's gang.
        gang: GangId,
    },
    /// An ended job may be forgotten. A job that has not ended is kept.
    Forget {
        /// The job's gang.
        gang: GangId,
    },
    /// An agent is reached.
    AgentReachable {
        /// The agent, in this life.
        agent: NodeIncarnation,
        /// The highest term that its seal file holds; none without a file.
        sealed: Option<Term>,
    },
    /// An agent is not reached any more.
    AgentUnreachable {
        /// The agent, in the life that was reached; another life's is ignored.
        agent: NodeIncarnation,
    },
    /// An agent is about to leave: it manages no next term, and takes part in none. What it manages is handed over, if that can be.
    AgentLeaving {
        /// The agent, in this life.
        agent: NodeIncarnation,
    },
    /// There is proof that no rank and no agent lives on a node (section 2 of the design).
    NodeProvenDead {
        /// The node.
        node: NodeIndex,
    },
    /// A node that was proven dead is in service again, with nothing of its earlier life.
    NodeReturned {
        /// The node.
        node: NodeIndex,
    },
    /// The nodes that take no further gang, all of them; what runs there is not touched. A later one replaces it.
    Cordon {
        /// The nodes.
        nodes: NodeSet,
    },
    /// A pod of a run is taken from it: preempted, evicted, or deleted by somebody else. The whole gang ends and waits again.
    Evicted {
        /// The run.
        run: GangRun,
        /// The pod's node.
        node: NodeIndex,
    },
    /// The pods of a run did not all come to their nodes, and are all deleted: the gang waits again.
    NotPlaced {
        /// The run.
        run: GangRun,
        /// Why.
        failure: PlacementFailure,
        /// Nodes that it keeps away from for a while.
        blamed: NodeSet,
        /// Nodes of it where, by proof, no pod of it was ever started.
        empty: NodeSet,
    },
    /// The store has the record of the last [`AuthorityEffect::WriteRecord`].
    RecordWritten {
        /// Its term.
        term: Term,
    },
    /// A manager reports.
    Report(PartitionReport),
    /// A gang's pod or supervisor could not be started on a node, and will not be: nothing of it lives there.
    LaunchFailed {
        /// The run.
        run: GangRun,
        /// The node.
        node: NodeIndex,
        /// Why.
        failure: LaunchFailure,
    },
    /// [`crate::machine::Machine::next_deadline`] is reached.
    Timer,
}

/// Why a pod or supervisor could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaunchFailure {
    /// The operating system refused; its error number.
    NotStarted(u16),
}

/// Why the pods of a gang did not all come to their nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlacementFailure {
    /// They were not all bound in time.
    TimedOut,
    /// An image cannot be pulled.
    Image,
    /// The cluster does not make them.
    Refused,
    /// A node does not take one that was bound to it.
    Rejected,
}

/// What an authority wants done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AuthorityEffect {
    /// Write the record to the store, then say [`AuthorityInput::RecordWritten`]. One is in flight at most.
    WriteRecord(TermRecord),
    /// Send an appointment to the agent that shall manage. May be repeated within a term, with a newer plan.
    Appoint {
        /// The agent.
        manager: NodeIncarnation,
        /// The appointment.
        appointment: Appointment,
    },
    /// Tell an agent of the newest term, so that it seals it and asks its manager to be admitted.
    Introduce {
        /// The agent's node.
        node: NodeIndex,
        /// The record.
        record: TermRecord,
    },
    /// Send the newest plan to the manager.
    SendPlan {
        /// The manager's node.
        manager: NodeIndex,
        /// The plan.
        plan: Arc<Plan>,
    },
    /// Tell the manager which nodes are lost: all of them, so that one that is not named any more is in
    /// service again.
    SendLost {
        /// The manager's node.
        manager: NodeIndex,
        /// The nodes.
        nodes: NodeSet,
    },
    /// Create the run's pods, in local mode start its supervisors. Must be safe to repeat.
    Launch {
        /// The run.
        run: GangRun,
        /// Its nodes.
        placement: Vec<NodePlacement>,
    },
    /// The run is known dead: delete what is left of its pods or supervisors. Must be safe to repeat.
    Remove {
        /// The run.
        run: GangRun,
    },
    /// A job's state has changed; replaces what was said of it before.
    State(JobStatus),
}

/// What is to be known of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobStatus {
    /// The job's gang.
    pub gang: GangId,
    /// Its newest life: the one that runs, or the last one that did; zero before the first.
    pub incarnation: GangIncarnation,
    /// Where it stands.
    pub state: GangState,
    /// Why, with counts.
    pub reason: StateReason,
    /// How often it was run again after a failure.
    pub restarts: u32,
    /// How often it lost a pod to preemption or eviction.
    pub preemptions: u32,
    /// False while nodes of it are outside the manager's view: it runs free there.
    pub synchronised: bool,
    /// Where it stands in the matrix, while it does.
    pub placement: Option<JobPlacement>,
}

/// Where a gang stands in the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobPlacement {
    /// Its rows.
    pub rows: RowSet,
    /// Its nodes.
    pub nodes: Vec<NodePlacement>,
}

/// Why a job is in its state: for machines, with counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StateReason {
    /// Nothing is out of the ordinary.
    None,
    /// There is no term yet: nothing is admitted.
    NoTerm {
        /// Its place in the queue, from 1.
        position: usize,
    },
    /// It is the first that waits for a place, and there is none.
    NoPlacement {
        /// Its place in the queue, from 1.
        position: usize,
        /// What is short.
        shortage: NoPlacement,
    },
    /// The jobs of its namespace have as many ranks as they may have together. Nobody waits for it.
    NamespaceRanks {
        /// Its place in the queue, from 1.
        position: usize,
        /// Ranks that they have.
        held: u64,
        /// Ranks that it needs.
        wanted: u64,
        /// Ranks that they may have.
        limit: u32,
    },
    /// Others wait before it.
    Behind {
        /// Its place in the queue, from 1.
        position: usize,
    },
    /// The user suspended it.
    Suspended,
    /// The user paused it.
    Paused,
    /// The user cancelled it.
    Cancelled,
    /// It held its slots for longer than its active deadline.
    DeadlineExceeded,
    /// Its last run ended so.
    Ended(EndCause),
    /// Its last run could not be started.
    LaunchFailed {
        /// The node.
        node: NodeIndex,
        /// Why.
        failure: LaunchFailure,
    },
    /// A pod of it was preempted, evicted or deleted: the whole gang ends and waits again.
    Evicted {
        /// The pod's node.
        node: NodeIndex,
    },
    /// Its pods did not all come to their nodes; it keeps away from some for a while.
    NotPlaced {
        /// Its place in the queue, from 1; 0 while what there was of it ends.
        position: usize,
        /// Why.
        failure: PlacementFailure,
    },
    /// Nodes of it are not reached, and there is no proof that nothing of it lives there.
    NodeUnreachable {
        /// The nodes.
        nodes: NodeSet,
    },
    /// The authority knows as many jobs as it can.
    TooManyJobs,
    /// An earlier authority's run of it has no place in this one's matrix: it may live, and is not run again.
    NotResumed,
    /// It ended under an earlier authority.
    EndedBefore,
}

impl PartitionConfiguration {
    /// A partition with the default times, in which each namespace may have as many ranks as fit.
    #[must_use]
    pub const fn new(partition: PartitionUid, settings: Settings, nodes: Vec<NodeCapacity>) -> Self {
        Self { partition, settings, start_up: START_UP_DEFAULT, ranks_per_namespace: None, back_off: BACK_OFF_DEFAULT, nodes }
    }
}
