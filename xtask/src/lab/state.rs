//! What a running laboratory leaves in its folder, and what of the machine it changes: enough to find it, and to leave the machine as it
//! was.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::made::{self, Docker, Made};
use super::programs::KUBERNETES;
use super::store::Store;
use crate::files::replace_json;
use crate::leak;

/// Settings of the whole kernel that kubelet and kube-proxy change. Those of a network namespace go with it.
const SETTINGS: [&str; 7] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/netfilter/nf_conntrack_max",
];

/// Docker's network driver and kind look into it, modules or not.
const MODULES: &str = "/lib/modules";

/// What the cluster is made of.
const CLUSTER: &str = "cluster.json";

/// The folder of a running laboratory.
#[derive(Clone, Debug)]
pub(super) struct State {
    folder: PathBuf,
}

/// What of a machine the laboratory changes: the folders of the kernel's settings and modules.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    settings: PathBuf,
    modules: PathBuf,
}

/// The machine before the laboratory.
#[derive(Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
struct Before {
    settings: BTreeMap<String, String>,
    had_modules: bool,
}

/// A process that is told from a later one with the same number by when it began.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) number: u32,
    /// In ticks since the machine was started (proc(5), `stat`, field 22).
    began: u64,
}

// === impl State ===

impl State {
    /// The folder, made if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn open(store: &Store) -> Result<Self> {
        let folder = store.running();
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// A file of the laboratory's.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Keeps what the machine is like; what is kept already is from before an earlier attempt, and stays.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn remember(&self, machine: &Machine) -> Result<()> {
        let file = self.file("before.json");
        if file.exists() {
            return Ok(());
        }
        replace_json(&file, &machine.look())?;
        fs::create_dir_all(&machine.modules).with_context(|| format!("make {}", machine.modules.display()))
    }

    /// Leaves the machine as it was.
    ///
    /// # Errors
    /// A setting cannot be written back.
    pub(super) fn restore(&self, machine: &Machine) -> Result<()> {
        let Some(before) = read_json::<Before>(&self.file("before.json")) else { return Ok(()) };
        machine.set_back(&before)
    }

    /// Keeps which process it is.
    ///
    /// # Errors
    /// It has ended already, or the file cannot be written.
    pub(super) fn keep_process(&self, number: u32) -> Result<()> {
        let process = Process::of(number).with_context(|| format!("process {number} has ended"))?;
        replace_json(&self.file("engine.json"), &process)
    }

    /// The kept process, if it still runs.
    pub(super) fn process(&self) -> Option<Process> {
        let process: Process = read_json(&self.file("engine.json"))?;
        process.found().is_some().then_some(process)
    }

    /// A descriptor of the kept process and of no later one with its number; none when it has ended.
    pub(super) fn hold_process(&self) -> Option<OwnedFd> {
        self.process()?.found()?.hold()
    }

    /// Notes the cluster that is made or complete now.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn note(&self, made: &Made) -> Result<()> {
        replace_json(&self.file(CLUSTER), made)
    }

    /// The cluster that was noted, if its Docker still holds it.
    pub(super) fn made(&self) -> Option<Made> {
        let noted = self.noted();
        made::docker(noted.as_ref(), self.process().is_some()).and(noted)
    }

    /// The Docker of the cluster; none when the laboratory is down.
    pub(super) fn docker(&self) -> Option<Docker> {
        made::docker(self.noted().as_ref(), self.process().is_some())
    }

    /// The version of the cluster's programs; where none was made, the one that everything is tried with.
    ///
    /// # Errors
    /// See [`Made::version`].
    pub(super) fn kubernetes(&self) -> Result<&'static str> {
        self.made().map_or(Ok(KUBERNETES), |made| made.version())
    }

    /// Forgets the cluster: its engine has ended, and its nodes with it.
    ///
    /// # Errors
    /// The note cannot be removed.
    pub(super) fn forget_cluster(&self) -> Result<()> {
        match fs::remove_file(self.file(CLUSTER)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("forget the cluster"),
            _ => Ok(()),
        }
    }

    fn noted(&self) -> Option<Made> {
        read_json(&self.file(CLUSTER))
    }

    /// Forgets everything: nothing of it runs any more.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub(super) fn forget(self) -> Result<()> {
        super::store::remove(&self.folder)
    }
}

// === impl Machine ===

impl Machine {
    /// This one.
    pub(super) fn this() -> Self {
        Self { settings: "/proc/sys".into(), modules: MODULES.into() }
    }

    /// The settings that it has.
    pub(super) fn settings(&self) -> BTreeMap<String, String> {
        let read = |name: &&str| Some(((*name).to_owned(), fs::read_to_string(self.settings.join(name)).ok()?.trim().to_owned()));
        SETTINGS.iter().filter_map(read).collect()
    }

    fn look(&self) -> Before {
        Before { settings: self.settings(), had_modules: self.modules.exists() }
    }

    fn set_back(&self, before: &Before) -> Result<()> {
        let now = self.settings();
        for (name, value) in &before.settings {
            if now.get(name).is_some_and(|now| now != value) {
                let file = self.settings.join(name);
                fs::write(&file, value).with_context(|| format!("write {value} to {}", file.display()))?;
            }
        }
        if !before.had_modules {
            // Something else may be in it by now.
            let _stays = fs::remove_dir(&self.modules);
        }
        Ok(())
    }
}

// === impl Process ===

impl Process {
    fn of(number: u32) -> Option<Self> {
        let found = leak::Process::find(i32::try_from(number).ok()?)?;
        Some(Self { number, began: found.started })
    }

    fn found(self) -> Option<leak::Process> {
        leak::Process::find(i32::try_from(self.number).ok()?).filter(|found| found.started == self.began)
    }
}

fn read_json<T: for<'text> Deserialize<'text>>(file: &Path) -> Option<T> {
    serde_json::from_str(&fs::read_to_string(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, pidfd_send_signal};

    use super::super::made::tests::made;
    use super::super::programs::KUBERNETES_OLDER;
    use super::*;

    #[test]
    fn a_process_is_told_from_another_with_its_number() {
        let this = Process::of(std::process::id()).unwrap();
        let earlier = Process { began: this.began - 1, ..this };
        assert!(this.found().is_some() && earlier.found().is_none());
    }

    #[test]
    fn the_machine_is_set_back_to_what_it_was_before_the_first_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine { settings: folder.path().join("sys"), modules: folder.path().join("modules") };
        let state = State { folder: folder.path().to_path_buf() };
        let set = |name: &str, value: &str| {
            let file = machine.settings.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, format!("{value}\n")).unwrap();
        };
        SETTINGS[..SETTINGS.len() - 1].iter().for_each(|name| set(name, "1"));
        let before = machine.look();
        assert_eq!((before.settings.len(), before.had_modules), (SETTINGS.len() - 1, false));
        state.remember(&machine).unwrap();
        assert!(machine.modules.is_dir());
        SETTINGS.iter().for_each(|name| set(name, "7"));
        state.remember(&machine).unwrap();
        state.restore(&machine).unwrap();
        let came_with_a_module = (SETTINGS[SETTINGS.len() - 1].to_owned(), "7".to_owned());
        let expected = before.settings.clone().into_iter().chain([came_with_a_module]).collect();
        assert_eq!(machine.look(), Before { settings: expected, had_modules: false });
    }

    #[test]
    fn what_was_made_is_found_by_a_later_recipe_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let state = State { folder: folder.path().to_path_buf() };
        let (machines, ours) = (made(Docker::Machine, KUBERNETES_OLDER[0]), made(Docker::Laboratory, KUBERNETES_OLDER[1]));
        assert_eq!((state.docker(), state.made(), state.kubernetes().unwrap()), (None, None, KUBERNETES));
        state.note(&machines).unwrap();
        assert_eq!((state.docker(), state.made()), (Some(Docker::Machine), Some(machines)));
        assert_eq!(state.kubernetes().unwrap(), KUBERNETES_OLDER[0]);
        state.note(&ours).unwrap();
        assert_eq!((state.docker(), state.made()), (None, None), "its engine does not run");
        state.keep_process(std::process::id()).unwrap();
        assert_eq!((state.docker(), state.made()), (Some(Docker::Laboratory), Some(ours)));
        state.forget_cluster().unwrap();
        state.forget_cluster().unwrap();
        assert_eq!((state.docker(), state.made()), (Some(Docker::Laboratory), None));
    }

    #[test]
    fn a_process_that_has_ended_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let state = State { folder: folder.path().to_path_buf() };
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        state.keep_process(child.id()).unwrap();
        assert_eq!(state.process().map(|process| process.number), Some(child.id()));
        pidfd_send_signal(state.hold_process().unwrap(), Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(state.process().is_none() && state.hold_process().is_none());
    }
}
