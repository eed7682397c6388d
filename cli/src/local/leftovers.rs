//! What runs left whose `kubectl-strobe` was killed and whose agents could not clean up either.

use std::{fs, path::Path};

use super::{
    cgroup, clock,
    limits::KILLED,
    processes::{self, Process},
    run_folder::{self, NAME_PREFIX},
};

/// Finds what dead runs left in `parent` and in the cgroup tree, ends and removes it. One line for each run found.
pub(super) fn clean(parent: &Path) -> Vec<String> {
    let mut cleaned = Vec::new();
    for folder in fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let dead = run_folder::owner(&folder).is_some_and(|owner| !owner.lives());
        if owner_number(&name).is_some() && dead {
            end_run(&folder, &name);
            // What cannot be removed now is found again by the next run.
            let _left = fs::remove_dir_all(&folder);
            cleaned.push(format!("removed what the dead run {name} had left"));
        }
    }
    let is_dead = |name: &str| owner_number(name).is_some_and(|owner| Process::find(owner).is_none());
    for disk in cgroup::of_runs(is_dead) {
        cgroup::remove(&disk);
        cleaned.push(format!("removed the cgroup {} of a dead run", disk.display()));
    }
    cleaned
}

/// Ends a dead run's agents, supervisors and ranks, and removes its cgroup.
fn end_run(folder: &Path, name: &str) {
    let agents = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let agents = agents.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("agent-")));
    let mut all: Vec<Process> = agents.filter_map(|path| Process::from_line(&fs::read_to_string(path).ok()?)).collect();
    all.extend(processes::supervisors(folder));
    all.iter().for_each(|process| process.kill());
    let deadline = clock::now() + KILLED;
    for process in all {
        process.wait_for_end(deadline);
    }
    for disk in cgroup::of_runs(|other| other == name) {
        cgroup::remove(&disk);
    }
}

/// The number of the process that a run's name begins with.
fn owner_number(name: &str) -> Option<i32> {
    let (number, _) = name.strip_prefix(NAME_PREFIX)?.split_once('-')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::run_folder::RunFolder;

    #[test]
    fn folders_of_dead_runs_go_and_those_of_living_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let living = RunFolder::make(parent.path(), None).unwrap();
        let dead = parent.path().join("strobe-1-abcdef");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("owner"), "1 1\n").unwrap();
        let strange = parent.path().join("strobe-of-somebody");
        fs::create_dir(&strange).unwrap();
        assert_eq!(clean(parent.path()).iter().filter(|line| line.contains("strobe-1-abcdef")).count(), 1);
        assert!(living.path().exists() && strange.exists() && !dead.exists());
    }

    #[test]
    fn only_names_of_runs_tell_an_owner() {
        assert_eq!(owner_number("strobe-17-00ff"), Some(17));
        assert_eq!(owner_number("strobe-agent"), None);
        assert_eq!(owner_number("strobe-x-1"), None);
    }
}
