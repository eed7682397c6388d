//! A run of `kubectl-strobe` in the background, looked at from outside: its processes, its cgroups, its output.

use std::{
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::command::{Outcome, PATIENCE, Scratch, outcome};

/// Time between two looks at what the kernel announces to nobody.
const LOOK: Duration = Duration::from_micros(500);

/// What a run is in.
pub(crate) struct Surroundings<'a> {
    /// Times of the partition, as lines of its `spec`.
    pub(crate) times: &'a str,
    /// More variables.
    pub(crate) environment: &'a [(&'a str, String)],
}

/// Times that are short enough that a test sees them pass, and long enough for a busy machine.
const SHORT: Surroundings<'static> =
    Surroundings { times: "heartbeat: 100ms\n  suspicion: 600ms\n  watchdog: 1s\n  nodeLost: 2s", environment: &[] };

/// A rank that computes until the test says that it may complete.
pub(crate) const BUSY: &str = "echo begun; while test ! -e finish; do :; done; echo finished";

/// The command, running.
pub(crate) struct LocalRun {
    pub(crate) scratch: Scratch,
    child: Child,
    folder: PathBuf,
    cgroup: PathBuf,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) scratch: Scratch,
    pub(crate) code: Option<i32>,
    pub(crate) report: Value,
}

impl LocalRun {
    /// Starts it, and waits until the ranks of these jobs have said that they have begun: `[job.rank] begun`.
    pub(crate) fn start(jobs: &[String], arguments: &[&str], begun: &[&str]) -> Self {
        Self::start_in(&SHORT, jobs, arguments, begun)
    }

    /// [`LocalRun::start`] in other surroundings.
    pub(crate) fn start_in(surroundings: &Surroundings<'_>, jobs: &[String], arguments: &[&str], begun: &[&str]) -> Self {
        let Surroundings { times, environment } = surroundings;
        let partition = "apiVersion: strobe.dev/v1alpha1\nkind: Partition\nmetadata:\n  name: local\nspec:\n  rows: 2\n  quantum: 20ms\n";
        let scratch = Scratch::new();
        scratch.write("jobs.yaml", &format!("{partition}  {times}\n---\n{}", jobs.join("---\n")));
        let mut command = scratch.command(&[&["jobs.yaml", "--report", "report.json", "--logs", "logs"], arguments].concat());
        command.envs(environment.iter().map(|(name, value)| (name, value.as_str())));
        command.stdout(File::create(scratch.path("stdout")).unwrap()).stderr(File::create(scratch.path("stderr")).unwrap());
        let mut child = command.spawn().unwrap();
        for rank in begun {
            let line = format!("[{rank}] begun");
            eventually(&line, || {
                assert!(matches!(child.try_wait(), Ok(None)), "it ended early: {}", told(&scratch));
                scratch.read("stdout").lines().any(|printed| printed == line)
            });
        }
        let prefix = format!("strobe-{}-", child.id());
        let folders = || fs::read_dir(scratch.runs()).into_iter().flatten().flatten().map(|entry| entry.path());
        let found = || folders().find(|path| name(path).starts_with(&prefix));
        let folder = until("it makes a folder of its process's number", found);
        let cgroup = until("it makes a cgroup of its folder's name", || cgroup_of(name(&folder)));
        Self { scratch, child, folder, cgroup }
    }

    /// The node of the manager of the newest term.
    pub(crate) fn manager(&self) -> u16 {
        u16::try_from(self.record()["manager"]["node"].as_u64().unwrap()).unwrap()
    }

    /// The number of the newest term.
    pub(crate) fn term(&self) -> u64 {
        self.record()["term"].as_u64().unwrap()
    }

    fn record(&self) -> Value {
        serde_json::from_slice(&fs::read(self.folder.join("record.json")).unwrap()).unwrap()
    }

    /// The process of a node's agent, in its present life.
    pub(crate) fn agent(&self, node: u16) -> Pid {
        let path = self.folder.join(format!("agent-{node}"));
        // It is empty for a moment while the next life's is written.
        let written = || Pid::from_raw(fs::read_to_string(&path).ok()?.split_whitespace().next()?.parse().ok()?);
        until("the process of an agent is written down", written)
    }

    /// The supervisors of a node.
    pub(crate) fn supervisors(&self, node: u16) -> Vec<Pid> {
        processes_naming(&format!("{}/", self.folder.join(format!("node-{node}")).display()))
    }

    /// The rank cgroup of the first life of a gang (they are numbered from 1) on a node.
    pub(crate) fn ranks(&self, gang: u64, node: u16) -> PathBuf {
        self.ranks_of_life(gang, 1, node)
    }

    pub(crate) fn ranks_of_life(&self, gang: u64, incarnation: u32, node: u16) -> PathBuf {
        self.cgroup.join(format!("node-{node}/gang-{gang}-{incarnation}"))
    }

    /// Ends a node as the loss of its machine would: nothing of it can say a word more.
    pub(crate) fn kill_node(&self, node: u16) {
        signal(self.agent(node), Signal::STOP);
        fs::write(self.cgroup.join(format!("node-{node}/cgroup.kill")), "1").unwrap();
        self.supervisors(node).into_iter().for_each(|supervisor| signal(supervisor, Signal::KILL));
        signal(self.agent(node), Signal::KILL);
    }

    /// The command itself.
    pub(crate) fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn has_printed(&self, line: &str) -> bool {
        self.scratch.read("stdout").lines().any(|printed| printed == line)
    }

    /// Lets the ranks of [`BUSY`] complete.
    pub(crate) fn finish(&self) {
        self.scratch.write("finish", "");
    }

    /// Waits for its end; nothing may be left.
    pub(crate) fn wait(self) -> Ended {
        let Self { scratch, child, cgroup, .. } = self;
        let ended = catch_unwind(AssertUnwindSafe(|| outcome(child)));
        let Outcome { code, .. } = ended.unwrap_or_else(|late| {
            println!("{}", told(&scratch));
            resume_unwind(late)
        });
        let text = fs::read(scratch.path("report.json")).unwrap();
        let report = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}: {}", told(&scratch)));
        assert!(!cgroup.exists(), "its cgroup is left");
        Ended { scratch, code, report }
    }

    /// Waits for the end of a command that was killed, and until everything that it had started is gone.
    pub(crate) fn wait_for_orphans(self) -> Scratch {
        let Self { scratch, child, folder, cgroup } = self;
        assert_eq!(outcome(child).code, None, "a signal ended it");
        eventually("no process of the run is left", || living_in(scratch.path("").as_path()).is_empty());
        eventually("no cgroup of the run is left", || !cgroup.exists());
        assert!(folder.exists(), "nobody was left to remove the folder");
        scratch
    }
}

impl Ended {
    pub(crate) fn job(&self, name: &str) -> &Value {
        let jobs = self.report["jobs"].as_array().unwrap();
        jobs.iter().find(|job| job["name"] == name).unwrap_or_else(|| panic!("no job {name} in {jobs:?}"))
    }

    /// Fails unless the job completed in its first life.
    pub(crate) fn assert_undisturbed(&self, name: &str) {
        let job = self.job(name);
        assert_eq!((&job["state"], &job["restarts"]), (&Value::from("Complete"), &Value::from(0)), "{}", told(&self.scratch));
    }

    /// Lives that the agent of a node had.
    pub(crate) fn lives(&self, node: u16) -> u64 {
        self.report["nodes"][usize::from(node)]["agentLives"].as_u64().unwrap()
    }
}

/// The living processes of a cgroup; none when it is gone.
pub(crate) fn members(cgroup: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

/// True when the freezer has not been told to stop what is in the cgroup.
pub(crate) fn is_thawed(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "0")
}

pub(crate) fn signal(process: Pid, signal: Signal) {
    kill_process(process, signal).expect("a process of the test's own can be signalled");
}

/// Waits until there is something; see [`eventually`].
fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(what, || {
        found = find();
        found.is_some()
    });
    found.expect("it was waited for")
}

/// Waits for a state that nothing announces: it is looked at again and again, until a deadline.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
}

/// All that a run has said until now, to people and in the logs.
fn told(scratch: &Scratch) -> String {
    let logs = fs::read_dir(scratch.path("logs")).into_iter().flatten().flatten().map(|entry| entry.path());
    let said = [scratch.path("stdout"), scratch.path("stderr")].into_iter().chain(logs).filter(|path| path.is_file());
    said.map(|path| format!("--- {}\n{}", name(&path), fs::read_to_string(&path).unwrap_or_default())).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Where the cgroup of a run is: below the one that a recipe has made for its tests, below the root of the v2 tree, or below the cgroup of this process.
fn cgroup_of(run: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).expect("these tests need cgroup v2");
    let mount = Path::new(mount.split(' ').nth(1).unwrap());
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let stated = std::env::var("STROBE_CGROUP").unwrap_or_default();
    let places = [mount.join(stated.trim_start_matches('/')).join(run), mount.join(run), mount.join(own).join(run)];
    places.into_iter().find(|path| path.is_dir())
}

/// Processes with an argument that begins so.
fn processes_naming(prefix: &str) -> Vec<Pid> {
    let names = |pid: &Pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word.starts_with(prefix.as_bytes()))
    };
    pids().filter(names).collect()
}

/// Living processes in a folder.
fn living_in(folder: &Path) -> Vec<Pid> {
    pids().filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|here| here.starts_with(folder))).collect()
}

fn pids() -> impl Iterator<Item = Pid> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}
