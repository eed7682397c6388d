//! What demo and tests need from the machine: found, and installed with the system's package manager where that is allowed.

pub(crate) mod clang;
mod freezer;
mod packages;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process::{on_path, output_of};
use packages::{Manager, Names};

/// Where distributions put MPICH's compiler driver, the surest first: plain `mpicc` may belong to another MPI.
const MPICC: [&str; 4] = ["mpicc.mpich", "/usr/lib64/mpich/bin/mpicc", "/usr/lib64/mpi/gcc/mpich/bin/mpicc", "mpicc"];

#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Print the commands that would install what is missing, and fail, instead of running them
    #[arg(long)]
    pub(crate) no_install: bool,
    /// Also what the tests need that run programs of others: NetPIPE for MPICH, and Python for mpi4py
    #[arg(long)]
    pub(crate) with_third_party: bool,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// MPICH's compiler driver.
    pub(crate) mpicc: PathBuf,
}

/// One thing that must be there.
struct Need {
    name: &'static str,
    why: &'static str,
    found: fn() -> bool,
    packages: Names,
}

const NEEDS: [Need; 3] = [
    Need {
        name: "a C compiler and make",
        why: "builds the examples and links Rust programs",
        found: || on_path("cc") && on_path("make"),
        packages: Names { apt: "gcc libc6-dev make", dnf: "gcc make", zypper: "gcc make", pacman: "gcc make" },
    },
    Need {
        name: "a static C library",
        why: "strobe-init is one file that runs in every container",
        found: has_static_libc,
        packages: Names { apt: "libc6-dev", dnf: "glibc-static", zypper: "glibc-devel-static", pacman: "glibc" },
    },
    Need {
        name: "MPICH",
        why: "the examples are MPI programs",
        found: || find_mpicc().is_some(),
        packages: Names { apt: "mpich libmpich-dev", dnf: "mpich mpich-devel", zypper: "mpich mpich-devel", pacman: "mpich" },
    },
];

/// For the tests that run programs which Strobe's authors did not write.
const THIRD_PARTY: [Need; 2] = [
    Need {
        name: "NetPIPE for MPICH",
        why: "a test runs it",
        found: || on_path("NPmpich2"),
        packages: Names { apt: "netpipe-mpich2", dnf: "", zypper: "", pacman: "" },
    },
    Need {
        name: "Python with virtual environments",
        why: "a test runs mpi4py",
        found: || output_of("python3", &["-c", "import ensurepip, venv"]).is_some(),
        packages: Names { apt: "python3 python3-venv", dnf: "python3", zypper: "python3", pacman: "python" },
    },
];

/// Of both the laboratory and the emulated machine.
const IP: Need = Need {
    name: "ip",
    why: "what runs beside this machine gets a network of its own",
    found: || on_path("ip"),
    packages: Names { apt: "iproute2", dnf: "", zypper: "", pacman: "" },
};

/// By which debootstrap checks what a mirror gives. Without them it warns, and takes everything unchecked.
const ARCHIVE_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Of both the laboratory and the Dockerfiles' check.
const DOCKER: Need = Need {
    name: "Docker's engine",
    why: "the laboratory's nodes are containers, and Dockerfiles are built by it",
    found: || on_path("dockerd"),
    packages: Names { apt: "docker.io", dnf: "", zypper: "", pacman: "" },
};

/// Of both the emulated machine and the Dockerfiles' check.
const MMDEBSTRAP: Need = Need {
    name: "mmdebstrap",
    why: "it makes a Debian from packages",
    found: || on_path("mmdebstrap"),
    packages: Names { apt: "mmdebstrap debian-archive-keyring", dnf: "", zypper: "", pacman: "" },
};

/// For the Dockerfiles' check. Tried with Debian's packages alone.
const DOCKERFILES: [Need; 2] = [DOCKER, MMDEBSTRAP];

/// For a Kubernetes that is built and run on this machine. Tried with Debian's packages alone.
const LABORATORY: [Need; 7] = [
    DOCKER,
    Need {
        name: "iptables",
        why: "Docker and Kubernetes make their networks with it",
        found: || on_path("iptables"),
        packages: Names { apt: "iptables", dnf: "", zypper: "", pacman: "" },
    },
    Need {
        name: "debootstrap and zstd",
        why: "the nodes' root is a Debian, made and kept as one file",
        found: || on_path("debootstrap") && on_path("zstd"),
        packages: Names { apt: "debootstrap zstd", dnf: "", zypper: "", pacman: "" },
    },
    Need {
        name: "the keys of Debian's archive",
        why: "the packages of the nodes' root are checked by them",
        found: || Path::new(ARCHIVE_KEYS).is_file(),
        packages: Names { apt: "debian-archive-keyring", dnf: "", zypper: "", pacman: "" },
    },
    IP,
    Need {
        name: "a static busybox",
        why: "the images of Kubernetes have its shell",
        found: || Path::new(BUSYBOX).is_file(),
        packages: Names { apt: "busybox-static", dnf: "", zypper: "", pacman: "" },
    },
    Need {
        name: "libseccomp's headers",
        why: "runc is built with it",
        found: || Path::new("/usr/include/seccomp.h").is_file(),
        packages: Names { apt: "libseccomp-dev pkg-config", dnf: "", zypper: "", pacman: "" },
    },
];

/// Where Debian puts the static busybox.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// For the emulated machine with soft-RoCE. Tried with Debian's packages alone.
const RDMA_MACHINE: [Need; 6] = [
    Need {
        name: "QEMU",
        why: "it is the emulator",
        found: || on_path("qemu-system-x86_64") && on_path("qemu-img"),
        packages: Names { apt: "qemu-system-x86 qemu-utils", dnf: "", zypper: "", pacman: "" },
    },
    MMDEBSTRAP,
    Need {
        name: "mkfs.ext4",
        why: "it makes the machine's disk",
        found: || on_path("mkfs.ext4"),
        packages: Names { apt: "e2fsprogs", dnf: "", zypper: "", pacman: "" },
    },
    Need {
        name: "cpio and xz",
        why: "they pack what the machine starts from",
        found: || on_path("cpio") && on_path("xz"),
        packages: Names { apt: "cpio xz-utils", dnf: "", zypper: "", pacman: "" },
    },
    Need {
        name: "ssh",
        why: "the machine is reached by it",
        found: || ["ssh", "scp", "ssh-keygen"].into_iter().all(on_path),
        packages: Names { apt: "openssh-client", dnf: "", zypper: "", pacman: "" },
    },
    IP,
];

/// For the fabric's feature `verbs`. Tried with Debian's packages alone.
const VERBS: [Need; 3] = [
    Need {
        name: "the headers of libibverbs",
        why: "rdma-sys is made of them",
        found: || Path::new("/usr/include/infiniband/verbs.h").is_file(),
        packages: Names { apt: "libibverbs-dev pkg-config", dnf: "", zypper: "", pacman: "" },
    },
    Need {
        name: "the headers of librdmacm",
        why: "rdma-sys is made of them, too, though nothing of them is used",
        found: || Path::new("/usr/include/rdma/rdma_cma.h").is_file(),
        packages: Names { apt: "librdmacm-dev pkg-config", dnf: "", zypper: "", pacman: "" },
    },
    Need {
        name: "libclang of version 15 or older",
        why: "rdma-sys reads headers with it by bindgen 0.59, which does not know newer ones",
        found: || clang::folder().is_some(),
        packages: Names { apt: "libclang-14-dev", dnf: "", zypper: "", pacman: "" },
    },
];

/// Checks what is needed, says what is missing, and installs it unless told not to.
///
/// # Errors
/// Something is missing and was not, or could not be, installed; the commands that would do it were printed.
pub(crate) fn run(options: Options) -> Result<Found> {
    provide(&missing(options), options.no_install)?;
    let mpicc = find_mpicc().context("MPICH is there, but none of its compiler drivers")?;
    println!("MPICH: {}", mpicc.display());
    println!("freezer: {}", freezer::find());
    Ok(Found { mpicc })
}

/// Checks what the laboratory needs, says what is missing, and installs it unless told not to.
///
/// # Errors
/// Those of [`run`].
pub(crate) fn laboratory(no_install: bool) -> Result<()> {
    provide(&missing_of(&LABORATORY), no_install)
}

/// Checks what building the Dockerfiles needs, says what is missing, and installs it unless told not to.
///
/// # Errors
/// Those of [`run`].
pub(crate) fn dockerfiles(no_install: bool) -> Result<()> {
    provide(&missing_of(&DOCKERFILES), no_install)
}

/// Checks what the emulated machine needs, says what is missing, and installs it unless told not to.
///
/// # Errors
/// Those of [`run`].
pub(crate) fn rdma_machine(no_install: bool) -> Result<()> {
    provide(&missing_of(&RDMA_MACHINE), no_install)
}

/// Checks what a build of the fabric with its feature `verbs` needs, says what is missing, and installs it unless told not to; gives the
/// folder of the libclang that it takes.
///
/// # Errors
/// Those of [`run`].
pub(crate) fn verbs(no_install: bool) -> Result<PathBuf> {
    provide(&missing_of(&VERBS), no_install)?;
    clang::folder().context("libclang is there, but not where it is looked for: name its folder in LIBCLANG_PATH")
}

fn provide(missing: &[&'static Need], no_install: bool) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    packages::install(Manager::of_this_machine(), &report_missing(missing), no_install)?;
    match missing.iter().find(|need| !(need.found)()) {
        Some(need) => bail!("{} is still missing after the packages were installed", need.name),
        None => Ok(()),
    }
}

/// MPICH's compiler driver, if it is installed.
pub(crate) fn find_mpicc() -> Option<PathBuf> {
    MPICC.iter().copied().find(|driver| output_of(driver, &["-show"]).is_some_and(|text| text.contains("mpich"))).map(PathBuf::from)
}

fn missing(options: Options) -> Vec<&'static Need> {
    let mut missing = missing_of(&NEEDS);
    let of_others: &[Need] = if options.with_third_party { &THIRD_PARTY } else { &[] };
    for need in missing_of(of_others) {
        if Manager::of_this_machine().is_some_and(|manager| manager.has(&need.packages)) {
            missing.push(need);
        } else {
            println!("{} has no package in this distribution: the test with it is skipped unless it is installed by hand", need.name);
        }
    }
    missing
}

fn missing_of(needs: &'static [Need]) -> Vec<&'static Need> {
    needs.iter().filter(|need| !(need.found)()).collect()
}

/// Says what is missing and why it is needed; gives the packages' names.
fn report_missing(missing: &[&'static Need]) -> Vec<&'static Names> {
    for need in missing {
        println!("missing: {} ({})", need.name, need.why);
    }
    missing.iter().map(|need| &need.packages).collect()
}

fn has_static_libc() -> bool {
    // A compiler that does not find the file answers with the bare name.
    output_of("cc", &["-print-file-name=libc.a"]).is_some_and(|path| path.starts_with('/'))
}
