//! One layer of an image: files, texts, links and directories, each at a path.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Of directories that no entry names but that entries lie in.
const DIRECTORY_MODE: u32 = 0o755;

/// Entries by path, without a leading slash.
#[derive(Default)]
pub(crate) struct Layer(BTreeMap<String, Entry>);

enum Entry {
    Directory { mode: u32 },
    File { source: PathBuf, mode: u32 },
    Text { text: String, mode: u32 },
    Link { target: String },
}

// === impl Layer ===

impl Layer {
    /// An empty directory.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) -> &mut Self {
        self.add(path, Entry::Directory { mode })
    }

    /// A copy of a file of this machine; where that is a link, of what it leads to.
    pub(crate) fn file(&mut self, path: &str, source: &Path, mode: u32) -> &mut Self {
        self.add(path, Entry::File { source: source.to_path_buf(), mode })
    }

    /// A file with this content.
    pub(crate) fn text(&mut self, path: &str, text: &str, mode: u32) -> &mut Self {
        self.add(path, Entry::Text { text: text.to_owned(), mode })
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.add(path, Entry::Link { target: target.to_owned() })
    }

    fn add(&mut self, path: &str, entry: Entry) -> &mut Self {
        let path = path.trim_matches('/');
        for (slash, _) in path.match_indices('/') {
            self.0.entry(path[..slash].to_owned()).or_insert(Entry::Directory { mode: DIRECTORY_MODE });
        }
        self.0.insert(path.to_owned(), entry);
        self
    }

    /// The layer as a tar archive. A directory comes before what lies in it, since its path is shorter.
    pub(super) fn archive(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            entry.append(path, &mut archive).with_context(|| format!("add {path}"))?;
        }
        archive.into_inner().context("end the archive")
    }
}

// === impl Entry ===

impl Entry {
    fn append(&self, path: &str, archive: &mut tar::Builder<Vec<u8>>) -> Result<()> {
        match self {
            Self::Directory { mode } => archive.append_data(&mut header(tar::EntryType::Directory, *mode), format!("{path}/"), &[][..])?,
            Self::Link { target } => archive.append_link(&mut header(tar::EntryType::Symlink, 0o777), path, target)?,
            Self::Text { text, mode } => append_file(path, text.as_bytes(), *mode, archive)?,
            Self::File { source, mode } => {
                let content = fs::read(source).with_context(|| format!("read {}", source.display()))?;
                append_file(path, &content, *mode, archive)?;
            }
        }
        Ok(())
    }
}

fn append_file(path: &str, content: &[u8], mode: u32, archive: &mut tar::Builder<Vec<u8>>) -> Result<()> {
    let mut header = header(tar::EntryType::Regular, mode);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content).context("write")
}

/// A header without time and owner.
pub(super) fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}
