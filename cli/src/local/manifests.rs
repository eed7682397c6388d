//! From files to what is run: manifests read, changed by the command line, validated, and compared with this machine.
//!
//! Nothing starts unless everything here succeeds: one bad document, and none is run.

mod program;

use std::{collections::BTreeMap, fs, io::Read, path::Path, time::Duration};

use serde_json::json;
use strobe_core::{authority::JOBS_MAX, limits::MEMBERS_MAX, matrix::NodeCapacity, model::Settings};
use strobe_crds::{
    API_VERSION, PartitionSpec,
    limits::MAX_PROBLEMS,
    manifest::{self, Document, ManifestError, Object, Origin, Problem},
    partition::{self, Transport},
    rules::Violation,
    validate::{self, PartitionShape, ValidJob, ValidPartition},
};

use super::machine;
use crate::arguments::{self, RunArguments};
use program::Launch;

/// What is to be run, checked to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepared {
    /// The partition's name.
    pub partition: String,
    /// Its times, rows and policy.
    pub settings: Settings,
    /// Its nodes.
    pub nodes: Vec<NodeCapacity>,
    /// The jobs, in the order of the files.
    pub jobs: Vec<PreparedJob>,
    /// What local mode does not do as a cluster would; each said once.
    pub warnings: Vec<String>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PreparedJob {
    /// The job.
    pub job: ValidJob,
    /// How its program is started here.
    pub launch: Launch,
}

/// Why nothing is run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// The manifests, or what they ask of this machine.
    #[error("{0}")]
    Manifests(ManifestError),
    /// More CPUs a node than there are.
    #[error("--cpus-per-node is {asked}, but this process may use {found} CPUs; must be at most {found}")]
    CpusPerNode {
        /// What was asked.
        asked: u16,
        /// What there is.
        found: usize,
    },
    /// A node that is not there.
    #[error("--no-restart-node is {node}, but the nodes are 0 to {last}")]
    NoSuchNode {
        /// What was asked.
        node: u16,
        /// The last node.
        last: u16,
    },
    /// The CPUs of this process are not known.
    #[error("cannot find out which CPUs this process may use")]
    Cpus(#[source] rustix::io::Errno),
    /// The folder that programs are started in is not known.
    #[error("cannot find out which folder this is")]
    Folder(#[source] std::io::Error),
}

/// Reads and checks everything.
///
/// # Errors
/// Every problem that was found, each with its place; see [`PrepareError`].
pub(super) fn prepare(arguments: &RunArguments) -> Result<Prepared, PrepareError> {
    let mut documents = read_all(&arguments.files).map_err(PrepareError::Manifests)?;
    override_partitions(&mut documents, arguments)?;
    let valid = validate::all(&documents).map_err(PrepareError::Manifests)?;
    let jobs: Vec<(&Document, ValidJob)> = job_documents(&documents).zip(valid.jobs).collect();
    refuse_too_many(&jobs)?;
    let name = only_partition(&jobs, arguments)?;
    let partition = valid.partitions.into_iter().find(|partition| partition.name == name).expect("validated: the partition is there");
    let division = divide(&documents, &jobs, &partition, arguments)?;
    let mut warnings = warnings(&documents);
    if division.shared {
        let (nodes, cpus) = (division.nodes.len(), division.nodes[0].cpus.len());
        warnings.push(format!("{nodes} nodes of {cpus} CPUs share CPUs of this machine: gangs on different nodes compete for them"));
    }
    let here = std::env::current_dir().map_err(PrepareError::Folder)?;
    let jobs = launches(jobs, &here)?;
    Ok(Prepared { settings: strobe_authority::settings(&partition), partition: name, nodes: division.nodes, jobs, warnings })
}

/// Nodes of one CPU each, without jobs, with the times that a partition has which no document describes.
///
/// # Errors
/// [`PrepareError::Cpus`].
pub(super) fn nodes_alone(nodes: u16) -> Result<Prepared, PrepareError> {
    let assumed = assumed_partition("local").map_err(PrepareError::Manifests)?;
    let valid = validate::all(&assumed).map_err(PrepareError::Manifests)?;
    let partition = valid.partitions.first().expect("one was assumed");
    let cpus = machine::cpus().map_err(PrepareError::Cpus)?;
    Ok(Prepared {
        partition: partition.name.clone(),
        settings: strobe_authority::settings(partition),
        nodes: machine::divide(&cpus, nodes, 1).nodes,
        jobs: Vec::new(),
        warnings: Vec::new(),
    })
}

fn assumed_partition(name: &str) -> Result<Vec<Document>, ManifestError> {
    let text = json!({ "apiVersion": API_VERSION, "kind": "Partition", "metadata": { "name": name }, "spec": {} });
    manifest::parse("the assumed partition", &text.to_string())
}

fn read_all(files: &[impl AsRef<Path>]) -> Result<Vec<Document>, ManifestError> {
    let (mut documents, mut problems, mut more) = (Vec::new(), Vec::new(), 0);
    for file in files.iter().map(AsRef::as_ref) {
        let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
        match read(file, &name).and_then(|text| manifest::parse(&name, &text)) {
            Ok(found) => documents.extend(found),
            Err(error) => {
                problems.extend(error.problems);
                more += error.more;
            }
        }
    }
    if problems.is_empty() { Ok(documents) } else { Err(cut(problems, more)) }
}

fn read(file: &Path, name: &str) -> Result<String, ManifestError> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text).map(drop)
    } else {
        fs::read_to_string(file).map(|whole| text = whole)
    };
    let problem = |error: std::io::Error| {
        let origin = Origin { file: name.to_owned(), document: 0, line: None, object: None };
        let (what, right) = (format!("cannot be read ({error})"), "be a readable file of YAML documents".to_owned());
        ManifestError::from(Problem { origin, path: String::new(), what, right })
    };
    read.map(|()| text).map_err(problem)
}

fn cut(mut problems: Vec<Problem>, more: usize) -> ManifestError {
    let more = more + problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    ManifestError { problems, more }
}

fn refuse_unless_empty(problems: Vec<Problem>) -> Result<(), PrepareError> {
    if problems.is_empty() { Ok(()) } else { Err(PrepareError::Manifests(cut(problems, 0))) }
}

fn job_documents(documents: &[Document]) -> impl Iterator<Item = &Document> {
    documents.iter().filter(|document| matches!(document.object, Object::ParallelJob(_)))
}

/// Puts the command line's values into the partitions. Partitions that no document describes are described first, with
/// the defaults that they would have.
fn override_partitions(documents: &mut Vec<Document>, arguments: &RunArguments) -> Result<(), PrepareError> {
    let described = documents.iter().any(|document| matches!(document.object, Object::Partition(_)));
    if !described {
        let names: std::collections::BTreeSet<String> = documents
            .iter()
            .filter_map(|document| match &document.object {
                Object::ParallelJob(job) => Some(job.spec.partition.clone()),
                Object::Partition(_) => None,
            })
            .collect();
        for name in names {
            documents.extend(assumed_partition(&name).map_err(PrepareError::Manifests)?);
        }
    }
    for document in documents {
        if let Object::Partition(partition) = &mut document.object {
            change(&mut partition.spec, arguments);
        }
    }
    Ok(())
}

fn change(spec: &mut PartitionSpec, arguments: &RunArguments) {
    spec.quantum = arguments.quantum.unwrap_or(spec.quantum);
    spec.rows = arguments.rows.unwrap_or(spec.rows);
    spec.policy = arguments.policy.map_or(spec.policy, |policy| match policy {
        arguments::Policy::Gang => partition::Policy::Gang,
        arguments::Policy::Kernel => partition::Policy::Kernel,
    });
}

/// The authority takes so many; the others would be refused while these run.
fn refuse_too_many(jobs: &[(&Document, ValidJob)]) -> Result<(), PrepareError> {
    let first_too_many = jobs.get(JOBS_MAX).map(|(document, _)| {
        document.problem(Violation {
            rule: "jobs-within-limit",
            path: String::new(),
            what: format!("is the first of {} jobs too many", jobs.len() - JOBS_MAX),
            right: format!("be one of at most {JOBS_MAX} jobs of a run"),
        })
    });
    refuse_unless_empty(first_too_many.into_iter().collect())
}

/// The partition that all jobs name: a run is of one.
fn only_partition(jobs: &[(&Document, ValidJob)], arguments: &RunArguments) -> Result<String, PrepareError> {
    let Some((_, first)) = jobs.first() else {
        let origin = Origin { file: arguments.files[0].display().to_string(), document: 0, line: None, object: None };
        let (what, right) =
            ("holds no ParallelJob, and no other file does".to_owned(), "hold at least one, or nothing would run".to_owned());
        return Err(PrepareError::Manifests(Problem { origin, path: String::new(), what, right }.into()));
    };
    let others = jobs.iter().filter(|(_, job)| job.partition != first.partition);
    let problems = others.map(|(document, job)| {
        document.problem(Violation {
            rule: "one-partition",
            path: "spec.partition".to_owned(),
            what: format!("is {:?}, but the first job names {:?}", job.partition, first.partition),
            right: format!("be {:?}: local mode runs one partition at a time", first.partition),
        })
    });
    refuse_unless_empty(problems.collect())?;
    Ok(first.partition.clone())
}

fn divide(
    documents: &[Document],
    jobs: &[(&Document, ValidJob)],
    partition: &ValidPartition,
    arguments: &RunArguments,
) -> Result<machine::Division, PrepareError> {
    let usable = usable_cpus(documents, partition)?;
    let cpus_per_node = match arguments.cpus_per_node {
        Some(asked) if usize::from(asked) > usable.len() => return Err(PrepareError::CpusPerNode { asked, found: usable.len() }),
        Some(asked) => asked,
        None => {
            let widest = jobs.iter().map(|(_, job)| job.ranks_per_node.get() * job.cpus_per_rank.get()).max().unwrap_or(1);
            u16::try_from(widest).unwrap_or(u16::MAX).min(u16::try_from(usable.len()).unwrap_or(u16::MAX))
        }
    };
    let most = u32::try_from(MEMBERS_MAX).expect("a small constant");
    let largest = jobs.iter().map(|(_, job)| job.nodes.get()).max().unwrap_or(1);
    let nodes = arguments.nodes.map_or_else(|| largest.min(most), u32::from);
    let shape = PartitionShape { nodes, cpus_per_node: cpus_per_node.into() };
    let too_large = jobs.iter().filter_map(|(document, job)| validate::fits(job, shape).err().map(|violation| document.problem(violation)));
    refuse_unless_empty(too_large.collect())?;
    let nodes = u16::try_from(nodes).expect("at most as many as a partition has");
    if let Some(node) = arguments.no_restart_node.iter().copied().find(|node| *node >= nodes) {
        return Err(PrepareError::NoSuchNode { node, last: nodes - 1 });
    }
    Ok(machine::divide(&usable, nodes, cpus_per_node))
}

/// The CPUs that nodes are made of: those of this process, and of the partition's list where it has one.
fn usable_cpus(documents: &[Document], partition: &ValidPartition) -> Result<Vec<u16>, PrepareError> {
    let mut usable = machine::cpus().map_err(PrepareError::Cpus)?;
    let Some(stated) = &partition.cpus else { return Ok(usable) };
    let found = format!("{usable:?}");
    usable.retain(|cpu| stated.iter().any(|stated| stated == *cpu));
    if usable.is_empty() {
        let violation = Violation {
            rule: "cpus-here",
            path: "spec.cpus".to_owned(),
            what: "names no CPU that this process may use".to_owned(),
            right: format!("name some of {found}, or be left out"),
        };
        let described = |document: &&Document| document.object.kind() == "Partition" && document.object.name() == partition.name;
        let document = documents.iter().find(described).expect("a stated list stands in a document");
        refuse_unless_empty(vec![document.problem(violation)])?;
    }
    Ok(usable)
}

fn launches(jobs: Vec<(&Document, ValidJob)>, here: &Path) -> Result<Vec<PreparedJob>, PrepareError> {
    let (mut prepared, mut problems) = (Vec::new(), Vec::new());
    let inherited: Vec<(String, String)> = std::env::vars().collect();
    for (document, job) in jobs {
        match program::find(document, &job, here, &inherited) {
            Ok(launch) => prepared.push(PreparedJob { job, launch }),
            Err(violation) => problems.push(document.problem(*violation)),
        }
    }
    refuse_unless_empty(problems)?;
    Ok(prepared)
}

/// What documents ask for and local mode does not do: each thing once, with the documents that ask for it.
fn warnings(documents: &[Document]) -> Vec<String> {
    let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for document in documents {
        let object = &document.object;
        let by = || format!("{} {:?} ({}, document {})", object.kind(), object.name(), document.origin.file, document.origin.document);
        for field in not_used(object) {
            asked.entry(format!("local mode does not use {field}")).or_default().push(by());
        }
        if let Object::ParallelJob(job) = object
            && job.spec.paused
        {
            asked.entry("local mode does not start what spec.paused holds, for nothing would resume it".to_owned()).or_default().push(by());
        }
    }
    asked.into_iter().map(|(what, who)| format!("{what}: {}", who.join(", "))).collect()
}

fn not_used(object: &Object) -> Vec<String> {
    match object {
        Object::ParallelJob(job) => manifest::fields_not_used(job),
        Object::Partition(partition) => partition_fields_not_used(&partition.spec),
    }
}

fn partition_fields_not_used(spec: &PartitionSpec) -> Vec<String> {
    let defaults = PartitionSpec::default();
    let fields = [
        ("spec.nodeSelector", !spec.node_selector.is_empty()),
        ("spec.transport", spec.transport != Transport::default()),
        ("spec.placementTimeout", spec.placement_timeout != defaults.placement_timeout),
        ("spec.dedicated", spec.dedicated != defaults.dedicated),
        ("spec.allowedNamespaces", !spec.allowed_namespaces.is_empty()),
        ("spec.namespaceSelector", spec.namespace_selector.is_some()),
        ("spec.maxRanksPerNamespace", spec.max_ranks_per_namespace.is_some()),
    ];
    fields.into_iter().filter(|(_, stated)| *stated).map(|(field, _)| field.to_owned()).collect()
}

impl Prepared {
    /// The longest time that a gang may take to end by itself.
    pub(super) fn longest_grace(&self) -> Duration {
        self.jobs.iter().map(|job| job.job.termination_grace).max().unwrap_or_default()
    }
}
