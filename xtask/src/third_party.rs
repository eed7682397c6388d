//! `cargo xtask third-party`: programs that we did not write, for the test that runs them as gangs (cli/tests/third_party.rs). NetPIPE is
//! a package of the distribution (see prepare); mpi4py and an MPICH come from PyPI into a folder of their own in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;
use crate::tool::cache_folder;

/// Pinned, so that a test that passed today fails tomorrow only for our fault.
const PACKAGES: [&str; 2] = ["mpich==5.0.2", "mpi4py==4.1.2"];

/// Intel's MPI. Later versions want a libfabric that PyPI does not have; this one brings it.
const INTEL_MPI: &str = "impi-rt==2021.15.0";

/// What of its two hundred files a program needs that sends by TCP.
pub(crate) const INTEL_LIBRARIES: [&str; 4] = ["libmpi.so.12", "libfabric.so.1", "libtcp-fi.so", "librxm-fi.so"];

/// Begins MPI with one rank.
const TRIAL: &str = "from mpi4py import MPI; print(MPI.Get_library_version().split()[2])";

/// Says that everything of these versions is installed. The test uses nothing without it.
const COMPLETE: &str = "complete";

/// Tells the tests where mpi4py is.
pub(crate) const MPI4PY: &str = "STROBE_MPI4PY";

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Say what is missing, and install nothing
    #[arg(long)]
    no_install: bool,
}

/// Installs what is missing. What cannot be had is said: the test says then, too, what it leaves out.
///
/// # Errors
/// No cache folder.
pub(crate) fn run(options: Options) -> Result<ExitCode> {
    let folder = folder()?;
    if is_complete(&folder) {
        println!("mpi4py: {}", folder.display());
    } else if options.no_install {
        println!("SKIPPED: mpi4py is not installed, and --no-install was given");
    } else if let Err(error) = install(&folder) {
        println!("SKIPPED: mpi4py cannot be installed: {error:#}");
    }
    if !process::on_path("NPmpich2") {
        println!("SKIPPED: NetPIPE for MPICH (NPmpich2) is not installed");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where mpi4py is, or will be.
///
/// # Errors
/// No cache folder.
pub(crate) fn folder() -> Result<PathBuf> {
    Ok(cache_folder()?.join("mpi4py"))
}

/// The folder of PyPI's MPICH, which is installed first where it is missing: `lib`, `include`.
///
/// # Errors
/// It cannot be installed.
pub(crate) fn mpich() -> Result<PathBuf> {
    let folder = folder()?;
    if !is_complete(&folder) {
        install(&folder)?;
    }
    Ok(folder)
}

/// The folder with the libraries of Intel's MPI, which are fetched first where they are missing.
///
/// # Errors
/// They cannot be fetched.
pub(crate) fn intel_mpi() -> Result<PathBuf> {
    let folder = cache_folder()?.join("intel-mpi");
    let complete = folder.join(COMPLETE);
    if fs::read_to_string(&complete).is_ok_and(|found| found == INTEL_MPI) {
        return Ok(folder);
    }
    println!("fetching {INTEL_MPI} into {} (once)", folder.display());
    let aside = folder.with_extension("new");
    // What an interrupted run has left.
    let _none = fs::remove_dir_all(&aside);
    let mut download = Command::new("python3");
    download.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]).arg(&aside).arg(INTEL_MPI);
    process::run(download)?;
    let package = only_entry(&aside)?;
    let unpacked = aside.join("unpacked");
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "--extract"]).arg(&package).arg(&unpacked);
    process::run(unpack)?;
    let version = INTEL_MPI.replace("==", "-").replace("impi-rt", "impi_rt");
    let libraries = unpacked.join(format!("{version}.data/data/lib"));
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for name in INTEL_LIBRARIES {
        fs::copy(libraries.join(name), folder.join(name)).with_context(|| format!("copy {name} of {INTEL_MPI}"))?;
    }
    fs::write(&complete, INTEL_MPI).with_context(|| format!("write into {}", folder.display()))?;
    fs::remove_dir_all(&aside).with_context(|| format!("remove {}", aside.display()))?;
    Ok(folder)
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let entry = entries.next().context("the package was not fetched")?.context("look at a package")?;
    Ok(entry.path())
}

fn wanted() -> String {
    PACKAGES.join("\n")
}

fn is_complete(folder: &Path) -> bool {
    fs::read_to_string(folder.join(COMPLETE)).is_ok_and(|found| found == wanted())
}

fn install(folder: &Path) -> Result<()> {
    println!("installing {} into {} (once)", PACKAGES.join(" and "), folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv"]).arg(folder);
    process::run(environment)?;
    let python: PathBuf = folder.join("bin/python");
    let mut packages = Command::new(&python);
    packages.args(["-m", "pip", "install", "--quiet"]).args(PACKAGES);
    process::run(packages)?;
    let Some(version) = process::output_of(&python.display().to_string(), &["-c", TRIAL]) else {
        bail!("mpi4py was installed and does not begin");
    };
    println!("mpi4py begins, over MPICH {}", version.trim_end());
    fs::write(folder.join(COMPLETE), wanted()).with_context(|| format!("write into {}", folder.display()))
}
