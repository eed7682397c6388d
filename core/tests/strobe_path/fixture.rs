//! A switcher on a bench: short names for what is said to it, and everything that it answered.

use std::time::Duration;

use strobe_core::{
    limits::ROWS_MAX,
    machine::{Machine, Outbox},
    message::{Datagram, Heartbeat, Hold, HoldChange, RowTable, Strobe, SwitcherCommand, SwitcherReport},
    model::{
        AgentIncarnation, Epoch, Fence, GangSlot, GangSlots, Instant, MatrixVersion, NodeIndex, PartitionUid, RowIndex, Settings, Term,
        View,
    },
    node::{SwitchCause, SwitchSample, Switcher, SwitcherConfiguration, SwitcherEffect, SwitcherInput},
};

pub(crate) const MANAGER: NodeIndex = NodeIndex(0);

/// Milliseconds after the fixture's first instant, which is long after the clock's origin.
pub(crate) fn ms(milliseconds: u64) -> Instant {
    Instant::from_nanoseconds(3_600_000_000_000) + Duration::from_millis(milliseconds)
}

pub(crate) fn fence(term: u64, view: u64) -> Fence {
    Fence { partition: PartitionUid(7), term: Term(term), view: View(view) }
}

pub(crate) fn slots(slots: &[u8]) -> GangSlots {
    slots.iter().copied().map(GangSlot).collect()
}

pub(crate) fn table(version: u64, rows: &[&[u8]]) -> SwitcherInput {
    let mut table = RowTable { version: MatrixVersion(version), rows: [GangSlots::EMPTY; ROWS_MAX] };
    for (row, gangs) in table.rows.iter_mut().zip(rows) {
        *row = slots(gangs);
    }
    SwitcherInput::Command(SwitcherCommand::Table(table))
}

pub(crate) fn present(slot: u8, released: bool) -> SwitcherInput {
    SwitcherInput::Command(SwitcherCommand::Present { slot: GangSlot(slot), released })
}

pub(crate) fn admit(fence: Fence) -> SwitcherInput {
    SwitcherInput::Command(SwitcherCommand::Admit { fence, manager: MANAGER })
}

pub(crate) fn seal(term: u64) -> SwitcherInput {
    SwitcherInput::Command(SwitcherCommand::Seal { term: Term(term) })
}

pub(crate) fn hold(slot: u8, change: HoldChange, term: u64, at: Instant) -> SwitcherInput {
    SwitcherInput::Command(SwitcherCommand::Hold(Hold { slot: GangSlot(slot), change, term: Term(term), at }))
}

/// Epochs of 50 ms.
pub(crate) fn strobe(fence: Fence, version: u64, announcement: u64, epoch: u64, at: Instant, rows: &[Option<u8>]) -> Strobe {
    Strobe {
        fence,
        version: MatrixVersion(version),
        announcement,
        epoch: Epoch(epoch),
        at,
        quantum: Duration::from_millis(50),
        schedule: rows.iter().map(|row| row.map(RowIndex)).collect(),
    }
}

pub(crate) fn from_manager(datagram: Datagram) -> SwitcherInput {
    SwitcherInput::Datagram { from: MANAGER, datagram }
}

pub(crate) fn heartbeat(fence: Fence, sequence: u64, sent_at: Instant, lease: bool) -> SwitcherInput {
    from_manager(Datagram::Heartbeat(Heartbeat { fence, sequence, sent_at, lease }))
}

/// A switcher and its shell, which executes everything at once.
pub(crate) struct Bench {
    pub(crate) switcher: Switcher,
    out: Outbox<SwitcherEffect>,
}

/// The freeze and thaw sets of a switch and its cause.
pub(crate) type Switched = (GangSlots, GangSlots, SwitchCause);

impl Bench {
    /// On node `node`; node 0 is the manager's, whose clock is its own.
    pub(crate) fn on_node(node: u16) -> Self {
        let configuration =
            SwitcherConfiguration { node: NodeIndex(node), incarnation: AgentIncarnation(1), settings: Settings::default() };
        Self { switcher: Switcher::new(configuration), out: Outbox::with_capacity(Switcher::EFFECTS_MAX) }
    }

    /// On the manager's node, with three running gangs and admitted to term 3, view 2: row 0 = {0, 2}, row 1 = {1, 2}.
    pub(crate) fn admitted() -> Self {
        let mut bench = Self::on_node(0);
        for slot in 0..3 {
            bench.step(ms(0), present(slot, true));
        }
        bench.step(ms(0), table(1, &[&[0, 2], &[1, 2]]));
        bench.step(ms(0), seal(3));
        bench.step(ms(0), admit(fence(3, 2)));
        bench
    }

    /// As [`Self::admitted`], in row 0 since 10 ms (epoch 1), with two rows in turn announced up to epoch 6.
    pub(crate) fn strobed() -> Self {
        let mut bench = Self::admitted();
        let rows = [Some(0), Some(1), Some(0), Some(1), Some(0), Some(1)];
        bench.step(ms(5), from_manager(Datagram::Strobe(strobe(fence(3, 2), 1, 1, 1, ms(10), &rows))));
        bench.timers_until(ms(10));
        assert_eq!(bench.switcher.thawed(), slots(&[0, 2]));
        bench
    }

    pub(crate) fn step(&mut self, now: Instant, input: SwitcherInput) -> Vec<SwitcherEffect> {
        self.switcher.step(now, input, &mut self.out);
        self.out.drain().collect()
    }

    /// Fires every timer up to and at `until`, each at its instant.
    pub(crate) fn timers_until(&mut self, until: Instant) -> Vec<SwitcherEffect> {
        let mut effects = Vec::new();
        while let Some(deadline) = self.switcher.next_deadline().filter(|deadline| *deadline <= until) {
            effects.extend(self.step(deadline, SwitcherInput::Timer));
            assert!(self.switcher.next_deadline().is_none_or(|next| next > deadline), "a timer that fired is over");
        }
        effects
    }
}

pub(crate) fn switches(effects: &[SwitcherEffect]) -> Vec<Switched> {
    let switched = |effect: &SwitcherEffect| match effect {
        SwitcherEffect::Switch { freeze, thaw, cause, .. } => Some((*freeze, *thaw, *cause)),
        SwitcherEffect::Send { .. } | SwitcherEffect::Report(_) | SwitcherEffect::Sample(_) => None,
    };
    effects.iter().filter_map(switched).collect()
}

pub(crate) fn reports(effects: &[SwitcherEffect]) -> Vec<SwitcherReport> {
    let report = |effect: &SwitcherEffect| match effect {
        SwitcherEffect::Report(report) => Some(*report),
        SwitcherEffect::Send { .. } | SwitcherEffect::Switch { .. } | SwitcherEffect::Sample(_) => None,
    };
    effects.iter().filter_map(report).collect()
}

pub(crate) fn samples(effects: &[SwitcherEffect]) -> Vec<SwitchSample> {
    let sample = |effect: &SwitcherEffect| match effect {
        SwitcherEffect::Sample(sample) => Some(*sample),
        SwitcherEffect::Send { .. } | SwitcherEffect::Switch { .. } | SwitcherEffect::Report(_) => None,
    };
    effects.iter().filter_map(sample).collect()
}

pub(crate) fn sent(effects: &[SwitcherEffect]) -> Vec<Datagram> {
    let datagram = |effect: &SwitcherEffect| match effect {
        SwitcherEffect::Send { datagram, .. } => Some(datagram.clone()),
        SwitcherEffect::Sample(_) | SwitcherEffect::Switch { .. } | SwitcherEffect::Report(_) => None,
    };
    effects.iter().filter_map(datagram).collect()
}
