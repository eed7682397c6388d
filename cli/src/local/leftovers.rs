//! What runs left whose `kubectl-strobe` was killed and whose agents could not clean up either.

use std::{fs, path::Path};

use super::{
    cgroup, clock,
    limits::KILLED,
    processes::{self, Process},
    run_folder::{self, NAME_PREFIX},
};

/// Finds what dead runs left in `parent` and in the cgroup tree, where `cgroup` says, ends and removes it. One line for each
/// run found.
pub(super) fn clean(parent: &Path, cgroup: Option<&str>) -> Vec<String> {
    let mut cleaned = Vec::new();
    for folder in fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        // What a stranger has put there must not decide what is killed here.
        let dead = run_folder::is_own(&folder) && run_folder::owner(&folder).is_some_and(|owner| !owner.lives());
        if owner_number(&name).is_some() && dead {
            end_run(&folder, &name, cgroup);
            // What cannot be removed now is found again by the next run.
            let _left = fs::remove_dir_all(&folder);
            cleaned.push(format!("removed what the dead run {name} had left"));
        }
    }
    let is_dead = |name: &str| owner_number(name).is_some_and(|owner| Process::find(owner).is_none());
    for disk in cgroup::of_runs(cgroup, is_dead) {
        cgroup::remove(&disk);
        cleaned.push(format!("removed the cgroup {} of a dead run", disk.display()));
    }
    cleaned
}

/// Ends a dead run's agents, supervisors and ranks, and removes its cgroup.
fn end_run(folder: &Path, name: &str, cgroup: Option<&str>) {
    let agents = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let agents = agents.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("agent-")));
    let mut all: Vec<Process> = agents.filter_map(|path| Process::from_line(&fs::read_to_string(path).ok()?)).collect();
    all.extend(processes::supervisors(folder));
    all.iter().for_each(|process| process.kill());
    let deadline = clock::now() + KILLED;
    for process in all {
        process.wait_for_end(deadline);
    }
    for disk in cgroup::of_runs(cgroup, |other| other == name) {
        cgroup::remove(&disk);
    }
}

/// The number of the process that a run's name begins with, when it was given in this namespace of processes: the cgroup
/// tree may show the runs of other containers, whose owners cannot be seen from here.
fn owner_number(name: &str) -> Option<i32> {
    let (number, rest) = name.strip_prefix(NAME_PREFIX)?.split_once('-')?;
    let (namespace, _) = rest.split_once('-')?;
    (namespace == run_folder::process_namespace()).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt};

    use super::*;
    use crate::local::run_folder::RunFolder;

    #[test]
    fn folders_of_dead_runs_go_and_those_of_living_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let living = RunFolder::make(parent.path(), None).unwrap();
        let name = format!("strobe-1-{}-abcdef", run_folder::process_namespace());
        let run = |name: &str, mode| {
            let path = parent.path().join(name);
            DirBuilder::new().mode(mode).create(&path).unwrap();
            fs::write(path.join("owner"), "1 1\n").unwrap();
            path
        };
        let (dead, public, elsewhere) = (run(&name, 0o700), run(&name.replace("abc", "def"), 0o755), run("strobe-1-0-abcdef", 0o700));
        let strange = parent.path().join("strobe-of-somebody");
        fs::create_dir(&strange).unwrap();
        assert_eq!(clean(parent.path(), None).iter().filter(|line| line.contains(&name)).count(), 1);
        assert!(living.path().exists() && strange.exists() && !dead.exists());
        assert!(public.exists(), "anybody may have written into it");
        assert!(elsewhere.exists(), "its owner may live in another namespace");
    }

    #[test]
    fn only_names_of_runs_tell_an_owner() {
        assert_eq!(owner_number(&format!("strobe-17-{}-00ff", run_folder::process_namespace())), Some(17));
        assert_eq!(owner_number("strobe-17-0-00ff"), None);
        assert_eq!(owner_number("strobe-agent"), None);
        assert_eq!(owner_number("strobe-x-1"), None);
    }
}
