//! Gangs: their shape, what their ranks run, and what those print.

use std::{path::PathBuf, process::Command};

use strobe_core::model::{CpuIndex, Desire, GangRun, NodeIndex, NodePlacement, PlannedGang, RankIndex, RowIndex, RowSet};
use strobe_proto::agent::{self, authority_message::Message};

use super::Nodes;
use crate::kubelet::Container;
use crate::observe::eventually;

/// How many nodes a gang has, and ranks on each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) nodes: u16,
    pub(crate) ranks: u32,
}

impl Shape {
    fn placement(self) -> Vec<NodePlacement> {
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| u16::try_from(cpus.get()).unwrap_or(u16::MAX));
        let on = |node: u16| NodePlacement {
            node: NodeIndex(node),
            cpus: [CpuIndex(node % cpus)].into_iter().collect(),
            first_rank: RankIndex(u32::from(node) * self.ranks),
            ranks: self.ranks,
        };
        (0..self.nodes).map(on).collect()
    }
}

/// A gang in row 0, on another CPU on each node where the machine has so many.
pub(crate) fn gang(run: GangRun, nodes: u16, desire: Desire) -> PlannedGang {
    gang_of(Shape { nodes, ranks: 1 }, run, desire)
}

/// The same with more ranks on a node.
pub(crate) fn gang_of(shape: Shape, run: GangRun, desire: Desire) -> PlannedGang {
    PlannedGang { run, desire, rows: [RowIndex(0)].into_iter().collect(), placement: shape.placement() }
}

/// The gang in another row.
pub(crate) fn in_row(gang: PlannedGang, row: u8) -> PlannedGang {
    PlannedGang { rows: RowSet::from_bits(1 << row), ..gang }
}

impl Nodes {
    /// Starts a shell script as every rank of the gang.
    pub(crate) async fn launch(&mut self, run: GangRun, nodes: u16, script: &str) {
        self.launch_of(Shape { nodes, ranks: 1 }, run, script).await;
    }

    /// The same with more ranks on a node.
    pub(crate) async fn launch_of(&mut self, shape: Shape, run: GangRun, script: &str) {
        self.launch_program(run, shape, "env", &["/bin/sh", "-c", script]).await;
    }

    /// Compiles an MPI program and starts it as every rank of the gang.
    pub(crate) async fn launch_mpi(&mut self, run: GangRun, nodes: u16, source: &str) {
        self.launch_mpi_of(Shape { nodes, ranks: 1 }, run, source).await;
    }

    /// The same with more ranks on a node.
    pub(crate) async fn launch_mpi_of(&mut self, shape: Shape, run: GangRun, source: &str) {
        let program = self.folder.path().join("program");
        let status = Command::new("mpicc").arg("-O2").arg("-o").arg(&program).arg(source).status();
        let status = status.expect("this test needs mpicc: install the packages mpich and libmpich-dev");
        assert!(status.success(), "mpicc failed");
        self.launch_program(run, shape, "pmi1", &[&program.display().to_string()]).await;
    }

    async fn launch_program(&mut self, run: GangRun, shape: Shape, protocol: &str, command: &[&str]) {
        let supervisor = agent::LocalSupervisor {
            command: command.iter().map(ToString::to_string).collect(),
            environment: vec![agent::EnvironmentVariable { name: "PATH".into(), value: "/usr/bin:/bin".into() }],
            working_directory: "/".into(),
            ..agent::LocalSupervisor::default()
        };
        let gang = agent::Launch {
            run: Some(run.into()),
            name: format!("job-{}", run.gang.0),
            protocol: protocol.into(),
            placement: shape.placement().iter().map(Into::into).collect(),
            cpus_per_rank: 1,
            supervisor: None,
        };
        for node in 0..usize::from(shape.nodes) {
            let output = self.output_path(run, node);
            std::fs::write(&output, "").expect("an output file can be made");
            let supervisor = agent::LocalSupervisor { output: output.display().to_string(), ..supervisor.clone() };
            let supervisor = Some(agent::launch::Supervisor::Local(supervisor));
            self.agents[node].say(Message::Launch(agent::Launch { supervisor, ..gang.clone() })).await;
        }
    }

    /// Asks for a gang in pods, one on each node, and returns their UIDs.
    pub(crate) async fn launch_in_pods(&mut self, run: GangRun, nodes: u16) -> Vec<String> {
        let shape = Shape { nodes, ranks: 1 };
        let pods: Vec<String> = (0..nodes).map(|node| format!("{:08x}-{run}-{node}", std::process::id())).collect();
        for (node, pod) in pods.iter().enumerate() {
            let gang = agent::Launch {
                run: Some(run.into()),
                name: format!("job-{}", run.gang.0),
                protocol: "env".into(),
                placement: shape.placement().iter().map(Into::into).collect(),
                cpus_per_rank: 1,
                supervisor: Some(agent::launch::Supervisor::Pod(agent::PodSupervisor { pod_uid: pod.clone() })),
            };
            self.agents[node].say(Message::Launch(gang)).await;
        }
        pods
    }

    /// Starts the pods of a gang: volume and container.
    pub(crate) async fn start_pods(&self, run: GangRun, pods: &[String], script: &str) -> Vec<Container> {
        let mut containers = Vec::new();
        for (node, pod) in pods.iter().enumerate() {
            let kubelet = self.kubelet(u16::try_from(node).expect("few nodes"));
            kubelet.publish(pod, true).await.expect("the volume is published");
            containers.push(kubelet.start(pod, &format!("job-{}", run.gang.0), &self.output_path(run, node), script));
        }
        containers
    }

    pub(crate) fn output_path(&self, run: GangRun, node: usize) -> PathBuf {
        self.folder.path().join(format!("output-{run}-{node}"))
    }

    /// Waits until every node's ranks of a gang have printed something: they have begun, and got a turn.
    pub(crate) async fn wait_for_output(&self, run: GangRun, nodes: u16) {
        for node in 0..usize::from(nodes) {
            let path = self.output_path(run, node);
            let printed = || std::fs::metadata(&path).is_ok_and(|file| file.len() > 0);
            eventually("the ranks print that they have begun", printed).await;
        }
    }

    /// What the ranks have printed, sorted.
    pub(crate) fn output_lines(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path()).expect("the folder is there");
        let paths = files.map(|entry| entry.expect("the folder is readable").path());
        let outputs = paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("output-")));
        let mut lines: Vec<String> = outputs
            .flat_map(|path| std::fs::read_to_string(path).expect("an output file is text").lines().map(String::from).collect::<Vec<_>>())
            .collect();
        lines.sort();
        lines
    }
}
