//! Cargo's additional programs that recipes need: each built once a user into the cache folder, at a pinned version.
//! The decision and its cost are in docs/adr/0006-xtask-and-licences.md.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// The program of a package: the one in the cache, built there first if need be.
///
/// # Errors
/// No folder to keep it in, or it cannot be built.
pub(crate) fn built(workspace: &Workspace, package: &str, version: &str) -> Result<PathBuf> {
    let root = cache_folder()?.join(format!("{package}-{version}"));
    let program = root.join("bin").join(package);
    if !program.is_file() {
        println!("building {package} {version} into {} (once)", root.display());
        let mut command = workspace.cargo();
        // Unoptimised: these programs wait for others or run for seconds, and their build takes a minute instead of many.
        command.args(["install", "--quiet", "--locked", "--debug", "--version", version, package, "--root"]).arg(&root);
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env_remove("CARGO_TARGET_DIR");
        process::run(command)?;
    }
    Ok(program)
}

/// Where recipes keep what is made once a user.
///
/// # Errors
/// Neither `XDG_CACHE_HOME` nor a home folder.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor a home folder")?.join("strobe"))
}
