//! What an earlier run left behind.

use std::os::unix::process::ExitStatusExt;

use rustix::io::Errno;
use strobe_node_agent::cgroup::{CgroupError, CgroupName, CgroupPath, RankCgroup};

use crate::support::{PATIENCE, Process, Scratch, eventually};

#[test]
fn a_frozen_leftover_is_found_and_cleaned_and_its_name_is_free_again() {
    let Some(scratch) = Scratch::new("leftover") else { return };
    let (old, mut process) = scratch.busy_gang("gang-1");
    let inner = RankCgroup::create(&scratch.tree, old.path(), &CgroupName::new("inner").unwrap()).unwrap();
    inner.freeze().unwrap();
    old.freeze().unwrap();
    eventually("the gang is frozen", || old.state().unwrap().frozen);
    drop(old);

    let mut found = scratch.tree.leftovers(&scratch.parent).unwrap();
    assert_eq!(found.len(), 1);
    let leftover = found.remove(0);
    assert_eq!(leftover.path(), &scratch.parent.child(&CgroupName::new("gang-1").unwrap()));
    assert!(leftover.state().frozen && leftover.state().populated);
    assert_eq!(leftover.processes(), [process.pid()]);
    leftover.remove(PATIENCE).unwrap();
    assert_eq!(process.child().wait().unwrap().signal(), Some(9));

    let (fresh, _process) = scratch.busy_gang("gang-1");
    eventually("a process in the new cgroup runs", || !fresh.cpu_time().unwrap().is_zero());
    fresh.remove(PATIENCE).unwrap();
    assert!(scratch.tree.leftovers(&scratch.parent).unwrap().is_empty());
}

#[test]
fn a_leftover_is_adopted_with_its_processes() {
    let Some(scratch) = Scratch::new("adopt") else { return };
    let (old, process) = scratch.busy_gang("gang-1");
    drop(old);
    let leftover = scratch.tree.leftovers(&scratch.parent).unwrap().remove(0);
    let adopted = leftover.adopt(&scratch.tree).unwrap();
    assert_eq!(adopted.processes().unwrap(), [process.pid()]);
    adopted.freeze().unwrap();
    eventually("the adopted gang is frozen", || adopted.state().unwrap().frozen);
}

#[test]
fn a_whole_run_is_removed_at_once() {
    let Some(scratch) = Scratch::new("run") else { return };
    let run = scratch.rank_cgroup("run-1");
    let node = run.path().child(&CgroupName::new("node-0").unwrap());
    scratch.tree.create(&node).unwrap();
    let gang = RankCgroup::create(&scratch.tree, &node, &CgroupName::new("gang-1").unwrap()).unwrap();
    let process = Process::busy();
    gang.admit_child(process.pid(), &CgroupPath::root()).unwrap();
    gang.freeze().unwrap();

    let leftover = scratch.tree.leftovers(&scratch.parent).unwrap().remove(0);
    assert_eq!(leftover.processes(), [process.pid()]);
    leftover.remove(PATIENCE).unwrap();
    assert!(!run.disk_path().exists());
    assert!(matches!(run.state(), Err(CgroupError::Refused { source: Errno::NODEV | Errno::NOENT, .. })));
}

#[test]
fn where_nothing_ran_nothing_is_left() {
    let Some(scratch) = Scratch::new("nothing") else { return };
    let absent = scratch.parent.child(&CgroupName::new("absent").unwrap());
    assert!(scratch.tree.leftovers(&absent).unwrap().is_empty());
}
