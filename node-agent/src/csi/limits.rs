//! Every limit of the volume plugin, with what happens at it.

use std::time::Duration;

/// How long a call waits until its pod is in the node's plan. Past it the call is refused, and kubelet tries again with pauses that grow
/// up to two minutes.
pub(super) const PLAN_TIME_MAX: Duration = Duration::from_secs(100);

/// How long kubelet waits for an answer (seen, docs/adr/0012).
const KUBELET_TIME: Duration = Duration::from_secs(120);

/// Bytes of a volume's identifier at most; kubelet makes them of 68. A longer one is refused.
pub(super) const VOLUME_BYTES_MAX: usize = 128;

const _: () = assert!(PLAN_TIME_MAX.as_secs() < KUBELET_TIME.as_secs());
