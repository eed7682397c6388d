//! The strobe thread: hosts a node's [`Switcher`](strobe_core::node::Switcher) and
//! [`Announcer`](strobe_core::manager::Announcer) outside the async runtime (ARCHITECTURE section 5).
//!
//! One thread, SCHED_FIFO where that is allowed, which sleeps until the next instant of its machines, a datagram or a
//! command, and carries out what they decide: it switches gangs by the [`Executor`](crate::executor::Executor) and
//! receives and sends strobes, heartbeats and clock samples itself. What the manager's announcer says to its own node
//! takes no socket.
//!
//! *Invariant:* the thread locks nothing that slower work holds: it talks to the agent by two single-producer rings, two
//! eventfds and atomics.
//! *Invariant:* between commands that hand something over it allocates and frees nothing. A few rare ones do:
//! [`StrobeCommand::Announcer`] with `Start` or `View` frees the lists of members (the announcer takes them by value), and
//! keys that are replaced or closed are freed, both at changes of term, view or link.
//! *Invariant:* it never spins: between two turns that find nothing to wait for it sleeps for
//! [`REST_LEAST`](limits::REST_LEAST), and it leaves a flooded socket alone for a while.

mod bell;
mod commands;
mod counters;
mod host;
pub mod limits;
mod reports;
mod shared;
pub mod wire;

use std::{
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rtrb::{Producer, PushError, RingBuffer};
use strobe_core::{
    model::{AgentIncarnation, CpuIndex, GangSlot, NodeIndex, Settings},
    node::SwitcherConfiguration,
};
use strobe_fabric::datagram::DatagramSocket;
use thiserror::Error;

pub use commands::{CommandsFull, StrobeCommand};
pub use counters::{StrobeCounters, ThreadCounters};
pub use reports::{Returned, StrobeReport, StrobeReports, SwitchRecord};

use crate::sys::{
    affinity::{AffinityError, pin},
    clock::monotonic_now,
    memory::{MemoryLockError, lock_touched_pages, touch_stack},
    scheduler::{STROBE_PRIORITY, Scheduler, become_fifo},
};
use commands::Order;
use host::{Host, HostOptions};
use limits::{COMMANDS_MAX, STACK_BYTES};
use shared::Shared;

/// What a strobe thread is born with.
#[derive(Debug)]
pub struct StrobeThreadOptions {
    /// The node.
    pub node: NodeIndex,
    /// This life of the agent.
    pub incarnation: AgentIncarnation,
    /// Times and policy, until a command replaces them. The period of heartbeats is also that in which the gangs are
    /// looked at for thaws by somebody else.
    pub settings: Settings,
    /// The CPUs of the node's ranks, on which the thread stays; anywhere when empty. A rank that it preempts there reaches
    /// the freezer as soon as it sleeps, and a thawed one runs on without an interrupt from another CPU.
    pub cpus: Vec<CpuIndex>,
    /// The socket, with a key ring that has room for two terms' links. Nobody else receives from it.
    pub socket: DatagramSocket,
}

/// The agent's handle of its strobe thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct StrobeThread {
    orders: Producer<Order>,
    shared: Arc<Shared>,
    started: Started,
    /// None once it was joined.
    thread: Option<JoinHandle<()>>,
}

/// Why there is no strobe thread.
#[derive(Debug, Error)]
pub enum StrobeThreadError {
    /// The kernel gave no descriptor to wake by.
    #[error("the strobe thread's eventfd could not be made")]
    Wake(#[source] rustix::io::Errno),
    /// The kernel gave no thread.
    #[error("the strobe thread could not be started")]
    Spawn(#[source] io::Error),
    /// It ended before it had said how it runs.
    #[error("the strobe thread ended at its start")]
    EndedAtStart,
}

/// How the thread runs.
#[derive(Debug)]
struct Started {
    scheduler: Scheduler,
    memory_lock: Result<(), MemoryLockError>,
    pinned: Result<(), AffinityError>,
}

/// Tells the agent that the thread has ended, be it by a panic: dropped after all that the thread has.
struct Farewell(Arc<Shared>);

// === impl StrobeThread ===

impl StrobeThread {
    /// Starts the thread and waits until it is ready: some milliseconds at most.
    ///
    /// # Caveats
    /// Locks the pages of the whole process into memory if it may: see [`StrobeThread::memory_lock`].
    ///
    /// # Errors
    /// See [`StrobeThreadError`]. A refused scheduling class or memory lock is none: the thread runs and says so.
    pub fn spawn(options: StrobeThreadOptions) -> Result<(Self, StrobeReports), StrobeThreadError> {
        let StrobeThreadOptions { node, incarnation, settings, cpus, socket } = options;
        let shared = Arc::new(Shared::new().map_err(StrobeThreadError::Wake)?);
        let (orders, orders_out) = RingBuffer::new(COMMANDS_MAX);
        let (sender, reports) = reports::channel(&shared);
        let configuration = SwitcherConfiguration { node, incarnation, settings };
        let host = Host::new(HostOptions { configuration, socket, orders: orders_out, reports: sender, shared: Arc::clone(&shared) });
        let farewell = Farewell(Arc::clone(&shared));
        let (started, starting) = sync_channel(1);
        let builder = thread::Builder::new().name("strobe".to_owned()).stack_size(STACK_BYTES);
        let thread = builder.spawn(move || run(host, &cpus, &started, farewell)).map_err(StrobeThreadError::Spawn)?;
        let started = starting.recv().map_err(|_| StrobeThreadError::EndedAtStart)?;
        Ok((Self { orders, shared, started, thread: Some(thread) }, reports))
    }

    /// Hands a command over and wakes the thread.
    ///
    /// # Errors
    /// See [`CommandsFull`].
    pub fn command(&mut self, command: StrobeCommand) -> Result<(), CommandsFull> {
        let pushed = self.orders.push(command.into());
        self.shared.to_thread.ring();
        pushed.map_err(|PushError::Full(order)| CommandsFull { command: Box::new(order.into()) })
    }

    /// The scheduling class that the thread got.
    #[must_use]
    pub const fn scheduler(&self) -> &Scheduler {
        &self.started.scheduler
    }

    /// Whether it stays on the CPUs that it was told.
    ///
    /// # Errors
    /// Why it does not; its switches may then cost interrupts between CPUs.
    pub const fn pinned(&self) -> Result<(), &AffinityError> {
        match &self.started.pinned {
            Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether its memory is locked.
    ///
    /// # Errors
    /// Why it is not; a switch may then wait for a page under memory pressure.
    pub const fn memory_lock(&self) -> Result<(), &MemoryLockError> {
        match &self.started.memory_lock {
            Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What the thread has counted, as of its last turn.
    #[must_use]
    pub fn counters(&self) -> StrobeCounters {
        self.shared.counters.snapshot()
    }

    /// How long the gangs of a slot were commanded thawed, all of them one after the other, as of the thread's last turn.
    #[must_use]
    pub fn thawed_time(&self, slot: GangSlot) -> Duration {
        self.shared.thaws.of(slot).until(monotonic_now())
    }

    /// True when the thread has ended. While this handle lives that is a bug: it has panicked.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.orders.is_abandoned()
    }

    /// Lets the thread carry out the commands that it was given, and waits for its end. Gangs stay as they are
    /// commanded. Its last reports can still be popped.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for StrobeThread {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.to_thread.ring();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the strobe thread has panicked");
        }
    }
}

fn run(host: Box<Host>, cpus: &[CpuIndex], started: &SyncSender<Started>, farewell: Farewell) {
    let pinned = if cpus.is_empty() { Ok(()) } else { pin(None, cpus) };
    let scheduler = become_fifo(STROBE_PRIORITY);
    let memory_lock = lock_touched_pages();
    touch_stack();
    // The other side waits for it; were it gone, the thread would be told to stop.
    let _nobody_waits = started.send(Started { scheduler, memory_lock, pinned });
    host.run();
    drop(farewell);
}

// === impl Farewell ===

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.to_agent.ring();
    }
}
