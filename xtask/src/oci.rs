//! Images without a registry: OCI image layouts in one archive (OCI image specification 1.1), as `ctr images import` and `kind load
//! image-archive` take them. The same input gives the same bytes: entries are sorted, and have neither time nor owner.

mod layer;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) use layer::Layer;

/// Where a container's programs are looked for.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Several images that may share layers.
#[derive(Default)]
pub(crate) struct Archive {
    layers: BTreeMap<String, Layer>,
    images: Vec<Image>,
}

/// One image.
pub(crate) struct Image {
    /// With its tag.
    pub(crate) reference: String,
    /// Names of layers, the lowest first.
    pub(crate) layers: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    /// Numbers of user and group, `1:1`; none is root.
    pub(crate) user: Option<&'static str>,
    /// `NAME=value`.
    pub(crate) environment: Vec<String>,
}

/// A part of an archive, named by its content.
struct Blob {
    digest: String,
    size: u64,
}

/// Writes the archive's entries.
struct Writer {
    archive: tar::Builder<BufWriter<File>>,
    written: BTreeMap<String, u64>,
}

// === impl Archive ===

impl Archive {
    /// Adds a layer that images may name.
    ///
    /// # Panics
    /// Two layers of one name: a defect of the caller.
    pub(crate) fn layer(&mut self, name: &str, layer: Layer) {
        assert!(self.layers.insert(name.to_owned(), layer).is_none(), "layer {name} is there already");
    }

    /// Adds an image of layers that were added before.
    pub(crate) fn image(&mut self, image: Image) {
        self.images.push(image);
    }

    /// Writes all images into one file; gives the digest of each image's manifest.
    ///
    /// # Errors
    /// A file of a layer cannot be read, or the archive cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<Vec<String>> {
        let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
        let mut writer = Writer { archive: tar::Builder::new(BufWriter::new(file)), written: BTreeMap::new() };
        self.write_to(&mut writer).with_context(|| format!("write {}", path.display()))
    }

    fn write_to(&self, writer: &mut Writer) -> Result<Vec<String>> {
        let mut layers = BTreeMap::new();
        for (name, layer) in &self.layers {
            let content = layer.archive().with_context(|| format!("layer {name}"))?;
            layers.insert(name.as_str(), writer.blob(&content)?);
        }
        let manifests = self.images.iter().map(|image| image.write(&layers, writer)).collect::<Result<Vec<_>>>()?;
        let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests });
        writer.entry("index.json", index.to_string().as_bytes())?;
        writer.entry("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        writer.archive.get_mut().flush().context("write")?;
        let digest = |manifest: &Value| manifest["digest"].as_str().expect("a manifest has a digest").to_owned();
        Ok(manifests.iter().map(digest).collect())
    }
}

// === impl Image ===

impl Image {
    /// Writes configuration and manifest; gives the manifest's descriptor.
    fn write(&self, layers: &BTreeMap<&str, Blob>, writer: &mut Writer) -> Result<Value> {
        let layers = self.layers.iter().map(|name| {
            layers.get(name.as_str()).with_context(|| format!("image {} names layer {name}, which is not there", self.reference))
        });
        let layers: Vec<&Blob> = layers.collect::<Result<_>>()?;
        // The layers are not compressed: what names their content names their file too.
        let content: Vec<_> = layers.iter().map(|layer| &layer.digest).collect();
        let mut configuration = json!({
            "architecture": ARCHITECTURE, "os": "linux",
            "config": { "Env": self.environment, "Entrypoint": self.entrypoint },
            "rootfs": { "type": "layers", "diff_ids": content },
        });
        if let Some(user) = self.user {
            configuration["config"]["User"] = json!(user);
        }
        let configuration = writer.blob(configuration.to_string().as_bytes())?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": configuration.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": layers.iter().map(|layer| layer.descriptor("application/vnd.oci.image.layer.v1.tar")).collect::<Vec<_>>(),
        });
        let mut descriptor = writer.blob(manifest.to_string().as_bytes())?.descriptor(MANIFEST);
        let tag = self.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        descriptor["platform"] = json!({ "architecture": ARCHITECTURE, "os": "linux" });
        // containerd reads the first, whose name is whole; the second is the specification's.
        descriptor["annotations"] = json!({ "io.containerd.image.name": self.reference, "org.opencontainers.image.ref.name": tag });
        Ok(descriptor)
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// As Go and the specification call it.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "amd64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "arm64";

// === impl Blob ===

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.size })
    }
}

// === impl Writer ===

impl Writer {
    /// Writes a blob, once.
    fn blob(&mut self, content: &[u8]) -> Result<Blob> {
        let hex = format!("{:x}", Sha256::digest(content));
        let size = content.len() as u64;
        if self.written.insert(hex.clone(), size).is_none() {
            self.entry(&format!("blobs/sha256/{hex}"), content)?;
        }
        Ok(Blob { digest: format!("sha256:{hex}"), size })
    }

    fn entry(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut header = layer::header(tar::EntryType::Regular, 0o644);
        header.set_size(content.len() as u64);
        self.archive.append_data(&mut header, name, content).with_context(|| format!("write {name}"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn archive(folder: &Path) -> Archive {
        let program = folder.join("program");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        let mut base = Layer::default();
        base.directory("tmp", 0o1777).text("etc/passwd", "root:x:0:0::/:/bin/sh\n", 0o644).link("bin/sh", "busybox");
        let mut top = Layer::default();
        top.file("usr/bin/program", &program, 0o755);
        let mut archive = Archive::default();
        archive.layer("base", base);
        archive.layer("top", top);
        for reference in ["example/one:1", "example/two:1"] {
            archive.image(Image {
                reference: reference.to_owned(),
                layers: vec!["base".to_owned(), "top".to_owned()],
                entrypoint: vec!["/usr/bin/program".to_owned()],
                user: None,
                environment: vec!["PATH=/usr/bin".to_owned()],
            });
        }
        archive
    }

    fn entries(path: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(File::open(path).unwrap());
        let read = |entry: std::io::Result<tar::Entry<'_, File>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn the_same_input_gives_the_same_bytes_whatever_the_files_times() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one.tar"), folder.path().join("two.tar"));
        let first = archive(folder.path()).write(&one).unwrap();
        let second = archive(folder.path()).write(&two).unwrap();
        assert_eq!(first, second);
        assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "two archives of one input differ");
    }

    #[test]
    fn every_blob_is_there_once_under_the_name_of_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.tar");
        let digests = archive(folder.path()).write(&path).unwrap();
        assert_eq!(digests[0], digests[1], "two references to one image");
        let entries = entries(&path);
        let blobs: Vec<_> = entries.iter().filter_map(|(name, content)| Some((name.strip_prefix("blobs/sha256/")?, content))).collect();
        assert_eq!(blobs.len(), 4, "two layers, a configuration, a manifest");
        for (name, content) in blobs {
            assert_eq!(format!("{:x}", Sha256::digest(content)), name);
        }
        let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
        assert_eq!(index["manifests"][1]["annotations"]["io.containerd.image.name"], "example/two:1");
    }

    #[test]
    fn only_another_user_than_root_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.tar");
        let mut archive = archive(folder.path());
        archive.images[1].user = Some("7:8");
        archive.write(&path).unwrap();
        let entries = entries(&path);
        let read = |digest: &Value| -> Value {
            let hex = digest.as_str().unwrap().trim_start_matches("sha256:");
            serde_json::from_slice(&entries[&format!("blobs/sha256/{hex}")]).unwrap()
        };
        let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
        let user = |image: usize| read(&read(&index["manifests"][image]["digest"])["config"]["digest"])["config"]["User"].clone();
        assert_eq!([user(0), user(1)], [Value::Null, json!("7:8")]);
    }

    #[test]
    fn an_unknown_layer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = archive(folder.path());
        archive.images[0].layers.push("middle".to_owned());
        let error = archive.write(&folder.path().join("archive.tar")).unwrap_err();
        assert!(format!("{error:#}").contains("image example/one:1 names layer middle"), "{error:#}");
    }
}
