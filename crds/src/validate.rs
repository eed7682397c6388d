//! Validated jobs and partitions: defaults applied, rules kept, times and counts as plain types.
//!
//! Whoever holds a [`ValidJob`] or a [`ValidPartition`] need not check anything again.

mod expand;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use crate::cpu_list::CpuList;
use crate::manifest::{Document, ManifestError, Object, Problem};
use crate::parallel_job::{LaunchProtocol, ParallelJob, RestartCause};
use crate::partition::{Partition, PartitionSpec, Policy, Transport};
use crate::rules::{Violation, parallel_job as parallel_job_rules, partition as partition_rules};
use expand::expand;

/// How long a terminating gang may run on where its template does not say (Kubernetes' own default).
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// A partition whose rules hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidPartition {
    /// Its name.
    pub name: String,
    /// CPUs of each node that ranks may use; `None` for all.
    pub cpus: Option<CpuList>,
    /// Rows of the matrix, 1 to 16.
    pub rows: u8,
    /// Gang or kernel.
    pub policy: Policy,
    /// How agents talk to each other.
    pub transport: Transport,
    /// Time between two row switches.
    pub quantum: Duration,
    /// How long before its instant a switch is announced.
    pub lead: Duration,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// How long a member may be silent; how long the lease lasts.
    pub suspicion: Duration,
    /// How long an agent obeys without a renewed lease; its default is worked out.
    pub watchdog: Duration,
    /// Largest error bound of a synchronised clock estimate.
    pub clock_tolerance: Duration,
    /// How long placement may take.
    pub placement_timeout: Duration,
    /// How long an unreachable node is not yet lost.
    pub node_lost: Duration,
    /// Most ranks that the admitted jobs of one namespace may have together; `None` for no limit.
    pub max_ranks_per_namespace: Option<u32>,
}

/// A job whose rules hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidJob {
    /// Its name.
    pub name: String,
    /// Its namespace, if one is stated.
    pub namespace: Option<String>,
    /// Name of its partition.
    pub partition: String,
    /// Nodes of the gang.
    pub nodes: NonZeroU32,
    /// Ranks on each node.
    pub ranks_per_node: NonZeroU32,
    /// CPUs of each rank.
    pub cpus_per_rank: NonZeroU32,
    /// What the ranks run.
    pub program: Program,
    /// How the ranks find each other.
    pub launch: LaunchProtocol,
    /// Name of the priority class, if one is stated.
    pub priority_class_name: Option<String>,
    /// Whether the job gives up its resources.
    pub suspend: bool,
    /// Whether the ranks are held.
    pub paused: bool,
    /// Most restarts.
    pub restart_limit: u32,
    /// Failures that are followed by a restart, rising, none twice.
    pub restart_on: Vec<RestartCause>,
    /// How long the job may run from its first start; `None` for ever.
    pub active_deadline: Option<Duration>,
    /// How long the finished job is kept; `None` for ever.
    pub ttl_after_finished: Option<Duration>,
    /// How long a terminating gang may run on before it is killed.
    pub termination_grace: Duration,
}

/// What a rank runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program and its arguments: the container's command followed by its args, references such as `$(SIZE)` to
    /// the container's own variables expanded as the kubelet does. Never empty.
    pub command: Vec<String>,
    /// Variables in their order, references to earlier ones expanded; those whose value comes from elsewhere are left out.
    pub environment: Vec<(String, String)>,
    /// Folder in which the ranks start, if one is stated.
    pub working_directory: Option<PathBuf>,
}

/// The size of a partition, where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionShape {
    /// Nodes of the partition.
    pub nodes: u32,
    /// CPUs of each node that ranks may use.
    pub cpus_per_node: u32,
}

/// All documents of a set of manifests, validated one by one and against each other. In the order of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidManifest {
    /// The partitions; never none.
    pub partitions: Vec<ValidPartition>,
    /// The jobs; each names one of the partitions.
    pub jobs: Vec<ValidJob>,
}

/// Validates a partition.
///
/// # Errors
/// Every rule that it breaks.
pub fn partition(partition: &Partition) -> Result<ValidPartition, Vec<Violation>> {
    let violations = partition_rules::violations(partition);
    if !violations.is_empty() {
        return Err(violations);
    }
    let spec = &partition.spec;
    Ok(ValidPartition {
        name: partition.metadata.name.clone().unwrap_or_default(),
        // The rule `cpus-readable` holds, so that a stated list can be read.
        cpus: spec.cpus.as_deref().and_then(|cpus| cpus.parse().ok()),
        rows: spec.rows,
        policy: spec.policy,
        transport: spec.transport,
        quantum: spec.quantum.to_std(),
        lead: spec.lead.to_std(),
        heartbeat: spec.heartbeat.to_std(),
        suspicion: spec.suspicion.to_std(),
        watchdog: spec.effective_watchdog().to_std(),
        clock_tolerance: spec.clock_tolerance.to_std(),
        placement_timeout: spec.placement_timeout.to_std(),
        node_lost: spec.node_lost.to_std(),
        max_ranks_per_namespace: spec.max_ranks_per_namespace,
    })
}

/// Validates a job by itself.
///
/// # Errors
/// Every rule that it breaks.
pub fn parallel_job(job: &ParallelJob) -> Result<ValidJob, Vec<Violation>> {
    let violations = parallel_job_rules::violations(job, None);
    if !violations.is_empty() {
        return Err(violations);
    }
    let spec = &job.spec;
    let counts = [("spec.nodes", spec.nodes), ("spec.ranksPerNode", spec.ranks_per_node), ("spec.cpusPerRank", spec.cpus_per_rank)];
    let [nodes, ranks_per_node, cpus_per_rank] = count_all(counts).map_err(|zero| vec![zero])?;
    let mut restart_on = spec.restart.on.clone();
    restart_on.sort_unstable();
    restart_on.dedup();
    Ok(ValidJob {
        name: job.metadata.name.clone().unwrap_or_default(),
        namespace: job.metadata.namespace.clone(),
        partition: spec.partition.clone(),
        nodes,
        ranks_per_node,
        cpus_per_rank,
        program: spec.find_rank_container().map(|(_, container)| Program::of(container)).ok_or_else(|| vec![no_container()])?,
        launch: spec.launch.protocol,
        priority_class_name: spec.priority_class_name.clone(),
        suspend: spec.suspend,
        paused: spec.paused,
        restart_limit: spec.restart.limit,
        restart_on,
        active_deadline: spec.active_deadline_seconds.map(seconds),
        ttl_after_finished: spec.ttl_seconds_after_finished.map(seconds),
        termination_grace: termination_grace(job),
    })
}

/// Checks that a gang has room in a partition of a known size, in a row that is empty.
///
/// # Errors
/// What the gang needs and what the partition has.
pub fn fits(job: &ValidJob, shape: PartitionShape) -> Result<(), Violation> {
    if job.nodes.get() > shape.nodes {
        return Err(Violation {
            rule: "gang-fits-partition",
            path: "spec.nodes".to_owned(),
            what: format!("is {}, but partition {:?} has {}", job.nodes, job.partition, count(shape.nodes, "node")),
            right: format!("be at most {}", shape.nodes),
        });
    }
    let cpus = u64::from(job.ranks_per_node.get()) * u64::from(job.cpus_per_rank.get());
    if cpus > u64::from(shape.cpus_per_node) {
        return Err(Violation {
            rule: "gang-fits-partition",
            path: "spec.ranksPerNode".to_owned(),
            what: format!(
                "is {} with {} a rank, but the nodes of partition {:?} have {}",
                job.ranks_per_node,
                count(job.cpus_per_rank.get(), "CPU"),
                job.partition,
                count(shape.cpus_per_node, "CPU"),
            ),
            right: format!("come to at most {} on a node", count(shape.cpus_per_node, "CPU")),
        });
    }
    Ok(())
}

/// Validates documents one by one and against each other: names are unique (local mode has no namespaces), and every
/// job's partition is there. Where no document describes a partition, those that the jobs name have all defaults.
///
/// # Errors
/// Every problem found, each with its place.
pub fn all(documents: &[Document]) -> Result<ValidManifest, ManifestError> {
    let mut valid = ValidManifest { partitions: Vec::new(), jobs: Vec::new() };
    let mut problems = Vec::new();
    let mut job_documents = Vec::new();
    for document in documents {
        let violations = match &document.object {
            Object::Partition(object) => partition(object).map(|partition| valid.partitions.push(partition)),
            Object::ParallelJob(object) => parallel_job(object).map(|job| valid.jobs.push(job)),
        };
        problems.extend(violations.err().into_iter().flatten().map(|violation| document.problem(violation)));
        if let Object::ParallelJob(job) = &document.object {
            job_documents.push((document, job.spec.partition.as_str()));
        }
    }
    problems.extend(find_duplicates(documents));
    let names = partition_names(documents);
    if names.is_empty() {
        assume_partitions(&mut valid);
    } else {
        problems.extend(job_documents.iter().filter_map(|(document, name)| unknown_partition(document, name, &names)));
    }
    if problems.is_empty() { Ok(valid) } else { Err(ManifestError::new(problems)) }
}

// === impl ValidJob ===

impl ValidJob {
    /// Ranks on all nodes together.
    #[must_use]
    pub const fn ranks(&self) -> u32 {
        // The rule `ranks-within-limit` keeps the product far below 2^32.
        self.nodes.get() * self.ranks_per_node.get()
    }
}

// === impl Program ===

impl Program {
    fn of(container: &Container) -> Self {
        let mut environment: Vec<(String, String)> = Vec::new();
        for variable in container.env.iter().flatten().filter(|variable| variable.value_from.is_none()) {
            let value = expand(variable.value.as_deref().unwrap_or_default(), &environment);
            environment.push((variable.name.clone(), value));
        }
        let words = [&container.command, &container.args].into_iter().flatten().flatten();
        Self {
            command: words.map(|word| expand(word, &environment)).collect(),
            working_directory: container.working_dir.as_ref().map(PathBuf::from),
            environment,
        }
    }
}

/// Counts that the schema keeps above 0; objects made by a program may break that.
fn count_all(counts: [(&str, u32); 3]) -> Result<[NonZeroU32; 3], Violation> {
    let [first, second, third] = counts.map(|(path, value)| {
        NonZeroU32::new(value).ok_or_else(|| Violation {
            rule: "count-above-zero",
            path: path.to_owned(),
            what: "is 0".to_owned(),
            right: "be at least 1".to_owned(),
        })
    });
    Ok([first?, second?, third?])
}

fn no_container() -> Violation {
    Violation {
        rule: "template-has-container",
        path: "spec.template.spec.containers".to_owned(),
        what: "has 0 entries".to_owned(),
        right: "have at least 1".to_owned(),
    }
}

fn termination_grace(job: &ParallelJob) -> Duration {
    let stated = job.spec.template.spec.as_ref().and_then(|pod| pod.termination_grace_period_seconds);
    stated.map_or(DEFAULT_GRACE, |grace| Duration::from_secs(grace.unsigned_abs()))
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// `1 node`, `2 nodes`.
fn count(number: u32, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn partition_names(documents: &[Document]) -> Vec<&str> {
    let partitions = documents.iter().filter(|document| matches!(document.object, Object::Partition(_)));
    partitions.map(|document| document.object.name()).collect()
}

/// One problem for each document whose kind and name an earlier one has.
fn find_duplicates(documents: &[Document]) -> Vec<Problem> {
    let mut first: HashMap<(&str, &str), &Document> = HashMap::new();
    let mut problems = Vec::new();
    for document in documents {
        let key = (document.object.kind(), document.object.name());
        if let Some(earlier) = first.get(&key) {
            let place = format!("{}, document {}", earlier.origin.file, earlier.origin.document);
            problems.push(Problem {
                origin: document.origin_of("metadata.name"),
                path: "metadata.name".to_owned(),
                what: format!("is {:?}, the name of another {} ({place})", key.1, key.0),
                right: "be a name of its own".to_owned(),
            });
        } else {
            first.insert(key, document);
        }
    }
    problems
}

/// A partition with all defaults for each name that the jobs use.
fn assume_partitions(valid: &mut ValidManifest) {
    for job in &valid.jobs {
        if !valid.partitions.iter().any(|partition| partition.name == job.partition) {
            let assumed = partition(&Partition::new(&job.partition, PartitionSpec::default()));
            valid.partitions.extend(assumed);
        }
    }
}

fn unknown_partition(document: &Document, name: &str, names: &[&str]) -> Option<Problem> {
    (!names.contains(&name)).then(|| Problem {
        origin: document.origin_of("spec.partition"),
        path: "spec.partition".to_owned(),
        what: format!("is {name:?}, which no document describes"),
        right: format!("be {}", names.join(" or ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_a_partition_keep_every_rule() {
        let valid = partition(&Partition::new("p", PartitionSpec::default())).unwrap();
        assert_eq!(valid.quantum, Duration::from_millis(50));
        assert_eq!(valid.watchdog, Duration::from_secs(5));
        assert_eq!(valid.rows, 4);
    }

    #[test]
    fn a_long_quantum_lengthens_the_watchdog() {
        let spec = PartitionSpec { quantum: Duration::from_secs(10).into(), ..PartitionSpec::default() };
        assert_eq!(partition(&Partition::new("p", spec)).unwrap().watchdog, Duration::from_secs(40));
    }

    #[test]
    fn a_gang_larger_than_its_partition_is_refused() {
        let job = job(2, 3, 2);
        let shape = |nodes, cpus_per_node| PartitionShape { nodes, cpus_per_node };
        assert_eq!(fits(&job, shape(2, 6)), Ok(()));
        assert_eq!(
            fits(&job, shape(1, 6)).unwrap_err().to_string(),
            "spec.nodes: is 2, but partition \"main\" has 1 node; must be at most 1"
        );
        assert_eq!(
            fits(&job, shape(2, 5)).unwrap_err().to_string(),
            "spec.ranksPerNode: is 3 with 2 CPUs a rank, but the nodes of partition \"main\" have 5 CPUs; \
             must come to at most 5 CPUs on a node"
        );
    }

    fn job(nodes: u32, ranks_per_node: u32, cpus_per_rank: u32) -> ValidJob {
        let value = serde_json::json!({
            "apiVersion": crate::API_VERSION, "kind": "ParallelJob", "metadata": { "name": "job" },
            "spec": {
                "partition": "main", "nodes": nodes, "ranksPerNode": ranks_per_node, "cpusPerRank": cpus_per_rank,
                "template": { "spec": { "containers": [{ "name": "ranks", "command": ["a"], "args": ["b"] }] } },
            },
        });
        parallel_job(&serde_json::from_value(value).unwrap()).unwrap()
    }

    #[test]
    fn the_program_is_command_and_arguments() {
        let job = job(1, 2, 1);
        assert_eq!(job.program.command, ["a", "b"]);
        assert_eq!((job.ranks(), job.termination_grace), (2, DEFAULT_GRACE));
    }
}
