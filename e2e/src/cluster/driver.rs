//! What a test does to a cluster beside asking its API server: a program of whoever runs the cluster does it. A cluster without one can be
//! asked only.
//!
//! The program is called with one of these, and fails where it cannot do it:
//!
//! | arguments | it |
//! |---|---|
//! | `capabilities` | prints what it can, a word of [`Need`] a line |
//! | `shell NODE SCRIPT` | runs a script of bash as the node's root, and prints what that prints |
//! | `power-off NODE`, `power-on NODE` | takes a node's power, and gives it back |
//! | `api-server-off`, `api-server-on` | takes the API server away until it does not answer, and gives it back until it does |

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

use anyhow::{Context, Result};

use super::printed;

/// Names the program, with its first arguments, separated by spaces.
const DRIVER: &str = "STROBE_CLUSTER_DRIVER";

/// What a test needs of a cluster beside its API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A shell on nodes: processes are killed and cgroups looked at.
    NodeShell,
    /// Nodes are switched off and on.
    NodePower,
    /// The API server is taken away for a while.
    ControlPlane,
    /// NetworkPolicy objects are enforced.
    Policy,
    /// Strobe may be removed, with all gangs that run.
    Installation,
}

/// The program, where there is one.
#[derive(Clone, Debug)]
pub struct Driver(Option<Vec<String>>);

// === impl Need ===

impl Need {
    const ALL: [Self; 5] = [Self::NodeShell, Self::NodePower, Self::ControlPlane, Self::Policy, Self::Installation];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NodeShell => "node-shell",
            Self::NodePower => "node-power",
            Self::ControlPlane => "control-plane",
            Self::Policy => "policy",
            Self::Installation => "installation",
        }
    }
}

// === impl Driver ===

impl Driver {
    /// The one that the environment names.
    #[must_use]
    pub fn find() -> Self {
        let words = env::var(DRIVER).ok();
        Self(words.map(|words| words.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).filter(|words| !words.is_empty()))
    }

    /// What it can. Words that no test knows are nobody's.
    ///
    /// # Errors
    /// It fails.
    pub fn capabilities(&self) -> Result<BTreeSet<Need>> {
        if self.0.is_none() {
            return Ok(BTreeSet::new());
        }
        let words = self.ask(&["capabilities"])?;
        Ok(Need::ALL.into_iter().filter(|need| words.lines().any(|word| word == need.word())).collect())
    }

    /// Runs a script of bash as a node's root; gives what it prints, without the last line's end.
    ///
    /// # Errors
    /// It fails.
    pub fn shell(&self, node: &str, script: &str) -> Result<String> {
        self.ask(&["shell", node, script]).map(|text| text.trim_end().to_owned())
    }

    /// Takes a node's power.
    ///
    /// # Errors
    /// It fails.
    pub fn power_off(&self, node: &str) -> Result<()> {
        self.ask(&["power-off", node]).map(drop)
    }

    /// Gives it back.
    ///
    /// # Errors
    /// It fails.
    pub fn power_on(&self, node: &str) -> Result<()> {
        self.ask(&["power-on", node]).map(drop)
    }

    /// Takes the API server away until it does not answer.
    ///
    /// # Errors
    /// It fails.
    pub fn api_server_off(&self) -> Result<()> {
        self.ask(&["api-server-off"]).map(drop)
    }

    /// Gives it back until it answers.
    ///
    /// # Errors
    /// It fails.
    pub fn api_server_on(&self) -> Result<()> {
        self.ask(&["api-server-on"]).map(drop)
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let words = self.0.as_ref().with_context(|| format!("{DRIVER} names no program"))?;
        let mut program = Command::new(&words[0]);
        program.args(&words[1..]);
        printed(program, arguments)
    }
}
