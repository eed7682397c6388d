//! MPICH in images: the library of this machine with those that it needs, and the parts of UCX that it loads when it runs.

use std::path::Path;

use anyhow::{Context, Result};

use crate::libraries::Root;
use crate::oci::Layer;

/// The library of UCX that loads others, which lie in a folder of this name beside it. No program names them, so that no linker would.
const UCX: &str = "/libuct.so.0";
const UCX_MODULES: &str = "ucx";

/// Adds what MPI programs of this machine load, when they begin and later.
///
/// # Errors
/// A library is missing.
pub(super) fn add_libraries<'a>(layer: &mut Layer, programs: impl IntoIterator<Item = &'a str>) -> Result<()> {
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
