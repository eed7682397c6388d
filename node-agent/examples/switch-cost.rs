//! Shows the shape of the switch cost on this machine: two busy gangs of one rank each take turns on one CPU.
//!
//! ```text
//! cargo run --release -p strobe-node-agent --example switch-cost -- [SWITCHES [QUANTUM_MICROS]]
//! ```
//!
//! Needs the right to make cgroups. Figures mean something only on a machine that does nothing else.

use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Pid;
use strobe_core::model::{CpuIndex, GangSlot, GangSlots};
use strobe_node_agent::cgroup::{CgroupName, CgroupPath, CgroupTree, RankCgroup};
use strobe_node_agent::executor::{Executor, SwitchOrder, SwitchOutcome, limits::STRAGGLER_BOUND_MAX};
use strobe_node_agent::freezer::{CgroupFreezer, Freezer};
use strobe_node_agent::sys::clock::{monotonic_now, sleep_until};
use strobe_node_agent::sys::scheduler::{STROBE_PRIORITY, Scheduler, become_fifo};
use strobe_node_agent::sys::{affinity, memory};

const SWITCHES_DEFAULT: usize = 1000;
const QUANTUM_DEFAULT: Duration = Duration::from_millis(5);
const GANGS: u8 = 2;
const REMOVAL_WAIT: Duration = Duration::from_secs(5);

/// The gangs of this example, ended and removed when dropped.
struct Gangs {
    tree: CgroupTree,
    parent: CgroupPath,
    ranks: Vec<Child>,
}

// === impl Gangs ===

impl Gangs {
    fn new() -> Result<Self> {
        let tree = CgroupTree::find()?;
        let parent = CgroupPath::parse(&format!("/strobe-switch-cost-{}", std::process::id()))?;
        tree.create(&parent)?;
        Ok(Self { tree, parent, ranks: Vec::new() })
    }

    fn start(&mut self, number: u8, cpu: CpuIndex) -> Result<Freezer> {
        let cgroup = RankCgroup::create(&self.tree, &self.parent, &CgroupName::new(format!("gang-{number}"))?)?;
        let rank = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().context("sh cannot be started")?;
        let pid = Pid::from_child(&rank);
        self.ranks.push(rank);
        affinity::pin(Some(pid), &[cpu])?;
        cgroup.admit_child(pid, &CgroupPath::root())?;
        Ok(Freezer::Cgroup(CgroupFreezer::open(&cgroup)?))
    }

    fn end(&mut self) -> Result<()> {
        for leftover in self.tree.leftovers(&self.parent)? {
            leftover.remove(REMOVAL_WAIT)?;
        }
        for rank in &mut self.ranks {
            rank.wait()?;
        }
        Ok(self.tree.remove_unused(&self.parent, &CgroupPath::root())?)
    }
}

impl Drop for Gangs {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("left behind: {error:#}");
        }
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let switches = arguments.next().map_or(Ok(SWITCHES_DEFAULT), |text| text.parse()).context("SWITCHES is a count")?;
    let micros = arguments.next().map(|text| text.parse().map(Duration::from_micros)).transpose();
    let quantum = micros.context("QUANTUM_MICROS is a number of microseconds")?.unwrap_or(QUANTUM_DEFAULT);

    let cpu = *affinity::pinned_to(None)?.first().context("this process may run nowhere")?;
    let mut gangs = Gangs::new()?;
    let mut executor = Executor::new();
    for number in 0..GANGS {
        executor.register(GangSlot(number), gangs.start(number, cpu)?);
    }
    let scheduler = prepare_thread(cpu)?;
    let outcomes = take_turns(&mut executor, switches, quantum);
    report(&scheduler, &executor, &outcomes);
    Ok(())
}

/// Puts the calling thread on the gangs' CPU and makes it what the strobe thread is.
fn prepare_thread(cpu: CpuIndex) -> Result<Scheduler> {
    affinity::pin(None, &[cpu])?;
    if let Err(error) = memory::lock_touched_pages() {
        eprintln!("memory is not locked: {error}");
    }
    memory::touch_stack();
    Ok(become_fifo(STROBE_PRIORITY))
}

fn take_turns(executor: &mut Executor, switches: usize, quantum: Duration) -> Vec<(Duration, SwitchOutcome)> {
    let all: GangSlots = (0..GANGS).map(GangSlot).collect();
    let mut outcomes = Vec::with_capacity(switches);
    let mut at = monotonic_now() + quantum;
    for thawed in (0..GANGS).map(GangSlot).cycle().take(switches) {
        sleep_until(at);
        let thaw = GangSlots::from_iter([thawed]);
        let order = SwitchOrder { freeze: all.difference(thaw), thaw, straggler_bound: (quantum / 10).min(STRAGGLER_BOUND_MAX) };
        let outcome = executor.switch(&order);
        outcomes.push((outcome.started_at.since(at), outcome));
        at = at + quantum;
    }
    outcomes
}

fn report(scheduler: &Scheduler, executor: &Executor, outcomes: &[(Duration, SwitchOutcome)]) {
    println!("scheduler: {}", scheduler.label());
    if let Scheduler::Other { reason } = scheduler {
        println!("  {reason}");
    }
    let column = |take: fn(&(Duration, SwitchOutcome)) -> Duration| outcomes.iter().map(take).collect::<Vec<_>>();
    line("late by", column(|(late, _)| *late));
    line("freeze commanded", column(|(_, outcome)| outcome.freeze_written_at.since(outcome.started_at)));
    line("seen frozen", column(|(_, outcome)| outcome.frozen_at.since(outcome.freeze_written_at)));
    line("thaw commanded", column(|(_, outcome)| outcome.thawed_at.since(outcome.frozen_at)));
    line("whole switch", column(|(_, outcome)| outcome.cost()));
    println!("{:?}", executor.counters());
}

fn line(label: &str, mut spans: Vec<Duration>) {
    spans.sort_unstable();
    let at = |percent: usize| spans.get((spans.len() * percent / 100).min(spans.len().saturating_sub(1))).copied().unwrap_or_default();
    println!("{label:18} p50 {:?}  p90 {:?}  p99 {:?}  max {:?}", at(50), at(90), at(99), at(100));
}
