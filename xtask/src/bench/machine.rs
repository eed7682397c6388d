//! The machine of a measurement, for whoever reads its figures.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::process::output_of;

/// What the machine is. Texts for people.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Machine {
    pub(super) processor: String,
    /// Those that this process may use.
    pub(super) cores: usize,
    /// Whether it is a virtual machine.
    pub(super) virtual_machine: bool,
    /// How the processor's frequency is chosen.
    pub(super) governor: String,
    pub(super) memory: String,
    pub(super) kernel: String,
    pub(super) cgroups: String,
    pub(super) mpich: String,
    pub(super) compiler: String,
    pub(super) rust: String,
    /// The commit that was measured, and whether files differed from it.
    pub(super) commit: String,
    /// The day, in universal time.
    pub(super) date: String,
}

const UNKNOWN: &str = "unknown";

// === impl Machine ===

impl Machine {
    /// This one, with the commit of the current folder.
    pub(super) fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo");
        Self {
            processor: field(&processor, "model name").unwrap_or(UNKNOWN).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            virtual_machine: field(&processor, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            governor: governor(&read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
            memory: field(&read("/proc/meminfo"), "MemTotal").and_then(gibibytes).unwrap_or_else(|| UNKNOWN.to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cgroups: cgroups(&read("/proc/self/mountinfo")),
            mpich: first_line("mpichversion", &[]).map_or_else(|| UNKNOWN.to_owned(), |line| version(&line)),
            compiler: first_line("cc", &["--version"]).unwrap_or_else(|| UNKNOWN.to_owned()),
            rust: first_line("rustc", &["--version"]).unwrap_or_else(|| UNKNOWN.to_owned()),
            commit: commit(),
            date: first_line("date", &["--utc", "+%Y-%m-%d"]).unwrap_or_else(|| UNKNOWN.to_owned()),
        }
    }

    /// Its lines, each a name and a value.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let kind = if self.virtual_machine { "virtual machine" } else { "hardware" };
        vec![
            ("processor", format!("{} ({kind})", self.processor)),
            ("cores", self.cores.to_string()),
            ("governor", self.governor.clone()),
            ("memory", self.memory.clone()),
            ("kernel", self.kernel.clone()),
            ("cgroups", self.cgroups.clone()),
            ("MPICH", self.mpich.clone()),
            ("C compiler", self.compiler.clone()),
            ("Rust", self.rust.clone()),
            ("commit", self.commit.clone()),
            ("date", self.date.clone()),
        ]
    }
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).next()
}

fn governor(text: &str) -> String {
    let name = text.trim();
    if name.is_empty() { "not visible here".to_owned() } else { name.to_owned() }
}

fn gibibytes(kibibytes: &str) -> Option<String> {
    let number: f64 = kibibytes.strip_suffix(" kB")?.parse().ok()?;
    Some(format!("{:.1} GiB", number / f64::from(1 << 20)))
}

/// The version in `MPICH Version:    4.0.2`.
fn version(line: &str) -> String {
    line.split_once(':').map_or(line, |(_, version)| version).trim().to_owned()
}

/// How cgroups are mounted, from the text of `/proc/self/mountinfo` (proc(5): the type stands after a lone `-`).
fn cgroups(mountinfo: &str) -> String {
    let of_type =
        |kind: &str| mountinfo.lines().filter(|line| line.split_once(" - ").is_some_and(|(_, rest)| rest.starts_with(kind))).count();
    match (of_type("cgroup2 "), of_type("cgroup ")) {
        (0, 0) => "none".to_owned(),
        (0, _) => "version 1 alone".to_owned(),
        (_, 0) => "version 2 alone".to_owned(),
        (_, old) => format!("version 2 beside version 1 (which has {old} hierarchies)"),
    }
}

fn commit() -> String {
    let Some(commit) = first_line("git", &["rev-parse", "--short=12", "HEAD"]) else { return UNKNOWN.to_owned() };
    // An earlier measurement's documents, which this one replaces, are no change of what is measured.
    match output_of("git", &["status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/benchmarks"]) {
        Some(changes) if changes.trim().is_empty() => commit,
        _ => format!("{commit}, with changes"),
    }
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    output_of(program, arguments)?.lines().next().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_versions_are_found() {
        let text = "processor\t: 0\nmodel name\t: A Processor @ 2 GHz\nmodel name\t: Another\n";
        assert_eq!(field(text, "model name"), Some("A Processor @ 2 GHz"));
        assert_eq!(field(text, "flags"), None);
        assert_eq!(version("MPICH Version:    \t4.0.2"), "4.0.2");
        assert_eq!(gibibytes("2097152 kB"), Some("2.0 GiB".to_owned()));
        assert_eq!(gibibytes("much"), None);
        assert_eq!((governor("performance\n"), governor("")), ("performance".to_owned(), "not visible here".to_owned()));
    }

    #[test]
    fn cgroup_layouts_are_told_apart() {
        let old = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let new = "41 31 0:38 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroups(new), "version 2 alone");
        assert_eq!(cgroups(old), "version 1 alone");
        assert_eq!(cgroups(&format!("{old}{new}")), "version 2 beside version 1 (which has 1 hierarchies)");
        assert_eq!(cgroups(""), "none");
    }

    #[test]
    fn this_machine_says_something_of_everything() {
        assert!(Machine::this().rows().iter().all(|(_, value)| !value.is_empty()));
    }
}
