//! The container engine that the nodes run in: a Docker of the laboratory's own, in namespaces of its own. Its bridges, rules and settings
//! are those of its network namespace, its mounts those of its mount namespace, its processes those of its process namespace: they end
//! with its first process, however that ends, and the machine's own are never touched.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, pidfd_send_signal};

use super::build::Programs;
use super::network::Network;
use super::outside;
use super::state::{Machine, State};
use super::step::end_of;
use super::store::Store;
use crate::limits::{ENGINE_READY, ENGINE_STOPPED, REAL_TIME_MICROSECONDS, REAL_TIME_NODE_MICROSECONDS};
use crate::process::{self, output_of, shown};

/// The network namespace, the pair of interfaces that leads into it, and the parent of all cgroups.
const NAME: &str = "strobe-lab";

/// The machine's end of the pair, and the laboratory's: in a network that is reserved for such tests (RFC 2544). Only the machine itself
/// is answered there.
const MACHINE: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
pub(super) const LABORATORY: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);

/// How often the engine is asked whether it answers.
pub(crate) const ASKED: Duration = Duration::from_millis(100);

/// An engine, running or not.
pub(super) struct Engine<'a> {
    state: &'a State,
    /// Its images and containers.
    data: PathBuf,
}

// === impl Engine ===

impl<'a> Engine<'a> {
    /// The engine of this laboratory.
    pub(super) fn new(store: &Store, state: &'a State) -> Self {
        Self { state, data: store.engine_data() }
    }

    /// Whether its process runs.
    pub(super) fn is_running(&self) -> bool {
        self.state.process().is_some()
    }

    /// What an ended laboratory has left may be removed; one that runs, for another user or another cache folder, may not.
    ///
    /// # Errors
    /// Another one runs.
    pub(super) fn check_alone(&self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let Some(processes) = output_of("ip", &["netns", "pids", NAME]) else { return Ok(()) };
        let running: Vec<_> = processes.split_whitespace().collect();
        ensure!(
            running.is_empty(),
            "another laboratory runs on this machine, started with another cache folder (process {}): `cargo xtask lab down` there ends it",
            running[0]
        );
        Ok(())
    }

    /// Starts it; a second time it is left as it is.
    ///
    /// # Errors
    /// A namespace cannot be made, or the engine does not answer in time; with the end of its log.
    pub(super) fn start(&self, programs: &Programs) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        self.stop().context("clear what an earlier laboratory has left")?;
        self.state.forget_cluster()?;
        self.state.remember(&Machine::this())?;
        network().make()?;
        let runtime = self.state.file("container-runtime");
        fs::copy(programs.path("container-runtime"), &runtime).with_context(|| format!("copy {}", runtime.display()))?;
        // One that was killed has left it, and its number, the first of a namespace, is every later engine's too.
        let _none_left = fs::remove_file(self.state.file("dockerd.pid"));
        let log = fs::File::create(self.state.file("engine.log")).context("write the engine's log")?;
        let errors = log.try_clone().context("copy the log's descriptor")?;
        let mut command = self.command(&runtime);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().with_context(|| format!("start {}", shown(&command)))?;
        self.state.keep_process(child.id())?;
        self.wait_until_it_answers()
    }

    /// Ends it and all that it runs, and removes what is left of it. The images stay.
    ///
    /// # Errors
    /// Something cannot be ended or removed.
    pub(super) fn stop(&self) -> Result<()> {
        if let Some(process) = self.state.hold_process() {
            pidfd_send_signal(process, Signal::KILL).context("end the engine")?;
        }
        remove_cgroups(NAME)?;
        outside::clear(&network())?;
        network().remove()?;
        self.state.restore(&Machine::this())
    }

    /// Gives every container a budget of real time, where the kernel asks for one: without it the strobe's threads of the agents in the nodes
    /// stay in the ordinary class (docs/spikes/d-real-time-in-a-pod.md). One that starts later has none.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(super) fn give_real_time(&self) -> Result<()> {
        let budgeted = cgroup_tops(NAME)?.into_iter().filter(|top| top.join(BUDGET).is_file());
        for top in budgeted {
            give_budget(&top, REAL_TIME_MICROSECONDS)?;
            for entry in fs::read_dir(&top).with_context(|| format!("read {}", top.display()))? {
                let container = entry.context("look at a cgroup")?.path();
                if container.is_dir() {
                    give_budget(&container, REAL_TIME_NODE_MICROSECONDS)?;
                }
            }
        }
        Ok(())
    }

    /// `docker`, speaking to this engine.
    pub(super) fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host());
        command
    }

    /// Where it listens.
    pub(super) fn host(&self) -> String {
        format!("unix://{}", self.state.file("docker.sock").display())
    }

    /// `unshare` waits for the engine, which is the first process of its namespace: with either of the two all end.
    fn command(&self, runtime: &Path) -> Command {
        let mut command = Command::new("setsid");
        command.args(["nsenter", &format!("--net=/run/netns/{NAME}")]);
        command.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "dockerd"]);
        command.arg(format!("--host={}", self.host()));
        command.arg(format!("--data-root={}", self.data.display()));
        command.arg(format!("--exec-root={}", self.state.file("engine").display()));
        command.arg(format!("--pidfile={}", self.state.file("dockerd.pid").display()));
        command.arg(format!("--add-runtime={NAME}={}", runtime.display()));
        command.args([&format!("--default-runtime={NAME}"), &format!("--cgroup-parent=/{NAME}")]);
        command.args(["--storage-driver=overlay2", "--exec-opt=native.cgroupdriver=cgroupfs", "--default-cgroupns-mode=private"]);
        command.arg("--bridge=none");
        command
    }

    fn wait_until_it_answers(&self) -> Result<()> {
        let until = Instant::now() + ENGINE_READY;
        loop {
            let answer = self.docker().arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            if answer.context("run docker")?.success() {
                return Ok(());
            }
            ensure!(self.is_running(), "the container engine ended; the end of its log:\n{}", self.end_of_log());
            ensure!(Instant::now() < until, "the container engine does not answer; the end of its log:\n{}", self.end_of_log());
            std::thread::sleep(ASKED);
        }
    }

    fn end_of_log(&self) -> String {
        end_of(&self.state.file("engine.log"))
    }
}

/// What a group's real-time threads may use together of each period, a second where nothing else was set.
const BUDGET: &str = "cpu.rt_runtime_us";

fn give_budget(group: &Path, microseconds: u32) -> Result<()> {
    let file = group.join(BUDGET);
    fs::write(&file, microseconds.to_string()).with_context(|| format!("write {microseconds} to {}", file.display()))
}

/// The engine's network.
pub(super) fn network() -> Network {
    Network { name: NAME.to_owned(), machine: MACHINE, inside: LABORATORY }
}

/// Removes a cgroup of this name, and those in it, from every hierarchy. Killed processes may take a moment to leave them.
///
/// # Errors
/// Processes stay in them.
pub(crate) fn remove_cgroups(name: &str) -> Result<()> {
    let until = Instant::now() + ENGINE_STOPPED;
    for top in cgroup_tops(name)? {
        while let Err(error) = remove_tree(&top) {
            if Instant::now() > until {
                return Err(error);
            }
            std::thread::sleep(ASKED);
        }
    }
    Ok(())
}

/// The cgroup of everything that runs in the laboratory, in each mounted hierarchy.
///
/// # Errors
/// The mounts cannot be read.
pub(super) fn cgroups() -> Result<Vec<PathBuf>> {
    cgroup_tops(NAME)
}

/// Whether a process, of whose `/proc/PID/cgroup` this is the text, runs in the laboratory.
pub(super) fn holds(groups: &str) -> bool {
    let inside = format!("/{NAME}/");
    groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| path.starts_with(&inside))
}

/// The cgroup in each mounted hierarchy, where it is.
fn cgroup_tops(name: &str) -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    let points = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        kind.starts_with("cgroup").then(|| Path::new(point).join(name))
    });
    Ok(points.filter(|top| top.is_dir()).collect())
}

/// Removes a cgroup after those in it.
fn remove_tree(cgroup: &Path) -> Result<()> {
    let entries = fs::read_dir(cgroup).with_context(|| format!("read {}", cgroup.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", cgroup.display()))?;
        if entry.file_type().context("look at a cgroup")?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup).with_context(|| format!("remove {}", cgroup.display()))
}

/// Whether this user may run an engine at all.
///
/// # Errors
/// It is not root.
pub(super) fn check_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root can run the laboratory: its nodes are privileged containers; try `sudo --preserve-env=HOME cargo xtask lab up`"
    );
    ensure!(process::on_path("nsenter") && process::on_path("unshare"), "util-linux (nsenter, unshare) is missing");
    Ok(())
}
