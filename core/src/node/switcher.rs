//! Which local gangs are frozen, at which instant: the strobe thread's half of a node (section 5 of the design).
//!
//! **Switching** is by set difference. The machine knows which gangs are commanded thawed; whenever something happens it
//! works out which shall be (the *target*), freezes those that are commanded or observed thawed and not in it, thaws
//! those of it that are not commanded thawed, and touches nothing else. The target is the announced row minus the held
//! gangs; in an epoch without a row it is empty, because nothing that the manager knows of may run then; while
//! [`AgentState::Unsealed`] or [`AgentState::FreeRunning`], and under the kernel policy, it is every gang that is not
//! held; while the table of the announced version is missing it is what is thawed, minus what is held.
//!
//! **Silence and being stopped** are told apart by whether the machine itself was stepped. While admitted it asks for a
//! step at least every eighth of `suspicion`. If renewals end and the steps go on, the *manager* is silent: the row goes
//! on as announced, and after `watchdog` the gangs run free until the next strobe of the term. If a step comes more than
//! a quarter of `suspicion` after the one before and finds the last renewal more than `suspicion` ago, the *agent* was
//! stopped: it answered nobody, so its view has gone on without it, and what waits in its sockets was sent to a member
//! that it no longer is. It then obeys nobody until it is admitted with a higher fence. A stop that ends sooner than a
//! quarter of `suspicion` counts as silence: what is queued is then no older than that. A delay that is taken for a stop
//! costs an admission and nothing else.
//!
//! **The watch** begins with an admission to a new term (or after being left out), and anew with every lease renewal and
//! every return to [`AgentState::Strobed`]: the strobe that returns an agent is sent under a lease too, and the next
//! timer must not undo it.
//!
//! *Invariant:* epochs are executed in growing (term, epoch) order. An epoch is only entered again when the watchdog
//! expired in it.
//! *Invariant:* a held gang is never in a thaw set.

mod announced;
mod commands;
mod datagrams;
mod face;
mod gangs;
mod holds;
mod manager_clock;
mod state;
mod tables;

use announced::{Announced, AnnouncedEpoch};
pub use face::{SwitchCause, SwitchSample, SwitcherConfiguration, SwitcherCounters, SwitcherEffect, SwitcherInput};
use gangs::Gangs;
use holds::PendingHolds;
use manager_clock::ManagerClock;
pub use state::{AgentEvent, WrongAgentEvent};
use tables::Tables;

use std::time::Duration;

use crate::{
    limits::{EFFECTIVE_HOLDS_MAX, LATE_TOLERANCE},
    machine::{Machine, Outbox},
    message::{AgentState, ClockProbe, Datagram, Hold, SwitcherReport},
    model::{AgentIncarnation, Epoch, Fence, GangSlots, Instant, MatrixVersion, NodeIndex, Policy, RowIndex, Settings, Term},
};

/// A step that comes later than this part of `suspicion` after the one before finds that the agent was stopped.
const STOPPED_PART: u32 = 4;

/// While admitted the machine is stepped at least once in this part of `suspicion`.
const PULSE_PART: u32 = 8;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Switcher {
    node: NodeIndex,
    incarnation: AgentIncarnation,
    /// `quantum` is that of the last executed epoch.
    settings: Settings,
    /// No lower term is obeyed.
    sealed: Term,
    admission: Option<Admission>,
    /// The fence under which the agent was left out: only a higher one admits it again.
    left_out: Option<Fence>,
    progress: Progress,
    /// What the last executed epoch runs; none before the first since the strobe was last followed.
    current: Option<CurrentRow>,
    announced: Announced,
    clock: ManagerClock,
    holds: PendingHolds,
    tables: Tables,
    gangs: Gangs,
    state: AgentState,
    /// Where the watch began or was last renewed.
    renewed: Instant,
    /// The last step.
    stepped: Instant,
    /// The version that was last reported missing.
    reported_missing: Option<MatrixVersion>,
    counters: SwitcherCounters,
}

/// The view that this life belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Admission {
    /// With the highest view heard of.
    fence: Fence,
    manager: NodeIndex,
}

/// How far a term's soft state has been taken in: what is not newer is a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Progress {
    term: Term,
    /// The last announcement.
    announcement: Option<u64>,
    /// The last heartbeat.
    heartbeat: Option<u64>,
    /// The last executed epoch.
    switched: Epoch,
    /// The lowest epoch that may be executed.
    floor: Epoch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct CurrentRow {
    version: MatrixVersion,
    row: Option<RowIndex>,
}

// === impl Switcher ===

impl Switcher {
    /// Effects that one step can have at most: what a shell's outbox must hold so that a step allocates nothing.
    pub const EFFECTS_MAX: usize = EFFECTIVE_HOLDS_MAX + 16;

    /// A switcher of a node without gangs, sealed to no term.
    #[must_use]
    pub fn new(configuration: SwitcherConfiguration) -> Self {
        Self {
            node: configuration.node,
            incarnation: configuration.incarnation,
            settings: configuration.settings,
            sealed: Term(0),
            admission: None,
            left_out: None,
            progress: Progress::default(),
            current: None,
            announced: Announced::default(),
            clock: ManagerClock::none(),
            holds: PendingHolds::default(),
            tables: Tables::default(),
            gangs: Gangs::default(),
            state: AgentState::Unsealed,
            renewed: Instant::ORIGIN,
            stepped: Instant::ORIGIN,
            reported_missing: None,
            counters: SwitcherCounters::default(),
        }
    }

    /// Whether it follows a strobe.
    #[must_use]
    pub const fn state(&self) -> AgentState {
        self.state
    }

    /// The gangs that are commanded thawed.
    #[must_use]
    pub const fn thawed(&self) -> GangSlots {
        self.gangs.thawed
    }

    /// The gangs that are held.
    #[must_use]
    pub const fn held(&self) -> GangSlots {
        self.gangs.held
    }

    /// The fence it obeys, with the highest view it has heard of.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        self.admission.map(|admission| admission.fence)
    }

    /// The term of the last executed epoch, and that epoch.
    #[must_use]
    pub const fn switched(&self) -> (Term, Epoch) {
        (self.progress.term, self.progress.switched)
    }

    /// The bound of the error of the offset to the manager's clock at `now`; none while it acts on receipt.
    #[must_use]
    pub fn clock_bound(&self, now: Instant) -> Option<Duration> {
        self.clock.bound_within(self.settings.clock_tolerance, now)
    }

    /// What it has counted.
    #[must_use]
    pub const fn counters(&self) -> &SwitcherCounters {
        &self.counters
    }

    /// The instant of the own clock for one of the manager's; none while the agent acts on receipt.
    fn to_own(&self, now: Instant, at: Instant) -> Option<Instant> {
        self.clock_bound(now).and_then(|_| self.clock.to_own(at))
    }

    /// Marks the holds and resumes that are due. They take effect with the next [`Self::settle`].
    fn take_due_holds(&mut self, now: Instant) {
        let term = self.admission.filter(|_| self.clock_bound(now).is_some()).map(|admission| admission.fence.term);
        let clock = &self.clock;
        let is_due = |hold: &Hold| Some(hold.term) != term || clock.to_own(hold.at).is_none_or(|due| due <= now);
        while let Some(hold) = self.holds.take(is_due) {
            self.gangs.apply(hold);
        }
    }

    /// Freezes and thaws by the set difference, then reports the holds that are effective by it.
    fn settle(&mut self, cause: SwitchCause, out: &mut Outbox<SwitcherEffect>) {
        let target = self.target();
        let (freeze, thaw) = self.gangs.switch_to(target);
        if !(freeze.is_empty() && thaw.is_empty()) {
            out.push(SwitcherEffect::Switch { freeze, thaw, cause, straggler_bound: self.settings.straggler_bound() });
        }
        for (slot, change) in self.gangs.take_effective() {
            out.push(SwitcherEffect::Report(SwitcherReport::HoldEffective { slot, change }));
        }
    }

    /// The gangs that shall be thawed.
    fn target(&self) -> GangSlots {
        let runnable = self.gangs.present.difference(self.gangs.held);
        if self.state != AgentState::Strobed || self.settings.policy == Policy::Kernel {
            return runnable;
        }
        match self.current_gangs() {
            Some(gangs) => gangs.intersection(runnable),
            None => self.gangs.thawed.intersection(runnable),
        }
    }

    /// The gangs of the current row; none when its table is missing.
    fn current_gangs(&self) -> Option<GangSlots> {
        let current = self.current?;
        match current.row {
            Some(row) => self.tables.row(current.version, row),
            None => Some(GangSlots::EMPTY),
        }
    }

    /// Changes the state, by its table. The caller settles, then reports.
    fn enter(&mut self, event: AgentEvent) -> Option<SwitcherReport> {
        let state = self.state.after(event).unwrap_or_else(|wrong| panic!("node {}: {wrong}", self.node));
        let changed = self.state != state;
        self.state = state;
        changed.then_some(SwitcherReport::State(state))
    }

    /// Follows the strobe, once the current row is known: until then everything that is thawed stays thawed.
    fn follow(&mut self, now: Instant) -> Option<SwitcherReport> {
        self.current_gangs()?;
        if self.state != AgentState::Strobed {
            self.renewed = now;
        }
        self.enter(AgentEvent::Commanded)
    }

    /// Executes the newest epoch that is due, if any.
    fn execute_due(&mut self, now: Instant, out: &mut Outbox<SwitcherEffect>) {
        let Some(bound) = self.clock_bound(now) else {
            return;
        };
        let newest = self.announced.newest_due(self.progress.floor, |at| self.clock.to_own(at).is_some_and(|due| due <= now));
        if let Some(epoch) = newest {
            let due = self.clock.to_own(epoch.at).expect("a bound is only given with an estimate");
            self.execute(now, epoch, Some((due, bound)), out);
        }
    }

    /// Executes one epoch: at its instant, of the own clock and with that instant's error bound, or on receipt.
    fn execute(&mut self, now: Instant, epoch: AnnouncedEpoch, instant: Option<(Instant, Duration)>, out: &mut Outbox<SwitcherEffect>) {
        let term = self.progress.term;
        let missed = self.announced.superseded_by(epoch.epoch, self.progress.floor);
        self.progress.switched = epoch.epoch;
        self.progress.floor = Epoch(epoch.epoch.0.saturating_add(1));
        self.current = Some(CurrentRow { version: epoch.version, row: epoch.row });
        self.settings.quantum = epoch.quantum;

        let state = self.follow(now);
        let cause = match instant {
            Some((due, _)) => SwitchCause::Epoch { term, epoch: epoch.epoch, due },
            None => SwitchCause::Receipt { term, epoch: epoch.epoch },
        };
        self.settle(cause, out);
        out_report(state, out);
        let sample = SwitchSample {
            term,
            epoch: epoch.epoch,
            row: epoch.row,
            at: epoch.at,
            due: instant.map(|(due, _)| due),
            acted: now,
            bound: instant.map(|(_, bound)| bound),
            late: instant.is_some_and(|(due, _)| now.since(due) > LATE_TOLERANCE),
            missed,
            version_missing: self.current_gangs().is_none(),
        };
        self.count(&sample);
        self.report_missing(&sample, epoch.version, out);
        out.push(SwitcherEffect::Sample(sample));
    }

    fn count(&mut self, sample: &SwitchSample) {
        self.counters.executed += 1;
        self.counters.late += u64::from(sample.late);
        self.counters.missed += sample.missed;
        self.counters.version_missing += u64::from(sample.version_missing);
        self.counters.unsynchronised += u64::from(sample.due.is_none());
    }

    fn report_missing(&mut self, sample: &SwitchSample, version: MatrixVersion, out: &mut Outbox<SwitcherEffect>) {
        if sample.version_missing && self.reported_missing != Some(version) {
            self.reported_missing = Some(version);
            out.push(SwitcherEffect::Report(SwitcherReport::VersionMissing { version }));
        }
    }

    /// Looks at the time since the last step and the last renewal: see the module.
    fn watch(&mut self, now: Instant, out: &mut Outbox<SwitcherEffect>) {
        let silent_for = now.since(self.renewed);
        let was_stopped = now.since(self.stepped) > self.settings.suspicion / STOPPED_PART;
        if let (Some(admission), true) = (self.admission, was_stopped && silent_for > self.settings.suspicion) {
            self.leave_out(now, admission.fence, out);
        } else if self.state == AgentState::Strobed && silent_for >= self.settings.watchdog {
            self.counters.watchdog_expiries += 1;
            self.run_free(AgentEvent::WatchdogExpired, SwitchCause::Watchdog, out);
        }
    }

    fn leave_out(&mut self, now: Instant, fence: Fence, out: &mut Outbox<SwitcherEffect>) {
        self.counters.left_out += 1;
        self.admission = None;
        self.left_out = Some(fence);
        self.clock = ManagerClock::none();
        self.take_due_holds(now);
        out.push(SwitcherEffect::Report(SwitcherReport::LeftOut { term: fence.term }));
        self.run_free(AgentEvent::LeftOut, SwitchCause::LeftOut, out);
    }

    /// Thaws all but held gangs. The next strobe may enter the epoch that was left.
    fn run_free(&mut self, event: AgentEvent, cause: SwitchCause, out: &mut Outbox<SwitcherEffect>) {
        self.announced.clear();
        self.current = None;
        self.progress.floor = self.progress.switched;
        let report = self.enter(event);
        self.settle(cause, out);
        out_report(report, out);
    }

    fn probe(&mut self, now: Instant, out: &mut Outbox<SwitcherEffect>) {
        let Some(admission) = self.admission else {
            return;
        };
        if self.clock.take_probe(now) {
            let probe = ClockProbe { term: admission.fence.term, node: self.node, sent_at: now };
            out.push(SwitcherEffect::Send { to: admission.manager, datagram: Datagram::ClockProbe(probe) });
        }
    }

    fn next_epoch(&self) -> Option<Instant> {
        let epoch = self.announced.first_from(self.progress.floor)?;
        self.to_own(self.stepped, epoch.at)
    }

    fn next_hold(&self) -> Option<Instant> {
        self.to_own(self.stepped, self.holds.earliest()?)
    }
}

impl Machine for Switcher {
    type Input = SwitcherInput;
    type Effect = SwitcherEffect;

    fn step(&mut self, now: Instant, input: SwitcherInput, out: &mut Outbox<SwitcherEffect>) {
        self.take_due_holds(now);
        self.watch(now, out);
        self.stepped = now;
        match input {
            SwitcherInput::Command(command) => self.obey(now, command, out),
            SwitcherInput::Datagram { from, datagram } => self.receive(now, from, datagram, out),
            SwitcherInput::Executed { stragglers } => self.counters.stragglers += stragglers.len() as u64,
            SwitcherInput::ObservedThawed(gangs) => {
                self.gangs.observe_thawed(gangs);
                self.settle(SwitchCause::Presence, out);
            }
            SwitcherInput::ClockDisturbed { asleep } => self.wake(now, asleep, out),
            SwitcherInput::Timer => {}
        }
        self.take_due_holds(now);
        self.execute_due(now, out);
        if self.gangs.has_effective() {
            self.settle(SwitchCause::Hold, out);
        }
        self.probe(now, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let pulse = self.admission.map(|_| self.stepped + self.settings.suspicion / PULSE_PART);
        let watchdog = (self.state == AgentState::Strobed).then(|| self.renewed + self.settings.watchdog);
        let probe = self.admission.and_then(|_| self.clock.next_probe());
        [pulse, watchdog, probe, self.next_epoch(), self.next_hold()].into_iter().flatten().min()
    }
}

/// Reports a change, if there is one.
fn out_report(report: Option<SwitcherReport>, out: &mut Outbox<SwitcherEffect>) {
    if let Some(report) = report {
        out.push(SwitcherEffect::Report(report));
    }
}
