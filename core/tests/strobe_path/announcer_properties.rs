//! Answers lost and late, views and rotations raised at any time: no strobe without the lease, and no epoch that was
//! announced changes within the lead.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use strobe_core::{
    machine::{Machine, Outbox},
    manager::{Announcer, AnnouncerEffect, AnnouncerInput},
    message::{AgentState, AnnouncerCommand, Datagram, Heartbeat, HeartbeatReply, Strobe},
    model::{AgentIncarnation, Epoch, Instant, MatrixVersion, NodeIncarnation, NodeIndex, NodeSet, RowIndex, RowSet},
};

use crate::fixture::{MANAGER, fence, ms};

const SUSPICION: Duration = Duration::from_millis(1_000);
const LEAD: Duration = Duration::from_millis(5);

/// One thing that happens, after a pause in milliseconds.
#[derive(Debug, Clone)]
enum Happening {
    /// These nodes answer the heartbeat that was sent `age` heartbeats before the last.
    Answers {
        nodes: u64,
        age: usize,
    },
    View {
        nodes: u64,
    },
    Rotation {
        rows: u16,
        quantum_ms: u64,
    },
    Stop {
        milliseconds: u64,
    },
}

fn happenings() -> impl Strategy<Value = Vec<(u64, Happening)>> {
    let happening = prop_oneof![
        10 => (any::<u64>(), 0_usize..6).prop_map(|(nodes, age)| Happening::Answers { nodes, age }),
        1 => any::<u64>().prop_map(|nodes| Happening::View { nodes }),
        3 => (0_u16..16, prop::sample::select(vec![1_u64, 10, 50, 700])).prop_map(|(rows, quantum_ms)| Happening::Rotation { rows, quantum_ms }),
        1 => (0_u64..3_000).prop_map(|milliseconds| Happening::Stop { milliseconds }),
    ];
    prop::collection::vec((0_u64..300, happening), 1..60)
}

/// The announcer, and what an observer of its messages knows.
struct Watched {
    announcer: Announcer,
    out: Outbox<AnnouncerEffect>,
    now: Instant,
    record: u16,
    view_number: u64,
    view: NodeSet,
    heartbeats: Vec<Heartbeat>,
    /// When the newest heartbeat that each node of the view answered was sent.
    answered: BTreeMap<NodeIndex, Instant>,
    version: u64,
    announced: BTreeMap<Epoch, (Instant, Option<RowIndex>)>,
    announcement: u64,
    withheld: u64,
    /// True when it was stopped since the last strobe: its schedule may have run out.
    stopped: bool,
}

impl Watched {
    fn new(record: u16) -> Self {
        let mut watched = Self {
            announcer: Announcer::new(),
            out: Outbox::with_capacity(Announcer::EFFECTS_MAX),
            now: ms(0),
            record,
            view_number: 1,
            view: (0..record).map(NodeIndex).collect(),
            heartbeats: Vec::new(),
            answered: BTreeMap::new(),
            version: 0,
            announced: BTreeMap::new(),
            announcement: 0,
            withheld: 0,
            stopped: false,
        };
        let members = watched.members();
        watched.step(AnnouncerInput::Command(AnnouncerCommand::Start {
            fence: fence(3, 1),
            manager: MANAGER,
            record: members.clone(),
            view: members,
            heartbeat: Duration::from_millis(200),
            suspicion: SUSPICION,
            lead: LEAD,
        }));
        watched
    }

    fn members(&self) -> Vec<NodeIncarnation> {
        self.view.iter().map(|node| NodeIncarnation { node, incarnation: AgentIncarnation(1) }).collect()
    }

    /// The definition of the lease, from what was sent and answered.
    fn holds_lease(&self) -> bool {
        let fresh = self.answered.iter().filter(|(node, sent_at)| node.0 < self.record && self.now.since(**sent_at) < SUSPICION);
        2 * fresh.count() > usize::from(self.record)
    }

    fn step(&mut self, input: AnnouncerInput) {
        self.announcer.step(self.now, input, &mut self.out);
        let effects: Vec<_> = self.out.drain().collect();
        let (mut strobe, mut heartbeat) = (None, None);
        for effect in effects {
            if let AnnouncerEffect::Send { to, datagram } = effect {
                assert!(self.view.contains(to), "only members of the view are addressed");
                match datagram {
                    Datagram::Strobe(sent) => strobe = Some(sent),
                    Datagram::Heartbeat(sent) => heartbeat = Some(sent),
                    Datagram::HeartbeatReply(_) | Datagram::ClockProbe(_) | Datagram::ClockReply(_) => {}
                }
            }
        }
        if let Some(heartbeat) = heartbeat {
            assert_eq!((heartbeat.lease, heartbeat.sent_at), (self.holds_lease(), self.now), "a heartbeat says whether the lease is held");
            self.heartbeats.push(heartbeat);
        }
        if let Some(strobe) = strobe {
            assert!(self.holds_lease(), "a strobe without the lease");
            self.check_strobe(&strobe);
        }
        assert!(self.announcer.next_deadline().is_none_or(|deadline| deadline > self.now), "what is due is done");
    }

    fn check_strobe(&mut self, strobe: &Strobe) {
        assert!(strobe.announcement > self.announcement, "announcements grow");
        self.announcement = strobe.announcement;
        let in_time = self.announcer.counters().withheld == self.withheld && !std::mem::take(&mut self.stopped);
        self.withheld = self.announcer.counters().withheld;
        let before = self.announced.split_off(&strobe.epoch);
        if let Some((_, (at, _))) = self.announced.last_key_value() {
            assert!(*at < strobe.at, "instants grow with epochs");
        }
        for (index, row) in (0_u64..).zip(&strobe.schedule) {
            let epoch = Epoch(strobe.epoch.0 + index);
            let entry = (strobe.at + strobe.quantum * u32::try_from(index).expect("few epochs"), *row);
            match before.get(&epoch) {
                Some(earlier) if earlier.0 < self.now + LEAD => assert_eq!(*earlier, entry, "{epoch} changes within the lead"),
                earlier => {
                    let new = earlier != Some(&entry);
                    assert!(!(new && in_time) || entry.0 >= self.now + LEAD, "{epoch} is announced too late");
                }
            }
            self.announced.insert(epoch, entry);
        }
    }

    fn run_until(&mut self, until: Instant) {
        while let Some(deadline) = self.announcer.next_deadline().filter(|deadline| *deadline <= until) {
            self.now = deadline;
            self.step(AnnouncerInput::Timer);
        }
        self.now = until;
    }

    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Answers { nodes, age } => self.answer(*nodes, *age),
            Happening::View { nodes } => {
                let everyone = NodeSet::from_bits((1 << (self.record + 1)) - 1);
                self.view = NodeSet::from_bits(nodes | 1).intersection(everyone);
                self.view_number += 1;
                let view = self.view;
                self.answered.retain(|node, _| view.contains(*node));
                let command = AnnouncerCommand::View { fence: fence(3, self.view_number), view: self.members() };
                self.step(AnnouncerInput::Command(command));
            }
            Happening::Rotation { rows, quantum_ms } => {
                self.version += 1;
                self.step(AnnouncerInput::Command(AnnouncerCommand::Rotation {
                    version: MatrixVersion(self.version),
                    rows: RowSet::from_bits(*rows),
                    quantum: Duration::from_millis(*quantum_ms),
                }));
            }
            Happening::Stop { milliseconds } => {
                self.now = self.now + Duration::from_millis(*milliseconds);
                self.stopped = true;
                self.step(AnnouncerInput::Timer);
            }
        }
    }

    /// Answers carry the present view, so that the newest admission of each node counts them.
    fn answer(&mut self, nodes: u64, age: usize) {
        let index = self.heartbeats.len().saturating_sub(1 + age);
        let asked = self.heartbeats[index];
        for node in NodeSet::from_bits(nodes).intersection(self.view).iter() {
            let newest = self.answered.entry(node).or_insert(asked.sent_at);
            *newest = (*newest).max(asked.sent_at);
            let reply = HeartbeatReply {
                fence: fence(3, self.view_number),
                sequence: asked.sequence,
                sent_at: asked.sent_at,
                node,
                incarnation: AgentIncarnation(1),
                state: AgentState::Strobed,
                switched: Epoch(0),
            };
            self.step(AnnouncerInput::Datagram { from: node, datagram: Datagram::HeartbeatReply(reply) });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn no_interleaving_breaks_the_invariants(record in 1_u16..6, happenings in happenings()) {
        let mut watched = Watched::new(record);
        for (pause, happening) in happenings {
            watched.run_until(watched.now + Duration::from_millis(pause));
            watched.happen(&happening);
        }
        // Healed: everyone is in the view, answers, and a rotation is there.
        watched.happen(&Happening::View { nodes: u64::MAX });
        watched.happen(&Happening::Rotation { rows: 1, quantum_ms: 50 });
        watched.run_until(watched.now + Duration::from_millis(200));
        let before = watched.announcement;
        watched.happen(&Happening::Answers { nodes: u64::MAX, age: 0 });
        watched.run_until(watched.now + Duration::from_millis(200));
        prop_assert!(watched.announcement > before);
    }
}
