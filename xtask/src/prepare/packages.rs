//! The system's package managers: which one this machine has, and how each installs.

use std::fmt;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// The names of what one need takes, a package manager each, separated by spaces; empty where the distribution has none.
pub(super) struct Names {
    pub(super) apt: &'static str,
    pub(super) dnf: &'static str,
    pub(super) zypper: &'static str,
    pub(super) pacman: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manager {
    Apt,
    Dnf,
    Zypper,
    Pacman,
}

/// A command line; one that changes the system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line(Vec<String>);

/// Installs the packages, or prints how to.
///
/// # Errors
/// `no_install`, no root, no package manager that we know, a need for which this distribution has no package, or a failed installation.
pub(super) fn install(manager: Option<Manager>, needs: &[&Names], no_install: bool) -> Result<()> {
    let Some(manager) = manager else {
        bail!("no package manager that we know (apt-get, dnf, zypper, pacman): install what is missing by hand");
    };
    let Some(packages) = manager.packages(needs) else {
        bail!("this distribution has no package for something that is missing: install it by hand");
    };
    let line = manager.install(&packages);
    if no_install || !rustix::process::geteuid().is_root() {
        print_commands(manager, &line);
        bail!("not installed: {}", if no_install { "--no-install was given" } else { "only root may; run the commands above" });
    }
    if let Some(refresh) = manager.refresh()
        && !manager.knows_all(&packages)
    {
        run(&refresh)?;
        return run(&line);
    }
    run_or_refresh(manager, &line)
}

/// Package lists of months ago name versions that the mirror no longer has: then they are refreshed, and it is tried once more.
fn run_or_refresh(manager: Manager, line: &Line) -> Result<()> {
    let Err(error) = run(line) else { return Ok(()) };
    let Some(refresh) = manager.refresh() else { return Err(error) };
    println!("{error:#}: once more with fresh package lists");
    run(&refresh)?;
    run(line)
}

fn print_commands(manager: Manager, line: &Line) {
    println!("as root:");
    for command in manager.refresh().iter().chain([line]) {
        println!("  {command}");
    }
}

fn run(line: &Line) -> Result<()> {
    println!("running: {line}");
    let mut command = Command::new(&line.0[0]);
    command.args(&line.0[1..]).env("DEBIAN_FRONTEND", "noninteractive");
    process::run(command)
}

// === impl Manager ===

impl Manager {
    /// The first known package manager on PATH.
    pub(super) fn of_this_machine() -> Option<Self> {
        [Self::Apt, Self::Dnf, Self::Zypper, Self::Pacman].into_iter().find(|manager| process::on_path(manager.program()))
    }

    fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Zypper => "zypper",
            Self::Pacman => "pacman",
        }
    }

    /// Whether the distribution has packages for a need.
    pub(super) fn has(self, need: &Names) -> bool {
        self.packages(&[need]).is_some()
    }

    /// The packages for all needs, or nothing where one of them has none.
    fn packages(self, needs: &[&Names]) -> Option<Vec<&'static str>> {
        let mut packages = Vec::new();
        for need in needs {
            let names = match self {
                Self::Apt => need.apt,
                Self::Dnf => need.dnf,
                Self::Zypper => need.zypper,
                Self::Pacman => need.pacman,
            };
            if names.is_empty() {
                return None;
            }
            packages.extend(names.split(' ').filter(|name| !packages.contains(name)).collect::<Vec<_>>());
        }
        Some(packages)
    }

    fn install(self, packages: &[&str]) -> Line {
        let options: &[&str] = match self {
            // Another apt-get may be at work: wait for it, but not for ever.
            Self::Apt => &["install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"],
            Self::Dnf => &["install", "--assumeyes"],
            Self::Zypper => &["--non-interactive", "install"],
            Self::Pacman => &["--sync", "--needed", "--noconfirm"],
        };
        Line::new(self.program(), options.iter().chain(packages))
    }

    /// How the package lists are refreshed, for those that do not do it by themselves.
    fn refresh(self) -> Option<Line> {
        match self {
            Self::Apt => Some(Line::new(self.program(), &["update"])),
            Self::Dnf | Self::Zypper | Self::Pacman => None,
        }
    }

    /// Whether the package lists name all packages; a new machine's are often empty.
    fn knows_all(self, packages: &[&str]) -> bool {
        match self {
            Self::Apt => packages.iter().all(|package| process::output_of("apt-cache", &["show", package]).is_some()),
            Self::Dnf | Self::Zypper | Self::Pacman => true,
        }
    }
}

// === impl Line ===

impl Line {
    fn new<'a>(program: &'a str, arguments: impl IntoIterator<Item = &'a &'a str>) -> Self {
        Self(std::iter::once(program).chain(arguments.into_iter().copied()).map(str::to_owned).collect())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYWHERE: Names = Names { apt: "gcc make", dnf: "gcc", zypper: "gcc", pacman: "gcc" };
    const DEBIAN_ONLY: Names = Names { apt: "make netpipe", dnf: "", zypper: "", pacman: "" };

    #[test]
    fn packages_are_named_once() {
        assert_eq!(Manager::Apt.packages(&[&EVERYWHERE, &DEBIAN_ONLY]), Some(vec!["gcc", "make", "netpipe"]));
    }

    #[test]
    fn a_need_without_a_package_is_said_not_skipped() {
        assert_eq!(Manager::Dnf.packages(&[&EVERYWHERE, &DEBIAN_ONLY]), None);
        let error = install(Some(Manager::Dnf), &[&DEBIAN_ONLY], false).unwrap_err();
        assert!(error.to_string().contains("by hand"), "{error}");
    }

    #[test]
    fn no_install_fails_and_installs_nothing() {
        let error = install(Some(Manager::Pacman), &[&EVERYWHERE], true).unwrap_err();
        assert!(error.to_string().contains("--no-install"), "{error}");
    }

    #[test]
    fn each_manager_installs_without_questions() {
        assert_eq!(Manager::Dnf.install(&["gcc"]).to_string(), "dnf install --assumeyes gcc");
        assert_eq!(Manager::Zypper.install(&["gcc"]).to_string(), "zypper --non-interactive install gcc");
        assert_eq!(Manager::Pacman.install(&["gcc"]).to_string(), "pacman --sync --needed --noconfirm gcc");
        assert!(Manager::Apt.install(&["gcc"]).to_string().starts_with("apt-get install --yes "));
    }
}
