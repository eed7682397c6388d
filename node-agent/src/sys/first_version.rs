//! Hierarchies of cgroup version 1: where a controller's is mounted, and where a process stands in it.

/// Where the hierarchy of this controller is mounted whole, by a `mountinfo` (proc(5)).
pub(crate) fn mount_of<'a>(controller: &str, mounts: &'a str) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut described = file_system.split(' ');
        let is_it = described.next() == Some("cgroup") && described.nth(1)?.split(',').any(|option| option == controller);
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (is_it && root == "/").then_some(point)
    };
    mounts.lines().find_map(mount)
}

/// The path in that hierarchy, of a `/proc/PID/cgroup` (cgroups(7)).
pub(crate) fn path_of<'a>(controller: &str, groups: &'a str) -> Option<&'a str> {
    let path = |line: &'a str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|found| found == controller).then_some(path)
    };
    groups.lines().find_map(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hierarchy_is_found_by_whole_words() {
        let line = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct";
        assert_eq!(mount_of("cpu", line), Some("/sys/fs/cgroup/cpu,cpuacct"));
        let other = "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset";
        assert_eq!(mount_of("cpu", other), None);
        let part = "32 31 0:29 /docker /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        assert_eq!(mount_of("cpu", part), None);
        assert_eq!(mount_of("cpu", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,cpu"), None);
        assert_eq!(mount_of("cpu", "nonsense"), None);
    }

    #[test]
    fn the_group_of_a_process_is_read_from_its_own_line() {
        assert_eq!(path_of("cpu", "4:cpu,cpuacct:/a:b"), Some("/a:b"));
        assert_eq!(path_of("cpu", "5:cpuset:/x"), None);
        assert_eq!(path_of("cpu", "0::/x"), None);
    }

    #[test]
    fn the_hierarchy_and_the_place_in_it_are_found() {
        let mounts =
            "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup none rw,cpuset\n";
        assert_eq!(mount_of("cpuset", mounts), Some("/sys/fs/cgroup/cpuset"));
        assert_eq!(mount_of("memory", mounts), None);
        assert_eq!(mount_of("cpuset", "29 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"), None);
        assert_eq!(path_of("cpuset", "4:cpu,cpuacct:/a\n3:cpuset:/kubepods/pod1/2\n0::/b\n"), Some("/kubepods/pod1/2"));
        assert_eq!(path_of("cpu", "4:cpuset:/b\n3:cpu,cpuacct:/a\n"), Some("/a"));
        assert_eq!(path_of("cpuset", "0::/b\n"), None);
    }
}
