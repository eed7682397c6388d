//! A fuzzer of the two parsers that face untrusted or foreign bytes, on stable Rust (ADR 0003).
//!
//! Every run replays the corpus in `pmi_fuzz/corpus/` and then as many mutations of it as
//! `STROBE_FUZZ_ROUNDS` says (default 2000), from the seed `STROBE_FUZZ_SEED` (default 1). An input that
//! breaks an invariant is written to the corpus before the test fails: commit it with its fix.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use proptest::prelude::Rng;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use strobe_node_agent::{
    pmi::{GroupEntered, LocalRank, PmiEffect, PmiServer, PmiSettings, block, limits},
    supervisor_protocol::{GroupMembers, ToAgent, ToSupervisor, codec},
};

const ROUNDS: u64 = 2000;
/// Fragments that random bytes would hardly find.
const WORDS: [&str; 29] = [
    "cmd=",
    "mcmd=",
    "init",
    " pmi_version=1",
    " pmi_subversion=1",
    "put",
    "get",
    " kvsname=space",
    " key=",
    " value=",
    "barrier_in",
    " group=",
    "WORLD",
    "NODE",
    "0,1,2",
    ":7",
    "finalize",
    "abort",
    " exitcode=",
    " message=a b",
    "spawn",
    "endcmd",
    "\n",
    "\n\n",
    "=",
    " ",
    "initack",
    " pmiid=",
    "\0",
];

#[test]
fn corpus_and_mutations_break_no_invariant() {
    let corpus = corpus();
    assert!(!corpus.is_empty(), "the corpus is gone");
    let mut random = random();
    for (path, bytes) in &corpus {
        assert!(holds(bytes), "{path:?} breaks an invariant");
    }
    for _ in 0..setting("STROBE_FUZZ_ROUNDS", ROUNDS) {
        let mut bytes = corpus[pick(&mut random, corpus.len())].1.clone();
        for _ in 0..=pick(&mut random, 8) {
            mutate(&mut bytes, &corpus, &mut random);
        }
        if !holds(&bytes) {
            let path = directory().join(format!("found-{:016x}", random.next_u64()));
            std::fs::write(&path, &bytes).unwrap();
            panic!("a mutation breaks an invariant; written to {path:?}");
        }
    }
}

fn holds(bytes: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| {
        check_server(bytes);
        check_messages(bytes);
    }))
    .is_ok()
}

/// The first byte says how the rest is cut and which of two ranks says each piece.
fn check_server(bytes: &[u8]) {
    let Some((&control, rest)) = bytes.split_first() else { return };
    let mut server = PmiServer::new(PmiSettings {
        key_space: "space".to_owned(),
        first_rank: 0,
        rank_count: 2,
        world_size: 4,
        nodes: 2,
        ranks_per_node: 2,
    });
    let mut effects = Vec::new();
    for (index, piece) in rest.chunks(usize::from(control >> 1) + 1).enumerate() {
        let speaker = LocalRank(u32::from(control & 1) * u32::try_from(index % 2).unwrap());
        server.receive(speaker, piece, &mut effects);
        for effect in effects.drain(..) {
            check_effect(&effect);
        }
        if let Some((number, block)) = server.waiting_barrier().map(|(number, block)| (number, block.to_vec())) {
            server.barrier_complete(number, &block, &mut effects).unwrap();
            assert!(server.waiting_barrier().is_none());
        }
        let groups: Vec<GroupEntered> = server.waiting_groups().collect();
        assert!(groups.len() <= limits::GROUPS);
        for entered in groups {
            server.group_complete(entered.ticket, &entered.block, &mut effects).unwrap();
        }
        assert_eq!(server.waiting_groups().count(), 0);
    }
}

fn check_effect(effect: &PmiEffect) {
    match effect {
        PmiEffect::Reply { bytes, .. } => {
            assert!(bytes.starts_with(b"cmd=") && bytes.ends_with(b"\n") && bytes.is_ascii());
            assert!(bytes.len() < limits::LINE_BYTES);
        }
        PmiEffect::BarrierEntered { block, .. } => {
            assert!(block.len() <= limits::BLOCK_BYTES);
            block::pairs(block).unwrap();
        }
        PmiEffect::GroupEntered(GroupEntered { group, block, .. }) => {
            assert!(block.len() <= limits::GROUP_BLOCK_BYTES);
            block::pairs(block).unwrap();
            if let GroupMembers::Ranks(ranks) = &group.members {
                assert!(ranks.is_sorted_by(|one, other| one < other) && ranks.iter().all(|rank| *rank < 4));
            }
        }
        PmiEffect::BarrierFailed { .. } => {}
        PmiEffect::Aborted { explanation, .. } => assert!(explanation.len() <= limits::EXPLANATION_BYTES),
    }
}

fn check_messages(bytes: &[u8]) {
    if let Ok(message) = codec::decode::<ToAgent>(bytes) {
        assert_eq!(codec::decode::<ToAgent>(&codec::encode(&message).unwrap()).unwrap(), message);
    }
    if let Ok(message) = codec::decode::<ToSupervisor>(bytes) {
        assert_eq!(codec::decode::<ToSupervisor>(&codec::encode(&message).unwrap()).unwrap(), message);
    }
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[(PathBuf, Vec<u8>)], random: &mut TestRng) {
    let at = pick(random, bytes.len() + 1);
    match pick(random, 6) {
        0 if at < bytes.len() => bytes[at] = random.next_u32().to_le_bytes()[0],
        1 => bytes.truncate(at),
        2 => drop(bytes.splice(at..at, WORDS[pick(random, WORDS.len())].bytes())),
        3 => {
            let other = &corpus[pick(random, corpus.len())].1;
            let from = pick(random, other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        4 if at < bytes.len() => bytes[at] ^= 1 << pick(random, 8),
        _ => {
            let run = vec![b'a'; pick(random, 2 * limits::VALUE_BYTES)];
            bytes.splice(at..at, run);
        }
    }
}

fn pick(random: &mut TestRng, below: usize) -> usize {
    usize::try_from(random.next_u64() % u64::try_from(below.max(1)).unwrap()).unwrap()
}

fn random() -> TestRng {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&setting("STROBE_FUZZ_SEED", 1).to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    TestRunner::new_with_rng(Config::default(), random).new_rng()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pmi_fuzz/corpus")
}
