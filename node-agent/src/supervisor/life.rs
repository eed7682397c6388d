//! The life of a supervisor as a machine: inputs in, effects out; no clock, no process, no socket.
//!
//! *Invariant:* a gang that is held is thawed by nothing here but `Resume` (which leaves it to the agent)
//! and SIGTERM with no agent (ARCHITECTURE section 2).

mod effect;
mod input;

use std::time::Duration;

pub use effect::Effect;
pub use input::{Input, PassedSignal};

use super::limits::UNACKNOWLEDGED;
use crate::pmi::GroupEntered;
use crate::supervisor_protocol::{
    Configure, GangName, Hello, Incarnation, LaunchError, LaunchFailure, PeerTable, Rank, RankEnd, RankPhase, RankReport, ToAgent,
    ToSupervisor, VersionRange, limits,
};

/// Time since the supervisor began, by the monotonic clock.
pub type Moment = Duration;

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    gang: GangName,
    incarnation: Incarnation,
    pid: u32,
    link: Link,
    /// What the agent speaks; of version 1 until it says so.
    version: u16,
    last_heard: Moment,
    watchdog: Option<Duration>,
    silent: bool,
    configuration: Option<Configure>,
    ranks: Vec<RankState>,
    released: bool,
    held: bool,
    kill_at: Option<Moment>,
    all_ended_at: Option<Moment>,
    failure: Option<u8>,
    launch_failure: Option<LaunchFailure>,
    /// Why the ranks said that the gang cannot go on, the first time: told to every agent before their ends.
    hopeless: Option<ToAgent>,
    dismissed: bool,
    owner_gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Away,
    Greeted,
    Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RankState {
    report: RankReport,
    acknowledged: bool,
}

impl Life {
    /// A supervisor that has neither agent nor ranks.
    #[must_use]
    pub fn new(gang: GangName, incarnation: Incarnation, pid: u32) -> Self {
        Self {
            gang,
            incarnation,
            pid,
            link: Link::Away,
            version: limits::VERSION_MINIMUM,
            last_heard: Moment::ZERO,
            watchdog: None,
            silent: false,
            configuration: None,
            ranks: Vec::new(),
            released: false,
            held: false,
            kill_at: None,
            all_ended_at: None,
            failure: None,
            launch_failure: None,
            hopeless: None,
            dismissed: false,
            owner_gone: false,
        }
    }

    /// Takes one input at `now` and appends what shall be done.
    pub fn step(&mut self, now: Moment, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Connected => self.connected(now, effects),
            Input::Disconnected => self.disconnected(effects),
            Input::Message(message) => {
                self.last_heard = now;
                self.silent = false;
                self.message(now, message, effects);
            }
            Input::StubStarted { rank, pid } => self.stub_started(rank, pid, effects),
            Input::LaunchFailed(failure) => self.launch_failed(failure, effects),
            Input::RankEnded { rank, end } => self.rank_ended(now, rank, end, effects),
            Input::PmiAborted { rank, code, explanation } => self.hopeless(ToAgent::PmiAborted { rank, code, explanation }, effects),
            Input::PmiBarrierFailed { fault } => self.hopeless(ToAgent::PmiBarrierFailed { fault }, effects),
            Input::PmiBarrierEntered { number, block } => self.tell(ToAgent::PmiBarrier { number, block }, effects),
            Input::PmiGroupEntered(GroupEntered { ticket, group, block }) => {
                self.tell(ToAgent::PmiGroupBarrier { ticket, group, block }, effects);
            }
            Input::Signal(signal) => self.signal(signal, effects),
            Input::OwnerGone => {
                self.owner_gone = true;
                self.kill_orphans(effects);
            }
            Input::Tick => {}
        }
        self.check_deadlines(now, effects);
    }

    /// True once the ranks were released.
    #[must_use]
    pub const fn is_released(&self) -> bool {
        self.released
    }

    /// When `Input::Tick` is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let unacknowledged = self.all_ended_at.map(|moment| moment + UNACKNOWLEDGED);
        [self.watchdog_deadline(), self.kill_at, unacknowledged].into_iter().flatten().min()
    }

    /// The exit code, once nothing is left to do: 0 if every rank exited 0, else that of the first to fail.
    #[must_use]
    pub fn exit_code(&self, now: Moment) -> Option<u8> {
        let code = self.failure.unwrap_or(0);
        if self.ranks.is_empty() {
            let deserted = self.owner_gone && self.link == Link::Away;
            return (self.dismissed || deserted).then_some(if code == 0 { 1 } else { code });
        }
        let ended_at = self.all_ended_at?;
        let acknowledged = self.ranks.iter().all(|rank| rank.acknowledged);
        let deserted = self.link == Link::Away && self.owner_gone;
        (acknowledged || deserted || now >= ended_at + UNACKNOWLEDGED).then_some(code)
    }

    fn connected(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.link = Link::Greeted;
        self.version = limits::VERSION_MINIMUM;
        self.last_heard = now;
        self.silent = false;
        effects.push(Effect::Send(ToAgent::Hello(Hello {
            versions: VersionRange::OURS,
            gang: self.gang.clone(),
            incarnation: self.incarnation,
            supervisor_pid: self.pid,
            configured: self.configuration.is_some(),
            released: self.released,
            held: self.held,
            ranks: self.ranks.iter().map(|rank| rank.report).collect(),
        })));
    }

    fn disconnected(&mut self, effects: &mut Vec<Effect>) {
        self.link = Link::Away;
        self.thaw_unless_held(effects);
        self.kill_orphans(effects);
        self.dismissed |= self.launch_failure.is_some() && self.ranks.is_empty();
    }

    fn message(&mut self, now: Moment, message: ToSupervisor, effects: &mut Vec<Effect>) {
        match message {
            ToSupervisor::Welcome { version } => self.welcome(version, effects),
            ToSupervisor::Refuse { .. } => effects.push(Effect::Disconnect),
            ToSupervisor::Configure(configure) => self.configure(configure, effects),
            ToSupervisor::Adopt { watchdog_milliseconds } => self.adopt(watchdog_milliseconds, effects),
            ToSupervisor::StubAccepted { rank } => self.accepted(rank, effects),
            ToSupervisor::StubRefused { .. } | ToSupervisor::Kill => self.kill(effects),
            ToSupervisor::Release(peers) => self.release(peers, effects),
            ToSupervisor::Hold => {
                self.held = true;
                effects.push(Effect::Send(ToAgent::Held));
            }
            ToSupervisor::Resume => {
                self.held = false;
                effects.push(Effect::Send(ToAgent::Resumed));
            }
            ToSupervisor::Terminate { grace_milliseconds } => self.terminate(now, grace_milliseconds, effects),
            ToSupervisor::RankExitAcknowledged { rank } => self.acknowledged(rank),
            ToSupervisor::PmiBarrierComplete { number, block } => effects.push(Effect::BarrierComplete { number, block }),
            ToSupervisor::PmiBarrierFailed { number, explanation } => effects.push(Effect::BarrierFailed { number, explanation }),
            ToSupervisor::PmiGroupBarrierComplete { ticket, block } => effects.push(Effect::GroupBarrierComplete { ticket, block }),
            ToSupervisor::Ping { number } => effects.push(Effect::Send(ToAgent::Pong { number })),
        }
    }

    fn welcome(&mut self, version: u16, effects: &mut Vec<Effect>) {
        if (limits::VERSION_MINIMUM..=limits::VERSION_MAXIMUM).contains(&version) {
            self.version = version;
        } else {
            refuse(&format!("version {version} was not offered"), effects);
            effects.push(Effect::Disconnect);
        }
    }

    fn configure(&mut self, configure: Configure, effects: &mut Vec<Effect>) {
        if self.configuration.is_some() {
            return refuse("already configured", effects);
        }
        if let Err(error) = configure.validate() {
            return refuse(&error.to_string(), effects);
        }
        self.link = Link::Standing;
        self.watchdog = watchdog(configure.watchdog_milliseconds);
        self.configuration = Some(configure.clone());
        effects.push(Effect::StartStubs(configure));
    }

    /// Tells a new agent all that the old one may not have noted.
    fn adopt(&mut self, watchdog_milliseconds: u64, effects: &mut Vec<Effect>) {
        if self.configuration.is_none() {
            return refuse("not yet configured", effects);
        }
        self.link = Link::Standing;
        self.watchdog = watchdog(watchdog_milliseconds);
        effects.extend(self.hopeless.clone().map(Effect::Send));
        for rank in &self.ranks {
            match rank.report.phase {
                RankPhase::Ended(end) if !rank.acknowledged => {
                    effects.push(Effect::Send(ToAgent::RankExited { rank: rank.report.rank, end }));
                }
                RankPhase::Ended(_) => {}
                RankPhase::Stub | RankPhase::Accepted | RankPhase::Running => effects.push(Effect::SendStub(rank.report)),
            }
        }
        if let Some(failure) = &self.launch_failure {
            effects.push(Effect::Send(ToAgent::LaunchFailed(failure.clone())));
        }
        if self.is_up() && !self.released {
            self.say_up(effects);
        }
        effects.push(Effect::RepeatBarriers);
    }

    fn stub_started(&mut self, rank: Rank, pid: u32, effects: &mut Vec<Effect>) {
        let report = RankReport { rank, pid, phase: RankPhase::Stub };
        self.ranks.push(RankState { report, acknowledged: false });
        if self.link == Link::Standing {
            effects.push(Effect::SendStub(report));
        }
    }

    fn launch_failed(&mut self, failure: LaunchFailure, effects: &mut Vec<Effect>) {
        let code = if failure.error == LaunchError::NotFound { 127 } else { 126 };
        self.failure.get_or_insert(code);
        self.launch_failure = Some(failure.clone());
        self.tell(ToAgent::LaunchFailed(failure), effects);
    }

    fn hopeless(&mut self, why: ToAgent, effects: &mut Vec<Effect>) {
        self.hopeless.get_or_insert(why.clone());
        self.tell(why, effects);
    }

    fn accepted(&mut self, rank: Rank, effects: &mut Vec<Effect>) {
        let Some(state) = self.rank_mut(rank) else {
            return refuse("no such rank", effects);
        };
        if state.report.phase == RankPhase::Stub {
            state.report.phase = RankPhase::Accepted;
            if self.is_up() {
                self.say_up(effects);
            }
        }
    }

    fn say_up(&self, effects: &mut Vec<Effect>) {
        if self.version >= limits::VERSION_REACHABLE {
            effects.push(Effect::SendReachable);
        }
        effects.push(Effect::Send(ToAgent::SupervisorUp));
    }

    fn release(&mut self, peers: PeerTable, effects: &mut Vec<Effect>) {
        let nodes = self.configuration.as_ref().map_or(0, |configure| configure.nodes as usize);
        if peers.addresses.len() != nodes {
            return refuse("the peer table has another number of nodes", effects);
        }
        if self.released {
            return effects.push(Effect::Send(ToAgent::Released));
        }
        if !self.is_up() {
            return refuse("not every stub is accepted and alive", effects);
        }
        self.released = true;
        for rank in &mut self.ranks {
            rank.report.phase = RankPhase::Running;
        }
        effects.push(Effect::Release(peers));
        effects.push(Effect::Send(ToAgent::Released));
    }

    fn terminate(&mut self, now: Moment, grace_milliseconds: u64, effects: &mut Vec<Effect>) {
        self.failure_if_nothing_ran(PassedSignal::Terminate);
        let kill_at = now.saturating_add(Duration::from_millis(grace_milliseconds));
        self.kill_at = Some(self.kill_at.map_or(kill_at, |before| before.min(kill_at)));
        effects.push(Effect::Pass(PassedSignal::Terminate));
    }

    fn kill(&mut self, effects: &mut Vec<Effect>) {
        self.failure_if_nothing_ran(PassedSignal::Terminate);
        effects.push(Effect::Kill);
    }

    fn acknowledged(&mut self, rank: Rank) {
        if let Some(state) = self.rank_mut(rank)
            && matches!(state.report.phase, RankPhase::Ended(_))
        {
            state.acknowledged = true;
        }
    }

    fn rank_ended(&mut self, now: Moment, rank: Rank, end: RankEnd, effects: &mut Vec<Effect>) {
        let Some(state) = self.rank_mut(rank) else { return };
        state.report.phase = RankPhase::Ended(end);
        state.report.pid = 0;
        if !end.is_success() {
            self.failure.get_or_insert(end.shell_code());
        }
        if self.ranks.iter().all(|rank| matches!(rank.report.phase, RankPhase::Ended(_))) {
            self.all_ended_at = Some(now);
            self.kill_at = None;
        }
        self.tell(ToAgent::RankExited { rank, end }, effects);
    }

    fn signal(&mut self, signal: PassedSignal, effects: &mut Vec<Effect>) {
        let deserted = self.link != Link::Standing || self.silent;
        if signal == PassedSignal::Terminate && self.held && deserted {
            self.held = false;
            effects.push(Effect::Thaw);
        }
        if matches!(signal, PassedSignal::Terminate | PassedSignal::Interrupt) {
            self.failure_if_nothing_ran(signal);
        }
        effects.push(Effect::Pass(signal));
    }

    /// With no rank to end, a request to end means the supervisor itself.
    fn failure_if_nothing_ran(&mut self, signal: PassedSignal) {
        if self.ranks.is_empty() {
            self.dismissed = true;
            self.failure.get_or_insert(128 + if signal == PassedSignal::Interrupt { 2 } else { 15 });
        }
    }

    fn kill_orphans(&mut self, effects: &mut Vec<Effect>) {
        if self.owner_gone && self.link == Link::Away {
            effects.push(Effect::Kill);
        }
    }

    fn thaw_unless_held(&self, effects: &mut Vec<Effect>) {
        if !self.held && self.configuration.is_some() {
            effects.push(Effect::Thaw);
        }
    }

    fn check_deadlines(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.watchdog_deadline().is_some_and(|deadline| now >= deadline) {
            self.silent = true;
            self.thaw_unless_held(effects);
        }
        if self.kill_at.is_some_and(|deadline| now >= deadline) {
            self.kill_at = None;
            effects.push(Effect::Kill);
        }
    }

    fn watchdog_deadline(&self) -> Option<Moment> {
        if self.link != Link::Standing || self.silent {
            return None;
        }
        self.watchdog.map(|watchdog| self.last_heard.saturating_add(watchdog))
    }

    fn is_up(&self) -> bool {
        let wanted = self.configuration.as_ref().map_or(0, |configure| configure.rank_count as usize);
        let ready = |rank: &RankState| matches!(rank.report.phase, RankPhase::Accepted | RankPhase::Running);
        wanted > 0 && self.ranks.len() == wanted && self.ranks.iter().all(ready)
    }

    fn tell(&self, message: ToAgent, effects: &mut Vec<Effect>) {
        if self.link == Link::Standing {
            effects.push(Effect::Send(message));
        }
    }

    fn rank_mut(&mut self, rank: Rank) -> Option<&mut RankState> {
        self.ranks.iter_mut().find(|state| state.report.rank == rank)
    }
}

fn watchdog(milliseconds: u64) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

fn refuse(explanation: &str, effects: &mut Vec<Effect>) {
    effects.push(Effect::Send(ToAgent::Refused { explanation: explanation.to_owned() }));
}
