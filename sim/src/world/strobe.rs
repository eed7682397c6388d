//! Stepping the machines of the strobe thread, and what they want.

use strobe_core::{
    machine::Machine,
    manager::{AnnouncerEffect, AnnouncerInput, ManagerInput},
    message::{AgentState, Datagram, HoldChange, SwitcherCommand, SwitcherReport},
    model::{AgentIncarnation, GangSlots, Policy},
    node::{MemberInput, SwitchCause, SwitcherEffect, SwitcherInput},
};

use super::{Event, World, event::Switch, machines::Half};
use crate::{
    mutations::{Mutation, first_row},
    node::AgentInput,
};

/// Freezes of a million that are not done within the bound.
const STRAGGLERS: u32 = 2_000;
/// How late a mutated switch is carried out, in quanta.
const LATE_QUANTA: u32 = 2;

impl World {
    pub(super) fn step_announcer(&mut self, node: usize, input: AnnouncerInput) {
        let mut out = std::mem::take(&mut self.outboxes.announcer);
        let home = &mut self.nodes[node];
        let now = home.clock.at(self.now);
        if let Some(agent) = home.agent.as_mut() {
            agent.announcer.step(now, input, &mut out);
        }
        for effect in out.drain() {
            match effect {
                AnnouncerEffect::Send { to, datagram } => {
                    self.look_at_announcement(node, &datagram);
                    self.send_datagram(node, to, datagram);
                }
                AnnouncerEffect::Report(report) => self.ring(node, Half::Runtime, AgentInput::Manager(ManagerInput::Announcer(report))),
            }
        }
        self.outboxes.announcer = out;
    }

    fn look_at_announcement(&mut self, node: usize, datagram: &Datagram) {
        if let Datagram::Strobe(strobe) = datagram {
            self.trace.say(self.now, || format!("node {node} strobes {:?} {:?} {:?}", strobe.fence.term, strobe.epoch, first_row(strobe)));
            let verdict = self.ledger.strobed(self.now, strobe.fence.term, self.settings.suspicion);
            self.judge(verdict);
        }
    }

    pub(super) fn step_switcher(&mut self, node: usize, mut input: SwitcherInput) {
        self.mutator.switcher(&mut input);
        let absent = match &input {
            SwitcherInput::Command(SwitcherCommand::Absent { slot }) => Some(*slot),
            _ => None,
        };
        if let SwitcherInput::Command(SwitcherCommand::Present { slot, released: true }) = &input
            && let Some(agent) = self.nodes[node].agent.as_mut()
            && let Some(run) = agent.slots.get(slot)
        {
            agent.unreleased.remove(run);
        }
        let mut out = std::mem::take(&mut self.outboxes.switcher);
        let home = &mut self.nodes[node];
        let now = home.clock.at(self.now);
        let mut expired_on = GangSlots::EMPTY;
        if let Some(agent) = home.agent.as_mut() {
            let expiries = agent.switcher.counters().watchdog_expiries;
            agent.switcher.step(now, input, &mut out);
            if agent.switcher.counters().watchdog_expiries > expiries {
                expired_on = agent.switcher.held();
            }
        }
        let effects: Vec<SwitcherEffect> = out.drain().collect();
        self.outboxes.switcher = out;
        let late = effects.iter().any(|effect| matches!(effect, SwitcherEffect::Sample(_))) && self.mutator.delays_epoch();
        for effect in effects {
            self.switcher_effect(node, effect, late);
        }
        if !expired_on.is_empty() && self.mutator.is(Mutation::WatchdogThawsPaused) {
            self.freeze_and_thaw(node, SwitchCause::Watchdog, (GangSlots::EMPTY, expired_on));
        }
        if let (Some(slot), Some(agent)) = (absent, self.nodes[node].agent.as_mut()) {
            agent.commanded.remove(slot);
            agent.slots.remove(&slot);
        }
        self.look_at_commands(node);
        self.look_at_holds(node);
        self.look_at_kernel(node);
    }

    fn switcher_effect(&mut self, node: usize, effect: SwitcherEffect, late: bool) {
        match effect {
            SwitcherEffect::Switch { freeze, thaw, cause, .. } => {
                self.carry_out(node, Switch { work: Some((freeze, thaw, cause)), sample: None }, late);
            }
            SwitcherEffect::Sample(sample) => self.carry_out(node, Switch { work: None, sample: Some(sample) }, late),
            SwitcherEffect::Send { to, datagram } => {
                let verdict = self.ledger.datagram_sent(node, &datagram);
                self.judge(verdict);
                self.send_datagram(node, to, datagram);
            }
            SwitcherEffect::Report(report) => {
                self.look_at_report(node, report);
                self.ring(node, Half::Runtime, AgentInput::Member(MemberInput::Switcher(report)));
            }
        }
    }

    fn carry_out(&mut self, node: usize, switch: Switch, late: bool) {
        if late {
            let delay = self.settings.quantum * LATE_QUANTA;
            if let Some(life) = self.life_of(node) {
                self.after(delay, Event::LateSwitch { node, life, switch: Box::new(switch) });
            }
            return;
        }
        if let Some((freeze, thaw, cause)) = switch.work {
            let (freeze, thaw) = self.mutator.switch(node, cause, (freeze, thaw));
            self.trace.say(self.now, || format!("node {node} freezes {freeze:?} thaws {thaw:?} {cause:?}"));
            self.freeze_and_thaw(node, cause, (freeze, thaw));
        }
        if let Some(sample) = switch.sample {
            self.counters.epochs += 1;
            let life = self.nodes[node].life;
            let verdict = self.ledger.executed(node, life, sample.term, sample.epoch);
            self.judge(verdict);
        }
    }

    pub(super) fn carry_out_late(&mut self, node: usize, life: AgentIncarnation, switch: Switch) {
        if self.lives(node, life) {
            self.carry_out(node, switch, false);
            self.look_at_commands(node);
            self.look_at_holds(node);
        }
    }

    fn freeze_and_thaw(&mut self, node: usize, cause: SwitchCause, (freeze, thaw): (GangSlots, GangSlots)) {
        let Some(agent) = self.nodes[node].agent.as_mut() else { return };
        agent.commanded = agent.commanded.difference(freeze).union(thaw);
        let named = |slots: GangSlots| -> Vec<_> { slots.iter().filter_map(|slot| agent.slots.get(&slot).copied()).collect() };
        let (freeze_runs, thaw_runs) = (named(freeze), named(thaw));
        for run in freeze_runs {
            self.write_freeze(node, run, false);
            let home = &mut self.nodes[node];
            let adopted_as_held = cause == SwitchCause::Presence && home.supervisors.get(&run).is_some_and(|supervisor| supervisor.held);
            if adopted_as_held {
                home.held.insert(run);
            }
        }
        for run in thaw_runs {
            self.write_freeze(node, run, true);
        }
        let stragglers = freeze.iter().filter(|_| self.random.chance(STRAGGLERS)).collect();
        if let Some(agent) = self.nodes[node].agent.as_mut() {
            agent.pending.push_back(AgentInput::Switcher(SwitcherInput::Executed { stragglers }));
        }
    }

    fn look_at_report(&mut self, node: usize, report: SwitcherReport) {
        let SwitcherReport::HoldEffective { slot, change } = report else { return };
        let home = &mut self.nodes[node];
        let Some(run) = home.agent.as_ref().and_then(|agent| agent.slots.get(&slot).copied()) else { return };
        match change {
            HoldChange::Hold => {
                home.held.insert(run);
            }
            HoldChange::Resume => {
                home.held.remove(&run);
                if let Some(agent) = home.agent.as_mut() {
                    agent.unreleased.remove(&run);
                }
            }
        }
    }

    /// Of two gangs that share a CPU never both are commanded thawed while the agent is `Strobed` and switches.
    fn look_at_commands(&mut self, node: usize) {
        if self.settings.policy == Policy::Kernel {
            return;
        }
        let home = &self.nodes[node];
        let Some(agent) = home.agent.as_ref().filter(|agent| agent.switcher.state() == AgentState::Strobed) else { return };
        if agent.commanded.len() < 2 {
            return;
        }
        let runs: Vec<_> = agent.commanded.iter().filter_map(|slot| agent.slots.get(&slot).copied()).collect();
        let verdict = crate::invariants::share_no_cpu(home.index, &runs, &self.operator.placements);
        self.judge(verdict);
    }
}
