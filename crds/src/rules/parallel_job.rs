//! The rules of a `ParallelJob`.

use super::{CelRule, Scope, Violation, named_rules};
use crate::limits::{MAX_CPUS_PER_NODE, MAX_JOB_NAME_LENGTH, MAX_RANKS};
use crate::parallel_job::{ParallelJob, ParallelJobSpec};

/// A command, and why it must be stated.
const COMMAND_EXAMPLE: &str = "[\"/bin/app\"]; the one in the image is not known to Strobe";

named_rules! {
    /// A rule that a ParallelJob must keep.
    ParallelJobRule {
        /// The name can begin host names and name a Service.
        NameFits = "name-fits",
        /// The gang has at most so many ranks.
        RanksWithinLimit = "ranks-within-limit",
        /// The gang holds at most so many CPUs on a node.
        CpusWithinLimit = "cpus-within-limit",
        /// `rankContainer` names a container.
        RankContainerExists = "rank-container-exists",
        /// The rank container states its command, since nobody can look into its image.
        RankContainerCommand = "rank-container-command",
        /// Restarts have a cause.
        RestartHasCause = "restart-has-cause",
        /// `partition` never changes.
        PartitionImmutable = "partition-immutable",
        /// `ranksPerNode` never changes.
        RanksPerNodeImmutable = "ranks-per-node-immutable",
        /// `cpusPerRank` never changes.
        CpusPerRankImmutable = "cpus-per-rank-immutable",
        /// `launch` never changes.
        LaunchImmutable = "launch-immutable",
        /// `rankContainer` never changes.
        RankContainerImmutable = "rank-container-immutable",
        /// `managedBy` never changes.
        ManagedByImmutable = "managed-by-immutable",
        /// `nodes` changes only while no pods depend on it.
        NodesImmutable = "nodes-immutable",
        /// `template` changes only while no pods depend on it.
        TemplateImmutable = "template-immutable",
    }
}

/// Every rule that a job breaks, in the order of [`ParallelJobRule::ALL`]. With `old`, the state before a change,
/// the rules about changes too.
#[must_use]
pub fn violations(job: &ParallelJob, old: Option<&ParallelJob>) -> Vec<Violation> {
    ParallelJobRule::ALL.iter().filter_map(|rule| rule.check(job, old).err()).collect()
}

// === impl ParallelJobRule ===

impl ParallelJobRule {
    /// The rule for the API server.
    #[must_use]
    pub fn cel(self) -> CelRule {
        let scope = match self {
            Self::NameFits | Self::NodesImmutable | Self::TemplateImmutable => Scope::Object,
            Self::RanksWithinLimit
            | Self::CpusWithinLimit
            | Self::RankContainerExists
            | Self::RankContainerCommand
            | Self::RestartHasCause
            | Self::PartitionImmutable
            | Self::RanksPerNodeImmutable
            | Self::CpusPerRankImmutable
            | Self::LaunchImmutable
            | Self::RankContainerImmutable
            | Self::ManagedByImmutable => Scope::Spec,
        };
        let field_path = match (self, scope) {
            (Self::NameFits, _) => None,
            (_, Scope::Object) => Some(format!(".{}", self.path())),
            (_, Scope::Spec) => Some(self.path().trim_start_matches("spec").to_owned()),
        };
        let subject = self.path().trim_start_matches("spec.").to_owned();
        CelRule { scope, expression: self.expression(), message: format!("{subject} must {}", self.right()), field_path }
    }

    /// Checks the rule; the rules about changes hold if there is no old state.
    ///
    /// # Errors
    /// The violation, with the field's path and what would be right.
    pub fn check(self, job: &ParallelJob, old: Option<&ParallelJob>) -> Result<(), Violation> {
        let spec = &job.spec;
        match self {
            Self::NameFits => self.check_name(job),
            Self::RanksWithinLimit => {
                let ranks = u64::from(spec.nodes) * u64::from(spec.ranks_per_node);
                self.demand(ranks <= u64::from(MAX_RANKS), || {
                    format!("is {} on each of {} nodes, {ranks} in all", spec.ranks_per_node, spec.nodes)
                })
            }
            Self::CpusWithinLimit => {
                let cpus = u64::from(spec.ranks_per_node) * u64::from(spec.cpus_per_rank);
                self.demand(cpus <= u64::from(MAX_CPUS_PER_NODE), || {
                    format!("is {} for each of {} ranks on a node, {cpus} in all", spec.cpus_per_rank, spec.ranks_per_node)
                })
            }
            Self::RankContainerExists => self.check_rank_container(spec),
            Self::RankContainerCommand => self.check_command(spec),
            Self::RestartHasCause => self.demand(spec.restart.limit == 0 || !spec.restart.on.is_empty(), || {
                format!("is empty with a limit of {}", spec.restart.limit)
            }),
            Self::PartitionImmutable => self.demand_same(old, |old| old.spec.partition == spec.partition),
            Self::RanksPerNodeImmutable => self.demand_same(old, |old| old.spec.ranks_per_node == spec.ranks_per_node),
            Self::CpusPerRankImmutable => self.demand_same(old, |old| old.spec.cpus_per_rank == spec.cpus_per_rank),
            Self::LaunchImmutable => self.demand_same(old, |old| old.spec.launch == spec.launch),
            Self::RankContainerImmutable => self.demand_same(old, |old| old.spec.rank_container == spec.rank_container),
            Self::ManagedByImmutable => self.demand_same(old, |old| old.spec.managed_by == spec.managed_by),
            Self::NodesImmutable => self.demand_same(old, |old| old.spec.nodes == spec.nodes || is_at_rest(old)),
            Self::TemplateImmutable => self.demand_same(old, |old| old.spec.template == spec.template || is_at_rest(old)),
        }
    }

    /// What would be right, ready to follow "must".
    #[must_use]
    pub fn right(self) -> String {
        match self {
            Self::NameFits => format!(
                "be at most {MAX_JOB_NAME_LENGTH} lower-case letters, digits and dashes, begin with a letter and not end with a dash"
            ),
            Self::RanksWithinLimit => format!("come to at most {MAX_RANKS} ranks on all nodes together"),
            Self::CpusWithinLimit => format!("come to at most {MAX_CPUS_PER_NODE} CPUs on a node"),
            Self::RankContainerExists => "name a container of the template".to_owned(),
            Self::RankContainerCommand => {
                format!("state the rank container's command, such as {COMMAND_EXAMPLE}")
            }
            Self::RestartHasCause => "name RankFailure, NodeLost or both, or limit must be 0".to_owned(),
            Self::PartitionImmutable
            | Self::RanksPerNodeImmutable
            | Self::CpusPerRankImmutable
            | Self::LaunchImmutable
            | Self::RankContainerImmutable
            | Self::ManagedByImmutable => "stay as it is; make a new job instead".to_owned(),
            Self::NodesImmutable | Self::TemplateImmutable => "stay as it is unless the job is suspended and has no pods".to_owned(),
        }
    }

    /// The field that the rule is about.
    const fn path(self) -> &'static str {
        match self {
            Self::NameFits => "metadata.name",
            Self::RanksWithinLimit | Self::RanksPerNodeImmutable => "spec.ranksPerNode",
            Self::CpusWithinLimit | Self::CpusPerRankImmutable => "spec.cpusPerRank",
            Self::RankContainerExists | Self::RankContainerImmutable => "spec.rankContainer",
            Self::RankContainerCommand => "spec.template.spec.containers",
            Self::RestartHasCause => "spec.restart.on",
            Self::PartitionImmutable => "spec.partition",
            Self::LaunchImmutable => "spec.launch",
            Self::ManagedByImmutable => "spec.managedBy",
            Self::NodesImmutable => "spec.nodes",
            Self::TemplateImmutable => "spec.template",
        }
    }

    fn expression(self) -> String {
        match self {
            Self::NameFits => {
                format!("self.metadata.name.size() <= {MAX_JOB_NAME_LENGTH} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
            }
            Self::RanksWithinLimit => format!("self.nodes * self.ranksPerNode <= {MAX_RANKS}"),
            Self::CpusWithinLimit => format!("self.ranksPerNode * self.cpusPerRank <= {MAX_CPUS_PER_NODE}"),
            Self::RankContainerExists => {
                "!has(self.rankContainer) || self.template.spec.containers.exists(c, c.name == self.rankContainer)".to_owned()
            }
            Self::RankContainerCommand => "has(self.rankContainer) \
                 ? self.template.spec.containers.all(c, c.name != self.rankContainer || (has(c.command) && c.command.size() > 0)) \
                 : has(self.template.spec.containers[0].command) && self.template.spec.containers[0].command.size() > 0"
                .to_owned(),
            Self::RestartHasCause => "self.restart.limit == 0 || self.restart.on.size() > 0".to_owned(),
            Self::PartitionImmutable => "self.partition == oldSelf.partition".to_owned(),
            Self::RanksPerNodeImmutable => "self.ranksPerNode == oldSelf.ranksPerNode".to_owned(),
            Self::CpusPerRankImmutable => "self.cpusPerRank == oldSelf.cpusPerRank".to_owned(),
            Self::LaunchImmutable => "self.launch == oldSelf.launch".to_owned(),
            Self::RankContainerImmutable => optional_immutable("rankContainer"),
            Self::ManagedByImmutable => optional_immutable("managedBy"),
            Self::NodesImmutable => immutable_unless_at_rest("nodes"),
            Self::TemplateImmutable => immutable_unless_at_rest("template"),
        }
    }

    fn check_name(self, job: &ParallelJob) -> Result<(), Violation> {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let fits = name.len() <= MAX_JOB_NAME_LENGTH as usize
            && letters
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && !name.ends_with('-');
        self.demand(fits, || format!("is {name:?}"))
    }

    fn check_rank_container(self, spec: &ParallelJobSpec) -> Result<(), Violation> {
        let named = spec.rank_container.as_deref().unwrap_or_default();
        let kept = spec.rank_container.is_none() || spec.find_rank_container().is_some();
        self.demand(kept, || format!("is {named:?}, but no container has that name"))
    }

    fn check_command(self, spec: &ParallelJobSpec) -> Result<(), Violation> {
        // A rank container that does not exist is the business of another rule.
        let Some((index, container)) = spec.find_rank_container() else { return Ok(()) };
        if container.command.as_ref().is_some_and(|command| !command.is_empty()) {
            return Ok(());
        }
        let path = format!("{}[{index}].command", self.path());
        Err(Violation { rule: self.name(), path, what: "is missing".to_owned(), right: format!("be stated, such as {COMMAND_EXAMPLE}") })
    }

    fn demand_same(self, old: Option<&ParallelJob>, same: impl Fn(&ParallelJob) -> bool) -> Result<(), Violation> {
        self.demand(old.is_none_or(same), || "is changed".to_owned())
    }

    fn demand(self, kept: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
        if kept {
            return Ok(());
        }
        Err(Violation { rule: self.name(), path: self.path().to_owned(), what: what(), right: self.right() })
    }
}

/// Whether the job is suspended and has no pods left.
fn is_at_rest(job: &ParallelJob) -> bool {
    job.spec.suspend && job.status.as_ref().is_none_or(|status| status.pods == 0)
}

fn immutable_unless_at_rest(field: &str) -> String {
    format!(
        "self.spec.{field} == oldSelf.spec.{field} || (oldSelf.spec.suspend \
         && (!has(oldSelf.status) || !has(oldSelf.status.pods) || oldSelf.status.pods == 0))"
    )
}

fn optional_immutable(field: &str) -> String {
    format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})")
}
