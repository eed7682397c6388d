//! What `cgroup.events` says.

/// Room for `cgroup.events`: two short lines today.
pub(crate) const EVENTS_BYTES: usize = 128;

/// The state of a cgroup and all below it, as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupState {
    /// It holds at least one process.
    pub populated: bool,
    /// Every process of it has reached the freezer.
    pub frozen: bool,
}

// === impl CgroupState ===

impl CgroupState {
    /// Reads the text of `cgroup.events`; a line that is missing counts as 0. Allocates nothing.
    pub(crate) fn parse(events: &[u8]) -> Self {
        let says_one =
            |key: &[u8]| events.split(|&byte| byte == b'\n').any(|line| line.strip_prefix(key).is_some_and(|value| value == b" 1"));
        Self { populated: says_one(b"populated"), frozen: says_one(b"frozen") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read_in_any_order() {
        let state = CgroupState::parse(b"populated 1\nfrozen 0\n");
        assert_eq!(state, CgroupState { populated: true, frozen: false });
        let state = CgroupState::parse(b"frozen 1\nunknown 1\npopulated 0\n");
        assert_eq!(state, CgroupState { populated: false, frozen: true });
        let state = CgroupState::parse(b"frozen 10\nunfrozen 1");
        assert_eq!(state, CgroupState { populated: false, frozen: false });
    }
}
