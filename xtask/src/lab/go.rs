//! Programs built from Go modules: each in a module of its own that requires the one it belongs to, so that neither a checkout nor the
//! replacements in that module's own file are needed. Which versions of its dependencies it takes follows from its version alone (minimal
//! version selection); the checksum database vouches for each.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::files;
use super::programs::{KUBERNETES_MODULE, Module, minor};
use super::step::Step;
use super::store::Store;
use crate::process::output_of;

/// The version of the language that the modules ask for. An older toolchain refuses them and says so.
const LANGUAGE: &str = "1.26.0";

/// What is built from one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Build {
    source: Source,
    /// Packages and the names of their programs.
    programs: Vec<(String, &'static str)>,
    tags: &'static str,
    linker_flags: String,
    cgo: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Published {
        path: &'static str,
        version: String,
    },
    /// A module of ours, with the digest of its files.
    Own {
        folder: PathBuf,
        digest: String,
    },
}

/// The part of `go mod download -json` that is used.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Download {
    go_mod: PathBuf,
}

/// Whether programs can be built at all.
///
/// # Errors
/// Go is missing, or older than the modules ask for.
pub(super) fn check() -> Result<()> {
    let version = output_of("go", &["env", "GOVERSION"]).unwrap_or_default();
    let version = version.trim();
    let numbers = |text: &str| text.split('.').map(|number| number.parse().ok()).take(2).collect::<Option<Vec<u32>>>();
    let is_enough = version.strip_prefix("go").and_then(numbers) >= numbers(LANGUAGE);
    let found = if version.is_empty() { "it is missing" } else { version };
    ensure!(is_enough, "Kubernetes is built from its source, which takes Go {LANGUAGE} or newer (go.dev has it); here {found}");
    Ok(())
}

// === impl Build ===

impl Build {
    /// The programs of a module.
    pub(super) fn of(module: &Module) -> Self {
        let package = |folder: &str| if folder == "." { module.path.to_owned() } else { format!("{}/{folder}", module.path) };
        let variables = module.version_variables.iter().map(|variable| format!(" -X {variable}={}", module.version));
        Self {
            source: Source::Published { path: module.path, version: module.version.to_owned() },
            programs: module.programs.iter().map(|(folder, name)| (package(folder), *name)).collect(),
            tags: module.tags,
            linker_flags: variables.collect(),
            cgo: module.cgo,
        }
    }

    /// Some of the programs of a Kubernetes.
    pub(super) fn of_kubernetes(version: &str, programs: &[&'static str]) -> Self {
        let (major, minor) = minor(version).split_once('.').unwrap_or((version, ""));
        let mut linker_flags = String::new();
        for (variable, value) in [("gitVersion", format!("v{version}").as_str()), ("gitMajor", major), ("gitMinor", minor)] {
            write!(linker_flags, " -X k8s.io/component-base/version.{variable}={value}").expect("a string takes everything");
        }
        let package = |name: &&'static str| (format!("{KUBERNETES_MODULE}/cmd/{name}"), *name);
        let programs = programs.iter().map(package).collect();
        let source = Source::Published { path: KUBERNETES_MODULE, version: version.to_owned() };
        Self { source, programs, tags: "", linker_flags, cgo: false }
    }

    /// Programs of a module of ours: their folders in it, and their names.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn of_own(folder: &Path, programs: &[(&str, &'static str)]) -> Result<Self> {
        let source = Source::Own { folder: folder.to_path_buf(), digest: files::digest(folder)? };
        let programs = programs.iter().map(|(package, name)| (format!("./{package}"), *name)).collect();
        Ok(Self { source, programs, tags: "", linker_flags: String::new(), cgo: false })
    }

    /// The module's version; one of ours has none but its content.
    pub(super) fn version(&self) -> &str {
        match &self.source {
            Source::Published { version, .. } => version,
            Source::Own { .. } => "own",
        }
    }

    /// All that decides what comes out.
    pub(super) fn recipe(&self) -> String {
        let source = match &self.source {
            Source::Published { path, version } => format!("{path}@{version}"),
            // Where the checkout lies decides nothing.
            Source::Own { digest, .. } => digest.clone(),
        };
        format!("{source} {:?} {} {} {} {LANGUAGE}", self.programs, self.tags, self.linker_flags, self.cgo)
    }

    /// Builds into a folder.
    ///
    /// # Errors
    /// Go is missing or too old, a module cannot be had, or does not build.
    pub(super) fn into(&self, store: &Store, step: &mut Step, folder: &Path) -> Result<()> {
        let source = folder.join("source");
        let log = folder.join("log");
        fs::create_dir_all(&source).with_context(|| format!("make {}", source.display()))?;
        match &self.source {
            Source::Published { path, version } => {
                let manifest = source.join("go.mod");
                let text = requirement(path, version, store, &source)?;
                fs::write(&manifest, text).with_context(|| format!("write {}", manifest.display()))?;
            }
            Source::Own { folder, .. } => files::copy(folder, &source)?,
        }
        for (package, program) in &self.programs {
            let mut command = go(store, &source, self.cgo);
            command.args(["build", "-v", "-trimpath", "-tags", self.tags, "-ldflags"]).arg(format!("-s -w{}", self.linker_flags));
            command.arg("-o").arg(folder.join(program)).arg(package);
            step.run(command, &log)?;
        }
        fs::remove_dir_all(&source).with_context(|| format!("remove {}", source.display()))
    }
}

/// The module that builds: it requires the one and, for Kubernetes, the published versions of the modules that its source keeps beside
/// itself.
fn requirement(path: &str, version: &str, store: &Store, source: &Path) -> Result<String> {
    let mut text = format!("module strobe.dev/lab\n\ngo {LANGUAGE}\n\nrequire {path} v{version}\n");
    if path == KUBERNETES_MODULE {
        let published = version.strip_prefix("1.").context("a version of Kubernetes begins with 1.")?;
        for staged in staged_modules(&module_file(store, source, &format!("{path}@v{version}"))?) {
            writeln!(text, "replace {staged} => {staged} v0.{published}").expect("a string takes everything");
        }
    }
    Ok(text)
}

/// The `go.mod` of a module.
fn module_file(store: &Store, folder: &Path, module: &str) -> Result<String> {
    let mut command = go(store, folder, false);
    command.args(["mod", "download", "-json", module]).stderr(Stdio::inherit());
    let output = command.output().context("run go mod download")?;
    if !output.status.success() {
        bail!("{module} cannot be had: {}", String::from_utf8_lossy(&output.stdout));
    }
    let download: Download = serde_json::from_slice(&output.stdout).context("read what go mod download says")?;
    fs::read_to_string(&download.go_mod).with_context(|| format!("read {}", download.go_mod.display()))
}

/// The modules that a `go.mod` replaces by folders beneath `staging`.
fn staged_modules(manifest: &str) -> Vec<&str> {
    let replaced = manifest.lines().filter_map(|line| line.trim_start_matches("replace").trim().split_once(" => "));
    let mut staged: Vec<_> = replaced.filter(|(_, by)| by.starts_with("./staging/")).map(|(module, _)| module.trim()).collect();
    staged.dedup();
    staged
}

/// Go as it is here, in a module that is taken by itself.
pub(super) fn command(folder: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(folder).env("GOTOOLCHAIN", "local").env("GOWORK", "off");
    command
}

/// Go, in its own caches: those grow by gigabytes, and go when all is built.
fn go(store: &Store, folder: &Path, cgo: bool) -> Command {
    let mut command = command(folder);
    command.env("CGO_ENABLED", if cgo { "1" } else { "0" });
    // Without write permission the module cache could not be removed.
    command.env("GOFLAGS", "-mod=mod -buildvcs=false -modcacherw");
    command.env("GOCACHE", store.making("go-build")).env("GOMODCACHE", store.making("go-modules"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::programs::{COMPANIONS, ETCD};

    #[test]
    fn staged_modules_are_those_replaced_by_folders() {
        let manifest = "module k\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\tother.io/x => other.io/x v1.0.0\n)\nreplace k8s.io/kms => ./staging/src/k8s.io/kms\n";
        assert_eq!(staged_modules(manifest), ["k8s.io/api", "k8s.io/kms"]);
    }

    #[test]
    fn a_program_is_named_by_its_package_and_knows_its_version() {
        let build = Build::of(&COMPANIONS[0]);
        assert_eq!(build.programs[2], ("github.com/containerd/containerd/v2/cmd/ctr".to_owned(), "ctr"));
        assert_eq!(build.linker_flags, " -X github.com/containerd/containerd/v2/version.Version=2.3.7");
        assert_eq!(Build::of(&ETCD).programs, [("go.etcd.io/etcd/server/v3".to_owned(), "etcd")]);
        let kubectl = Build::of_kubernetes("1.35.4", &["kubectl"]);
        assert!(kubectl.linker_flags.ends_with("gitMajor=1 -X k8s.io/component-base/version.gitMinor=35"));
    }

    #[test]
    fn another_version_is_another_recipe() {
        let recipe = |version| Build::of_kubernetes(version, &["kubectl"]).recipe();
        assert_ne!(recipe("1.36.3"), recipe("1.35.4"));
    }
}
