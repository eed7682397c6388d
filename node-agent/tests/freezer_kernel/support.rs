//! Guards: whatever a test makes is gone when it ends, also when it fails.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use strobe_core::model::{GangSlot, GangSlots};
use strobe_node_agent::cgroup::{CgroupError, CgroupName, CgroupPath, CgroupTree, RankCgroup};

/// Longest wait for something that the kernel does soon, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A cgroup of the test's own, under which it makes its rank cgroups; emptied and removed when dropped.
pub(crate) struct Scratch {
    pub(crate) tree: CgroupTree,
    pub(crate) parent: CgroupPath,
}

/// A process (leading a process group of its own) that is killed and reaped when dropped.
pub(crate) struct Process(Child);

/// The helper program `stubborn.c`, which has a child that resists the freezer; both have ended when it is dropped.
pub(crate) struct Stubborn {
    helper: Child,
    child: Pid,
}

/// Says it where libtest does not hide it. Where nothing may be left out (`cargo xtask ci`) the test fails.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("STROBE_NO_SKIP").is_none(), "nothing may be skipped here: {why}");
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
}

impl Scratch {
    /// `None`, with a word why, where this user may not make cgroups.
    pub(crate) fn new(label: &str) -> Option<Self> {
        match Self::try_new(label) {
            Ok(scratch) => Some(scratch),
            Err(error) if error.means_no_cgroups() && !geteuid().is_root() => {
                skipped(&error.to_string());
                None
            }
            Err(error) => panic!("{error}: {error:?}"),
        }
    }

    fn try_new(label: &str) -> Result<Self, CgroupError> {
        let tree = CgroupTree::find()?;
        // Below the cgroup that a recipe has made for its tests, or below the root.
        let above = std::env::var("STROBE_CGROUP").unwrap_or_default();
        let parent = CgroupPath::parse(&format!("{above}/strobe-test-{}-{label}", std::process::id()))?;
        tree.create(&parent)?;
        Ok(Self { tree, parent })
    }

    pub(crate) fn rank_cgroup(&self, label: &str) -> RankCgroup {
        RankCgroup::create(&self.tree, &self.parent, &CgroupName::new(label).unwrap()).unwrap()
    }

    /// A rank cgroup with one busy process in it.
    pub(crate) fn busy_gang(&self, label: &str) -> (RankCgroup, Process) {
        let cgroup = self.rank_cgroup(label);
        let process = Process::busy();
        cgroup.admit_child(process.pid(), &CgroupPath::root()).unwrap();
        (cgroup, process)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let leftovers = self.tree.leftovers(&self.parent).unwrap_or_default();
        for leftover in leftovers {
            if let Err(error) = leftover.remove(PATIENCE) {
                eprintln!("left behind: {error}");
            }
        }
        if let Err(error) = self.tree.remove_unused(&self.parent, &CgroupPath::root()) {
            eprintln!("left behind: {error}");
        }
    }
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.process_group(0).spawn().unwrap())
    }

    /// A shell that never sleeps.
    pub(crate) fn busy() -> Self {
        Self::shell("while :; do :; done")
    }

    pub(crate) fn shell(script: &str) -> Self {
        Self::start(Command::new("sh").args(["-c", script]))
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group may be gone already; a reaped leader leaves nothing to kill.
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            let _already_gone = kill_process_group(self.pid(), Signal::KILL);
        }
        let _already_reaped = self.0.wait();
    }
}

impl Stubborn {
    /// Compiles the program into `folder` and starts it; its child is in the state that `kind` names.
    pub(crate) fn start(folder: &Path, kind: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freezer_kernel/stubborn.c");
        let program = folder.join("stubborn");
        let compiled = Command::new("cc").args(["-O1", "-Wall", "-o"]).arg(&program).arg(source).status();
        assert!(compiled.expect("the tests need a C compiler").success());
        let mut helper = Command::new(program).arg(kind).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(helper.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let number = line.trim().strip_prefix("ready ").expect("the helper tells when it is ready").parse().unwrap();
        Self { helper, child: Pid::from_raw(number).unwrap() }
    }

    /// The process that resists.
    pub(crate) const fn pid(&self) -> Pid {
        self.child
    }

    /// Serves the page that the process waits for.
    pub(crate) fn serve(&mut self) {
        self.helper.stdin.as_mut().unwrap().write_all(b"g").unwrap();
    }
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        drop(self.helper.stdin.take());
        let _already_reaped = self.helper.wait();
    }
}

/// Waits until the kernel has done what it does soon.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn slots(numbers: &[u8]) -> GangSlots {
    numbers.iter().map(|&number| GangSlot(number)).collect()
}
