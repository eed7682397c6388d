//! A Docker that lives as long as the recipe, in mount and process namespaces of its own: mounts and containers end with it. Its network is
//! the machine's, for a build has to reach sources of packages, and it changes nothing there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::enclosure::Enclosure;
use crate::lab::engine::{ASKED, remove_cgroups};
use crate::lab::step::{end_of, step};
use crate::lab::store::remove;
use crate::limits::{DOCKERFILES_BYTES_FREE, DOCKERFILES_STEP, ENGINE_READY};
use crate::lock::Lock;
use crate::process::shown;
use crate::room::check_space;

/// The parent of its containers' cgroups.
const CGROUP: &str = "strobe-dockerfiles";

/// An engine that runs.
pub(super) struct Engine {
    process: Child,
    /// Images and containers; gone with the engine.
    folder: PathBuf,
    enclosure: Enclosure,
    ended: bool,
    _alone: Lock,
}

// === impl Engine ===

impl Engine {
    /// Starts one, whose images lie below a folder and go with it; what a killed one has left there goes first. A second one waits for the
    /// first.
    ///
    /// # Errors
    /// No space, or it does not answer in time: then with the end of its log.
    pub(super) fn start(parent: &Path) -> Result<Self> {
        let folder = parent.join("engine");
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        let alone = Lock::take(parent)?;
        remove_cgroups(CGROUP)?;
        remove(&folder)?;
        check_space(parent, DOCKERFILES_BYTES_FREE, "a build of the Dockerfiles")?;
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        let enclosure = Enclosure::make()?;
        step("start a container engine", |_| {
            let process = spawn(&folder, &enclosure)?;
            let mut engine = Self { process, folder, enclosure, ended: false, _alone: alone };
            engine.wait_until_it_answers()?;
            Ok(engine)
        })
    }

    /// Ends it and removes all that it had.
    ///
    /// # Errors
    /// Something cannot be ended or removed.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        // The engine is the first process of its namespace and ends with this one; it is gone when all others of the namespace are.
        let _ended_already = self.process.kill();
        self.process.wait().context("wait for the engine")?;
        self.enclosure.empty();
        remove_cgroups(CGROUP)?;
        remove(&self.folder)
    }

    /// A file that goes with the engine.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What programs print; it stays.
    pub(super) fn log(&self) -> PathBuf {
        log(&self.folder)
    }

    /// A program that ends with this recipe, and its temporary files with it.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = self.enclosure.command(Path::new("timeout"));
        command.arg(DOCKERFILES_STEP.as_secs().to_string()).arg(program);
        command
    }

    /// `docker`, speaking to this engine.
    pub(super) fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("docker");
        // Not a builder that may or may not be installed beside it.
        command.args(arguments).env("DOCKER_HOST", host(&self.enclosure)).env("DOCKER_BUILDKIT", "0");
        command
    }

    /// Runs a program in a new container of an image, which can write nothing and reach nobody; gives what it printed.
    ///
    /// # Errors
    /// It fails.
    pub(super) fn run(&self, image: &str, entrypoint: &str, arguments: &[&str]) -> Result<String> {
        let mut words = vec!["run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp"];
        if !entrypoint.is_empty() {
            words.extend(["--entrypoint", entrypoint]);
        }
        words.push(image);
        words.extend(arguments);
        self.ask(&words)
    }

    /// Runs `docker`; gives what it printed.
    ///
    /// # Errors
    /// It fails.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.docker(arguments);
        let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {}", shown(&command)))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("docker {}: {}\n{said}{}", arguments.join(" "), output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(said)
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let until = Instant::now() + ENGINE_READY;
        while let Err(error) = self.ask(&["info"]) {
            let runs = self.process.try_wait().context("look at the engine")?.is_none();
            ensure!(runs && Instant::now() < until, "{error:#}; the end of its log:\n{}", end_of(&self.log()));
            std::thread::sleep(ASKED);
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("left behind: {error:#}");
        }
    }
}

fn spawn(folder: &Path, enclosure: &Enclosure) -> Result<Child> {
    let log = File::create(log(folder)).context("write the engine's log")?;
    let errors = log.try_clone().context("copy the log's descriptor")?;
    let settings = folder.join("settings.json");
    fs::write(&settings, "{}").with_context(|| format!("write {}", settings.display()))?;
    let mut command = enclosure.command(Path::new("unshare"));
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "dockerd"]);
    command.arg(format!("--config-file={}", settings.display()));
    command.arg(format!("--host={}", host(enclosure)));
    command.arg(format!("--data-root={}", folder.join("data").display()));
    // The sockets' names have to be short.
    command.arg(format!("--exec-root={}", enclosure.folder().join("run").display()));
    command.arg(format!("--pidfile={}", enclosure.folder().join("dockerd.pid").display()));
    command.args(["--storage-driver=overlay2", "--exec-opt=native.cgroupdriver=cgroupfs", &format!("--cgroup-parent=/{CGROUP}")]);
    command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    command.spawn().with_context(|| format!("start {}", shown(&command)))
}

fn host(enclosure: &Enclosure) -> String {
    format!("unix://{}", enclosure.folder().join("docker.sock").display())
}

fn log(folder: &Path) -> PathBuf {
    folder.with_extension("log")
}
