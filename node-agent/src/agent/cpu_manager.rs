//! Which policy kubelet's CPU manager has on this node: with any but `none` it gives CPUs of gangs to single containers, and writes
//! over the CPUs that the agent gives to the containers of gangs.

use std::{fs, io, path::Path, path::PathBuf};

use serde::Deserialize;
use strobe_core::model::Instant;

use super::limits::CPU_MANAGER_PERIOD;

/// What kubelet writes into its folder.
const STATE_FILE: &str = "cpu_manager_state";

/// The policy as kubelet's file says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CpuManagerPolicy {
    /// It leaves CPUs alone.
    None,
    /// It gives whole CPUs to containers that ask for them.
    Static,
    /// One that a later kubelet has.
    Other,
    /// The file is not there, or cannot be understood.
    Unknown,
}

/// Looks at kubelet's file from time to time.
#[derive(Debug)]
pub(super) struct CpuManager {
    file: PathBuf,
    due: Instant,
    known: Option<CpuManagerPolicy>,
}

/// The part of the file that counts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    policy_name: String,
}

// === impl CpuManager ===

impl CpuManager {
    /// Of the kubelet with this folder.
    pub(super) fn new(kubelet: &Path) -> Self {
        Self { file: kubelet.join(STATE_FILE), due: Instant::ORIGIN, known: None }
    }

    /// The policy when it is another than at the last look, or at the first. It is said in the log, once, when it disturbs gangs.
    pub(super) fn look(&mut self, now: Instant) -> Option<CpuManagerPolicy> {
        if now < self.due {
            return None;
        }
        self.due = now + CPU_MANAGER_PERIOD;
        let policy = CpuManagerPolicy::of(&self.file);
        if self.known.replace(policy) == Some(policy) {
            return None;
        }
        match policy {
            CpuManagerPolicy::None => {}
            CpuManagerPolicy::Static | CpuManagerPolicy::Other => tracing::warn!(
                file = %self.file.display(),
                policy = policy.label(),
                "kubelet's CPU manager disturbs gangs on this node: its cpuManagerPolicy has to be none"
            ),
            CpuManagerPolicy::Unknown => {
                tracing::info!(file = %self.file.display(), "the policy of kubelet's CPU manager is not known: gangs need none");
            }
        }
        Some(policy)
    }
}

// === impl CpuManagerPolicy ===

impl CpuManagerPolicy {
    /// Every policy.
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Static, Self::Other, Self::Unknown];

    /// As a metric label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Static => "static",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }

    fn of(file: &Path) -> Self {
        let state = fs::read(file).and_then(|text| serde_json::from_slice::<State>(&text).map_err(io::Error::from));
        match state.as_ref().map(|state| state.policy_name.as_str()) {
            Ok("none") => Self::None,
            Ok("static") => Self::Static,
            Ok(_) => Self::Other,
            Err(_) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_told_when_it_changes_and_looked_at_from_time_to_time() {
        let kubelet = tempfile::tempdir().unwrap();
        let write = |text: &str| fs::write(kubelet.path().join(STATE_FILE), text).unwrap();
        let mut manager = CpuManager::new(kubelet.path());
        let mut now = Instant::ORIGIN;
        let mut next = |manager: &mut CpuManager| {
            now = now + CPU_MANAGER_PERIOD;
            manager.look(now)
        };
        assert_eq!(next(&mut manager), Some(CpuManagerPolicy::Unknown));
        write(r#"{"policyName":"none","defaultCpuSet":"","checksum":1353318690}"#);
        assert_eq!(next(&mut manager), Some(CpuManagerPolicy::None));
        assert_eq!(next(&mut manager), None);
        write(r#"{"policyName":"static","defaultCpuSet":"0-3","entries":{"uid":{"rank":"2"}},"checksum":14406}"#);
        assert_eq!(next(&mut manager), Some(CpuManagerPolicy::Static));
        write(r#"{"policyName":"dynamic"}"#);
        assert_eq!(next(&mut manager), Some(CpuManagerPolicy::Other));
        write("{");
        assert_eq!(next(&mut manager), Some(CpuManagerPolicy::Unknown));
        write(r#"{"policyName":"none"}"#);
        assert_eq!(manager.look(Instant::ORIGIN), None, "it is not looked at before its time");
    }
}
