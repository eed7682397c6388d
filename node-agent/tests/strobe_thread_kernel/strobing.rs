//! A manager and a member, from the seal to the watchdog.

use std::collections::BTreeMap;

use strobe_core::{
    message::{AgentState, SwitcherReport},
    model::{Epoch, GangSlots, NodeIndex},
    node::{SwitchCause, SwitchSample},
};
use strobe_node_agent::{strobe_thread::SwitchRecord, sys::scheduler::Scheduler};

use crate::{
    node::{MANAGER, Node, TERM, until_synchronised},
    support::{Scratch, eventually, slots},
};

fn samples(node: &Node) -> BTreeMap<Epoch, SwitchSample> {
    node.synchronised().filter_map(|record| record.sample).map(|sample| (sample.epoch, sample)).collect()
}

/// Follows the commands in order: from the first strobed epoch on, never two gangs of one CPU at once.
fn assert_never_two_thawed(records: &[SwitchRecord]) {
    let mut thawed = GangSlots::EMPTY;
    let mut strobed = false;
    for record in records {
        strobed |= record.sample.is_some();
        thawed = thawed.difference(record.frozen).union(record.thawed);
        assert!(!strobed || thawed.len() <= 1, "{thawed:?} after {record:?}");
        assert!(record.started_at <= record.frozen_at && record.frozen_at <= record.thawed_at, "{record:?}");
    }
}

#[test]
fn two_nodes_switch_their_gangs_at_the_same_instants() {
    let Some(scratch) = Scratch::new("strobing") else { return };
    let mut nodes = Node::pair(&scratch);
    nodes.iter_mut().for_each(Node::join);
    nodes[0].reign(&[MANAGER, NodeIndex(1)]);
    until_synchronised(&mut nodes, 50);
    let used = nodes.each_ref().map(|node| node.gangs.iter().map(|gang| gang.0.cpu_time().unwrap()).collect::<Vec<_>>());
    let many = nodes.iter().map(|node| node.synchronised().count()).max().unwrap() + 50;
    until_synchronised(&mut nodes, many);

    assert!(nodes[0].leases > 0 && nodes[1].leases == 0);
    for (node, used) in nodes.iter().zip(&used) {
        assert_eq!(node.heard[0], SwitcherReport::Sealed { term: TERM });
        assert_never_two_thawed(&node.records);
        let now_used = node.gangs.iter().map(|gang| gang.0.cpu_time().unwrap());
        assert!(now_used.zip(used).all(|(now, before)| now > *before), "every gang has its turns on node {}", node.index);
        let sample = node.synchronised().last().unwrap();
        assert!(matches!(sample.cause, SwitchCause::Epoch { term: TERM, .. }), "{sample:?}");
    }
    let [manager, member] = nodes.each_ref().map(samples);
    let common: Vec<_> = manager.iter().filter_map(|(epoch, sample)| Some((sample, member.get(epoch)?))).collect();
    assert!(common.len() > 50, "{} of {} epochs were executed on both nodes", common.len(), manager.len());
    for (there, here) in common {
        assert_eq!((there.row, there.at), (here.row, here.at));
        // Both clocks are this machine's: whatever the estimate says, its error is within its bound.
        let [there_due, here_due] = [there, here].map(|sample| sample.due.unwrap());
        let apart = there_due.signed_nanoseconds_from(here_due).unsigned_abs();
        assert!(u128::from(apart) <= here.bound.unwrap().as_nanos(), "{apart} ns apart: {here:?}");
        assert!(here.acted >= here_due && there.acted >= there_due);
    }
}

#[test]
fn a_member_without_a_manager_thaws_its_gangs_after_the_watchdog() {
    let Some(scratch) = Scratch::new("watchdog") else { return };
    let mut nodes = Node::pair(&scratch);
    nodes.iter_mut().for_each(Node::join);
    nodes[0].reign(&[MANAGER, NodeIndex(1)]);
    until_synchronised(&mut nodes, 5);
    let [mut manager, mut member] = nodes;
    manager.thread.take().unwrap().stop();
    manager.drain();
    assert!(manager.reports.is_over());
    eventually("the watchdog expires", || {
        member.drain();
        member.state() == AgentState::FreeRunning
    });
    assert_eq!(member.commanded_thawed(), slots(&[0, 1]));
    let expiry = member.records.iter().rev().find(|record| record.cause == SwitchCause::Watchdog).unwrap();
    assert_eq!((expiry.sample, expiry.frozen), (None, GangSlots::EMPTY));
    eventually("the counters say so", || member.thread().counters().switcher.watchdog_expiries == 1);
}

#[test]
fn a_manager_alone_strobes_itself_without_a_socket() {
    let Some(scratch) = Scratch::new("alone") else { return };
    let mut node = Node::new(MANAGER);
    (0..2).for_each(|slot| node.add_gang(&scratch, slot));
    node.join();
    node.reign(&[MANAGER]);
    eventually("it executes epochs", || {
        node.drain();
        node.synchronised().count() > 20
    });
    assert_never_two_thawed(&node.records);
    eventually("the counters say so", || {
        let counters = node.thread().counters();
        counters.thread.local_datagrams > 20 && counters.switcher.executed >= 20 && counters.announcer.announcements > 0
    });
    assert_eq!(node.thread().counters().thread.unsent, 0);
    match node.thread().scheduler() {
        Scheduler::Fifo { .. } => {}
        Scheduler::Other { reason } => assert!(!rustix::process::geteuid().is_root(), "{reason}"),
    }
}
