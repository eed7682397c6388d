//! The supervisor's decisions without any process: ranks' environment, output lines, and the rules of the
//! life that real processes cannot be made to show at will.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{net::IpAddr, path::Path, time::Duration};

use proptest::prelude::*;
use strobe_node_agent::{
    supervisor::{
        environment::{EnvironmentInput, rank_environment},
        life::{Effect, Input, Life, PassedSignal},
        limits::{PIECE_BYTES, UNACKNOWLEDGED},
        network::Tables,
        output::{LineCutter, Naming},
    },
    supervisor_protocol::{
        Configure, Freezer, GangName, Incarnation, KeySpace, LaunchProtocol, PeerTable, Rank, RankEnd, ToAgent, ToSupervisor,
    },
};

const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
    eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
    eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
const ADDRESSES_V6: &str = "fd000000000000000000000000000002 02 40 00 80    eth1\n";

#[test]
fn the_interface_is_that_of_the_longest_route() {
    let tables = Tables { routes: ROUTES.to_owned(), addresses_v6: ADDRESSES_V6.to_owned() };
    let interface = |address: &str| tables.interface_of(address.parse().unwrap());
    assert_eq!(interface("192.168.3.4").as_deref(), Some("eth1"));
    assert_eq!(interface("10.0.0.1").as_deref(), Some("eth0"));
    assert_eq!(interface("127.0.0.1").as_deref(), Some("lo"));
    assert_eq!(interface("fd00::2").as_deref(), Some("eth1"));
    assert_eq!(interface("fd00::3"), None);
}

#[test]
fn hints_name_the_interface_and_yield_to_the_user() {
    let set = environment("192.168.3.4", |name| name == "FI_TCP_IFACE");
    let value = |name: &str| set.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    assert_eq!(value("UCX_NET_DEVICES"), Some("eth1"));
    assert_eq!(value("GLOO_SOCKET_IFNAME"), Some("eth1"));
    assert_eq!(value("FI_TCP_IFACE"), None);
    assert_eq!(value("PMI_FD"), Some("9"));
    assert_eq!(value("PMI_RANK"), Some("3"));
    assert_eq!(value("LOCAL_RANK"), Some("1"));
}

#[test]
fn ucx_is_not_bound_to_the_loopback() {
    let set = environment("127.0.0.1", |_| false);
    assert!(set.iter().all(|(name, _)| !name.starts_with("UCX_")));
    assert!(set.contains(&("FI_TCP_IFACE".to_owned(), "lo".to_owned())));
}

#[test]
fn an_agent_of_version_two_hears_where_the_ranks_are_reached_before_they_are_up() {
    for (version, expected) in [(1, vec![]), (2, vec![Effect::SendReachable])] {
        let mut life = launched();
        step(&mut life, 0, message(ToSupervisor::Welcome { version }));
        step(&mut life, 0, message(ToSupervisor::StubAccepted { rank: Rank(2) }));
        let mut up = expected;
        up.push(Effect::Send(ToAgent::SupervisorUp));
        assert_eq!(step(&mut life, 0, message(ToSupervisor::StubAccepted { rank: Rank(3) })), up, "version {version}");
    }
}

#[test]
fn no_rank_is_released_before_every_stub_is_accepted() {
    let mut life = launched();
    let refused = |effects: &[Effect]| matches!(effects, [Effect::Send(ToAgent::Refused { .. })]);
    assert!(refused(&step(&mut life, 0, message(ToSupervisor::Release(peers("10.0.0.1"))))));
    assert_eq!(step(&mut life, 0, message(ToSupervisor::StubAccepted { rank: Rank(2) })), vec![]);
    assert!(refused(&step(&mut life, 0, message(ToSupervisor::Release(peers("10.0.0.1"))))));
    let up = step(&mut life, 0, message(ToSupervisor::StubAccepted { rank: Rank(3) }));
    assert_eq!(up, vec![Effect::Send(ToAgent::SupervisorUp)]);
    let released = step(&mut life, 0, message(ToSupervisor::Release(peers("10.0.0.1"))));
    assert_eq!(released, vec![Effect::Release(peers("10.0.0.1")), Effect::Send(ToAgent::Released)]);
}

#[test]
fn a_second_configuration_is_refused() {
    let mut life = launched();
    let effects = step(&mut life, 0, message(ToSupervisor::Configure(configuration())));
    assert!(matches!(effects.as_slice(), [Effect::Send(ToAgent::Refused { .. })]));
}

#[test]
fn the_watchdog_thaws_once_a_silence() {
    let mut life = launched();
    assert_eq!(life.next_deadline(), Some(Duration::from_millis(100)));
    assert_eq!(step(&mut life, 99, Input::Tick), vec![]);
    assert_eq!(step(&mut life, 100, Input::Tick), vec![Effect::Thaw]);
    assert_eq!(step(&mut life, 300, Input::Tick), vec![]);
    step(&mut life, 400, message(ToSupervisor::Ping { number: 1 }));
    assert_eq!(step(&mut life, 500, Input::Tick), vec![Effect::Thaw]);
}

#[test]
fn a_held_gang_is_thawed_by_sigterm_only_without_an_agent() {
    let mut life = launched();
    step(&mut life, 0, message(ToSupervisor::Hold));
    let pass = Effect::Pass(PassedSignal::Terminate);
    assert_eq!(step(&mut life, 1, Input::Signal(PassedSignal::Terminate)), vec![pass.clone()]);
    assert_eq!(step(&mut life, 200, Input::Tick), vec![], "the watchdog leaves a held gang alone");
    assert_eq!(step(&mut life, 201, Input::Signal(PassedSignal::User1)), vec![Effect::Pass(PassedSignal::User1)]);
    assert_eq!(step(&mut life, 202, Input::Signal(PassedSignal::Terminate)), vec![Effect::Thaw, pass]);
}

#[test]
fn an_end_that_nobody_notes_is_waited_with_only_so_long() {
    let mut life = launched();
    for rank in [2, 3] {
        step(&mut life, 0, Input::RankEnded { rank: Rank(rank), end: RankEnd::Exited(u8::from(rank == 3)) });
    }
    step(&mut life, 0, Input::Disconnected);
    assert_eq!(life.exit_code(UNACKNOWLEDGED - Duration::from_millis(1)), None);
    assert_eq!(life.exit_code(UNACKNOWLEDGED), Some(1));
}

#[test]
fn the_first_rank_to_fail_gives_the_exit_code() {
    let mut life = launched();
    step(&mut life, 0, Input::RankEnded { rank: Rank(3), end: RankEnd::Signalled(11) });
    step(&mut life, 0, Input::RankEnded { rank: Rank(2), end: RankEnd::Exited(4) });
    for rank in [Rank(2), Rank(3)] {
        step(&mut life, 0, message(ToSupervisor::RankExitAcknowledged { rank }));
    }
    assert_eq!(life.exit_code(Duration::ZERO), Some(139));
}

#[test]
fn an_owner_that_is_gone_matters_only_without_an_agent() {
    let mut life = launched();
    assert_eq!(step(&mut life, 0, Input::OwnerGone), vec![]);
    assert_eq!(step(&mut life, 0, Input::Disconnected), vec![Effect::Thaw, Effect::Kill]);
}

proptest! {
    #[test]
    fn output_is_cut_into_whole_prefixed_pieces(text in "([a-z]{0,50}\n|[a-z]{3000,9000}\n?){0,6}[a-z]{0,9}", size in 1_usize..5000) {
        let mut cutter = LineCutter::new(Some("g.0"));
        let mut pieces = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            cutter.push(chunk, |piece| pieces.push(piece));
        }
        pieces.extend(cutter.finish());
        let mut rebuilt: Vec<String> = Vec::new();
        for piece in &pieces {
            prop_assert!(piece.len() <= PIECE_BYTES);
            let piece = std::str::from_utf8(piece).unwrap().strip_suffix('\n').unwrap();
            match (piece.strip_prefix("[g.0] "), piece.strip_prefix("[g.0+] ")) {
                (Some(line), _) => rebuilt.push(line.to_owned()),
                (None, Some(more)) => rebuilt.last_mut().unwrap().push_str(more),
                (None, None) => prop_assert!(false, "a piece without a prefix: {piece}"),
            }
        }
        prop_assert_eq!(rebuilt, text.lines().map(str::to_owned).collect::<Vec<_>>());
    }
}

#[test]
fn lines_are_named_by_as_much_as_tells_them_apart() {
    let gang = || GangName("g".to_owned());
    let (pod, run) = (Naming::new(gang(), Path::new("-")), Naming::new(gang(), Path::new("/run/output")));
    assert_eq!([pod.of(Rank(3), 1), pod.of(Rank(3), 2)], [None, Some("3".to_owned())]);
    assert_eq!([run.of(Rank(3), 1), run.of(Rank(3), 2)], [Some("g.3".to_owned()), Some("g.3".to_owned())]);
}

#[test]
fn a_rank_that_writes_alone_is_read_as_it_has_written() {
    let text = format!("one\n\n{}\nlast", "x".repeat(3 * PIECE_BYTES));
    let mut cutter = LineCutter::new(None);
    let mut read = Vec::new();
    cutter.push(text.as_bytes(), |piece| read.extend(piece));
    read.extend(cutter.finish().unwrap());
    assert_eq!(String::from_utf8(read).unwrap(), text + "\n");
}

/// A supervisor with an agent, a watchdog of 100 ms and two stubs, ranks 2 and 3.
fn launched() -> Life {
    let mut life = Life::new(GangName("g".to_owned()), Incarnation(1), 10);
    step(&mut life, 0, Input::Connected);
    let effects = step(&mut life, 0, message(ToSupervisor::Configure(configuration())));
    assert_eq!(effects, vec![Effect::StartStubs(configuration())]);
    for rank in [2, 3] {
        let effects = step(&mut life, 0, Input::StubStarted { rank: Rank(rank), pid: 20 + rank });
        assert!(matches!(effects.as_slice(), [Effect::SendStub(_)]));
    }
    life
}

fn step(life: &mut Life, milliseconds: u64, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    life.step(Duration::from_millis(milliseconds), input, &mut effects);
    effects
}

fn message(message: ToSupervisor) -> Input {
    Input::Message(message)
}

fn configuration() -> Configure {
    Configure {
        first_rank: Rank(2),
        rank_count: 2,
        world_size: 4,
        nodes: 2,
        node_index: 1,
        ranks_per_node: 2,
        cpus: Vec::new(),
        protocol: LaunchProtocol::Pmi1,
        key_space: KeySpace("space".to_owned()),
        freezer: Freezer::Cgroup,
        watchdog_milliseconds: 100,
    }
}

fn peers(own: &str) -> PeerTable {
    let first: IpAddr = "192.168.3.3".parse().unwrap();
    PeerTable { addresses: vec![first, own.parse().unwrap()], master_address: first, master_port: 29500 }
}

fn environment(own: &str, is_set: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let input = EnvironmentInput {
        configure: &configuration(),
        peers: &peers(own),
        network: &Tables { routes: ROUTES.to_owned(), addresses_v6: String::new() },
        rank: Rank(3),
        pmi_descriptor: Some(9),
    };
    rank_environment(input, is_set).set
}
