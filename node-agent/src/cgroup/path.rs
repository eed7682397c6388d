//! Names of cgroups and paths in the cgroup v2 tree, as `/proc/PID/cgroup` writes them.

use std::fmt;

use super::CgroupError;
use super::limits::NAME_BYTES_MAX;

/// Name of one cgroup in its parent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupName(String);

/// Absolute path of a cgroup in the cgroup v2 tree (not on disk): `/` or `/a/b`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupPath(String);

// === impl CgroupName ===

impl CgroupName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`CgroupError::InvalidName`].
    pub fn new(name: impl Into<String>) -> Result<Self, CgroupError> {
        let name = name.into();
        let valid = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name != "."
            && name != ".."
            && !name.contains(|character: char| character == '/' || character.is_control());
        if valid { Ok(Self(name)) } else { Err(CgroupError::InvalidName { name }) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CgroupName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

// === impl CgroupPath ===

impl CgroupPath {
    /// The root of the tree.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Checks a path: `/`, or names each with one slash before it.
    ///
    /// # Errors
    /// [`CgroupError::InvalidPath`].
    pub fn parse(path: &str) -> Result<Self, CgroupError> {
        let invalid = || CgroupError::InvalidPath { path: path.to_owned() };
        if path == "/" {
            return Ok(Self::root());
        }
        let names = path.strip_prefix('/').ok_or_else(invalid)?;
        names.split('/').try_for_each(|name| CgroupName::new(name).map(drop)).map_err(|_| invalid())?;
        Ok(Self(path.to_owned()))
    }

    /// The path of the child `name`.
    #[must_use]
    pub fn child(&self, name: &CgroupName) -> Self {
        Self(format!("{}/{name}", self.0.trim_end_matches('/')))
    }

    /// True when `other` is this cgroup or lies below it.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        let prefix = self.0.trim_end_matches('/');
        other.0.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The parent; the root has none.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.0 == "/" {
            return None;
        }
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(if parent.is_empty() { Self::root() } else { Self(parent.to_owned()) })
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> CgroupPath {
        CgroupPath::parse(text).unwrap()
    }

    #[test]
    fn holding_goes_by_whole_names() {
        assert!(path("/a").holds(&path("/a")));
        assert!(path("/a").holds(&path("/a/b")));
        assert!(!path("/a").holds(&path("/ab")));
        assert!(!path("/a/b").holds(&path("/a")));
        assert!(CgroupPath::root().holds(&path("/a")) && CgroupPath::root().holds(&CgroupPath::root()));
    }

    #[test]
    fn a_name_cannot_climb_out_of_its_parent() {
        for name in ["", ".", "..", "a/b", "a\nb", &"x".repeat(256)] {
            assert!(CgroupName::new(name).is_err(), "{name:?}");
        }
        for text in ["", "a", "/a/../b", "/a//b", "/a/"] {
            assert!(CgroupPath::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn children_and_parents_are_each_other_s_inverse() {
        let name = CgroupName::new("gang-1").unwrap();
        assert_eq!(CgroupPath::root().child(&name), path("/gang-1"));
        assert_eq!(path("/a").child(&name).parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), Some(CgroupPath::root()));
        assert_eq!(CgroupPath::root().parent(), None);
    }
}
