//! Where this machine's apt gets Debian's packages: other releases of it are there, too.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::output_of;

/// The first mirror of Debian that apt knows; none where this machine is no Debian, or has its packages from elsewhere.
pub(crate) fn of_this_machine() -> Option<String> {
    of_package_lists().or_else(of_source_lists)
}

/// Here a mirror is known as one by what it says of itself, wherever it is.
fn of_package_lists() -> Option<String> {
    let targets = output_of("apt-get", &["indextargets", "--format", "$(LABEL)=$(SITE)", "Created-By: Packages"])?;
    targets.lines().find_map(|line| line.strip_prefix("Debian=")).map(str::to_owned)
}

/// A new machine has no package lists yet.
fn of_source_lists() -> Option<String> {
    source_lists(Path::new("/etc/apt")).into_iter().find_map(|file| mirror_in(&fs::read_to_string(file).ok()?))
}

fn source_lists(apt: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files.insert(0, apt.join("sources.list"));
    files
}

/// The address of a mirror in either of apt's notations: the part of security updates and other distributions end otherwise.
fn mirror_in(list: &str) -> Option<String> {
    let words = list.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
    let mut addresses = words.filter(|word| word.starts_with("http://") || word.starts_with("https://"));
    addresses.find(|address| address.trim_end_matches('/').ends_with("/debian")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_are_read() {
        assert_eq!(mirror_in("deb [arch=amd64] http://one.test/debian bookworm main\n"), Some("http://one.test/debian".into()));
        assert_eq!(mirror_in("Types: deb\nURIs: https://one.test/debian/\nSuites: x\n"), Some("https://one.test/debian/".into()));
    }

    #[test]
    fn comments_security_updates_and_other_distributions_are_no_mirror() {
        let list = "# deb http://old.test/debian x main\ndeb http://one.test/debian-security x main\ndeb http://one.test/ubuntu x main\n";
        assert_eq!(mirror_in(list), None);
    }
}
