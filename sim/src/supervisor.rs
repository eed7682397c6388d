//! A simulated `strobe-init` and its ranks: processes, not machines of the core. They outlive the agent.

use std::{collections::BTreeMap, time::Duration};

use strobe_core::{
    model::{AgentIncarnation, GangRun, RankIndex, RankOutcome},
    node::{AdoptedGang, AdoptedLife},
    primitives::Payload,
};

use crate::clock::Moment;

/// One supervisor and its ranks' cgroup.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor {
    pub(crate) run: GangRun,
    /// The life of the agent that it is connected to.
    pub(crate) agent: Option<AgentIncarnation>,
    /// Stubs are being forked, or were.
    pub(crate) begun: bool,
    /// Every rank waits before its program, or is past that.
    pub(crate) up: bool,
    pub(crate) released: bool,
    /// What it knows of a hold.
    pub(crate) held: bool,
    /// What was last written to `cgroup.freeze`.
    pub(crate) thawed: bool,
    /// True when it wrote that itself, and the agent has not noticed.
    pub(crate) thawed_alone: bool,
    pub(crate) ranks: BTreeMap<RankIndex, Rank>,
    /// SIGTERM was sent.
    pub(crate) terminating: bool,
    /// Counts changes of what runs: an event of an earlier count is over.
    pub(crate) changes: u64,
    /// Since when what runs has run.
    since: Moment,
}

/// One rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank {
    /// What it has left to compute.
    pub(crate) work: Duration,
    /// What it will exit with.
    pub(crate) verdict: RankOutcome,
    pub(crate) ended: Option<RankOutcome>,
}

impl Supervisor {
    pub(crate) fn new(run: GangRun, ranks: BTreeMap<RankIndex, Rank>) -> Self {
        Self {
            run,
            agent: None,
            begun: false,
            up: false,
            released: false,
            held: false,
            thawed: true,
            thawed_alone: false,
            ranks,
            terminating: false,
            changes: 0,
            since: Moment(0),
        }
    }

    /// True while a process of the gang lives: a stub or a rank.
    pub(crate) fn has_living_rank(&self) -> bool {
        self.begun && self.ranks.values().any(|rank| rank.ended.is_none())
    }

    /// True when every rank has exited with status 0.
    pub(crate) fn has_completed(&self) -> bool {
        self.ranks.values().all(|rank| rank.ended == Some(RankOutcome::Exited(0)))
    }

    /// True while ranks compute.
    pub(crate) fn runs(&self) -> bool {
        self.released && self.thawed && self.has_living_rank()
    }

    /// Changes what runs: counts what was computed until now, then applies the change. Returns when the next rank is done,
    /// if one runs.
    pub(crate) fn change(&mut self, now: Moment, apply: impl FnOnce(&mut Self)) -> Option<Moment> {
        if self.runs() {
            let computed = now.since(self.since);
            for rank in self.ranks.values_mut().filter(|rank| rank.ended.is_none()) {
                rank.work = rank.work.saturating_sub(computed);
            }
        }
        apply(self);
        self.since = now;
        self.changes += 1;
        let next = self.ranks.values().filter(|rank| rank.ended.is_none()).map(|rank| rank.work).min();
        next.filter(|_| self.runs()).map(|work| now + work)
    }

    /// Ends the ranks whose work is done, and returns them.
    pub(crate) fn end_done(&mut self) -> Vec<(RankIndex, RankOutcome)> {
        let done = self.ranks.iter_mut().filter(|(_, rank)| rank.ended.is_none() && rank.work.is_zero());
        done.map(|(&index, rank)| {
            rank.ended = Some(rank.verdict);
            (index, rank.verdict)
        })
        .collect()
    }

    /// Ends every rank that lives, and returns them.
    pub(crate) fn end_all(&mut self, outcome: RankOutcome) -> Vec<(RankIndex, RankOutcome)> {
        let living = self.ranks.iter_mut().filter(|(_, rank)| rank.ended.is_none());
        living
            .map(|(&index, rank)| {
                rank.ended = Some(outcome);
                (index, outcome)
            })
            .collect()
    }

    /// What a restarted agent finds.
    pub(crate) fn inventory(&self, entry: Payload) -> AdoptedGang {
        let ended = self.ranks.iter().filter_map(|(index, rank)| Some((*index, rank.ended?))).collect();
        let ranks = u32::try_from(self.ranks.len()).expect("a node has few ranks");
        let life = match (self.up, self.released) {
            (_, true) => AdoptedLife::Released,
            (true, false) => AdoptedLife::Up,
            (false, false) => AdoptedLife::Starting,
        };
        AdoptedGang { run: self.run, entry, life, held: self.held, ranks, ended }
    }
}
