//! `cargo xtask rdma-vm build`: the machine's kernel, first program and disk, made of a distribution's packages and of the files in
//! e2e/rdma-vm, and kept under a name that says of what.

mod contained;
mod kernel;
mod root;

use std::fmt::{self, Write as _};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::lab::step::{Step, step};
use crate::lab::store::{Store, remove};
use crate::limits::RDMA_VM_DISK_GIB;
use crate::mirror;
use crate::prepare;
use crate::workspace::Workspace;
use contained::contained;
pub(super) use root::HOST;

/// Of the outputs in the store, without and with containers: a new one takes the place of the old one of its name only.
const NAMES: [&str; 2] = ["rdma-vm", "rdma-vm-containers"];

/// The image's disk, which machines only read.
const DISK: &str = "disk.qcow2";
const KERNEL: &str = "kernel";
/// What the kernel finds before it has a disk.
const FIRST_PROGRAMS: &str = "initrd";
/// The key that the machine lets in.
const KEY: &str = "key";
/// The machine's own key, as ssh reads it.
const KNOWN_HOSTS: &str = "known_hosts";

/// Counts what the code here does differently, for that is not in the files.
const EDITION: u32 = 1;

#[derive(Args, Clone, Debug)]
pub(super) struct Options {
    /// Also Docker, and what kind takes
    #[arg(long)]
    pub(super) containers: bool,
    /// Where Debian's packages come from; without it what this machine's own apt names
    #[arg(long)]
    pub(super) mirror: Option<String>,
    /// Print the commands that would install what is missing here, and fail, instead of running them
    #[arg(long)]
    pub(super) no_install: bool,
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Image {
    folder: PathBuf,
    /// Another in every build, also where all else is the same: a disk that is based on one build is worth nothing on another.
    host_key: String,
}

/// One image in the making.
struct Making<'a> {
    /// The folder of the project's files that the machine is made of.
    source: &'a Path,
    containers: bool,
    mirror: String,
    /// The folder of what comes out.
    image: &'a Path,
    /// The files of the machine's disk until they are on it.
    root: &'a Path,
}

/// Builds the image, unless it is there.
///
/// # Errors
/// Not root, something that is missing and not installed, no mirror, no space, or packages that do not come.
pub(super) fn build(workspace: &Workspace, options: &Options) -> Result<Image> {
    let root = rustix::process::geteuid().is_root();
    ensure!(
        root,
        "only root may make and start the machine, for its disk has files of others and it gets a network namespace: run this as root"
    );
    prepare::rdma_machine(options.no_install)?;
    let source = workspace.root.join("e2e/rdma-vm");
    let recipe = recipe(&source, options.containers)?;
    let store = Store::open()?;
    let name = NAMES[usize::from(options.containers)];
    let place = store.place(name, &recipe);
    if !place.is_dir() {
        let mirror = options.mirror.clone().or_else(mirror::of_this_machine);
        let mirror = mirror.context("this machine's apt names no mirror of Debian: name one with --mirror")?;
        let lock = store.lock()?;
        let root = store.making("rdma-vm-root");
        remove(&root)?;
        let making = |image: &Path| Making { source: &source, containers: options.containers, mirror, image, root: &root }.all();
        store.output(&lock, name, &recipe, making)?;
        store.clear_making(&lock)?;
    }
    Image::at(place)
}

/// All that decides what comes out, but for the versions of the packages, which are the newest of their day.
fn recipe(folder: &Path, containers: bool) -> Result<String> {
    let mut recipe = format!("edition {EDITION}, {RDMA_VM_DISK_GIB} GiB, containers {containers}\n");
    for file in files::beneath(folder)? {
        let content = fs::read_to_string(folder.join(&file)).with_context(|| format!("read {}", file.display()))?;
        write!(recipe, "{}\n{content}\n", file.display()).expect("a string takes everything");
    }
    Ok(recipe)
}

/// The names in a list: one a line, `#` begins a comment.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|name| !name.is_empty())
}

// === impl Image ===

impl Image {
    /// The image in a folder.
    ///
    /// # Errors
    /// It is not whole.
    pub(super) fn at(folder: PathBuf) -> Result<Self> {
        let file = folder.join(KNOWN_HOSTS);
        let host_key = fs::read_to_string(&file).with_context(|| format!("read {}: remove its folder if it is damaged", file.display()))?;
        Ok(Self { folder, host_key })
    }

    /// An image that is not built.
    #[cfg(test)]
    pub(super) fn for_test(folder: &str) -> Self {
        Self { folder: folder.into(), host_key: "strobe-rdma ssh-ed25519 key".into() }
    }

    /// Which machines only read.
    pub(super) fn disk(&self) -> PathBuf {
        self.folder.join(DISK)
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.folder.join(KERNEL)
    }

    /// What the kernel finds before it has a disk.
    pub(super) fn first_programs(&self) -> PathBuf {
        self.folder.join(FIRST_PROGRAMS)
    }

    /// The key that the machine lets in.
    pub(super) fn key(&self) -> PathBuf {
        self.folder.join(KEY)
    }

    /// The machine's own key, as ssh reads it.
    pub(super) fn known_hosts(&self) -> PathBuf {
        self.folder.join(KNOWN_HOSTS)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The folder's name says of what it was made; where the store is, is of no interest.
        formatter.write_str(&self.folder.file_name().unwrap_or_default().to_string_lossy())
    }
}

// === impl Making ===

impl Making<'_> {
    fn all(&self) -> Result<()> {
        // The disk has the machine's private key.
        fs::set_permissions(self.image, Permissions::from_mode(0o700))
            .with_context(|| format!("close {} to others", self.image.display()))?;
        step("rdma-vm: Debian's packages", |step| root::install(self, step))?;
        let version = step("rdma-vm: the kernel's modules", |step| kernel::choose_modules(self, step))?;
        step("rdma-vm: its settings and keys", |step| root::set_up(self, step))?;
        step("rdma-vm: the first programs", |step| kernel::first_programs(self, &version, step))?;
        step("rdma-vm: the disk", |step| self.disk(step))?;
        let kernel = self.root.join("usr/lib/modules").join(&version).join("vmlinuz");
        fs::copy(&kernel, self.image.join(KERNEL)).with_context(|| format!("copy {}", kernel.display()))?;
        remove(self.root)
    }

    /// A disk of the root's files. It has no journal: what a machine writes lives no longer than the machine, or in a snapshot, which is
    /// always whole.
    fn disk(&self, step: &mut Step) -> Result<()> {
        let raw = self.image.join("disk.raw");
        let mut format = contained("mkfs.ext4");
        format.args(["-q", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", "-d"]).arg(self.root);
        format.arg(&raw).arg(format!("{RDMA_VM_DISK_GIB}G"));
        self.run(step, format)?;
        let mut convert = contained("qemu-img");
        convert.args(["convert", "-O", "qcow2"]).arg(&raw).arg(self.image.join(DISK));
        self.run(step, convert)?;
        fs::remove_file(&raw).with_context(|| format!("remove {}", raw.display()))
    }

    /// Runs a program of the build, with its output in the image's log.
    fn run(&self, step: &mut Step, command: Command) -> Result<()> {
        step.run(command, &self.image.join("log"))
    }

    /// One of the files that the machine is made of.
    fn read(&self, name: &str) -> Result<String> {
        let path = self.source.join(name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_comments_and_empty_lines() {
        assert_eq!(names("# why\n\none\n two # why\n").collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn a_file_or_option_that_changes_changes_the_recipe() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("root/etc")).unwrap();
        fs::write(folder.path().join("packages"), "one").unwrap();
        let of = |containers| recipe(folder.path(), containers).unwrap();
        let before = of(false);
        assert_eq!(before, of(false));
        assert_ne!(before, of(true));
        fs::write(folder.path().join("root/etc/hostname"), "one").unwrap();
        assert_ne!(before, of(false));
    }
}
