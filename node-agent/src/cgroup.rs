//! Rank cgroups: finding the cgroup v2 tree, making and removing rank cgroups in it, moving ranks into
//! them, and cleaning up what earlier runs left.
