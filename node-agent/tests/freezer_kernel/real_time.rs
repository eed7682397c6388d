//! SCHED_FIFO where the cgroup v1 `cpu` hierarchy gives a thread no real-time budget.

use std::fs;
use std::path::PathBuf;
use std::thread;

use rustix::process::geteuid;
use rustix::thread::gettid;
use strobe_node_agent::sys::scheduler::{STROBE_PRIORITY, Scheduler, become_fifo};

use crate::support::skipped;

/// Where machines with cgroup v1 mount the `cpu` hierarchy, also when it shares a mount with `cpuacct`.
const CPU_HIERARCHY: &str = "/sys/fs/cgroup/cpu";

/// A child group of the v1 `cpu` hierarchy, removed when dropped.
struct ChildGroup(PathBuf);

impl Drop for ChildGroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("left behind: {}: {error}", self.0.display());
        }
    }
}

/// Field `policy` of the calling thread's `stat` (proc(5)): 1 is SCHED_FIFO.
fn own_policy() -> String {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    after_name.split(' ').nth(38).unwrap().to_owned()
}

#[test]
fn a_thread_without_budget_is_moved_and_becomes_real_time() {
    if !geteuid().is_root() {
        return skipped("SCHED_FIFO needs root");
    }
    let group = PathBuf::from(CPU_HIERARCHY).join(format!("strobe-test-{}", std::process::id()));
    let trap = fs::create_dir(&group).ok().map(|()| ChildGroup(group));
    let without_budget =
        trap.as_ref().is_some_and(|group| fs::read_to_string(group.0.join("cpu.rt_runtime_us")).is_ok_and(|budget| budget.trim() == "0"));
    let tasks = trap.as_ref().map(|group| group.0.join("tasks"));
    let worker = thread::spawn(move || {
        if let Some(tasks) = tasks {
            fs::write(tasks, gettid().as_raw_nonzero().to_string()).unwrap();
        }
        (become_fifo(STROBE_PRIORITY), own_policy())
    });
    let (scheduler, policy) = worker.join().unwrap();
    assert!(matches!(scheduler, Scheduler::Fifo { moved_to_root } if moved_to_root == without_budget), "{scheduler:?}");
    assert_eq!((scheduler.label(), policy.as_str()), ("fifo", "1"));
}

#[test]
fn a_thread_without_the_right_stays_ordinary_and_says_why() {
    let worker = thread::spawn(|| {
        if geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        (become_fifo(STROBE_PRIORITY), own_policy())
    });
    let (scheduler, policy) = worker.join().unwrap();
    let Scheduler::Other { reason } = &scheduler else { panic!("{scheduler:?}") };
    assert!(reason.to_string().contains("SCHED_FIFO was refused"), "{reason}");
    assert_eq!((scheduler.label(), policy.as_str()), ("other", "0"));
}
