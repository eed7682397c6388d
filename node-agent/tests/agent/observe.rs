//! What the tests look at with their own eyes: rank cgroups and processes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::Pid;
use strobe_node_agent::cgroup::CgroupTree;

/// Long enough for a machine that compiles beside it; a test that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks at what the kernel announces to nobody.
pub(crate) const LOOK: Duration = Duration::from_millis(2);

/// A gang's ranks on one node, as their cgroup shows them.
#[derive(Debug, Clone)]
pub(crate) struct Ranks {
    directory: PathBuf,
}

impl Ranks {
    /// The ranks in a cgroup, by its path from the root of the v2 tree.
    pub(crate) fn of(path: &str) -> Self {
        let tree = CgroupTree::find().expect("these tests need cgroup v2");
        Self { directory: tree.mount_point().join(path.trim_start_matches('/')) }
    }

    /// Makes the cgroup, freezes it and puts a process into it, as a crash may leave one.
    pub(crate) fn leave_frozen_with(&self, process: u32) {
        fs::create_dir_all(&self.directory).unwrap();
        fs::write(self.directory.join("cgroup.procs"), process.to_string()).unwrap();
        fs::write(self.directory.join("cgroup.freeze"), "1").unwrap();
    }

    pub(crate) fn exists(&self) -> bool {
        self.directory.exists()
    }

    /// Their processes.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let text = self.read("cgroup.procs").unwrap_or_default();
        text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
    }

    /// True when the freezer has been told to stop them.
    pub(crate) fn is_commanded_frozen(&self) -> bool {
        self.read("cgroup.freeze").is_some_and(|text| text.trim() == "1")
    }

    /// True when none of them runs.
    pub(crate) fn is_frozen(&self) -> bool {
        self.read("cgroup.events").is_some_and(|text| text.lines().any(|line| line == "frozen 1"))
    }

    /// Their CPU time, in microseconds.
    pub(crate) fn cpu_microseconds(&self) -> u64 {
        let text = self.read("cpu.stat").unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok()).unwrap_or(0)
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(file)).ok()
    }
}

/// Waits for a state that nothing announces: /proc and the cgroup files are looked at again and again, until a deadline.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Living processes (no zombies, which have no command line) with an argument below a folder.
pub(crate) fn processes_naming(folder: &Path) -> Vec<Pid> {
    let needle = folder.as_os_str().as_encoded_bytes();
    let names = |pid: &Pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word.starts_with(needle)))
    };
    let entries = fs::read_dir("/proc").expect("/proc can be read");
    entries.flatten().filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).filter(names).collect()
}
