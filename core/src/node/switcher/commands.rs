//! What the member commands.

use std::time::Duration;

use super::{Admission, AgentEvent, Progress, SwitchCause, Switcher, SwitcherEffect, manager_clock::ManagerClock, out_report};
use crate::{
    machine::Outbox,
    message::{AgentState, Hold, RowTable, SwitcherCommand, SwitcherReport},
    model::{Fence, Instant, NodeIndex, Policy, Settings, Term},
};

impl Switcher {
    pub(super) fn obey(&mut self, now: Instant, command: SwitcherCommand, out: &mut Outbox<SwitcherEffect>) {
        match command {
            SwitcherCommand::Seal { term } => self.seal(term, out),
            SwitcherCommand::Admit { fence, manager } => self.admit(now, Admission { fence, manager }, out),
            SwitcherCommand::Settings { watchdog, suspicion, clock_tolerance, switching } => {
                let policy = if switching { Policy::Gang } else { Policy::Kernel };
                self.settings = Settings { watchdog, suspicion, clock_tolerance, policy, ..self.settings.clone() };
                self.settle(SwitchCause::Policy, out);
            }
            SwitcherCommand::Table(table) => self.take_table(now, table, out),
            SwitcherCommand::Present { slot, released } => {
                self.holds.forget(slot);
                self.gangs.appear(slot, released);
                self.settle(SwitchCause::Presence, out);
            }
            SwitcherCommand::Absent { slot } => {
                self.holds.forget(slot);
                self.tables.forget(slot);
                self.gangs.disappear(slot);
            }
            SwitcherCommand::Hold(hold) => self.queue(hold),
        }
    }

    /// A hold waits for its instant; with an instant that means nothing here it is due in this very step.
    fn queue(&mut self, hold: Hold) {
        if self.gangs.present.contains(hold.slot)
            && let Some(oldest) = self.holds.push(hold)
        {
            self.gangs.apply(oldest);
        }
    }

    /// Refuses every lower term from here on, then says so. The row is kept, and the watch goes on, until the new term
    /// admits this agent.
    fn seal(&mut self, term: Term, out: &mut Outbox<SwitcherEffect>) {
        if term < self.sealed {
            self.counters.refused += 1;
            return;
        }
        self.sealed = term;
        if self.admission.is_some_and(|admission| admission.fence.term < term) {
            self.admission = None;
            self.announced.clear();
            self.clock = ManagerClock::none();
            if self.state != AgentState::Strobed {
                self.current = None;
            }
        }
        out.push(SwitcherEffect::Report(SwitcherReport::Sealed { term }));
    }

    fn admit(&mut self, now: Instant, admission: Admission, out: &mut Outbox<SwitcherEffect>) {
        let fence = admission.fence;
        if fence.term < self.sealed || self.left_out.is_some_and(|left| !is_above(fence, left)) {
            self.counters.refused += 1;
            return;
        }
        match &mut self.admission {
            Some(known) if known.fence.partition == fence.partition && known.fence.term == fence.term => {
                known.fence.view = known.fence.view.max(fence.view);
            }
            Some(_) | None => self.begin_term(now, admission, out),
        }
    }

    fn begin_term(&mut self, now: Instant, admission: Admission, out: &mut Outbox<SwitcherEffect>) {
        let Admission { fence, manager } = admission;
        self.sealed = fence.term;
        self.left_out = None;
        self.admission = Some(admission);
        self.announced.clear();
        if self.progress.term != fence.term {
            self.progress = Progress { term: fence.term, ..Progress::default() };
        }
        self.clock = ManagerClock::of_term(now, self.is_own(manager));
        self.renewed = now;
        let report = self.enter(AgentEvent::Admitted);
        out_report(report, out);
    }

    fn is_own(&self, manager: NodeIndex) -> bool {
        manager == self.node
    }

    /// Catches up with the row of an epoch that was executed without its table.
    fn take_table(&mut self, now: Instant, table: RowTable, out: &mut Outbox<SwitcherEffect>) {
        self.tables.insert(table);
        if self.current.is_some_and(|current| current.version == table.version) {
            let report = self.follow(now);
            self.settle(SwitchCause::Table { version: table.version }, out);
            out_report(report, out);
        }
    }

    /// The machine slept: no step and no renewal came meanwhile, and MONOTONIC did not see it.
    pub(super) fn wake(&mut self, now: Instant, asleep: Duration, out: &mut Outbox<SwitcherEffect>) {
        self.counters.clock_disturbances += 1;
        self.renewed = self.renewed - asleep;
        self.stepped = self.stepped - asleep;
        self.watch(now, out);
        self.stepped = now;
        self.clock.disturb(now);
    }
}

/// True when `fence` commands more than `other`, or another partition.
fn is_above(fence: Fence, other: Fence) -> bool {
    fence.partition != other.partition || fence > other
}
