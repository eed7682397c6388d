//! A node of a test: a strobe thread, its socket and its gangs. All nodes share this machine and its clock.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use strobe_core::{
    message::{AgentState, AnnouncerCommand, AnnouncerReport, RowTable, SwitcherCommand, SwitcherReport},
    model::{
        AgentIncarnation, Fence, GangSlot, GangSlots, MatrixVersion, NodeIncarnation, NodeIndex, PartitionUid, RowIndex, Settings, Term,
        View,
    },
};
use strobe_fabric::{
    datagram::{DatagramCounters, DatagramKeys, DatagramSocket, KeyMaterial},
    transport::LinkId,
};
use strobe_node_agent::{
    cgroup::RankCgroup,
    freezer::{CgroupFreezer, Freezer},
    strobe_thread::{Returned, StrobeCommand, StrobeReport, StrobeReports, StrobeThread, StrobeThreadOptions, SwitchRecord},
};

use crate::support::{Process, Scratch, eventually};

/// Room for keys in every node's socket.
const KEYS: usize = 8;

/// The term of every test.
pub(crate) const TERM: Term = Term(7);

/// The matrix version of every test.
pub(crate) const VERSION: MatrixVersion = MatrixVersion(3);

/// The manager of every test.
pub(crate) const MANAGER: NodeIndex = NodeIndex(0);

pub(crate) struct Node {
    pub(crate) index: NodeIndex,
    pub(crate) thread: Option<StrobeThread>,
    pub(crate) reports: StrobeReports,
    pub(crate) address: SocketAddr,
    pub(crate) gangs: Vec<(RankCgroup, Process)>,
    /// What was popped.
    pub(crate) heard: Vec<SwitcherReport>,
    pub(crate) leases: usize,
    pub(crate) records: Vec<SwitchRecord>,
    pub(crate) returned: Vec<GangSlot>,
}

/// Short times, so that the tests are.
pub(crate) fn settings() -> Settings {
    Settings {
        quantum: Duration::from_millis(10),
        heartbeat: Duration::from_millis(50),
        suspicion: Duration::from_millis(500),
        watchdog: Duration::from_millis(900),
        ..Settings::default()
    }
}

pub(crate) fn fence() -> Fence {
    Fence { partition: PartitionUid(1), term: TERM, view: View(1) }
}

pub(crate) fn life(node: NodeIndex) -> NodeIncarnation {
    NodeIncarnation { node, incarnation: AgentIncarnation(1) }
}

pub(crate) fn keys(local: NodeIndex, peer: NodeIndex) -> Box<DatagramKeys> {
    Box::new(DatagramKeys::new(&KeyMaterial([3; 88]), local, LinkId { term: TERM, node: peer }, 1))
}

pub(crate) fn socket() -> DatagramSocket {
    DatagramSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), KEYS, Arc::new(DatagramCounters::default())).unwrap()
}

// === impl Node ===

impl Node {
    /// A node without gangs and peers.
    pub(crate) fn new(index: NodeIndex) -> Self {
        let socket = socket();
        let address = socket.local_address().unwrap();
        let options = StrobeThreadOptions { node: index, incarnation: AgentIncarnation(1), settings: settings(), cpus: Vec::new(), socket };
        let (thread, reports) = StrobeThread::spawn(options).unwrap();
        let (heard, records, returned) = (Vec::new(), Vec::new(), Vec::new());
        Self { index, thread: Some(thread), reports, address, gangs: Vec::new(), heard, leases: 0, records, returned }
    }

    /// A manager and a member with two busy gangs each, of which each has a row of its own.
    pub(crate) fn pair(scratch: &Scratch) -> [Self; 2] {
        let mut nodes = [MANAGER, NodeIndex(1)].map(Self::new);
        for node in &mut nodes {
            for slot in 0..2 {
                node.add_gang(scratch, slot);
            }
        }
        let [manager, member] = &mut nodes;
        manager.link(member.index, member.address);
        member.link(manager.index, manager.address);
        nodes
    }

    pub(crate) fn thread(&mut self) -> &mut StrobeThread {
        self.thread.as_mut().unwrap()
    }

    pub(crate) fn command(&mut self, command: StrobeCommand) {
        self.thread().command(command).unwrap();
    }

    pub(crate) fn switcher(&mut self, command: SwitcherCommand) {
        self.command(StrobeCommand::Switcher(command));
    }

    pub(crate) fn announcer(&mut self, command: AnnouncerCommand) {
        self.command(StrobeCommand::Announcer(Box::new(command)));
    }

    pub(crate) fn link(&mut self, peer: NodeIndex, address: SocketAddr) {
        let keys = keys(self.index, peer);
        self.command(StrobeCommand::InstallKeys { keys, address });
    }

    /// A running gang with one busy process.
    pub(crate) fn add_gang(&mut self, scratch: &Scratch, slot: u8) {
        let gang = scratch.busy_gang(&format!("node-{}-{slot}", self.index));
        self.insert(slot, &gang.0);
        self.switcher(SwitcherCommand::Present { slot: GangSlot(slot), released: true });
        self.gangs.push(gang);
    }

    /// Hands a freezer over.
    pub(crate) fn insert(&mut self, slot: u8, cgroup: &RankCgroup) {
        let freezer = Box::new(Freezer::Cgroup(CgroupFreezer::open(cgroup).unwrap()));
        self.command(StrobeCommand::InsertGang { slot: GangSlot(slot), freezer });
    }

    /// Seals and admits, and names the rows.
    pub(crate) fn join(&mut self) {
        self.switcher(SwitcherCommand::Seal { term: TERM });
        let mut table = RowTable { version: VERSION, ..RowTable::default() };
        for slot in 0..2 {
            table.rows[usize::from(slot)].insert(GangSlot(slot));
        }
        self.switcher(SwitcherCommand::Table(table));
        self.switcher(SwitcherCommand::Admit { fence: fence(), manager: MANAGER });
    }

    /// Begins to strobe these nodes.
    pub(crate) fn reign(&mut self, view: &[NodeIndex]) {
        let Settings { heartbeat, suspicion, lead, .. } = settings();
        let view: Vec<_> = view.iter().map(|node| life(*node)).collect();
        let record = view.clone();
        self.announcer(AnnouncerCommand::Start { fence: fence(), manager: MANAGER, record, view, heartbeat, suspicion, lead });
        self.rotate(&[0, 1]);
    }

    pub(crate) fn rotate(&mut self, rows: &[u8]) {
        let rows = rows.iter().map(|row| RowIndex(*row)).collect();
        self.announcer(AnnouncerCommand::Rotation { version: VERSION, rows, quantum: settings().quantum });
    }

    /// Takes the reports as the agent does.
    pub(crate) fn drain(&mut self) {
        self.reports.clear_wake();
        while let Some(report) = self.reports.pop() {
            match report {
                StrobeReport::Switcher(report) => self.heard.push(report),
                StrobeReport::Announcer(AnnouncerReport::Lease { .. }) => self.leases += 1,
                StrobeReport::Announcer(suspect @ AnnouncerReport::Suspect { .. }) => panic!("{suspect:?}"),
                StrobeReport::Sample(record) => self.records.push(record),
                StrobeReport::Returned(Returned::Freezer { slot, freezer: _ }) => self.returned.push(slot),
            }
        }
    }

    /// The state last heard of.
    pub(crate) fn state(&self) -> AgentState {
        let states = self.heard.iter().rev().find_map(|report| if let SwitcherReport::State(state) = report { Some(*state) } else { None });
        states.unwrap_or(AgentState::Unsealed)
    }

    /// The gangs whose `cgroup.freeze` says that they may run.
    pub(crate) fn commanded_thawed(&self) -> GangSlots {
        let thawed = |(slot, gang): (u8, &(RankCgroup, Process))| {
            let freezer = Freezer::Cgroup(CgroupFreezer::open(&gang.0).unwrap());
            freezer.is_commanded_thawed().unwrap().then_some(GangSlot(slot))
        };
        (0..).zip(&self.gangs).filter_map(thawed).collect()
    }

    /// Epochs executed at their instants.
    pub(crate) fn synchronised(&self) -> impl Iterator<Item = &SwitchRecord> {
        self.records.iter().filter(|record| record.sample.is_some_and(|sample| sample.due.is_some()))
    }
}

/// Waits until both nodes follow the strobe and have executed `epochs` at their instants.
pub(crate) fn until_synchronised(nodes: &mut [Node; 2], epochs: usize) {
    eventually("both nodes execute epochs at their instants", || {
        nodes.iter_mut().all(|node| {
            node.drain();
            node.state() == AgentState::Strobed && node.synchronised().count() >= epochs
        })
    });
}
