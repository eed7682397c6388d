//! Names of files in the stores of nodes: one rule for who asks and who writes.

use std::{fs, path::Path};

use strobe_core::model::{NodeIndex, PartitionUid};

/// Bytes of a file's name: beside it stands the name under which the file is written first, which is longer.
pub const NAME_BYTES_MAX: usize = 200;

/// True for the name of a file in a store: no path, nothing hidden, nothing that a terminal would obey, and not too long.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.contains(|character: char| character == '/' || character.is_control())
        && name.len() <= NAME_BYTES_MAX
}

/// The name under which the agents of a partition write a file that a node gives, before all of it is there.
#[must_use]
pub fn part_name(name: &str, partition: PartitionUid, giver: NodeIndex) -> String {
    format!(".{name}.{giver}{}", part_ending(partition))
}

/// Removes what agents of a partition have begun in a store and not ended. What stays is hidden, and replaced by the next file of its name.
pub fn remove_parts(store: &Path, partition: PartitionUid) {
    let ending = part_ending(partition);
    for entry in fs::read_dir(store).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.ends_with(&ending)) {
            let _stays = fs::remove_file(entry.path());
        }
    }
}

/// How these names end, of one partition: what nobody else writes.
fn part_ending(partition: PartitionUid) -> String {
    format!("-{:032x}.part", partition.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths() {
        for name in ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "a\0b", "a\nb", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(!is_name(name), "{name:?}");
        }
        for name in ["file", "a.b", "-x", "ü", &"x".repeat(NAME_BYTES_MAX)] {
            assert!(is_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_part_has_a_name_of_its_own_that_a_folder_takes() {
        let (partition, other) = (PartitionUid(u128::MAX), PartitionUid(1));
        let longest = part_name(&"x".repeat(NAME_BYTES_MAX), partition, NodeIndex(u16::MAX));
        assert!(longest.len() <= 255 && longest.ends_with(&part_ending(partition)) && !longest.ends_with(&part_ending(other)));
        assert_ne!(part_name("x", partition, NodeIndex(1)), part_name("x", partition, NodeIndex(2)));
    }
}
