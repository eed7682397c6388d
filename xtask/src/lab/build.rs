//! `cargo xtask lab build`: every program of the laboratory, each built once and kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::go::{self, Build};
use super::programs::{API_SERVER_PROGRAMS, CLUSTER_PROGRAMS, COMPANIONS, ETCD, HELM, KUBERNETES, KUBERNETES_OLDER, OWN, kubernetes};
use super::step::step;
use super::store::Store;
use crate::lock::Lock;
use crate::prepare;
use crate::workspace::Workspace;

/// The laboratory's programs.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    /// Of Kubernetes.
    pub(super) version: &'static str,
    folders: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Only what the tests of the API server take
    #[arg(long)]
    api_server: bool,
    /// Where Go is missing or too old, say so and build nothing
    #[arg(long)]
    optional: bool,
}

/// What is built for a cluster.
#[derive(Args, Debug)]
pub(super) struct ClusterOptions {
    /// The Kubernetes: a version or a minor version of those that are known
    #[arg(long, default_value = KUBERNETES, value_parser = parse_kubernetes)]
    pub(super) kubernetes: &'static str,
    /// Fail, with the commands printed, instead of installing what is missing
    #[arg(long)]
    pub(super) no_install: bool,
}

fn parse_kubernetes(text: &str) -> Result<&'static str, String> {
    kubernetes(text).ok_or_else(|| format!("not one of {KUBERNETES}, {}", KUBERNETES_OLDER.join(", ")))
}

/// Builds what is not yet there.
///
/// # Errors
/// See [`program`].
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.optional
        && let Err(error) = go::check()
    {
        println!("SKIPPED: {error:#}");
        return Ok(());
    }
    if !options.api_server {
        prepare::laboratory(options.cluster.no_install)?;
    }
    let store = Store::open()?;
    let lock = store.lock()?;
    if options.api_server {
        for (name, build) in api_server_builds(options.cluster.kubernetes) {
            program(&store, &lock, name, &build)?;
        }
    } else {
        all(workspace, &store, &lock, options.cluster.kubernetes)?;
    }
    store.clear_making(&lock)
}

/// Builds, or finds, every program; gives the folders that hold them.
///
/// # Errors
/// See [`program`].
pub(super) fn all(workspace: &Workspace, store: &Store, lock: &Lock, version: &'static str) -> Result<Programs> {
    let builds = builds(workspace, version)?;
    let folders = builds.iter().map(|(name, build)| program(store, lock, name, build)).collect::<Result<_>>()?;
    Ok(Programs { version, folders })
}

fn builds(workspace: &Workspace, version: &'static str) -> Result<Vec<(&'static str, Build)>> {
    let mut builds: Vec<_> = api_server_builds(version).into();
    builds.push(("kubernetes-node", Build::of_kubernetes(version, &CLUSTER_PROGRAMS)));
    builds.extend(COMPANIONS.iter().map(|module| (module.name, Build::of(module))));
    for (folder, programs) in OWN {
        builds.push((folder, Build::of_own(&workspace.root.join("e2e/lab").join(folder), programs)?));
    }
    Ok(builds)
}

/// Where the programs are that the tests of the API server take, built or not: folders as in PATH.
///
/// # Errors
/// No cache folder.
pub(crate) fn api_server_folders() -> Result<OsString> {
    api_server_folders_of(&Store::open()?, KUBERNETES)
}

/// The same of any version.
///
/// # Errors
/// The cache folder has a colon in its name.
pub(super) fn api_server_folders_of(store: &Store, version: &'static str) -> Result<OsString> {
    let folders = api_server_builds(version).map(|(name, build)| store.place(&named(name, &build), &build.recipe()));
    std::env::join_paths(folders).context("a cache folder without a colon in its name")
}

fn api_server_builds(version: &'static str) -> [(&'static str, Build); 3] {
    let kubernetes = Build::of_kubernetes(version, &API_SERVER_PROGRAMS);
    [("kubernetes-api", kubernetes), (ETCD.name, Build::of(&ETCD)), (HELM.name, Build::of(&HELM))]
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
        go::check()?;
        step(&format!("build {name}"), |step| build.into(store, step, folder))
    })
}

// === impl Programs ===

impl Programs {
    /// Those of a version, where they were built before; at least what is `needed` of them.
    ///
    /// # Errors
    /// One that is needed was never built, or was built otherwise; or the files of ours cannot be read.
    pub(super) fn kept(workspace: &Workspace, store: &Store, version: &'static str, needed: &[&str]) -> Result<Self> {
        let place = |(name, build): (&str, Build)| store.place(&named(name, &build), &build.recipe());
        let kept = Self { version, folders: builds(workspace, version)?.into_iter().map(place).collect() };
        for program in needed {
            ensure!(kept.find(program).is_some(), "{program} is not built: `cargo xtask lab build --kubernetes {version}` builds it");
        }
        Ok(kept)
    }

    /// The path of a program.
    ///
    /// # Panics
    /// None of the modules has it: a defect of the caller.
    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.find(program).unwrap_or_else(|| panic!("the laboratory has no program {program}"))
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file())
    }

    /// What decides about all of them.
    pub(super) fn recipe(&self) -> String {
        format!("{:?}", self.folders.iter().map(|folder| folder.file_name()).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::programs::KUBERNETES_OLDER;
    use super::*;

    #[test]
    fn the_programs_of_a_version_are_found_where_no_other_was_built() {
        let (folder, older) = (tempfile::tempdir().unwrap(), KUBERNETES_OLDER[0]);
        let (workspace, store) = (Workspace::find().unwrap(), Store::at(folder.path().to_path_buf()).unwrap());
        let folders = api_server_folders_of(&store, older).unwrap();
        let place = std::env::split_paths(&folders).next().unwrap();
        fs::create_dir(&place).unwrap();
        fs::write(place.join("kubectl"), "").unwrap();
        let kept = Programs::kept(&workspace, &store, older, &["kubectl"]).unwrap();
        assert_eq!((kept.version, kept.path("kubectl")), (older, place.join("kubectl")));
        let missing = |version, program| Programs::kept(&workspace, &store, version, &[program]).unwrap_err().to_string();
        assert_eq!(
            missing(KUBERNETES, "kubectl"),
            format!("kubectl is not built: `cargo xtask lab build --kubernetes {KUBERNETES}` builds it")
        );
        assert_eq!(missing(older, "kind"), format!("kind is not built: `cargo xtask lab build --kubernetes {older}` builds it"));
    }
}
