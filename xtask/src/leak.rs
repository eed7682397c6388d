//! What a stage leaves behind: processes that it started, and Strobe's cgroups. A frozen cgroup left by a killed test would block the
//! next one; so it is found, removed, and reported as a failure.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal, set_child_subreaper};

use crate::cgroup::Mount;
use crate::limits::SETTLE;

/// Strobe's own programs, by the names that the kernel shows.
const PROGRAMS: [&str; 3] = ["kubectl-strobe", "strobe-agent", "strobe-init"];
/// Part of the name of every cgroup that Strobe makes.
const CGROUP_MARK: &str = "strobe";
/// Folders below the root of cgroup v2 that are looked at: a container's cgroup lies at most this deep.
const CGROUP_DEPTH: usize = 8;

/// Looks after the orphans of this process's stages.
pub(crate) struct Guard {
    /// There before the first stage: not ours.
    before: BTreeSet<PathBuf>,
}

/// One process, as `/proc/PID/stat` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    parent: i32,
    name: String,
    /// When it started, in clock ticks since boot: numbers are used again, the pair is not.
    pub(crate) started: u64,
}

// === impl Guard ===

impl Guard {
    /// From now on orphans of our children become our own children, however they detach themselves, and can be told from everybody
    /// else's processes.
    ///
    /// # Errors
    /// The kernel refuses to make this process a reaper.
    pub(crate) fn start() -> Result<Self> {
        set_child_subreaper(Some(getpid())).context("become the reaper of orphans")?;
        Ok(Self { before: cgroups() })
    }

    /// Ends and removes what is left of a stage; one line for each thing found.
    ///
    /// # Caveats
    /// An empty cgroup does not tell who made it. While somebody else runs Strobe on the machine cgroups are therefore not judged.
    pub(crate) fn collect(&mut self) -> Vec<String> {
        let mut found = self.end_processes();
        let new: Vec<PathBuf> = cgroups().difference(&self.before).cloned().collect();
        if !new.is_empty() && somebody_else_runs_strobe() {
            println!("somebody else runs Strobe on this machine: {} new cgroups are not judged", new.len());
            return found;
        }
        // The deepest first: a cgroup with children cannot be removed.
        found.extend(new.iter().rev().map(|cgroup| remove(cgroup)));
        found
    }

    /// The processes of [`Guard::collect`] alone.
    pub(crate) fn end_processes(&self) -> Vec<String> {
        let left = settled(getpid(), SETTLE);
        left.iter().for_each(kill);
        settled(getpid(), SETTLE);
        left.iter().map(|process| format!("process {} ({})", process.pid, process.name)).collect()
    }
}

// === impl Process ===

impl Process {
    /// The live process with that number.
    pub(crate) fn find(pid: i32) -> Option<Self> {
        parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// A descriptor of this process and no later one of its number; none when it has ended.
    pub(crate) fn hold(&self) -> Option<OwnedFd> {
        let descriptor = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Looked at again once the descriptor holds it.
        Self::find(self.pid).is_some_and(|process| process.started == self.started).then_some(descriptor)
    }
}

/// Waits until `ancestor` has no live descendants, at most `limit`; gives those that are left.
fn settled(ancestor: Pid, limit: Duration) -> Vec<Process> {
    let deadline = Instant::now() + limit;
    loop {
        let left = descendants(&processes(), ancestor.as_raw_nonzero().get());
        let Some(first) = left.first() else { return left };
        if Instant::now() >= deadline {
            return left;
        }
        wait_for_end(first, deadline);
    }
}

/// Waits until the process has ended or the deadline has passed; a process that is gone already has ended.
fn wait_for_end(process: &Process, deadline: Instant) {
    let Some(descriptor) = process.hold() else { return };
    let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap_or_default();
    // Interrupted or ended: the caller looks again in both cases.
    let _ready = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&left));
}

fn kill(process: &Process) {
    if let Some(descriptor) = process.hold() {
        // One that ended meanwhile is what we want.
        let _gone = pidfd_send_signal(&descriptor, Signal::KILL);
    }
}

/// Every live process; zombies are none.
fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().parse::<i32>().is_ok());
    numbers.filter_map(|entry| parse_stat(&fs::read_to_string(entry.path().join("stat")).ok()?)).collect()
}

/// Reads `PID (NAME) STATE PPID …` of proc(5); the name may hold spaces and brackets. Nothing for a zombie.
fn parse_stat(text: &str) -> Option<Process> {
    let (pid, rest) = text.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // Field 22 of the line; the one after the parent's is field 5.
    let started = fields.nth(17)?.parse().ok()?;
    let live = !matches!(state, "Z" | "X");
    live.then_some(Process { pid: pid.parse().ok()?, parent, name: name.to_owned(), started })
}

fn descendants(all: &[Process], ancestor: i32) -> Vec<Process> {
    let mut family = BTreeSet::from([ancestor]);
    let mut found = Vec::new();
    loop {
        let children: Vec<&Process> = all.iter().filter(|one| family.contains(&one.parent) && !family.contains(&one.pid)).collect();
        if children.is_empty() {
            return found;
        }
        family.extend(children.iter().map(|child| child.pid));
        found.extend(children.into_iter().cloned());
    }
}

/// All our own descendants have been ended when this is asked.
fn somebody_else_runs_strobe() -> bool {
    processes().iter().any(|process| PROGRAMS.contains(&process.name.as_str()))
}

/// Strobe's cgroups, parents before children.
fn cgroups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    if let Some(mount) = Mount::find() {
        collect_marked(&mount.disk, CGROUP_DEPTH, &mut found);
    }
    found
}

/// Adds every folder below `folder` whose own name, or that of a folder above it, bears the mark.
fn collect_marked(folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(CGROUP_MARK) || found.contains(folder) {
            found.insert(path.clone());
        }
        if depth > 1 {
            collect_marked(&path, depth - 1, found);
        }
    }
}

/// Removes an empty cgroup; says what it was.
fn remove(cgroup: &Path) -> String {
    let frozen = fs::read_to_string(cgroup.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1");
    let state = if frozen { "frozen " } else { "" };
    match fs::remove_dir(cgroup) {
        Ok(()) => format!("{state}cgroup {} (removed)", cgroup.display()),
        Err(error) => format!("{state}cgroup {} (NOT removed: {error})", cgroup.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, name: format!("p{pid}"), started: 0 }
    }

    #[test]
    fn a_name_may_look_like_the_rest_of_the_line() {
        let expected = Process { pid: 7, parent: 3, name: "a) Z 1 (b".to_owned(), started: 777 };
        let text = "7 (a) Z 1 (b) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        assert_eq!(parse_stat(text), Some(expected));
    }

    #[test]
    fn a_zombie_is_no_process() {
        assert_eq!(parse_stat("7 (agent) Z 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1"), None);
    }

    #[test]
    fn descendants_are_found_at_every_depth_and_nobody_else() {
        let all = [process(5, 4), process(4, 1), process(9, 8), process(6, 5), process(1, 0)];
        let pids: Vec<i32> = descendants(&all, 4).iter().map(|one| one.pid).collect();
        assert_eq!(pids, [5, 6]);
    }

    #[test]
    fn a_live_descendant_is_found_and_gone_after_the_kill() {
        let mut shell = Command::new("sh").args(["-c", "sleep 600 & echo; wait"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ancestor = Pid::from_child(&shell);
        let left = settled(ancestor, Duration::from_millis(10));
        assert_eq!(left.len(), 1);
        left.iter().for_each(kill);
        assert_eq!(settled(ancestor, Duration::from_secs(30)), []);
        shell.wait().unwrap();
    }

    #[test]
    fn marked_folders_are_found_with_all_that_is_in_them() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("pod/strobe-run/gang")).unwrap();
        fs::create_dir_all(root.path().join("other/gang")).unwrap();
        let mut found = BTreeSet::new();
        collect_marked(root.path(), CGROUP_DEPTH, &mut found);
        let expected = ["pod/strobe-run", "pod/strobe-run/gang"].map(|path| root.path().join(path));
        assert_eq!(found, BTreeSet::from(expected));
    }

    #[test]
    fn an_empty_cgroup_is_removed_and_one_that_stays_is_said() {
        let root = tempfile::tempdir().unwrap();
        let (empty, full) = (root.path().join("strobe-a"), root.path().join("strobe-b"));
        fs::create_dir(&empty).unwrap();
        fs::create_dir(&full).unwrap();
        fs::write(full.join("cgroup.freeze"), "1\n").unwrap();
        assert!(remove(&empty).ends_with("strobe-a (removed)"));
        assert!(!empty.exists());
        let said = remove(&full);
        assert!(said.starts_with("frozen cgroup ") && said.contains("NOT removed"), "{said}");
    }
}
