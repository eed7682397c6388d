//! The kernel's modules: which are kept, and in which order the first ones are loaded.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::contained::contained;
use super::{FIRST_PROGRAMS, Making, names};
use crate::lab::step::Step;

/// From here on each network namespace may have an rxe device of its own.
const OLDEST: (u32, u32) = (7, 1);

/// What must be loaded before the disk can be mounted.
const FIRST: [&str; 2] = ["kernel/drivers/block/virtio_blk.ko", "kernel/fs/ext4/ext4.ko"];

/// Removes the modules that nobody wants, unpacks the others, and gives the kernel's version.
///
/// # Errors
/// Not exactly one kernel, one that is too old, a wanted module that it does not have, or a program fails.
pub(super) fn choose_modules(making: &Making<'_>, step: &mut Step) -> Result<String> {
    let version = version(making.root)?;
    let folder = making.root.join("usr/lib/modules").join(&version);
    let dependencies = read_dependencies(&folder)?;
    let wanted = making.read("modules")?;
    let kept = kept(&dependencies, &names(&wanted).collect::<Vec<_>>())?;
    for (module, _) in modules(&dependencies).filter(|(module, _)| !kept.contains(module)) {
        fs::remove_file(folder.join(module)).with_context(|| format!("remove {module}"))?;
    }
    let mut unpack = contained("xz");
    unpack.arg("--decompress").args(kept.iter().map(|module| folder.join(module)));
    making.run(step, unpack)?;
    let mut depmod = contained("chroot");
    depmod.arg(making.root).args(["depmod", &version]);
    making.run(step, depmod)?;
    Ok(version)
}

/// Packs the static shell, `init` and the modules that mount the disk, named so that they sort in the order in which they are loaded.
///
/// # Errors
/// A file cannot be copied, or the packing fails.
pub(super) fn first_programs(making: &Making<'_>, version: &str, step: &mut Step) -> Result<()> {
    let folder = making.image.join("first");
    let modules = making.root.join("usr/lib/modules").join(version);
    for name in ["bin", "dev", "disk", "modules"] {
        fs::create_dir_all(folder.join(name)).with_context(|| format!("make {name}"))?;
    }
    fs::copy(making.root.join("usr/bin/busybox"), folder.join("bin/busybox")).context("copy busybox")?;
    fs::copy(making.source.join("init"), folder.join("init")).context("copy init")?;
    for (index, module) in load_order(&read_dependencies(&modules)?, &FIRST)?.iter().enumerate() {
        let name = Path::new(module).file_name().context("a module has a name")?.to_string_lossy();
        fs::copy(modules.join(module), folder.join(format!("modules/{index:02}-{name}"))).with_context(|| format!("copy {module}"))?;
    }
    let mut pack = contained("sh");
    pack.args(["-c", r#"cd "$1" && find . | cpio --quiet --create --format=newc > "$2""#, "sh"]);
    pack.arg(&folder).arg(making.image.join(FIRST_PROGRAMS));
    making.run(step, pack)?;
    fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
}

fn version(root: &Path) -> Result<String> {
    let folder = root.join("usr/lib/modules");
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let versions: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let [version] = versions.as_slice() else { bail!("one kernel was asked for, and these came: {}", versions.join(", ")) };
    let (major, minor) = OLDEST;
    let number = parse_version(version).with_context(|| format!("{version} is no kernel's version"))?;
    ensure!(number >= OLDEST, "the mirror's kernel is {version}, and {major}.{minor} is the first with one rxe device a network namespace");
    Ok(version.clone())
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(['.', '+', '-']).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn read_dependencies(folder: &Path) -> Result<String> {
    let file = folder.join("modules.dep");
    fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
}

/// The lines of a `modules.dep`: a module, and all that it needs, the deepest last.
fn modules(dependencies: &str) -> impl Iterator<Item = (&str, impl DoubleEndedIterator<Item = &str>)> {
    let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(module, needs)| (module, needs.split_whitespace()))
}

/// The modules whose path begins as a wanted one, and all that they need.
fn kept<'a>(dependencies: &'a str, wanted: &[&str]) -> Result<BTreeSet<&'a str>> {
    let mut kept = BTreeSet::new();
    for prefix in wanted {
        let mut found = modules(dependencies).filter(|(module, _)| module.starts_with(prefix)).peekable();
        ensure!(found.peek().is_some(), "the kernel has no module {prefix}: remove it from the list, or write its new place");
        for (module, needs) in found {
            kept.insert(module);
            kept.extend(needs);
        }
    }
    Ok(kept)
}

/// The modules and all that they need, each after what it needs.
fn load_order<'a>(dependencies: &'a str, first: &[&str]) -> Result<Vec<&'a str>> {
    let mut order = Vec::new();
    for name in first {
        let (module, needs) =
            modules(dependencies).find(|(module, _)| module == name).with_context(|| format!("the kernel has no module {name}"))?;
        for one in needs.rev().chain([module]) {
            if !order.contains(&one) {
                order.push(one);
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "kernel/a/one.ko.xz: kernel/b/two.ko.xz kernel/b/three.ko.xz\nkernel/b/two.ko.xz: kernel/b/three.ko.xz\n\
        kernel/b/three.ko.xz:\nkernel/c/four.ko.xz:\nkernel/c/five.ko.xz: kernel/b/three.ko.xz\n";

    #[test]
    fn a_module_is_kept_with_all_that_it_needs() {
        let kept = kept(DEPENDENCIES, &["kernel/a/one.ko"]).unwrap();
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), ["kernel/a/one.ko.xz", "kernel/b/three.ko.xz", "kernel/b/two.ko.xz"]);
    }

    #[test]
    fn a_folder_is_kept_whole() {
        let kept = kept(DEPENDENCIES, &["kernel/c/"]).unwrap();
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), ["kernel/b/three.ko.xz", "kernel/c/five.ko.xz", "kernel/c/four.ko.xz"]);
    }

    #[test]
    fn a_module_that_is_not_there_is_said() {
        let error = kept(DEPENDENCIES, &["kernel/a/", "kernel/d/"]).unwrap_err();
        assert!(error.to_string().contains("no module kernel/d/"), "{error}");
    }

    #[test]
    fn every_module_is_loaded_once_and_after_what_it_needs() {
        let order = load_order(DEPENDENCIES, &["kernel/c/five.ko.xz", "kernel/a/one.ko.xz"]).unwrap();
        assert_eq!(order, ["kernel/b/three.ko.xz", "kernel/c/five.ko.xz", "kernel/b/two.ko.xz", "kernel/a/one.ko.xz"]);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("7.2.12+deb14-amd64"), Some((7, 2)));
        assert_eq!(parse_version("7.10-rc1"), Some((7, 10)));
        assert!(parse_version("6.18.4") < Some(OLDEST) && parse_version("7.10") > Some(OLDEST));
        assert_eq!(parse_version("latest"), None);
    }
}
