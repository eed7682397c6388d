//! Which processes a process has started, as `/proc` lists them.

use std::fs;

use rustix::process::Pid;

/// Children of all threads of a process; none when it is gone, or on a kernel that does not list them.
pub(crate) fn children_of(process: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect::<Vec<_>>()).collect()
}
