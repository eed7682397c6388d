//! Rank cgroups: admission, freezing, killing, removal, rights.

use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{PidfdFlags, Uid, pidfd_open};
use rustix::thread::set_thread_res_uid;
use strobe_node_agent::cgroup::{CgroupError, CgroupName, CgroupPath, CgroupTree, RankCgroup, cgroup_of};

use crate::support::{PATIENCE, Process, Scratch, eventually};

/// Numeric user `nobody`, who has no rights.
const NOBODY: u32 = 65534;

#[test]
fn busy_processes_stop_and_go_on() {
    let Some(scratch) = Scratch::new("stop") else { return };
    let (cgroup, _first) = scratch.busy_gang("gang-1");
    let second = Process::busy();
    cgroup.admit_child(second.pid(), &CgroupPath::root()).unwrap();
    assert_eq!(cgroup.processes().unwrap().len(), 2);
    eventually("the gang uses the CPU", || cgroup.cpu_time().unwrap() > Duration::ZERO);

    cgroup.freeze().unwrap();
    eventually("the gang is frozen", || cgroup.state().unwrap().frozen);
    let used = cgroup.cpu_time().unwrap();
    // The machine has time to run them: another process computes meanwhile.
    let (beside, _runs) = scratch.busy_gang("gang-2");
    eventually("what is not frozen uses the CPU", || beside.cpu_time().unwrap() > Duration::from_millis(30));
    assert_eq!(cgroup.cpu_time().unwrap(), used, "frozen processes use no CPU");

    cgroup.thaw().unwrap();
    eventually("the gang uses the CPU again", || cgroup.cpu_time().unwrap() > used);
    assert!(!cgroup.state().unwrap().frozen);
    beside.remove(PATIENCE).unwrap();
    cgroup.remove(PATIENCE).unwrap();
}

#[test]
fn only_a_process_from_the_right_place_is_moved() {
    let Some(scratch) = Scratch::new("place") else { return };
    let container = scratch.rank_cgroup("container");
    let ranks = RankCgroup::create(&scratch.tree, container.path(), &CgroupName::new("ranks").unwrap()).unwrap();
    let process = Process::busy();
    let origin = cgroup_of(process.pid()).unwrap();

    let refused = ranks.admit_child(process.pid(), container.path());
    assert!(matches!(refused, Err(CgroupError::Outside { found, .. }) if found == origin));
    assert_eq!(cgroup_of(process.pid()).unwrap(), origin, "a refused process stays where it was");

    container.admit_child(process.pid(), &CgroupPath::root()).unwrap();
    assert_eq!(ranks.admit_child(process.pid(), container.path()).unwrap(), process.pid());
    assert_eq!(ranks.processes().unwrap(), [process.pid()]);
    assert_eq!(container.processes().unwrap(), []);
}

#[test]
fn a_process_that_has_ended_is_not_moved() {
    let Some(scratch) = Scratch::new("ended") else { return };
    let cgroup = scratch.rank_cgroup("gang-1");
    let mut process = Process::shell("exit 0");
    let pidfd = pidfd_open(process.pid(), PidfdFlags::empty()).unwrap();
    process.child().wait().unwrap();
    assert!(matches!(cgroup.admit(pidfd.as_fd(), &CgroupPath::root()), Err(CgroupError::ProcessGone)));
}

#[test]
fn a_frozen_cgroup_is_killed_and_removed() {
    let Some(scratch) = Scratch::new("kill") else { return };
    let (cgroup, mut process) = scratch.busy_gang("gang-1");
    cgroup.freeze().unwrap();
    eventually("the gang is frozen", || cgroup.state().unwrap().frozen);
    let disk = cgroup.disk_path().to_owned();
    cgroup.remove(PATIENCE).unwrap();
    assert!(!disk.exists());
    assert_eq!(process.child().wait().unwrap().signal(), Some(9));
}

#[test]
fn processes_that_fork_all_the_time_are_killed_one_by_one() {
    let Some(scratch) = Scratch::new("each") else { return };
    let cgroup = scratch.rank_cgroup("gang-1");
    let mut process = Process::shell("while :; do /bin/true & done");
    cgroup.admit_child(process.pid(), &CgroupPath::root()).unwrap();
    cgroup.kill_each().unwrap();
    assert!(cgroup.wait_unpopulated(PATIENCE).unwrap());
    assert!(!cgroup.state().unwrap().frozen, "the cgroup is usable again");
    assert_eq!(process.child().wait().unwrap().signal(), Some(9));
    cgroup.remove(PATIENCE).unwrap();
}

#[test]
fn a_cgroup_is_seen_to_become_empty() {
    let Some(scratch) = Scratch::new("empty") else { return };
    let (cgroup, mut process) = scratch.busy_gang("gang-1");
    assert!(!cgroup.wait_unpopulated(Duration::from_millis(20)).unwrap());
    process.child().kill().unwrap();
    assert!(cgroup.wait_unpopulated(PATIENCE).unwrap());
}

#[test]
fn the_thaw_descriptor_works_without_any_right() {
    let Some(scratch) = Scratch::new("thaw") else { return };
    let (cgroup, _process) = scratch.busy_gang("gang-1");
    cgroup.freeze().unwrap();
    eventually("the gang is frozen", || cgroup.state().unwrap().frozen);
    let descriptor = cgroup.open_thaw_descriptor().unwrap();
    let status = Command::new("printf").arg("0").uid(NOBODY).stdout(Stdio::from(descriptor)).status().unwrap();
    assert!(status.success());
    eventually("the gang is thawed", || !cgroup.state().unwrap().frozen);
}

#[test]
fn without_the_right_the_error_says_what_would_be() {
    let Some(scratch) = Scratch::new("right") else { return };
    let parent = scratch.parent.clone();
    let tree = scratch.tree.clone();
    let unprivileged = thread::spawn(move || {
        let nobody = Uid::from_raw(NOBODY);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        RankCgroup::create(&tree, &parent, &CgroupName::new("gang-1").unwrap()).unwrap_err()
    });
    let error = unprivileged.join().unwrap();
    assert!(error.means_no_cgroups(), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("create") && text.contains("root") && text.contains("Delegate"), "{text}");
}

#[test]
fn a_name_in_use_is_refused() {
    let Some(scratch) = Scratch::new("twice") else { return };
    let cgroup = scratch.rank_cgroup("gang-1");
    let again = RankCgroup::create(&scratch.tree, &scratch.parent, &CgroupName::new("gang-1").unwrap());
    assert!(matches!(again, Err(CgroupError::Refused { source: Errno::EXIST, .. })));
    cgroup.remove(PATIENCE).unwrap();
}

#[test]
fn only_what_is_unused_is_removed_upwards() {
    let Some(scratch) = Scratch::new("unused") else { return };
    let tree: &CgroupTree = &scratch.tree;
    let name = |text: &str| CgroupName::new(text).unwrap();
    let upper = scratch.parent.child(&name("upper"));
    let deep = upper.child(&name("deep"));
    tree.create(&deep).unwrap();
    let (busy, _process) = scratch.busy_gang("busy");
    tree.remove_unused(&deep, &scratch.parent).unwrap();
    tree.remove_unused(busy.path(), &scratch.parent).unwrap();
    assert!(!tree.on_disk(&upper).unwrap().exists());
    assert!(busy.disk_path().exists());
    assert!(tree.on_disk(&scratch.parent).unwrap().exists());
}
