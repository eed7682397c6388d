//! What a running laboratory leaves in its folder, and what of the machine it changes: enough to find it, and to leave the machine as it
//! was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::store::Store;
use crate::files::replace_json;

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

/// The folder of a running laboratory.
#[derive(Clone, Debug)]
pub(super) struct State {
    folder: PathBuf,
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
    pub(super) fn remember_machine(&self) -> Result<()> {
        let file = self.file("before.json");
        if file.exists() {
            return Ok(());
        }
        let read = |name: &&str| Some(((*name).to_owned(), fs::read_to_string(setting(name)).ok()?.trim().to_owned()));
        let before = Before { settings: SETTINGS.iter().filter_map(read).collect(), had_modules: Path::new(MODULES).exists() };
        fs::create_dir_all(MODULES).with_context(|| format!("make {MODULES}"))?;
        replace_json(&file, &before)
    }

    /// Leaves the machine as it was.
    ///
    /// # Errors
    /// A setting cannot be written back.
    pub(super) fn restore_machine(&self) -> Result<()> {
        let Some(before) = read_json::<Before>(&self.file("before.json")) else { return Ok(()) };
        for (name, value) in &before.settings {
            let file = setting(name);
            if fs::read_to_string(&file).is_ok_and(|now| now.trim() != value) {
                fs::write(&file, value).with_context(|| format!("write {value} to {}", file.display()))?;
            }
        }
        if !before.had_modules {
            // Something else may be in it by now.
            let _stays = fs::remove_dir(MODULES);
        }
        Ok(())
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
        (Process::of(process.number) == Some(process)).then_some(process)
    }

    /// Forgets everything: nothing of it runs any more.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub(super) fn forget(self) -> Result<()> {
        super::store::remove(&self.folder)
    }
}

// === impl Process ===

impl Process {
    fn of(number: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        Some(Self { number, began: began(&stat)? })
    }
}

/// Field 22; the name, field 2, is in parentheses and may hold spaces. None of a process that has ended and waits for its parent (Z).
fn began(stat: &str) -> Option<u64> {
    let fields = stat.rsplit_once(") ")?.1;
    if fields.starts_with('Z') { None } else { fields.split(' ').nth(19)?.parse().ok() }
}

fn setting(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

fn read_json<T: for<'text> Deserialize<'text>>(file: &Path) -> Option<T> {
    serde_json::from_str(&fs::read_to_string(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_with_its_number() {
        let this = Process::of(std::process::id()).unwrap();
        assert_eq!(Process::of(std::process::id()), Some(this));
        assert!(this.began > 0);
        assert_eq!(began("7 (a) b) c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9"), Some(4242));
        assert_eq!(began("7 (a) b) c) Z 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9"), None);
    }

    #[test]
    fn a_process_that_has_ended_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let state = State { folder: folder.path().to_path_buf() };
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        state.keep_process(child.id()).unwrap();
        assert_eq!(state.process().map(|process| process.number), Some(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(state.process(), None);
    }
}
