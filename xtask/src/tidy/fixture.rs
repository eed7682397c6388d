//! Small trees to try the checks on.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Tree;
use crate::workspace::{Dependency, Metadata, Package, Target};

/// A workspace in a temporary folder.
pub(super) struct Fixture {
    folder: TempDir,
    files: Vec<PathBuf>,
    pub(super) tree: Tree,
    pub(super) metadata: Metadata,
}

impl Fixture {
    /// Two crates and a document, without fault.
    pub(super) fn good() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::new(folder.path().to_path_buf(), Vec::new());
        Self { folder, files: Vec::new(), tree, metadata: Metadata::default() }
            .package("strobe-core", "core")
            .package("strobe-fabric", "fabric")
            .depends("strobe-fabric", "strobe-core", None, true)
            .with("core/src/lib.rs", "//! Core.\n\nmod part;\n")
            .with("core/src/part.rs", "//! A part.\n")
            .with("fabric/src/lib.rs", "//! Fabric.\n")
            .with("docs/adr/README.md", "# Decisions\n\n- [First](0001-first.md)\n")
            .with("docs/adr/0001-first.md", "# First\n\nSee [all](README.md#decisions).\n")
    }

    /// With one more file, or another text in one.
    pub(super) fn with(mut self, path: &str, text: &str) -> Self {
        let file = self.folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self.files.push(PathBuf::from(path));
        self.tree = Tree::new(self.folder.path().to_path_buf(), self.files.clone());
        self
    }

    /// With one more library.
    pub(super) fn package(mut self, name: &str, folder: &str) -> Self {
        let root = self.folder.path().join(folder);
        let targets = vec![Target { src_path: root.join("src/lib.rs") }];
        let manifest_path = root.join("Cargo.toml");
        self.metadata.packages.push(Package { name: name.to_owned(), manifest_path, dependencies: Vec::new(), targets });
        self
    }

    /// With one more root file of a package, such as a test of its own.
    pub(super) fn target(mut self, name: &str, path: &str) -> Self {
        let src_path = self.folder.path().join(path);
        self.find(name).targets.push(Target { src_path });
        self
    }

    /// With one more dependency; `ours` says that it is a member of the workspace.
    pub(super) fn depends(mut self, name: &str, on: &str, kind: Option<&str>, ours: bool) -> Self {
        let path = ours.then(|| Path::new("anywhere").to_path_buf());
        let dependency = Dependency { name: on.to_owned(), kind: kind.map(str::to_owned), path };
        self.find(name).dependencies.push(dependency);
        self
    }

    fn find(&mut self, name: &str) -> &mut Package {
        self.metadata.packages.iter_mut().find(|package| package.name == name).unwrap()
    }
}
