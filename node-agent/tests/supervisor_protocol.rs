//! The protocol between agent and supervisor: every byte string is a message or an error, long messages and
//! descriptors arrive whole, and the limits hold.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs::File, io::Write, os::fd::OwnedFd};

use proptest::prelude::*;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use strobe_node_agent::supervisor_protocol::{
    AgentEndpoint, BarrierFault, BarrierGroup, GangName, GroupMembers, Hello, Incarnation, ProtocolError, Rank, RankEnd, RankPhase,
    RankReport, SupervisorEndpoint, ToAgent, ToSupervisor, VersionRange, codec, limits,
};

#[test]
fn a_block_of_a_mebibyte_and_its_descriptor_arrive_whole() {
    let (mut agent, mut supervisor) = endpoints();
    let block: Vec<u8> = (0..limits::BLOCK_BYTES).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let message = ToAgent::PmiBarrier { number: 3, block };
    let (read, write) = rustix::pipe::pipe().unwrap();
    supervisor.queue(&message, Some(write)).unwrap();
    supervisor.queue(&ToAgent::Held, None).unwrap();
    let mut received = Vec::new();
    while received.len() < 2 {
        supervisor.flush().unwrap();
        received.extend(std::iter::from_fn(|| agent.receive().unwrap()));
    }
    assert_eq!(received[0].message, message);
    assert_eq!(received[1].message, ToAgent::Held);
    assert!(received[1].descriptor.is_none());
    File::from(received.remove(0).descriptor.unwrap()).write_all(b"x").unwrap();
    let mut byte = [0];
    assert_eq!(rustix::io::read(&read, &mut byte).unwrap(), 1);
}

#[test]
fn a_message_over_the_limit_is_refused_by_the_sender() {
    let (_agent, mut supervisor) = endpoints();
    let message = ToAgent::PmiBarrier { number: 1, block: vec![0; limits::MESSAGE_BYTES] };
    assert!(matches!(supervisor.queue(&message, None), Err(ProtocolError::TooLong { .. })));
    assert!(!supervisor.wants_write());
}

#[test]
fn a_peer_that_does_not_read_is_noticed() {
    let (_agent, mut supervisor) = endpoints();
    let message = ToAgent::PmiBarrier { number: 1, block: vec![0; limits::BLOCK_BYTES] };
    supervisor.queue(&message, None).unwrap();
    supervisor.queue(&message, None).unwrap();
    assert!(matches!(supervisor.queue(&message, None), Err(ProtocolError::PeerDoesNotRead { .. })));
}

#[test]
fn a_stream_without_end_is_refused_by_the_receiver() {
    let (agent_socket, raw) = pair();
    let mut agent = AgentEndpoint::new(agent_socket).unwrap();
    let mut packet = vec![1; limits::PACKET_BYTES + 1];
    packet[0] = 1;
    let error = loop {
        send(&raw, &packet, SendFlags::empty()).unwrap();
        if let Err(error) = agent.receive() {
            break error;
        }
    };
    assert!(matches!(error, ProtocolError::TooLong { .. }), "{error:?}");
}

#[test]
fn a_packet_over_the_limit_is_refused() {
    let (agent_socket, raw) = pair();
    let mut agent = AgentEndpoint::new(agent_socket).unwrap();
    send(&raw, &vec![0; limits::PACKET_BYTES + 2], SendFlags::empty()).unwrap();
    assert!(matches!(agent.receive(), Err(ProtocolError::BadPacket { .. })));
}

#[test]
fn a_closed_peer_is_told() {
    let (mut agent, supervisor) = endpoints();
    assert!(agent.receive().unwrap().is_none());
    drop(supervisor);
    assert!(matches!(agent.receive(), Err(ProtocolError::Closed)));
}

#[test]
fn the_peer_is_known() {
    let (agent, _supervisor) = endpoints();
    assert_eq!(agent.peer().unwrap().pid, i32::try_from(std::process::id()).unwrap());
}

#[test]
fn versions_meet_at_the_highest_common_one() {
    let range = |minimum, maximum| VersionRange { minimum, maximum };
    assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
    assert_eq!(range(1, 1).common(range(2, 5)), None);
}

/// Bytes of version 1 as they were first written: a change of them breaks supervisors that are running.
#[test]
fn the_bytes_of_version_one_do_not_change() {
    let hello = ToAgent::Hello(Hello {
        versions: VersionRange { minimum: 1, maximum: 1 },
        gang: GangName("ab".to_owned()),
        incarnation: Incarnation(5),
        supervisor_pid: 300,
        configured: true,
        released: false,
        held: true,
        ranks: vec![RankReport { rank: Rank(2), pid: 7, phase: RankPhase::Ended(RankEnd::Signalled(9)) }],
    });
    let expected = [0, 1, 1, 2, b'a', b'b', 5, 172, 2, 1, 0, 1, 1, 2, 7, 3, 1, 9];
    assert_eq!(codec::encode(&hello).unwrap(), expected);
    assert_eq!(codec::decode::<ToAgent>(&expected).unwrap(), hello);
    assert_eq!(codec::encode(&ToSupervisor::Ping { number: 1 }).unwrap(), [14, 1]);
    assert_eq!(codec::encode(&ToAgent::Refused { explanation: String::new() }).unwrap(), [11, 0]);
    assert_eq!(codec::encode(&ToAgent::PmiBarrierFailed { fault: BarrierFault::RankLeft }).unwrap(), [12, 2]);
    let group = BarrierGroup { members: GroupMembers::Ranks(vec![0, 300]), tag: -1 };
    let entered = ToAgent::PmiGroupBarrier { ticket: 17, group, block: b"a".to_vec() };
    assert_eq!(codec::encode(&entered).unwrap(), [13, 17, 1, 2, 0, 172, 2, 1, 1, b'a']);
    assert_eq!(codec::encode(&ToAgent::PmiGroupBarrierTaken { ticket: 17 }).unwrap(), [14, 17]);
    assert_eq!(codec::encode(&ToSupervisor::PmiGroupBarrierComplete { ticket: 17, block: vec![] }).unwrap(), [15, 17, 0]);
}

/// What version 2 has added.
#[test]
fn the_bytes_of_version_two_do_not_change() {
    let reachable = ToAgent::Reachable { address: [10, 1, 2, 3].into(), port: 300 };
    assert_eq!(codec::encode(&reachable).unwrap(), [15, 0, 10, 1, 2, 3, 172, 2]);
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = codec::decode::<ToAgent>(&bytes) {
            let again: ToAgent = codec::decode(&codec::encode(&message).unwrap()).unwrap();
            prop_assert_eq!(again, message);
        }
        if let Ok(message) = codec::decode::<ToSupervisor>(&bytes) {
            let again: ToSupervisor = codec::decode(&codec::encode(&message).unwrap()).unwrap();
            prop_assert_eq!(again, message);
        }
    }

    #[test]
    fn bytes_after_a_message_make_it_malformed(number in any::<u64>(), rest in proptest::collection::vec(any::<u8>(), 1..10)) {
        let mut bytes = codec::encode(&ToSupervisor::Ping { number }).unwrap();
        bytes.extend(rest);
        prop_assert!(codec::decode::<ToSupervisor>(&bytes).is_err());
    }

    #[test]
    fn any_packets_are_messages_or_end_the_connection(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..100), 1..10)) {
        let (socket, raw) = pair();
        let mut agent = AgentEndpoint::new(socket).unwrap();
        for packet in &packets {
            send(&raw, packet, SendFlags::empty()).unwrap();
        }
        drop(raw);
        let mut messages = 0;
        let error = loop {
            match agent.receive() {
                Ok(Some(_)) => messages += 1,
                Ok(None) => prop_assert!(false, "a closed socket has an end"),
                Err(error) => break error,
            }
        };
        prop_assert!(messages <= packets.len(), "{error}");
    }
}

fn endpoints() -> (AgentEndpoint, SupervisorEndpoint) {
    let (agent, supervisor) = pair();
    (AgentEndpoint::new(agent).unwrap(), SupervisorEndpoint::new(supervisor).unwrap())
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}
