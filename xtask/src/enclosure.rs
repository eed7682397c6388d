//! What a recipe's programs run in, so that nothing of them outlives it: a cgroup and a folder for temporary files, both named after
//! the recipe's process. A recipe that ends, or is interrupted, takes both away with all that is in them. One that is killed cannot: its
//! programs are killed with it, and what they had started is found by the next recipe, by the name of a process that is dead.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::process::{Pid, Signal, geteuid, getpid, getppid, set_parent_process_death_signal};

use crate::cgroup::{Cgroup, Mount};
use crate::leak::Process;

/// This program. Its path is no name for it: a build may have put another there meanwhile.
pub(crate) const THIS: &str = "/proc/self/exe";

/// The cgroup, from the root of the tree, below which Strobe's programs and their tests make theirs.
const CGROUP: &str = "STROBE_CGROUP";

/// First part of the cgroup's name.
const CGROUP_PREFIX: &str = "strobe-recipe-";

/// First part of the folder's name: short, for sockets with short names are made in it.
const FOLDER_PREFIX: &str = "strobe-r-";

/// The file that says whose folder it is.
const OWNER: &str = "owner";

#[derive(Args, Debug)]
pub(crate) struct EnterOptions {
    /// The process with which the program ends
    #[arg(long)]
    parent: i32,
    /// The folder of the cgroup that it runs in
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Enclosure {
    cgroup: Option<Cgroup>,
    folder: PathBuf,
}

/// A process in one life, in one namespace of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    pid: i32,
    started: u64,
    namespace: u64,
}

/// Becomes the program, which the kernel kills when its parent ends.
///
/// # Errors
/// The parent has ended already, the cgroup cannot be entered, or the program cannot be executed.
pub(crate) fn enter(options: &EnterOptions) -> Result<ExitCode> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to be killed with the parent")?;
    // It may have ended before that was asked for.
    ensure!(getppid().map(Pid::as_raw_pid) == Some(options.parent), "the recipe has ended");
    if let Some(cgroup) = &options.cgroup {
        fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("enter {}", cgroup.display()))?;
    }
    let (program, arguments) = options.command.split_first().context("no program")?;
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("execute {program}"))
}

// === impl Enclosure ===

impl Enclosure {
    /// Takes away what dead recipes have left, which is said, and makes this one's.
    ///
    /// # Errors
    /// The folder cannot be made. Without the right to cgroups there is none, which is said.
    pub(crate) fn make() -> Result<Self> {
        Self::make_in(&std::env::temp_dir())
    }

    fn make_in(parent: &Path) -> Result<Self> {
        clean(parent).iter().for_each(|line| println!("{line}"));
        let owner = Owner::this().context("find this process in /proc")?;
        let folder = parent.join(format!("{FOLDER_PREFIX}{}", owner.pid));
        DirBuilder::new().mode(0o700).create(&folder).with_context(|| format!("make {}", folder.display()))?;
        fs::write(folder.join(OWNER), owner.to_text()).with_context(|| format!("write into {}", folder.display()))?;
        let none = || io::Error::new(io::ErrorKind::NotFound, "no cgroup v2 tree is mounted");
        let cgroup = Mount::find().ok_or_else(none).and_then(|mount| mount.make(&format!("{CGROUP_PREFIX}{}", owner.to_text())));
        if let Err(error) = &cgroup {
            println!("no right to cgroups ({error}): what a killed recipe leaves is not found by the next");
        }
        Ok(Self { cgroup: cgroup.ok(), folder })
    }

    /// A command that runs the program in here, until this process ends.
    ///
    /// *Caveats*: it ends with the thread that starts it, too.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(THIS);
        command.args(["enclosed", "--parent", &getpid().to_string()]);
        if let Some(cgroup) = &self.cgroup {
            command.arg("--cgroup").arg(&cgroup.disk).env(CGROUP, &cgroup.path);
        }
        command.arg("--").arg(program).env("TMPDIR", &self.folder);
        command
    }

    /// The folder for temporary files, which goes with this.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends and removes what is in here now; one line for each thing found. For a moment when nothing should be.
    pub(crate) fn empty(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(cgroup) = &self.cgroup {
            let processes = fs::read_to_string(cgroup.disk.join("cgroup.procs")).unwrap_or_default();
            found.extend(processes.lines().map(|pid| format!("process {pid} {}", name_of(pid))));
            found.extend(cgroup.below().iter().map(|below| format!("cgroup {}", below.display())));
            if let Err(error) = cgroup.empty() {
                found.push(format!("cgroup {} (NOT emptied: {error})", cgroup.disk.display()));
            }
        }
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().filter(|entry| entry.file_name() != OWNER);
        for path in entries.map(|entry| entry.path()) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            found.push(removed.map_or_else(|error| format!("{} (NOT removed: {error})", path.display()), |()| path.display().to_string()));
        }
        found
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        let ended = self.cgroup.as_ref().map_or(Ok(()), Cgroup::end).and_then(|()| fs::remove_dir_all(&self.folder));
        if let Err(error) = ended {
            // The next recipe tries again; a reader that is gone must not end this one.
            let _unread = writeln!(io::stderr(), "left behind in {}: {error}", self.folder.display());
        }
    }
}

/// Ends and removes what recipes left that were killed.
fn clean(parent: &Path) -> Vec<String> {
    let mut cleaned = Vec::new();
    let is_dead = |name: &str| name.strip_prefix(CGROUP_PREFIX).and_then(Owner::from_text).is_some_and(|owner| owner.is_dead());
    for cgroup in Mount::find().iter().flat_map(|mount| mount.named(is_dead)) {
        let ended = cgroup.end().map_or_else(|error| format!("NOT removed: {error}"), |()| "removed".to_owned());
        cleaned.push(format!("a killed recipe had left {} ({ended})", cgroup.disk.display()));
    }
    for folder in fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let named = folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(FOLDER_PREFIX));
        let owner = || Owner::from_text(&fs::read_to_string(folder.join(OWNER)).ok()?);
        // What a stranger has put there must not decide what is removed here.
        if named && is_own(&folder) && owner().is_some_and(|owner| owner.is_dead()) {
            let removed = fs::remove_dir_all(&folder).map_or_else(|error| format!("NOT removed: {error}"), |()| "removed".to_owned());
            cleaned.push(format!("a killed recipe had left {} ({removed})", folder.display()));
        }
    }
    cleaned
}

/// True when the folder is this user's, and nobody else can have written into it.
fn is_own(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0)
}

fn name_of(pid: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).map_or_else(|_| String::new(), |name| format!("({})", name.trim_end()))
}

// === impl Owner ===

impl Owner {
    fn this() -> Option<Self> {
        let process = Process::find(getpid().as_raw_pid())?;
        Some(Self { pid: process.pid, started: process.started, namespace: namespace()? })
    }

    /// True when that life of it is over. A process of another namespace cannot be seen from here: it may live.
    fn is_dead(&self) -> bool {
        let here = namespace() == Some(self.namespace);
        here && Process::find(self.pid).is_none_or(|process| process.started != self.started)
    }

    fn to_text(&self) -> String {
        format!("{}-{}-{:x}", self.pid, self.started, self.namespace)
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let owner = Self {
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
            namespace: u64::from_str_radix(parts.next()?, 16).ok()?,
        };
        parts.next().is_none().then_some(owner)
    }
}

/// Names the namespace that process numbers belong to, see pid_namespaces(7).
fn namespace() -> Option<u64> {
    fs::metadata("/proc/self/ns/pid").ok().map(|found| found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_known_by_number_start_and_namespace() {
        let this = Owner::this().unwrap();
        assert_eq!(Owner::from_text(&this.to_text()), Some(this.clone()));
        assert!(!this.is_dead());
        assert!(Owner { started: this.started + 1, ..this.clone() }.is_dead());
        assert!(!Owner { started: this.started + 1, namespace: this.namespace + 1, ..this }.is_dead(), "it cannot be seen from here");
        for strange in ["", "12", "12-3", "12-3-4-5", "a-b-c"] {
            assert_eq!(Owner::from_text(strange), None, "{strange}");
        }
    }

    #[test]
    fn folders_of_dead_recipes_go_and_all_others_stay() {
        let parent = tempfile::tempdir().unwrap();
        let this = Owner::this().unwrap();
        let folder = |name: &str, mode, owner: &Owner| {
            let path = parent.path().join(name);
            DirBuilder::new().mode(mode).create(&path).unwrap();
            fs::write(path.join(OWNER), owner.to_text()).unwrap();
            path
        };
        let dead = Owner { started: this.started + 1, ..this.clone() };
        let left = folder("strobe-r-1", 0o700, &dead);
        let others = [folder("strobe-r-2", 0o700, &this), folder("strobe-r-3", 0o755, &dead), folder("strange", 0o700, &dead)];
        let said = clean(parent.path());
        assert_eq!(said.iter().filter(|line| line.contains("strobe-r-1")).count(), 1, "{said:?}");
        assert!(!left.exists() && others.iter().all(|other| other.exists()));
    }

    #[test]
    fn what_detached_itself_ends_with_the_enclosure_frozen_or_not() {
        let parent = tempfile::tempdir().unwrap();
        let enclosure = Enclosure::make_in(parent.path()).unwrap();
        let Some(cgroup) = enclosure.cgroup.clone() else {
            assert!(std::env::var_os("STROBE_NO_SKIP").is_none() && !geteuid().is_root(), "no cgroup could be made");
            return eprintln!("SKIPPED: this user may not make cgroups");
        };
        let below = cgroup.disk.join("gang");
        fs::create_dir(&below).unwrap();
        let mut processes = [&cgroup.disk, &below].map(|disk| {
            let process = Command::new("sleep").arg("600").spawn().unwrap();
            fs::write(disk.join("cgroup.procs"), process.id().to_string()).unwrap();
            process
        });
        fs::write(below.join("cgroup.freeze"), "1").unwrap();
        let found = enclosure.empty();
        assert!(found.iter().any(|line| line.contains("(sleep)")) && found.iter().any(|line| line.ends_with("/gang")), "{found:?}");
        assert!(processes.iter_mut().all(|process| process.wait().unwrap().code().is_none()));
        assert_eq!(enclosure.empty(), Vec::<String>::new());
        drop(enclosure);
        assert!(!cgroup.disk.exists() && fs::read_dir(parent.path()).unwrap().next().is_none());
    }
}
