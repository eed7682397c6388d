//! Which ranks a barrier is over: the `group` field of `barrier_in`, from PMI 1.2 on.
//!
//! A group is `WORLD`, `NODE` or a list of ranks (`0,4,5`), and may end in a tag (`0,4:17`), by which clients tell the
//! barriers of their threads apart. The order of the list means nothing here.

use std::collections::BTreeSet;

use crate::supervisor_protocol::{BarrierGroup, GroupMembers};

/// A barrier's name: barriers of other members or of another tag may be under way at the same time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) members: Members,
    pub(super) tag: i32,
}

/// The ranks of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Members {
    /// Every rank of the gang.
    World,
    /// Every rank of this node.
    Node,
    /// These, of which one at least is here.
    Ranks(BTreeSet<u32>),
}

impl Group {
    /// The barrier that every client of PMI 1.1 means.
    pub(super) const WORLD: Self = Self { members: Members::World, tag: 0 };

    /// Parses the field of a client whose rank is `caller`. The error is what it is told.
    pub(super) fn parse(text: &str, caller: u32, world_size: u32) -> Result<Self, &'static str> {
        let (members, tag) = text.split_once(':').map_or((text, Ok(0)), |(members, tag)| (members, tag.parse()));
        let members = match members {
            "WORLD" => Members::World,
            "NODE" => Members::Node,
            "" => return Err("group_is_empty"),
            list => Members::Ranks(ranks(list, world_size)?),
        };
        if matches!(&members, Members::Ranks(ranks) if !ranks.contains(&caller)) {
            return Err("group_is_without_its_caller");
        }
        Ok(Self { members, tag: tag.map_err(|_| "tag_is_no_number")? })
    }

    /// Its name for the other nodes; none for a group that they have no part in.
    pub(super) fn between_nodes(&self) -> Option<BarrierGroup> {
        let members = match &self.members {
            Members::World => GroupMembers::World,
            Members::Node => return None,
            Members::Ranks(ranks) => GroupMembers::Ranks(ranks.iter().copied().collect()),
        };
        Some(BarrierGroup { members, tag: self.tag })
    }
}

fn ranks(list: &str, world_size: u32) -> Result<BTreeSet<u32>, &'static str> {
    let mut ranks = BTreeSet::new();
    for text in list.split(',') {
        // `parse` alone would take a sign.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let rank: u32 = text.parse().ok().filter(|_| digits).ok_or("group_is_no_list_of_ranks")?;
        if rank >= world_size {
            return Err("rank_is_out_of_range");
        }
        if !ranks.insert(rank) {
            return Err("rank_is_named_twice");
        }
    }
    Ok(ranks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_parsed_as_clients_write_them() {
        let ranks = |ranks: &[u32]| Members::Ranks(ranks.iter().copied().collect());
        let good = [
            ("WORLD", Group::WORLD),
            ("WORLD:0", Group::WORLD),
            ("WORLD:-7", Group { members: Members::World, tag: -7 }),
            ("NODE:2147483647", Group { members: Members::Node, tag: i32::MAX }),
            ("1", Group { members: ranks(&[1]), tag: 0 }),
            ("3,1,0:5", Group { members: ranks(&[0, 1, 3]), tag: 5 }),
        ];
        for (text, group) in good {
            assert_eq!(Group::parse(text, 1, 4), Ok(group), "{text}");
        }
        let bad = [
            ("", "group_is_empty"),
            (":1", "group_is_empty"),
            ("world", "group_is_no_list_of_ranks"),
            ("WORLD,1", "group_is_no_list_of_ranks"),
            ("0-1", "group_is_no_list_of_ranks"),
            ("0,1,", "group_is_no_list_of_ranks"),
            ("+1", "group_is_no_list_of_ranks"),
            ("99999999999,1", "group_is_no_list_of_ranks"),
            ("1,4", "rank_is_out_of_range"),
            ("1,1", "rank_is_named_twice"),
            ("0,2", "group_is_without_its_caller"),
            ("0,1:", "tag_is_no_number"),
            ("0,1:2:3", "tag_is_no_number"),
            ("NODE:4294967296", "tag_is_no_number"),
        ];
        for (text, error) in bad {
            assert_eq!(Group::parse(text, 1, 4), Err(error), "{text}");
        }
    }
}
