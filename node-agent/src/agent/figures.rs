//! What the agent tells the authority of itself: who it is, what its manager reports, what it has measured.

use std::{collections::VecDeque, time::Duration};

use strobe_core::{
    message::AgentState,
    model::{CpuIndex, GangSlot, GangSlots, Instant},
    node::{SwitchCause, SwitchSample},
};
use strobe_fabric::transport::Transport;
use strobe_proto::agent::{self, AgentHello, AgentMessage, agent_message::Message};
use tokio::sync::mpsc;

use super::{
    Agent,
    limits::{FIGURES_PERIOD, RECORDS_BETWEEN_FIGURES_MAX},
};
use crate::{
    strobe_thread::{StrobeCounters, SwitchRecord},
    switch_trace::TracedGang,
};

/// Records since the last figures.
#[derive(Debug, Default)]
pub(super) struct FigureCollector {
    records: VecDeque<SwitchRecord>,
    dropped: u64,
    due: Instant,
    /// The last sample that had an instant: it tells the clock's offset and the bound of its error.
    clock: Option<(i64, u64)>,
}

impl FigureCollector {
    /// When the next figures are to be sent.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn take(&mut self, record: &SwitchRecord) {
        if let Some(SwitchSample { at, due: Some(due), bound: Some(bound), .. }) = record.sample {
            self.clock = Some((at.signed_nanoseconds_from(due), u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)));
        }
        if self.records.len() == RECORDS_BETWEEN_FIGURES_MAX {
            self.dropped += 1;
        } else {
            self.records.push_back(*record);
        }
    }
}

impl Agent {
    /// The authority has (again) a session: it hears everything that holds now.
    pub(super) fn session_opened(&mut self, session: mpsc::Sender<AgentMessage>) {
        self.session = Some(session);
        let hello = AgentHello {
            version: *strobe_proto::VERSIONS.end(),
            node: self.own.node.0.into(),
            incarnation: self.own.incarnation.0,
            sealed: self.member.sealed().map(|term| term.0),
            stream_address: self.own_address.stream.to_string(),
            datagram_address: self.own_address.datagram.to_string(),
            scheduler: self.scheduler().into(),
            freezer: if self.cgroups.is_some() || self.cluster.is_some() { "cgroup" } else { "signal" }.into(),
            adopted: self.gangs.iter().filter(|(_, gang)| gang.hello.is_some()).map(|(run, _)| (*run).into()).collect(),
        };
        self.say(Message::Hello(hello));
        self.send_report();
        self.say_staging();
    }

    pub(super) fn scheduler(&self) -> &'static str {
        self.strobe.scheduler().label()
    }

    pub(super) fn send_report(&self) {
        if let Some(report) = &self.report {
            self.say(Message::Report(report.into()));
        }
    }

    pub(super) fn send_figures(&mut self, now: Instant) {
        self.figures.due = now + FIGURES_PERIOD;
        if let Some(cluster) = &mut self.cluster {
            cluster.health.has_session(self.session.as_ref().is_some_and(|session| !session.is_closed()));
            if let Some(policy) = cluster.cpu_manager.look(now) {
                self.metrics.cpu_manager(policy);
            }
        }
        self.say_staging();
        let mended = self.confine_containers();
        self.metrics.mended(mended);
        self.confine_ranks();
        self.note_shared_memory(now);
        let gangs = self.gang_figures();
        let counters = self.strobe.counters();
        self.metrics.update(&counters, self.blocks.counters(), &gangs, self.figures.clock);
        self.refusals.update(self.transport.counters(), &self.datagrams);
        let samples: Vec<agent::SwitchSample> =
            std::mem::take(&mut self.figures.records).iter().map(|record| self.sample(record)).collect();
        let samples_dropped = std::mem::take(&mut self.figures.dropped);
        self.trace(&samples, samples_dropped);
        let (agent_cpu_seconds, agent_resident_bytes) = own_use();
        let (clock_offset_nanoseconds, clock_bound_nanoseconds) = self.figures.clock.unwrap_or_default();
        let figures = agent::Figures {
            counters: Some(counters_message(&counters)),
            samples,
            samples_dropped,
            gangs,
            state: state_name(self.state).into(),
            clock_offset_nanoseconds,
            clock_bound_nanoseconds,
            agent_cpu_seconds,
            agent_resident_bytes,
        };
        self.say(Message::Figures(figures));
    }

    /// Keeps for readers what has happened since the last figures.
    fn trace(&self, samples: &[agent::SwitchSample], dropped: u64) {
        let Some(cluster) = &self.cluster else { return };
        for (run, gang) in &self.gangs {
            let Some(launched) = &gang.launched else { continue };
            let Some(here) = launched.placement.iter().find(|placement| placement.node == self.own.node) else { continue };
            let cpus = here.cpus.iter().map(|CpuIndex(cpu)| cpu).collect();
            cluster.trace.gang(TracedGang { run: (*run).into(), name: launched.gang.name.clone(), cpus });
        }
        cluster.trace.switches(samples, dropped);
    }

    fn gang_figures(&mut self) -> Vec<agent::GangFigures> {
        for gang in self.gangs.values_mut() {
            gang.count_cpu_time();
            gang.count_thawed(&self.strobe);
        }
        let figures = |(run, gang): (&strobe_core::model::GangRun, &super::Gang)| agent::GangFigures {
            run: Some((*run).into()),
            cpu_seconds: gang.cpu_seconds,
            released_at: gang.released_at.map(Instant::as_nanoseconds),
            thawed_seconds: gang.thawed.as_secs_f64(),
            commanded_cpu_seconds: (gang.cpu_seconds - gang.before.cpu_seconds).max(0.0),
        };
        self.gangs.iter().map(figures).collect()
    }

    /// A switch; of one for another cause than an epoch only its own instants are known.
    fn sample(&self, record: &SwitchRecord) -> agent::SwitchSample {
        let of_epoch = record.sample.map(|sample| agent::SwitchSample {
            term: sample.term.0,
            epoch: sample.epoch.0,
            row: sample.row.map(|row| row.0.into()),
            at: sample.at.as_nanoseconds(),
            due: sample.due.map(Instant::as_nanoseconds),
            late: sample.late,
            missed: sample.missed,
            ..agent::SwitchSample::default()
        });
        agent::SwitchSample {
            cause: cause_message(record.cause).into(),
            acted: record.sample.map_or(record.started_at, |sample| sample.acted).as_nanoseconds(),
            frozen: record.frozen_at.as_nanoseconds(),
            thawed: record.thawed_at.as_nanoseconds(),
            stragglers: record.stragglers,
            freeze: self.runs_in(record.frozen),
            thaw: self.runs_in(record.thawed),
            ..of_epoch.unwrap_or_default()
        }
    }

    fn runs_in(&self, slots: GangSlots) -> Vec<agent::GangRun> {
        let in_slot = |slot: GangSlot| self.gangs.iter().find(|(_, gang)| gang.slot == Some(slot)).map(|(run, _)| (*run).into());
        slots.iter().filter_map(in_slot).collect()
    }
}

const fn cause_message(cause: SwitchCause) -> agent::SwitchCause {
    match cause {
        SwitchCause::Epoch { .. } => agent::SwitchCause::Epoch,
        SwitchCause::Receipt { .. } => agent::SwitchCause::Receipt,
        SwitchCause::Table { .. } => agent::SwitchCause::Table,
        SwitchCause::Hold => agent::SwitchCause::Hold,
        SwitchCause::Presence => agent::SwitchCause::Presence,
        SwitchCause::Policy => agent::SwitchCause::Policy,
        SwitchCause::Watchdog => agent::SwitchCause::Watchdog,
        SwitchCause::LeftOut => agent::SwitchCause::LeftOut,
    }
}

fn counters_message(counters: &StrobeCounters) -> agent::Counters {
    agent::Counters {
        strobes: counters.switcher.executed,
        late: counters.switcher.late,
        missed: counters.switcher.missed,
        stragglers: counters.switcher.stragglers,
        version_missing: counters.switcher.version_missing,
        unsynchronised: counters.switcher.unsynchronised,
        refused: counters.switcher.refused,
        watchdog_expiries: counters.switcher.watchdog_expiries,
    }
}

const fn state_name(state: AgentState) -> &'static str {
    match state {
        AgentState::Unsealed => "unsealed",
        AgentState::Strobed => "strobed",
        AgentState::FreeRunning => "free-running",
    }
}

/// CPU seconds and resident bytes of this process; zero what cannot be read.
fn own_use() -> (f64, u64) {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    (cpu.as_secs_f64(), pages.unwrap_or(0) * rustix::param::page_size() as u64)
}
