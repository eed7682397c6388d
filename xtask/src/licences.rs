//! Licences, bans and sources of all dependencies, by cargo-deny. It is built once a user into the cache folder, at a pinned version:
//! the decision and its cost are in docs/adr/0006-xtask-and-licences.md.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::process;
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
    let deny = cargo_deny(workspace)?;
    let mut command = workspace.command(&deny);
    if !options.full {
        // All crates have been fetched by the builds before; so nothing here may wait for a network.
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

/// The pinned cargo-deny: the one in the cache, built there first if need be.
fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    let root = cache_folder()?.join(format!("cargo-deny-{VERSION}"));
    let program = root.join("bin/cargo-deny");
    if !program.is_file() {
        println!("building cargo-deny {VERSION} into {} (once)", root.display());
        let mut command = workspace.cargo();
        // Unoptimised: one run takes two seconds, and the build a minute instead of many.
        command.args(["install", "--quiet", "--locked", "--debug", "--version", VERSION, "cargo-deny", "--root"]).arg(&root);
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env_remove("CARGO_TARGET_DIR");
        process::run(command)?;
    }
    Ok(program)
}

fn cache_folder() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor a home folder")?.join("strobe"))
}
