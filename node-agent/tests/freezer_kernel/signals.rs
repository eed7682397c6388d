//! The freezer of users without cgroups: stop signals to process groups.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_res_uid;
use strobe_core::model::GangSlot;
use strobe_node_agent::executor::limits::STRAGGLER_BOUND_MAX;
use strobe_node_agent::executor::{Executor, SwitchOrder};
use strobe_node_agent::freezer::{Freezer, FreezerKind, SignalFreezer};

use crate::support::{Process, Stubborn, eventually, skipped, slots};

fn order(freeze: &[u8], thaw: &[u8]) -> SwitchOrder {
    SwitchOrder { freeze: slots(freeze), thaw: slots(thaw), straggler_bound: STRAGGLER_BOUND_MAX }
}

fn freezer(ranks: &[&Process]) -> Freezer {
    let pids: Vec<_> = ranks.iter().map(|rank| rank.pid()).collect();
    Freezer::Signal(SignalFreezer::open(&pids).unwrap())
}

fn state_letter(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn gangs_take_turns_by_signals() {
    let (first, second, other) = (Process::busy(), Process::busy(), Process::busy());
    let mut executor = Executor::new();
    let pair = freezer(&[&first, &second]);
    assert_eq!(pair.kind().label(), FreezerKind::Signal.label());
    executor.register(GangSlot(0), pair);
    executor.register(GangSlot(1), freezer(&[&other]));
    for turn in 0..6_u8 {
        let (last, next) = (turn % 2, (turn + 1) % 2);
        let outcome = executor.switch(&order(&[last], &[next]));
        assert_eq!((outcome.commanded_frozen, outcome.commanded_thawed), (slots(&[last]), slots(&[next])));
        eventually("stragglers stop", || {
            executor.check_stragglers();
            executor.straggling().is_empty()
        });
        eventually("exactly the other gang runs", || executor.running(slots(&[0, 1])) == slots(&[next]));
    }
}

#[test]
fn a_child_of_a_rank_stops_with_it() {
    let script = "while :; do :; done & echo $!; wait";
    let mut rank = Process::start(Command::new("sh").args(["-c", script]).stdout(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(rank.child().stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let child = line.trim();
    let freezer = freezer(&[&rank]);
    freezer.freeze().unwrap();
    eventually("the child is stopped", || state_letter(child) == Some('T'));
    freezer.thaw().unwrap();
    eventually("the child goes on", || state_letter(child) == Some('R'));
}

#[test]
fn a_rank_blocked_in_the_kernel_straggles_by_signals_too() {
    if !geteuid().is_root() {
        return skipped("only root may leave the kernel's own page faults unserved");
    }
    let folder = tempfile::tempdir().unwrap();
    let blocked = Stubborn::start(folder.path(), "fault");
    let mut executor = Executor::new();
    executor.register(GangSlot(0), Freezer::Signal(SignalFreezer::open(&[blocked.pid()]).unwrap()));
    assert_eq!(executor.switch(&order(&[0], &[])).stragglers, slots(&[0]));
    assert_eq!(executor.running(slots(&[0])), slots(&[0]));
    assert!(executor.observed_thawed(slots(&[0])).is_empty(), "a straggler is commanded frozen all the same");
}

#[test]
fn a_gang_that_has_ended_is_gone_and_its_number_is_left_alone() {
    let mut rank = Process::busy();
    let mut executor = Executor::new();
    executor.register(GangSlot(0), freezer(&[&rank]));
    rank.child().kill().unwrap();
    rank.child().wait().unwrap();
    let outcome = executor.switch(&order(&[0], &[]));
    assert_eq!(outcome.gone, slots(&[0]));
    assert!(outcome.failed.is_empty() && outcome.commanded_frozen.is_empty());
}

#[test]
fn when_a_freeze_is_refused_the_thaw_waits_for_the_next_order() {
    if !geteuid().is_root() {
        return skipped("only root can give up its rights over a process");
    }
    let (forbidden, other) = (Process::busy(), Process::busy());
    let mut executor = Executor::new();
    executor.register(GangSlot(0), freezer(&[&forbidden]));
    executor.register(GangSlot(1), freezer(&[&other]));
    executor.switch(&order(&[1], &[]));
    eventually("the other gang has stopped", || executor.running(slots(&[1])).is_empty());
    let unprivileged = thread::spawn(move || {
        let nobody = Uid::from_raw(65534);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let outcome = executor.switch(&order(&[0], &[1]));
        (outcome, executor)
    });
    let (outcome, mut executor) = unprivileged.join().unwrap();
    assert_eq!((outcome.failed, outcome.withheld), (slots(&[0]), slots(&[1])));
    assert!(outcome.commanded_thawed.is_empty() && outcome.commanded_frozen.is_empty());
    assert_eq!(outcome.first_error, Some(Errno::PERM));
    assert_eq!(executor.counters().failures, 1);
    assert_eq!(executor.observed_thawed(slots(&[0, 1])), slots(&[0]));

    let repeated = executor.switch(&order(&[0], &[]));
    assert_eq!((repeated.commanded_frozen, repeated.commanded_thawed), (slots(&[0]), slots(&[1])));
    assert!(repeated.withheld.is_empty());
    assert!(executor.switch(&order(&[], &[])).commanded_thawed.is_empty(), "a thaw is owed once");
}
