//! The command as a user runs it: in a folder of its own, with patience and not for ever.

#![allow(dead_code, reason = "each test target uses its own part")]
#![allow(clippy::unwrap_used, reason = "what a test relies on fails the test")]

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// How long a run may take on a machine that is busy with other things. No test is about time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with the manifests and outputs of one test.
pub(crate) struct Scratch(TempDir);

/// What is left of a command that has ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What the shell is told; none when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program under test. Its agent and supervisor belong to another package: they must lie beside it.
pub(crate) fn program() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_kubectl-strobe"));
    for name in ["strobe-agent", "strobe-init"] {
        let beside = program.with_file_name(name);
        assert!(
            beside.is_file(),
            "{} is missing: build it with `cargo build -p strobe-node-agent`, or use `cargo xtask test`",
            beside.display()
        );
    }
    program
}

/// A job of one container that runs a shell script, in a partition that no document describes; `spec` are more lines.
pub(crate) fn job(name: &str, script: &str, spec: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    let spec: String = spec.lines().map(|line| format!("\n  {line}")).collect();
    format!(
        "apiVersion: strobe.dev/v1alpha1\nkind: ParallelJob\nmetadata:\n  name: {name}\nspec:\n  partition: local{spec}\n  \
         template:\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers:\n        - name: rank\n          \
         command: [/bin/sh, -c, {script}]\n"
    )
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("strobe-cli-").tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Where runs have their folders.
    pub(crate) fn runs(&self) -> PathBuf {
        self.path("runs")
    }

    /// `kubectl-strobe local run ARGUMENTS`, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.local("run", arguments)
    }

    /// The same of any recipe of the local mode.
    pub(crate) fn local(&self, recipe: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(["local", recipe, "--run-directory"]).arg(self.runs()).args(arguments);
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        outcome(self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Panics when a run has left a folder, a process or a cgroup.
    pub(crate) fn assert_nothing_left(&self) {
        let folders: Vec<PathBuf> = fs::read_dir(self.runs()).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(folders, Vec::<PathBuf>::new());
        assert_eq!(processes_of(self.0.path()), Vec::<String>::new());
    }
}

/// Waits for the end of a child whose outputs are pipes, or are not asked for.
pub(crate) fn outcome(mut child: Child) -> Outcome {
    let stdout = child.stdout.take().map(|stdout| thread::spawn(move || text(stdout)));
    let stderr = child.stderr.take().map(|stderr| thread::spawn(move || text(stderr)));
    let pid = rustix::process::Pid::from_child(&child);
    let (ended, wait) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let status = child.wait().unwrap();
        // The other end is gone only when patience was at its end.
        let _too_late = ended.send(());
        status
    });
    let late = wait.recv_timeout(PATIENCE).is_err();
    if late {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    let code = waiter.join().unwrap().code();
    let text = |reader: Option<thread::JoinHandle<String>>| reader.map_or_else(String::new, |reader| reader.join().unwrap());
    let outcome = Outcome { code, stdout: text(stdout), stderr: text(stderr) };
    assert!(!late, "it did not end within {PATIENCE:?}: {outcome:?}");
    outcome
}

fn text(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Command lines and folders of the processes that have to do with `folder`, other than this one.
fn processes_of(folder: &Path) -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = pids.filter(|pid| *pid != std::process::id());
    let known = others.filter_map(|pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&words).replace('\0', " ");
        let here = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|here| here.starts_with(folder));
        (here || line.contains(folder.to_str().unwrap())).then(|| format!("{pid} {line}"))
    });
    known.collect()
}
