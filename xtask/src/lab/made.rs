//! What the cluster is made of, and in which Docker: noted before it is made, so that whatever a later recipe does is done to that cluster,
//! with the programs of its version.

use std::fmt;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::programs::{KUBERNETES, kubernetes};

/// The Docker whose containers the nodes are.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(super) enum Docker {
    /// The laboratory's own, in namespaces of its own: the nodes end with it.
    Laboratory,
    /// The machine's, where images come from a registry: the nodes stay until they are removed.
    Machine,
}

/// A cluster, made or being made.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) docker: Docker,
    /// Of the nodes.
    pub(super) image: String,
    /// The version of the programs that it was made with.
    pub(super) kubernetes: String,
    /// All of it was ready once.
    pub(super) complete: bool,
}

/// The cluster that a `lab up` is to make or to find.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) docker: Docker,
    pub(super) kubernetes: &'a str,
    /// None while it is not built: then any is right.
    pub(super) image: Option<&'a str>,
}

/// The Docker that holds a cluster; none when the laboratory is down. Without a note an engine of its own may still have begun.
pub(super) fn docker(made: Option<&Made>, engine_runs: bool) -> Option<Docker> {
    match made.map(|made| made.docker) {
        Some(Docker::Machine) => Some(Docker::Machine),
        Some(Docker::Laboratory) | None => engine_runs.then_some(Docker::Laboratory),
    }
}

// === impl Made ===

impl Made {
    /// The version that it was made with.
    ///
    /// # Errors
    /// The checkout was changed meanwhile, and does not know it any more.
    pub(super) fn version(&self) -> Result<&'static str> {
        let known = kubernetes(&self.kubernetes).filter(|known| *known == self.kubernetes);
        known.with_context(|| {
            let made_with = &self.kubernetes;
            format!("the cluster is of Kubernetes {made_with}, and here {KUBERNETES} is built: `cargo xtask lab down` removes it")
        })
    }

    /// `--image` as it was given when it was made.
    pub(super) fn ordinary_image(&self) -> Option<&str> {
        (self.docker == Docker::Machine).then_some(self.image.as_str())
    }

    /// Whether it is there already, or may be replaced: what an interrupted `lab up` has left in the same Docker is.
    ///
    /// # Errors
    /// It is another than the wanted one, and stays.
    pub(super) fn check_gives_way(&self, wanted: Wanted<'_>) -> Result<()> {
        let image_is_right = wanted.image.is_none_or(|image| image == self.image);
        let is_wanted = image_is_right && wanted.kubernetes == self.kubernetes;
        ensure!(self.docker == wanted.docker && (is_wanted || !self.complete), "{self} is up: `cargo xtask lab down` removes it");
        Ok(())
    }
}

impl fmt::Display for Made {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.docker {
            Docker::Laboratory => "a container engine of its own",
            Docker::Machine => "the machine's own Docker",
        };
        write!(formatter, "a cluster of {} (Kubernetes {}) in {place}", self.image, self.kubernetes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::programs::KUBERNETES_OLDER;
    use super::*;

    /// A complete cluster.
    pub(in crate::lab) fn made(docker: Docker, version: &str) -> Made {
        Made { docker, image: "node:1".to_owned(), kubernetes: version.to_owned(), complete: true }
    }

    fn wanted(docker: Docker, image: &str) -> Wanted<'_> {
        Wanted { docker, kubernetes: KUBERNETES, image: Some(image) }
    }

    #[test]
    fn a_cluster_of_the_machines_docker_is_there_until_it_is_removed_and_one_of_ours_ends_with_the_engine() {
        let (ours, machines) = (made(Docker::Laboratory, KUBERNETES), made(Docker::Machine, KUBERNETES));
        assert_eq!([true, false].map(|runs| docker(Some(&machines), runs)), [Some(Docker::Machine); 2]);
        assert_eq!([true, false].map(|runs| docker(Some(&ours), runs)), [Some(Docker::Laboratory), None]);
        assert_eq!([true, false].map(|runs| docker(None, runs)), [Some(Docker::Laboratory), None]);
    }

    #[test]
    fn the_same_cluster_is_found_and_another_is_not_replaced() {
        let ours = made(Docker::Laboratory, KUBERNETES);
        assert!(ours.check_gives_way(wanted(Docker::Laboratory, "node:1")).is_ok());
        assert!(ours.check_gives_way(Wanted { image: None, ..wanted(Docker::Laboratory, "") }).is_ok());
        let older = Wanted { kubernetes: KUBERNETES_OLDER[0], ..wanted(Docker::Laboratory, "node:1") };
        for other in [wanted(Docker::Laboratory, "node:2"), wanted(Docker::Machine, "node:1"), older] {
            let refused = ours.check_gives_way(other).unwrap_err().to_string();
            let expected = format!(
                "a cluster of node:1 (Kubernetes {KUBERNETES}) in a container engine of its own is up: `cargo xtask lab down` removes it"
            );
            assert_eq!(refused, expected);
        }
    }

    #[test]
    fn what_was_never_complete_is_replaced_in_its_own_docker_alone() {
        let half = Made { complete: false, ..made(Docker::Machine, KUBERNETES_OLDER[1]) };
        assert!(half.check_gives_way(wanted(Docker::Machine, "node:2")).is_ok());
        assert!(half.check_gives_way(wanted(Docker::Laboratory, "node:1")).is_err());
    }

    #[test]
    fn a_version_is_known_by_its_whole_name() {
        assert_eq!(made(Docker::Laboratory, KUBERNETES_OLDER[0]).version().unwrap(), KUBERNETES_OLDER[0]);
        for unknown in ["1.20.1", "1.36", ""] {
            assert!(made(Docker::Laboratory, unknown).version().is_err(), "{unknown}");
        }
    }

    #[test]
    fn an_ordinary_image_is_one_that_the_machines_docker_has() {
        assert_eq!(made(Docker::Machine, KUBERNETES).ordinary_image(), Some("node:1"));
        assert_eq!(made(Docker::Laboratory, KUBERNETES).ordinary_image(), None);
    }
}
