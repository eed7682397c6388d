//! The machine's root: Debian's packages, then the project's own files in it.

use std::fs;

use anyhow::{Context, Result};

use super::contained::contained;
use super::{KEY, KNOWN_HOSTS, Making, names};
use crate::lab::step::Step;

/// The first Debian whose kernel has one rxe device a network namespace.
const RELEASE: &str = "forky";

/// The kernel's two packages, whatever their version is today: those that a package needs which `linux-image-amd64` needs. That one itself
/// would bring a maker of initial file systems; the smaller kernel for clouds has no rxe.
const KERNEL: &str = r#"?and(?name("^linux-(binary|modules)-[0-9]"),?reverse-depends(?reverse-depends(?exact-name(linux-image-amd64))))"#;

/// Settings of apt and dpkg while the packages are installed. A mirror that stands still has lists that are past their date; they are
/// signed as ever.
const APT: [&str; 3] = [r#"Acquire::Check-Valid-Until "false""#, r#"Acquire::Languages "none""#, r#"Acquire::http::Timeout "30""#];
const DPKG: [&str; 5] = [
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
];

/// What the machine is called where its key is looked up.
pub(in crate::rdma_vm) const HOST: &str = "strobe-rdma";

/// Installs the packages into a new root.
///
/// # Errors
/// The mirror does not answer, has no such release, or a package cannot be installed.
pub(super) fn install(making: &Making<'_>, step: &mut Step) -> Result<()> {
    let mut packages = making.read("packages")?;
    if making.containers {
        packages.push_str(&making.read("packages-containers")?);
    }
    let mut command = contained("mmdebstrap");
    command.args(["--mode=root", "--variant=essential", "--format=directory"]);
    command.args(APT.map(|option| format!("--aptopt={option}"))).args(DPKG.map(|option| format!("--dpkgopt={option}")));
    command.args(names(&packages).map(|name| format!("--include={name}"))).arg(format!("--include={KERNEL}"));
    command.arg(RELEASE).arg(making.root).arg(format!("deb {} {RELEASE} main", making.mirror));
    making.run(step, command)
}

/// Puts the project's files and new keys into the root, and says which units start.
///
/// # Errors
/// A program fails, or a file cannot be written.
pub(super) fn set_up(making: &Making<'_>, step: &mut Step) -> Result<()> {
    let mut copy = contained("cp");
    copy.arg("--recursive").arg(making.source.join("root/.")).arg(making.root);
    making.run(step, copy)?;
    let script = "/run/setup.sh";
    fs::write(making.root.join(&script[1..]), making.read("setup.sh")?).context("copy setup.sh")?;
    let mut set_up = contained("chroot");
    set_up.arg(making.root).args(["sh", script]);
    making.run(step, set_up)?;
    fs::remove_file(making.root.join(&script[1..])).context("remove setup.sh")?;
    make_keys(making, step)
}

/// One key that is let in, one by which the machine is known. Both are this build's alone.
fn make_keys(making: &Making<'_>, step: &mut Step) -> Result<()> {
    let settings = making.root.join("etc/ssh");
    let client = making.image.join(KEY);
    let own = settings.join("ssh_host_ed25519_key");
    for key in [&client, &own] {
        let mut generate = contained("ssh-keygen");
        generate.args(["-q", "-t", "ed25519", "-N", "", "-C", HOST, "-f"]).arg(key);
        making.run(step, generate)?;
    }
    fs::copy(client.with_extension("pub"), settings.join("authorized_keys")).context("let the key in")?;
    let public = fs::read_to_string(own.with_extension("pub")).context("read the machine's key")?;
    fs::write(making.image.join(KNOWN_HOSTS), format!("{HOST} {public}")).context("write the known hosts")
}
