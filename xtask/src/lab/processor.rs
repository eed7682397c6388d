//! The laboratory's part of the machine's CPU time, for measurements: it is not somebody else's.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::engine;

const NANOSECONDS: u128 = 1_000_000_000;

/// Whether a process runs in the laboratory.
pub(crate) fn is_inside(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/cgroup")).is_ok_and(|groups| engine::holds(&groups))
}

/// CPU time that everything in the laboratory has used, in clock ticks; 0 where it is down.
///
/// # Errors
/// The mounts cannot be read.
pub(crate) fn ticks() -> Result<u64> {
    let nanoseconds = engine::cgroups()?.iter().find_map(|group| used(group)).unwrap_or_default();
    let ticks = nanoseconds * u128::from(rustix::param::clock_ticks_per_second()) / NANOSECONDS;
    u64::try_from(ticks).context("count CPU time")
}

/// Nanoseconds that a cgroup's processes have used, by v1's controller or else by v2's own account.
fn used(group: &Path) -> Option<u128> {
    if let Ok(text) = fs::read_to_string(group.join("cpuacct.usage")) {
        return text.trim().parse().ok();
    }
    let text = fs::read_to_string(group.join("cpu.stat")).ok()?;
    let micros: u128 = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse().ok()?;
    Some(micros * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_the_laboratory_is_told_from_others() {
        assert!(engine::holds("9:name=systemd:/strobe-lab/2463/kubepods.slice\n0::/\n"));
        assert!(!engine::holds("9:name=systemd:/user.slice/strobe-lab/x\n0::/strobe-laboratory/x\n"));
        assert!(!is_inside(std::process::id()));
    }

    #[test]
    fn cpu_time_is_read_as_either_version_has_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(used(folder.path()), None);
        fs::write(folder.path().join("cpu.stat"), "usage_usec 1500\nuser_usec 1\n").unwrap();
        assert_eq!(used(folder.path()), Some(1_500_000));
        fs::write(folder.path().join("cpuacct.usage"), "77\n").unwrap();
        assert_eq!(used(folder.path()), Some(77));
    }
}
