//! Datagrams that are none of the term's, and more of them than a node needs.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use strobe_core::{
    message::{Datagram, Heartbeat},
    model::{Fence, Instant, NodeIndex, Term},
};
use strobe_fabric::{
    datagram::{DATAGRAM_PAYLOAD_BYTES_MAX, DatagramSocket},
    transport::LinkId,
};
use strobe_node_agent::strobe_thread::wire;

use crate::{
    node::{MANAGER, Node, TERM, fence, keys, socket},
    support::{Scratch, eventually},
};

const STRANGER: NodeIndex = NodeIndex(9);

/// A node, and a socket that has keys for it.
fn node_and_peer() -> (Node, DatagramSocket) {
    let mut node = Node::new(MANAGER);
    let mut peer = socket();
    node.link(STRANGER, peer.local_address().unwrap());
    peer.install(keys(STRANGER, MANAGER), node.address).unwrap();
    (node, peer)
}

#[test]
fn authentic_datagrams_of_no_sense_or_another_term_are_counted_and_dropped() {
    let (mut node, mut peer) = node_and_peer();
    let to = LinkId { term: TERM, node: MANAGER };
    let mut buffer = [0; DATAGRAM_PAYLOAD_BYTES_MAX];
    let elsewhere = Fence { term: Term(TERM.0 + 1), ..fence() };
    let heartbeat = Datagram::Heartbeat(Heartbeat { fence: elsewhere, sequence: 1, sent_at: Instant::ORIGIN, lease: true });
    eventually("the keys are installed", || {
        peer.send(to, b"no datagram").unwrap();
        node.thread().counters().thread.undecodable > 0
    });
    peer.send(to, wire::encode(&heartbeat, &mut buffer).unwrap()).unwrap();
    eventually("the other term is counted", || node.thread().counters().thread.wrong_term == 1);
    assert_eq!(node.thread().counters().switcher.refused, 0, "the switcher does not hear of it");
}

#[test]
fn a_datagram_to_a_node_without_a_link_is_counted_and_forgotten() {
    let mut node = Node::new(MANAGER);
    node.join();
    node.reign(&[MANAGER, STRANGER]);
    eventually("it is counted", || node.thread().counters().thread.unsent > 0);
    assert!(!node.thread().has_ended());
}

#[test]
fn a_flood_is_held_back_and_the_strobe_goes_on() {
    let Some(scratch) = Scratch::new("flood") else { return };
    let mut node = Node::new(MANAGER);
    (0..2).for_each(|slot| node.add_gang(&scratch, slot));
    node.join();
    node.reign(&[MANAGER]);
    let (over, address) = (AtomicBool::new(false), node.address);
    thread::scope(|scope| {
        scope.spawn(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            while !over.load(Ordering::Relaxed) {
                let _full_is_as_good = socket.send_to(&[1; 100], address);
            }
        });
        eventually("the flood is noticed", || node.thread().counters().thread.floods > 10);
        let executed = node.thread().counters().switcher.executed;
        eventually("epochs are executed all the same", || {
            node.drain();
            node.thread().counters().switcher.executed > executed + 20
        });
        over.store(true, Ordering::Relaxed);
    });
}
