//! This machine's CPUs, and how they are divided among the nodes that it stands for.

use rustix::{io::Errno, thread::sched_getaffinity};
use strobe_core::{
    matrix::NodeCapacity,
    model::{CpuIndex, NodeIndex},
};

/// The machine as a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Division {
    /// The nodes.
    pub nodes: Vec<NodeCapacity>,
    /// True when a CPU belongs to more than one node: gangs of different nodes then compete for it.
    pub shared: bool,
}

/// The CPUs that this process may run on, smallest first.
///
/// # Errors
/// What the kernel answers.
pub(super) fn cpus() -> Result<Vec<u16>, Errno> {
    let set = sched_getaffinity(None)?;
    Ok((0..u16::MAX).take(rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(usize::from(*cpu))).collect())
}

/// Deals the CPUs out, `cpus_per_node` to each node, beginning again with the first when none is left. There must be at
/// least `cpus_per_node` of them, so that no node has one twice.
pub(super) fn divide(cpus: &[u16], nodes: u16, cpus_per_node: u16) -> Division {
    assert!(usize::from(cpus_per_node) <= cpus.len(), "a node has no more CPUs than the machine");
    let mut dealt = cpus.iter().cycle().map(|cpu| CpuIndex(*cpu));
    let node = |node| NodeCapacity {
        node: NodeIndex(node),
        cpus: dealt.by_ref().take(cpus_per_node.into()).collect(),
        // Local mode plans no memory: the kernel's own limits hold.
        memory_bytes: u64::MAX,
    };
    let shared = usize::from(nodes) * usize::from(cpus_per_node) > cpus.len();
    Division { nodes: (0..nodes).map(node).collect(), shared }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealt(cpus: &[u16], nodes: u16, cpus_per_node: u16) -> (Vec<Vec<u16>>, bool) {
        let division = divide(cpus, nodes, cpus_per_node);
        (division.nodes.iter().map(|node| node.cpus.iter().map(|cpu| cpu.0).collect()).collect(), division.shared)
    }

    #[test]
    fn each_node_has_its_own_cpus_while_there_are_enough() {
        assert_eq!(dealt(&[0, 1], 2, 1), (vec![vec![0], vec![1]], false));
        assert_eq!(dealt(&[2, 3, 8, 9], 2, 2), (vec![vec![2, 3], vec![8, 9]], false));
    }

    #[test]
    fn nodes_share_cpus_in_turn_when_there_are_too_few() {
        assert_eq!(dealt(&[0, 1], 3, 1), (vec![vec![0], vec![1], vec![0]], true));
        assert_eq!(dealt(&[0, 1, 2], 2, 2), (vec![vec![0, 1], vec![0, 2]], true));
    }

    #[test]
    fn this_process_may_run_somewhere() {
        assert!(!cpus().unwrap().is_empty());
    }
}
