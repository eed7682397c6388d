//! Carries out what the machines want.

use strobe_core::{
    manager::{ManagerEffect, ManagerInput},
    message::{SwitcherCommand, ToManager, ToMember},
    model::{NodeIndex, Term},
    node::{MemberEffect, MemberEvent, MemberInput},
    primitives::{Content, RegionOwner},
};
use strobe_fabric::transport::{Class, LinkId, LinkPlan, Peer, Transport};

use super::{Agent, AgentError, Pending, addresses::AddressBook, frames::AgentFrame};
use crate::strobe_thread::StrobeCommand;

impl Agent {
    pub(super) async fn carry_out_member_effects(&mut self) -> Result<(), AgentError> {
        while !self.member_effects.is_empty() {
            let effects: Vec<MemberEffect> = self.member_effects.drain().collect();
            for effect in effects {
                self.carry_out(effect).await?;
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, effect: MemberEffect) -> Result<(), AgentError> {
        match effect {
            MemberEffect::Send { to, message } => self.send_to_manager(to, message),
            MemberEffect::Switcher(command) => self.command_switcher(command)?,
            MemberEffect::CloseLinks(term) => self.close_links(term).await?,
            MemberEffect::PersistSeal(term) => {
                self.files.write_seal(term)?;
                self.pending.push_back(Pending::Member(MemberInput::SealPersisted(term)));
            }
            MemberEffect::Configure { run, slot } => self.configure(run, slot),
            MemberEffect::ReleaseRanks { run, peers } => self.release_ranks(run, &peers),
            MemberEffect::AnnounceHold(run) => self.announce_hold(run),
            MemberEffect::AnnounceResume(run) => self.announce_resume(run),
            MemberEffect::TerminateRanks { run, grace } => self.terminate_ranks(run, grace),
            MemberEffect::KillRanks(run) => self.kill_ranks(run),
            MemberEffect::Forget { run, slot } => self.forget(run, slot),
            MemberEffect::Submitted(operation) => self.operation_named(operation).await?,
            MemberEffect::Outcome { operation, outcome } => self.operation_over(operation, outcome).await?,
            MemberEffect::Put { region, content: Content::Inline(_), .. } => {
                if let Some(run) = region.run() {
                    self.keys_came(run);
                    self.group_keys_came(run);
                }
            }
            MemberEffect::Put { region, operation, content: Content::Staged(_) } => {
                self.blocks.put(region, operation).await?;
                if let RegionOwner::Node(_) = region.owner {
                    self.keep_part(region, operation);
                }
            }
            MemberEffect::Stage(staging) => {
                let term = self.link_term.expect("a manager is obeyed over links only");
                self.blocks.stage(term, staging).await?;
            }
            MemberEffect::Discard(operation) => self.blocks.discard(operation).await?,
            MemberEffect::Absent { region, staging } => {
                tracing::info!(?region, operation = ?staging.operation, "a block is in memory and not here: others are asked for it");
                let term = self.link_term.expect("a manager is obeyed over links only");
                self.blocks.get(term, region, staging).await?;
                if let RegionOwner::Node(_) = region.owner {
                    // Of the file's earlier parts this life has none.
                    self.part_not_kept(staging.operation);
                }
            }
            MemberEffect::Event(event) => {
                if let MemberEvent::Admitted(_) = event {
                    self.all_group_keys_came();
                }
                tracing::debug!(?event, "member");
                self.metrics.member_event(&event);
            }
        }
        Ok(())
    }

    pub(super) fn carry_out_manager_effects(&mut self) -> Result<(), AgentError> {
        let effects: Vec<ManagerEffect> = self.manager_effects.drain().collect();
        for effect in effects {
            match effect {
                ManagerEffect::Send { to, message } => self.send_to_member(to, message),
                ManagerEffect::Announcer(command) => self.strobe.command(StrobeCommand::Announcer(Box::new(command)))?,
                ManagerEffect::Report(report) => {
                    self.report = Some(report);
                    self.send_report();
                }
                ManagerEffect::Event(event) => tracing::debug!(?event, "manager"),
            }
        }
        Ok(())
    }

    /// Gives the strobe thread a command that nothing waits for. A thread that takes none is found out by the next one
    /// that matters.
    pub(super) fn command(&mut self, command: StrobeCommand) {
        if self.strobe.command(command).is_err() {
            tracing::error!("the strobe thread does not take its commands");
        }
    }

    fn command_switcher(&mut self, command: SwitcherCommand) -> Result<(), AgentError> {
        self.strobe.command(StrobeCommand::Switcher(command))?;
        if let SwitcherCommand::Absent { slot } = command {
            self.strobe.command(StrobeCommand::RemoveGang { slot })?;
        }
        Ok(())
    }

    /// Cuts every older term before it returns, then opens the links of this one.
    async fn close_links(&mut self, term: Term) -> Result<(), AgentError> {
        self.transport.close_links(term).await;
        self.strobe.command(StrobeCommand::CloseLinks(term))?;
        self.link_term = Some(term);
        self.open_links();
        Ok(())
    }

    pub(super) fn addresses_known(&mut self, book: AddressBook) {
        self.addresses = book;
        self.open_links();
    }

    fn open_links(&self) {
        let Some(term) = self.link_term else { return };
        let others = self.addresses.iter().filter(|(node, _)| **node != self.own.node);
        let peers = others.map(|(&node, address)| Peer { node, address: address.stream }).collect();
        if let Err(error) = self.transport.open_links(&LinkPlan { term, peers }) {
            tracing::error!(error = &error as &dyn std::error::Error, "links cannot be opened");
        }
    }

    fn send_to_manager(&mut self, to: NodeIndex, message: ToManager) {
        if to == self.own.node {
            self.pending.push_back(Pending::Manager(ManagerInput::FromMember { from: to, message }));
        } else {
            self.send_frame(to, &AgentFrame::ToManager(message));
        }
    }

    fn send_to_member(&mut self, to: NodeIndex, message: ToMember) {
        if to == self.own.node {
            self.pending.push_back(Pending::Member(MemberInput::FromManager { from: to, message }));
        } else {
            self.send_frame(to, &AgentFrame::ToMember(message));
        }
    }

    /// Sends what the machines send again if it is lost: a link that is down or full loses it here.
    pub(super) fn send_frame(&self, to: NodeIndex, frame: &AgentFrame) {
        let Some(term) = self.link_term else { return };
        if let Err(error) = self.transport.try_send(LinkId { term, node: to }, Class::Control, frame.encode()) {
            tracing::debug!(%to, %error, "a frame was not sent");
        }
    }
}
