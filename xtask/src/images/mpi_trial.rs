//! What tests of a cluster run over several MPIs: the examples and NetPIPE, linked with the MPICH of this machine's distribution; PyPI's
//! MPICH and Intel's, which take the same programs; this machine's Python with mpi4py; and what starts the ranks of plain pods.

mod python;

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{Content, examples, mpich};
use crate::artefacts::{self, Profile};
use crate::libraries::Root;
use crate::oci::Layer;
use crate::prepare;
use crate::third_party;
use crate::workspace::Workspace;

/// NetPIPE for MPICH, as the distribution's package has it.
const NETPIPE: &str = "/usr/bin/NPmpich2";

/// Where Intel's MPI is in the image.
const INTEL: &str = "opt/intel";

/// The library of UCX that loads others, which lie in a folder of this name beside it. No program names them, so that no linker would.
const UCX: &str = "/libuct.so.0";
const UCX_MODULES: &str = "ucx";

/// Builds the programs, and makes the image of them.
///
/// # Errors
/// They do not compile, or NetPIPE or an MPICH is not installed.
pub(super) fn content(workspace: &Workspace, profile: Profile) -> Result<Content> {
    ensure!(Path::new(NETPIPE).is_file(), "{NETPIPE} is missing: run `cargo xtask check-prerequisites --with-third-party`");
    let mpicc = prepare::find_mpicc().context("MPICH is missing: run `cargo xtask check-prerequisites`")?;
    let built = artefacts::build_examples(workspace, &mpicc)?;
    let launcher = artefacts::build_pmi_over_tcp(workspace, profile)?;
    let mut layer = Layer::default();
    let text = built.to_str().with_context(|| format!("{} is not UTF-8", built.display()))?;
    let programs = examples::PROGRAMS.map(|name| format!("{text}/{name}"));
    add_libraries(&mut layer, programs.iter().map(String::as_str).chain([NETPIPE]))?;
    examples::add(&mut layer, &built);
    layer.file(&format!("{}/NPmpich2", examples::FOLDER), Path::new(NETPIPE), 0o755);
    layer.file(&format!("{}/pmi-over-tcp", examples::FOLDER), &launcher, 0o755);
    let installed = third_party::mpich()?;
    mpich::add(&mut layer, &installed)?;
    add_intel(&mut layer)?;
    python::add(&mut layer, &installed)?;
    Ok(Content { layer, entrypoint: Vec::new(), user: None })
}

/// Adds Intel's MPI, which finds its transports by `FI_PROVIDER_PATH`.
fn add_intel(layer: &mut Layer) -> Result<()> {
    let folder = third_party::intel_mpi()?;
    for name in third_party::INTEL_LIBRARIES {
        layer.file(&format!("{INTEL}/{name}"), &folder.join(name), 0o755);
    }
    layer.link(&format!("{INTEL}/libmpich.so.12"), "libmpi.so.12");
    Ok(())
}

/// Adds what MPI programs of this machine load, when they begin and later.
fn add_libraries<'a>(layer: &mut Layer, programs: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let machine = Root::of_machine();
    let mut libraries = machine.libraries_of(programs)?;
    let modules = modules(libraries.iter().find(|library| library.ends_with(UCX)))?;
    libraries.extend(machine.libraries_of(modules.iter().map(String::as_str))?);
    machine.add(layer, libraries.iter().chain(&modules).map(String::as_str))
}

/// The modules beside UCX's library. Without the library, an MPICH over libfabric, there are none.
fn modules(library: Option<&String>) -> Result<Vec<String>> {
    let Some(beside) = library.and_then(|library| library.strip_suffix(UCX)) else {
        return Ok(Vec::new());
    };
    // What the linker calls /lib is a link to where the packages' files lie.
    let folder = Path::new(beside).join(UCX_MODULES);
    let entries = folder.read_dir().with_context(|| format!("read {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry.with_context(|| format!("read {}", folder.display()))?.path().display().to_string()));
    let mut modules: Vec<String> = paths.collect::<Result<_>>()?;
    modules.retain(|path| path.contains(".so"));
    modules.sort();
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mpich_without_ucx_has_no_modules_of_it() {
        assert_eq!(modules(None).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn modules_lie_beside_the_library_and_are_libraries() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("ucx")).unwrap();
        for name in ["libuct_ib.so.0", "libuct_ib.a", "libuct_cma.so"] {
            std::fs::write(folder.path().join("ucx").join(name), "").unwrap();
        }
        let library = format!("{}/libuct.so.0", folder.path().display());
        let names: Vec<_> = modules(Some(&library)).unwrap().iter().map(|path| path.rsplit_once('/').unwrap().1.to_owned()).collect();
        assert_eq!(names, ["libuct_cma.so", "libuct_ib.so.0"]);
    }
}
