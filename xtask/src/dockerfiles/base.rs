//! What the Dockerfiles begin `FROM`, made of packages. Beside them it has what lets this machine reach its sources of packages.

use std::path::Path;

use anyhow::{Context, Result};

use super::engine::Engine;
use crate::lab::step::Step;
use crate::mirror;

/// As the Dockerfiles name it.
pub(super) const NAME: &str = "debian:bookworm-slim";

const RELEASE: &str = "bookworm";

/// A mirror that stands still has lists that are past their date; they are signed as ever.
const APT: &str = r#"Acquire::Check-Valid-Until "false""#;

/// Of this machine, with the folder that each is in: whom it trusts besides Debian's list, and how pip reaches its packages.
const OF_THIS_MACHINE: [(&str, &str); 2] = [("/usr/local/share/ca-certificates", "/usr/local/share"), ("/etc/pip.conf", "/etc")];

/// Makes it, and gives it to the engine under its name.
///
/// # Errors
/// No mirror of Debian is known, or packages do not come.
pub(super) fn make(engine: &Engine, step: &mut Step) -> Result<()> {
    let mirror = mirror::of_this_machine().context("this machine's apt names no mirror of Debian")?;
    let archive = engine.file("base.tar");
    let mut command = engine.command("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase", "--format=tar", &format!("--aptopt={APT}")]);
    let there = OF_THIS_MACHINE.into_iter().filter(|(source, _)| Path::new(source).exists());
    command.args(there.map(|(source, folder)| format!("--customize-hook=copy-in {source} {folder}")));
    command.arg(RELEASE).arg(&archive).arg(format!("deb {mirror} {RELEASE} main"));
    step.run(command, &engine.log())?;
    let mut import = engine.docker(&["import"]);
    import.arg(&archive).arg(NAME);
    step.run(import, &engine.log())
}
