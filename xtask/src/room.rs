//! Memory and space, asked for before something takes them: what runs out of either dies late and says little.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Bytes of memory that programs can still have.
///
/// # Errors
/// The kernel does not say.
pub(crate) fn memory_available() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    parse_available(&text).context("/proc/meminfo says what is available")
}

/// Whether so many bytes are free where a folder is, for what is named.
///
/// # Errors
/// They are not: then with how many there are.
pub(crate) fn check_space(folder: &Path, needed: u64, what: &str) -> Result<()> {
    let found = rustix::fs::statvfs(folder).with_context(|| format!("ask for the space at {}", folder.display()))?;
    let free = found.f_bavail * found.f_frsize;
    ensure!(
        free >= needed,
        "{what} needs {} MiB and {} has {} MiB free: make space, or choose another place with XDG_CACHE_HOME",
        needed >> 20,
        folder.display(),
        free >> 20
    );
    Ok(())
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok().map(|kibibytes: u64| kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        assert_eq!(parse_available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(parse_available("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn too_little_space_is_said_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        check_space(folder.path(), 0, "nothing").unwrap();
        let error = check_space(folder.path(), u64::MAX, "everything").unwrap_err().to_string();
        assert!(error.starts_with("everything needs ") && error.contains("XDG_CACHE_HOME"), "{error}");
    }
}
