//! Licences, bans and sources of all dependencies, by cargo-deny. It is built once a user into the cache folder, at a pinned version:
//! the decision and its cost are in docs/adr/0006-xtask-and-licences.md.

use anyhow::Result;
use clap::Args;

use crate::process;
use crate::tool;
use crate::workspace::Workspace;

/// Another version may judge differently: raise it on purpose, with a look at what changes.
const VERSION: &str = "0.20.2";

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Also the advisories, whose database is fetched from the network
    #[arg(long)]
    full: bool,
}

/// Checks against deny.toml.
///
/// # Errors
/// A dependency that deny.toml refuses, or cargo-deny cannot be built.
pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<()> {
    let deny = tool::built(workspace, "cargo-deny", VERSION)?;
    // A build fetches what this machine's platform needs; the licences are those of all platforms.
    let mut fetch = workspace.cargo();
    fetch.args(["fetch", "--quiet", "--locked"]);
    process::run(fetch)?;
    let mut command = workspace.command(&deny);
    if !options.full {
        // From here on nothing may wait for a network.
        command.arg("--offline");
    }
    command.args(["--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    if options.full {
        command.arg("advisories");
    } else {
        println!("SKIPPED: known vulnerabilities (advisories). Their database is on the network: `cargo xtask licences --full`");
    }
    process::run(command)
}
