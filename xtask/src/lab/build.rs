//! `cargo xtask lab build`: every program of the laboratory, each built once and kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::go::Build;
use super::programs::{API_SERVER_PROGRAMS, CLUSTER_PROGRAMS, COMPANIONS, ETCD, KUBERNETES, KUBERNETES_OLDER, kubernetes};
use super::step::step;
use super::store::{Lock, Store};
use crate::process::output_of;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The Kubernetes: a version or a minor version of those that are known
    #[arg(long, default_value = KUBERNETES, value_parser = parse_kubernetes)]
    kubernetes: &'static str,
    /// Only what the tests of the API server take
    #[arg(long)]
    api_server: bool,
}

fn parse_kubernetes(text: &str) -> Result<&'static str, String> {
    kubernetes(text).ok_or_else(|| format!("not one of {KUBERNETES}, {}", KUBERNETES_OLDER.join(", ")))
}

/// Builds what is not yet there.
///
/// # Errors
/// See [`program`].
pub(super) fn run(options: &Options) -> Result<()> {
    let store = Store::open()?;
    let lock = store.lock()?;
    for (name, build) in api_server_builds(options.kubernetes) {
        program(&store, &lock, name, &build)?;
    }
    if !options.api_server {
        for (name, build) in cluster_builds(options.kubernetes) {
            program(&store, &lock, name, &build)?;
        }
    }
    store.clear_making(&lock)
}

/// Where the programs are that the tests of the API server take, built or not: folders as in PATH.
///
/// # Errors
/// No cache folder.
pub(crate) fn api_server_folders() -> Result<OsString> {
    let store = Store::open()?;
    let folders = api_server_builds(KUBERNETES).map(|(name, build)| store.place(&named(name, &build), &build.recipe()));
    std::env::join_paths(folders).context("a cache folder without a colon in its name")
}

fn api_server_builds(version: &'static str) -> [(&'static str, Build); 2] {
    [("kubernetes-api", Build::of_kubernetes(version, &API_SERVER_PROGRAMS)), (ETCD.name, Build::of(&ETCD))]
}

fn cluster_builds(version: &'static str) -> Vec<(&'static str, Build)> {
    let mut builds = vec![("kubernetes-node", Build::of_kubernetes(version, &CLUSTER_PROGRAMS))];
    builds.extend(COMPANIONS.iter().map(|module| (module.name, Build::of(module))));
    builds
}

fn named(name: &str, build: &Build) -> String {
    format!("{name}-{}", build.version())
}

/// The folder with a module's programs.
///
/// # Errors
/// No Go, no space, or they cannot be built.
fn program(store: &Store, lock: &Lock, name: &str, build: &Build) -> Result<PathBuf> {
    let name = named(name, build);
    store.output(lock, &name, &build.recipe(), |folder: &Path| {
        output_of("go", &["version"])
            .context("go is missing: the laboratory is built from source with the distribution's or go.dev's Go")?;
        step(&format!("build {name}"), |step| build.into(store, step, folder))
    })
}
