//! Killing a gang's ranks and waiting until none is left. It blocks, and so runs beside the agent's loop.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal},
};
use strobe_core::model::GangRun;

use super::limits::KILL_TIME_MAX;
use crate::back_off::BackOff;
use crate::cgroup::{CgroupError, RankCgroup, is_gone, process_of};
use crate::process_tree;

/// A rank that is stopped and killed by signals: it leads a process group.
#[derive(Debug)]
pub(super) struct RankProcess {
    /// Its number, which is its group's too.
    pub pid: Pid,
    /// Means this process and no later one of the same number.
    pub descriptor: OwnedFd,
}

/// A process as `/proc/PID/stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: u8,
    group: i32,
}

/// Kills until the cgroup is empty or gone, removes it, and returns the ranks' CPU time in seconds. Whatever the kernel
/// refuses is tried again until `given_up`: a gang counts as gone only when it is.
pub(super) fn kill_and_remove(run: GangRun, cgroup: RankCgroup, given_up: impl Fn() -> bool) -> f64 {
    let cpu_seconds = || cgroup.cpu_time().map(|time| time.as_secs_f64());
    let before = cpu_seconds().unwrap_or(0.0);
    let empty = || cgroup.kill().and_then(|()| cgroup.wait_unpopulated(KILL_TIME_MAX));
    until_gone(run, empty, std::thread::sleep, given_up);
    let used = cpu_seconds().unwrap_or(before);
    if let Err(error) = cgroup.remove(KILL_TIME_MAX) {
        tracing::warn!(%run, error = &error as &dyn std::error::Error, "an empty rank cgroup is left behind");
    }
    used
}

/// Tries to empty a cgroup until it is empty, which is the answer true, or is no longer there.
fn until_gone(
    run: GangRun,
    mut empty: impl FnMut() -> Result<bool, CgroupError>,
    mut pause: impl FnMut(Duration),
    given_up: impl Fn() -> bool,
) {
    let mut back_off = BackOff::new();
    while !given_up() {
        match empty() {
            Ok(true) => return,
            Ok(false) => tracing::warn!(%run, "killed ranks do not end; still waiting"),
            Err(error) if is_gone(&error) => return,
            Err(error) => {
                tracing::warn!(%run, error = &error as &dyn std::error::Error, "the rank cgroup cannot be emptied; trying again");
                pause(back_off.wait());
            }
        }
    }
}

/// Kills the process groups of the ranks and waits until no process of them runs any more; stops waiting when `given_up`.
///
/// *Caveats*: what left its rank's group is not seen here; the supervisor, to whom orphans come, kills it.
pub(super) fn kill_groups(run: GangRun, ranks: &[RankProcess], given_up: impl Fn() -> bool) {
    while !given_up() {
        let ours: Vec<&RankProcess> = ranks.iter().filter(|rank| rank.group_is_ours()).collect();
        ours.iter().for_each(|rank| rank.kill());
        let left = living_members(&ours);
        if left.is_empty() {
            return;
        }
        if !wait_for_end(&left, KILL_TIME_MAX) {
            tracing::warn!(%run, count = left.len(), "killed ranks do not end; still waiting");
        }
    }
}

/// The children of a supervisor: its ranks, and orphans of theirs that came to it. None on a kernel that does not list them.
pub(super) fn children_of(supervisor: Pid) -> Vec<RankProcess> {
    let held = |pid: Pid| Some(RankProcess { pid, descriptor: pidfd_open(pid, PidfdFlags::empty()).ok()? });
    process_tree::children_of(supervisor).into_iter().filter_map(held).collect()
}

/// What `look` sees of the ranks that were not reaped. It is asked again when one was meanwhile: its number may have been
/// another's already.
pub(super) fn while_there<T>(ranks: &[RankProcess], mut look: impl FnMut(&[Pid]) -> T) -> T {
    let mut there: Vec<&RankProcess> = ranks.iter().filter(|rank| rank.is_there()).collect();
    // One that is known twice, as a stub and as its supervisor's child, is one.
    there.sort_by_key(|rank| rank.pid.as_raw_pid());
    there.dedup_by_key(|rank| rank.pid.as_raw_pid());
    loop {
        let before = there.len();
        let seen = look(&there.iter().map(|rank| rank.pid).collect::<Vec<_>>());
        there.retain(|rank| rank.is_there());
        if there.len() == before {
            return seen;
        }
    }
}

/// Processes that execute, or may again, in one of the groups. Zombies do not: whoever reaps them may take long.
fn living_members(ranks: &[&RankProcess]) -> Vec<OwnedFd> {
    let is_member = |pid: Pid| {
        let seen = fs::read(format!("/proc/{}/stat", pid.as_raw_pid())).ok().as_deref().and_then(Seen::parse);
        seen.is_some_and(|seen| seen.lives() && ranks.iter().any(|rank| rank.pid == pid || rank.pid.as_raw_pid() == seen.group))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    // Looked at again once the descriptor holds it: the number may have become another's.
    let held = |pid: Pid| pidfd_open(pid, PidfdFlags::empty()).ok().filter(|_| is_member(pid));
    numbers.filter(|pid| is_member(*pid)).filter_map(held).collect()
}

/// Waits until every process has ended; false when one has not within that time.
fn wait_for_end(processes: &[OwnedFd], within: Duration) -> bool {
    let time_out = Timespec::try_from(within).unwrap_or_default();
    processes.iter().all(|process| poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&time_out)).is_ok_and(|ready| ready > 0))
}

// === impl RankProcess ===

impl RankProcess {
    /// False once the number of a rank that was reaped belongs to another process: then its group was empty before, since
    /// the kernel gives no number anew that a group still has.
    fn group_is_ours(&self) -> bool {
        self.is_there() || pidfd_open(self.pid, PidfdFlags::empty()).is_err()
    }

    /// False once it was reaped: until then its number is its own.
    fn is_there(&self) -> bool {
        !matches!(process_of(self.descriptor.as_fd()), Err(CgroupError::ProcessGone))
    }

    /// Kills it and its group. An error means that there is nobody left to kill.
    fn kill(&self) {
        let _ended = pidfd_send_signal(&self.descriptor, Signal::KILL);
        let _no_such_group = kill_process_group(self.pid, Signal::KILL);
    }
}

// === impl Seen ===

impl Seen {
    /// The state and the process group behind the bracketed name (proc(5)).
    fn parse(stat: &[u8]) -> Option<Self> {
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let mut fields = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        Some(Self { state, group: fields.nth(1)?.parse().ok()? })
    }

    const fn lives(self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        io::{BufRead, BufReader},
        os::unix::process::CommandExt,
        path::PathBuf,
        process::{Command, Stdio},
    };

    use rustix::io::Errno;
    use strobe_core::model::{GangId, GangIncarnation};

    use super::*;
    use crate::cgroup::Operation;

    const RUN: GangRun = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };

    fn refused(source: Errno) -> CgroupError {
        CgroupError::Refused { operation: Operation::Kill, path: PathBuf::from("/"), source }
    }

    /// The pauses until the gang counts as gone, when the kernel answers so.
    fn pauses(answers: Vec<Result<bool, CgroupError>>) -> Vec<Duration> {
        let mut answers = answers.into_iter();
        let waited = RefCell::new(Vec::new());
        until_gone(RUN, || answers.next().expect("it is asked no more"), |pause| waited.borrow_mut().push(pause), || false);
        assert!(answers.next().is_none(), "it counted as gone too early");
        waited.into_inner()
    }

    #[test]
    fn a_refused_kill_is_tried_again_with_growing_pauses_until_the_cgroup_is_empty() {
        let no_right = CgroupError::NotPermitted { operation: Operation::Kill, path: PathBuf::from("/"), source: Errno::ACCESS };
        let waited = pauses(vec![Err(refused(Errno::MFILE)), Err(no_right), Ok(false), Err(refused(Errno::IO)), Ok(true)]);
        let mut back_off = BackOff::new();
        assert_eq!(waited, [back_off.wait(), back_off.wait(), back_off.wait()]);
    }

    #[test]
    fn a_cgroup_that_is_no_longer_there_is_empty() {
        for gone in [Errno::NOENT, Errno::NODEV] {
            assert_eq!(pauses(vec![Err(refused(gone))]).len(), 0);
        }
    }

    #[test]
    fn the_children_of_a_dead_rank_are_killed_and_waited_for() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 1000 > /dev/null & echo $!"]).process_group(0).stdout(Stdio::piped());
        let mut rank = command.spawn().unwrap();
        let pid = Pid::from_child(&rank);
        let ranks = [RankProcess { pid, descriptor: pidfd_open(pid, PidfdFlags::empty()).unwrap() }];
        let mut line = String::new();
        BufReader::new(rank.stdout.take().unwrap()).read_line(&mut line).unwrap();
        rank.wait().unwrap();
        let child = PathBuf::from(format!("/proc/{}/stat", line.trim()));
        let lives = || fs::read(&child).ok().as_deref().and_then(Seen::parse).is_some_and(Seen::lives);
        assert!(lives());
        kill_groups(RUN, &ranks, || false);
        assert!(!lives());
    }

    #[test]
    fn a_stopped_rank_is_gone_when_the_killing_is_over() {
        let mut rank = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let pid = Pid::from_child(&rank);
        rustix::process::kill_process(pid, Signal::STOP).unwrap();
        kill_groups(RUN, &[RankProcess { pid, descriptor: pidfd_open(pid, PidfdFlags::empty()).unwrap() }], || false);
        assert!(rank.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_rank_that_is_reaped_while_it_is_looked_at_was_not_seen() {
        let ranks = [(); 2].map(|()| Command::new("cat").stdin(Stdio::piped()).spawn().unwrap());
        let known = |child: &std::process::Child| {
            let pid = Pid::from_child(child);
            RankProcess { pid, descriptor: pidfd_open(pid, PidfdFlags::empty()).unwrap() }
        };
        let [staying, leaving] = ranks.each_ref().map(known);
        let [mut stays, leaves] = ranks;
        let mut leaves = Some(leaves);
        let seen = while_there(&[known(&stays), leaving, staying], |pids| {
            if let Some(mut rank) = leaves.take() {
                drop(rank.stdin.take());
                rank.wait().unwrap();
            }
            pids.to_vec()
        });
        assert_eq!(seen, [Pid::from_child(&stays)]);
        drop(stays.stdin.take());
        stays.wait().unwrap();
    }

    #[test]
    fn the_state_and_the_group_follow_the_last_bracket() {
        assert_eq!(Seen::parse(b"12 (a) T) S 1 7 8"), Some(Seen { state: b'S', group: 7 }));
        assert_eq!(Seen::parse(b"12 (a"), None);
        assert!(!Seen { state: b'Z', group: 7 }.lives());
    }
}
