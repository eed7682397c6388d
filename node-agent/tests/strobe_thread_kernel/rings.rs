//! Nothing that matters is lost when the agent is slow, and both sides wake each other.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use strobe_core::{
    message::{SwitcherCommand, SwitcherReport},
    model::{GangSlot, Term},
    node::SwitchCause,
};
use strobe_node_agent::strobe_thread::{
    StrobeCommand,
    limits::{COMMANDS_MAX, REPORTS_MAX, SAMPLES_MAX},
};

use crate::{
    node::{MANAGER, Node},
    support::eventually,
};

fn seal(term: u64) -> StrobeCommand {
    StrobeCommand::Switcher(SwitcherCommand::Seal { term: Term(term) })
}

fn is_awake(node: &Node, seconds: i64) -> bool {
    poll(&mut [PollFd::new(&node.reports, PollFlags::IN)], Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).unwrap() == 1
}

/// Commands seals until no more are taken; returns the number of the first one that was not.
fn overfill(node: &mut Node) -> u64 {
    let mut term = 1;
    eventually("the thread takes no more", || {
        loop {
            match node.thread().command(seal(term)) {
                Ok(()) => term += 1,
                Err(full) => {
                    assert!(
                        matches!(*full.command, StrobeCommand::Switcher(SwitcherCommand::Seal { term: given_back }) if given_back == Term(term))
                    );
                    break;
                }
            }
        }
        term > (REPORTS_MAX + COMMANDS_MAX) as u64
    });
    term
}

#[test]
fn no_report_is_lost_while_the_agent_takes_none() {
    let mut node = Node::new(MANAGER);
    let end = overfill(&mut node);
    eventually("reports wait in the backlog", || node.thread().counters().thread.backlogged > 0);
    eventually("all reports come", || {
        node.drain();
        node.heard.len() as u64 == end - 1
    });
    let expected: Vec<_> = (1..end).map(|term| SwitcherReport::Sealed { term: Term(term) }).collect();
    assert_eq!(node.heard, expected);
    assert_eq!((node.reports.dropped(), node.reports.pop().is_none()), (0, true));
    node.command(seal(end));
    eventually("commands are taken again", || {
        node.drain();
        node.heard.len() as u64 == end
    });
}

#[test]
fn samples_beyond_the_ring_are_dropped_and_counted() {
    const SURPLUS: usize = 100;
    let mut node = Node::new(MANAGER);
    let slot = GangSlot(0);
    for _ in 0..SAMPLES_MAX + SURPLUS {
        // A gang that appears is thawed, which is a switch; without a freezer it is one that touches nothing.
        for command in [SwitcherCommand::Present { slot, released: true }, SwitcherCommand::Absent { slot }] {
            eventually("there is room for a command", || node.thread().command(StrobeCommand::Switcher(command)).is_ok());
        }
    }
    eventually("the rest is dropped", || node.reports.dropped() == SURPLUS as u64);
    node.drain();
    assert_eq!(node.records.len(), SAMPLES_MAX);
    assert!(node.records.iter().all(|record| record.cause == SwitchCause::Presence && record.thawed.is_empty()));
}

#[test]
fn the_agent_is_woken_once_for_what_it_has_not_looked_at() {
    let mut node = Node::new(MANAGER);
    node.drain();
    assert!(!is_awake(&node, 0));
    for term in 1..4 {
        node.command(seal(term));
        assert!(is_awake(&node, 10));
        assert!(is_awake(&node, 0), "until the wake-up is cleared");
        node.drain();
        assert_eq!(node.heard.len() as u64, term);
        assert!(!is_awake(&node, 0));
    }
    node.thread.take().unwrap().stop();
    assert!(is_awake(&node, 0) && node.reports.is_over(), "its end is news too");
}

#[test]
fn the_agent_is_woken_when_the_thread_breaks() {
    let mut node = Node::new(MANAGER);
    assert!(!node.thread().has_ended() && !node.reports.is_over());
    // No node has such a slot: the core asserts it.
    node.switcher(SwitcherCommand::Present { slot: GangSlot(u8::MAX), released: true });
    assert!(is_awake(&node, 10));
    assert!(node.thread().has_ended() && node.reports.is_over());
}
