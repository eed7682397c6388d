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
