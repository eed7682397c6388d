//! When a replica may take the Lease. It compares no two machines' clocks: a Lease has lapsed when this replica has seen it unchanged for
//! its duration, by its own clock, as Kubernetes' own components judge it.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;

/// See the module.
pub(super) struct Candidate {
    identity: String,
    /// The version of the Lease that was seen last, and when it was first seen.
    seen: Option<(Option<String>, Instant)>,
}

/// What a replica does about the Lease that it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is another's; it lapses at that instant if nothing changes.
    Wait(Instant),
    /// It may be taken.
    Take,
}

// === impl Candidate ===

impl Candidate {
    pub(super) const fn new(identity: String) -> Self {
        Self { identity, seen: None }
    }

    /// Judges the Lease as it is now; none where there is none.
    pub(super) fn judge(&mut self, now: Instant, lease: Option<&Lease>) -> Judgement {
        let Some(lease) = lease else { return Judgement::Take };
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        // Its own is of an earlier life of this pod's process, which has ended.
        if holder.is_empty() || holder == self.identity {
            return Judgement::Take;
        }
        let version = &lease.metadata.resource_version;
        let first_seen = match &self.seen {
            Some((seen, at)) if seen == version => *at,
            _ => now,
        };
        self.seen = Some((version.clone(), first_seen));
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
        let lapses = first_seen + Duration::from_secs(seconds);
        if now >= lapses { Judgement::Take } else { Judgement::Wait(lapses) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        serde_json::from_value(json!({
            "metadata": { "name": "strobe-operator", "resourceVersion": version },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15 },
        }))
        .unwrap()
    }

    #[test]
    fn what_nobody_holds_is_taken_and_ones_own_too() {
        let now = Instant::now();
        let mut candidate = Candidate::new("a".to_owned());
        assert_eq!(candidate.judge(now, None), Judgement::Take);
        assert_eq!(candidate.judge(now, Some(&Lease::default())), Judgement::Take);
        assert_eq!(candidate.judge(now, Some(&lease("", "1"))), Judgement::Take);
        assert_eq!(candidate.judge(now, Some(&lease("a", "1"))), Judgement::Take);
    }

    #[test]
    fn anothers_is_taken_once_it_was_seen_unchanged_for_its_duration() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut candidate = Candidate::new("a".to_owned());
        assert_eq!(candidate.judge(begun, Some(&lease("b", "1"))), Judgement::Wait(after(15)));
        assert_eq!(candidate.judge(after(14), Some(&lease("b", "1"))), Judgement::Wait(after(15)));
        assert_eq!(candidate.judge(after(14), Some(&lease("b", "2"))), Judgement::Wait(after(29)), "it was renewed");
        assert_eq!(candidate.judge(after(29), Some(&lease("b", "2"))), Judgement::Take);
    }
}
