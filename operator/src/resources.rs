//! What a gang's pods ask of a node: a share of its CPUs, planned over all rows, and the memory that the template states.
//!
//! Kubelet and scheduler add the requests of all pods of a node up, also of those that take turns. So a gang asks for its part of what
//! the node has left, as if every slot of every row were taken: all rows together fit, and nothing else is let in on top.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use strobe_crds::parallel_job::ParallelJob;

use crate::quantity;

/// CPU of a node in thousandths, as far as it matters for a gang's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeCpu {
    /// What its pods may use.
    pub allocatable: u64,
    /// What its pods that are of no gang request.
    pub requested: u64,
    /// Slots of one row there.
    pub slots: u64,
    /// Rows of the matrix.
    pub rows: u64,
}

/// A resource that requests are added up of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// In thousandths.
    Cpu,
    /// In bytes.
    Memory,
}

/// The most that a pod may ask for whose gang holds so many slots of a node, in thousandths: its part of what its rows have.
#[must_use]
pub const fn cpu_at_most(slots: u64, rows: u64) -> u64 {
    slots * 1000 / rows
}

/// What a gang's pod asks for in thousandths of a CPU, where `need` slots of the node are its own: its part of what is left there, and
/// `reserve` less for pods that come later.
#[must_use]
pub fn cpu_request(need: u64, node: NodeCpu, reserve: u64) -> u64 {
    let left = node.allocatable.saturating_sub(node.requested).saturating_sub(reserve);
    let part = (need * left).checked_div(node.slots * node.rows).unwrap_or(0);
    part.min(cpu_at_most(need, node.rows))
}

/// CPUs that the ranks of a job need on one node, in thousandths.
#[must_use]
pub fn cpu_need(job: &ParallelJob) -> u64 {
    u64::from(job.spec.ranks_per_node) * u64::from(job.spec.cpus_per_rank) * 1000
}

/// The CPU limit of the ranks' container, in thousandths.
#[must_use]
pub fn cpu_limit(container: &Container) -> Option<u64> {
    quantity::thousandths(stated(container, "cpu")?.1?)
}

/// Memory that a pod of the job has on its node, in bytes. What ranks put into `/dev/shm`, or any other volume in memory, is charged to
/// their container, and so is part of what it states.
#[must_use]
pub fn memory(job: &ParallelJob) -> u64 {
    job.spec.template.spec.as_ref().map_or(0, |pod| requested(pod, Resource::Memory))
}

/// What a pod requests, as the scheduler counts it: native sidecars stay, other init containers run one after the other before the rest.
#[must_use]
pub fn requested(pod: &PodSpec, resource: Resource) -> u64 {
    let of_pod = pod.resources.as_ref().and_then(|resources| resources.requests.as_ref()).and_then(|requests| amount(requests, resource));
    let (mut sidecars, mut beginning) = (0, 0);
    for container in pod.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars += of_container(container, resource);
            beginning = beginning.max(sidecars);
        } else {
            beginning = beginning.max(sidecars + of_container(container, resource));
        }
    }
    let together = sidecars + pod.containers.iter().map(|container| of_container(container, resource)).sum::<u64>();
    let overhead = pod.overhead.as_ref().and_then(|overhead| amount(overhead, resource)).unwrap_or(0);
    of_pod.unwrap_or_else(|| together.max(beginning)) + overhead
}

/// Gives the ranks' container its CPU request, of which the pod's other containers' are a part, and makes its memory sure: what it may
/// use at most is what it asks for.
pub fn settle(pod: &mut PodSpec, ranks: usize, cpu: u64) {
    let without = |pod: &PodSpec| {
        let mut others = pod.clone();
        others.containers.remove(ranks);
        requested(&others, Resource::Cpu)
    };
    if ranks >= pod.containers.len() {
        return;
    }
    let own = cpu.saturating_sub(without(pod));
    let resources = pod.containers[ranks].resources.get_or_insert_default();
    let limit = resources.limits.as_ref().and_then(|limits| limits.get("memory")).cloned();
    let requests = resources.requests.get_or_insert_default();
    requests.insert("cpu".to_owned(), Quantity(format!("{own}m")));
    requests.extend(limit.map(|limit| ("memory".to_owned(), limit)));
}

/// What a container requests: where it states only a limit, that.
fn of_container(container: &Container, resource: Resource) -> u64 {
    let Some((request, limit)) = stated(container, resource.name()) else { return 0 };
    let (request, limit) = (request.and_then(|quantity| resource.read(quantity)), limit.and_then(|quantity| resource.read(quantity)));
    match resource {
        Resource::Cpu => request.or(limit).unwrap_or(0),
        // Memory is planned by what may be used of it.
        Resource::Memory => request.max(limit).unwrap_or(0),
    }
}

/// Request and limit of a container.
fn stated<'a>(container: &'a Container, name: &str) -> Option<(Option<&'a Quantity>, Option<&'a Quantity>)> {
    let resources = container.resources.as_ref()?;
    let of = |figures: &'a Option<BTreeMap<String, Quantity>>| figures.as_ref().and_then(|figures| figures.get(name));
    Some((of(&resources.requests), of(&resources.limits)))
}

fn amount(figures: &BTreeMap<String, Quantity>, resource: Resource) -> Option<u64> {
    resource.read(figures.get(resource.name())?)
}

// === impl Resource ===

impl Resource {
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    fn read(self, quantity: &Quantity) -> Option<u64> {
        match self {
            Self::Cpu => quantity::thousandths(quantity),
            Self::Memory => quantity::whole(quantity),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NODE: NodeCpu = NodeCpu { allocatable: 8000, requested: 0, slots: 8, rows: 4 };

    fn pod(spec: &Value) -> PodSpec {
        serde_json::from_value(spec.clone()).unwrap()
    }

    #[test]
    fn all_rows_together_ask_for_what_the_node_has_left() {
        assert_eq!(cpu_request(8, NODE, 0), 2000);
        let busy = NodeCpu { requested: 300, ..NODE };
        assert_eq!(cpu_request(8, busy, 100), 1900);
        assert_eq!(cpu_request(1, busy, 100), 237, "rounded down");
        assert!(4 * cpu_request(8, busy, 100) <= 7600 && 32 * cpu_request(1, busy, 100) <= 7600);
        assert_eq!(cpu_request(8, NodeCpu { requested: 9000, ..NODE }, 100), 0);
    }

    #[test]
    fn a_gang_asks_for_no_more_than_its_part_of_its_rows() {
        let narrow = NodeCpu { slots: 2, rows: 2, ..NODE };
        assert_eq!(cpu_request(2, narrow, 100), 1000, "the partition leaves most CPUs to others");
        assert_eq!(cpu_at_most(3, 4), 750);
    }

    #[test]
    fn requests_are_added_up_as_the_scheduler_does() {
        let cpu = |cpu: &str| json!({ "requests": { "cpu": cpu } });
        let spec = pod(&json!({
            "containers": [{ "name": "a", "resources": cpu("1") }, { "name": "b", "resources": { "limits": { "cpu": "500m" } } }],
            "initContainers": [
                { "name": "first", "resources": cpu("1") },
                { "name": "sidecar", "restartPolicy": "Always", "resources": cpu("200m") },
                { "name": "second", "resources": cpu("3") },
            ],
            "overhead": { "cpu": "50m" },
        }));
        assert_eq!(requested(&spec, Resource::Cpu), 3250);
        let small = pod(&json!({
            "containers": [{ "name": "a", "resources": cpu("1") }],
            "initContainers": [{ "name": "sidecar", "restartPolicy": "Always", "resources": cpu("200m") }],
        }));
        assert_eq!(requested(&small, Resource::Cpu), 1200);
        let whole = pod(&json!({ "containers": [{ "name": "a", "resources": cpu("1") }], "resources": cpu("4") }));
        assert_eq!(requested(&whole, Resource::Cpu), 4000);
    }

    #[test]
    fn memory_is_planned_by_what_may_be_used() {
        let job: ParallelJob = serde_json::from_value(json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "sor" },
            "spec": { "partition": "all", "template": { "spec": { "containers": [{
                "name": "rank", "command": ["sor"], "resources": { "requests": { "memory": "1Gi" }, "limits": { "memory": "2Gi" } },
            }] } } },
        }))
        .unwrap();
        assert_eq!(memory(&job), 2 << 30);
    }

    #[test]
    fn the_ranks_share_their_part_with_the_sidecars_and_their_memory_is_sure() {
        let mut spec = pod(&json!({
            "containers": [{ "name": "rank", "resources": { "limits": { "memory": "2Gi" }, "requests": { "cpu": "9", "memory": "1Gi" } } }],
            "initContainers": [{ "name": "logs", "restartPolicy": "Always", "resources": { "requests": { "cpu": "200m" } } }],
        }));
        settle(&mut spec, 0, 1900);
        let made = serde_json::to_value(&spec.containers[0].resources).unwrap();
        assert_eq!(made, json!({ "limits": { "memory": "2Gi" }, "requests": { "cpu": "1700m", "memory": "2Gi" } }));
        assert_eq!(requested(&spec, Resource::Cpu), 1900);
    }
}
