//! Where a libclang is that bindgen 0.59 can read headers with. It takes the newest that it finds, unless it is told of one.

use std::fs;
use std::path::{Path, PathBuf};

/// The variable by which bindgen is told.
pub(crate) const VARIABLE: &str = "LIBCLANG_PATH";

/// Where Debian and its kin put the versions that are taken, the newest first.
const FOLDERS: [&str; 3] = ["/usr/lib/llvm-15/lib", "/usr/lib/llvm-14/lib", "/usr/lib/llvm-13/lib"];

/// The folder of the library; whoever has set the variable knows better.
pub(crate) fn folder() -> Option<PathBuf> {
    let told = std::env::var_os(VARIABLE).map(PathBuf::from);
    told.or_else(|| FOLDERS.iter().map(PathBuf::from).find(|folder| has_library(folder)))
}

/// Whether the library is in a folder. The one of clang's own insides, `libclang-cpp.so`, is another.
fn has_library(folder: &Path) -> bool {
    let is_library = |name: &str| name == "libclang.so" || name.starts_with("libclang.so.") || is_versioned(name);
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_library)))
}

/// `libclang-14.so.1` and the like.
fn is_versioned(name: &str) -> bool {
    let rest = name.strip_prefix("libclang-").and_then(|rest| rest.split_once(".so"));
    rest.is_some_and(|(version, _)| version.starts_with(|sign: char| sign.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_the_library_or_only_others() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_library(folder.path()));
        fs::write(folder.path().join("libclang-cpp.so.14"), "").unwrap();
        assert!(!has_library(folder.path()));
        for name in ["libclang.so", "libclang.so.1", "libclang-14.so.1"] {
            fs::write(folder.path().join(name), "").unwrap();
            assert!(has_library(folder.path()), "{name}");
            fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}
