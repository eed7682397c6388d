//! Every limit of the agent, with what happens at it.

use std::time::Duration;

use crate::supervisor::limits::LAST_OUTPUT;

/// Files of shared memory that are noted of one gang on one node. Further ones stay when its ranks are killed.
pub(super) const SHARED_MEMORY_FILES_MAX: usize = 64;
/// Between the first and the second look at what a gang's ranks have mapped; doubled at every further one. A file that is made
/// and lost with the rank between two looks stays.
pub(super) const SHARED_MEMORY_LOOK_MIN: Duration = Duration::from_millis(400);
/// Longest time between two looks: reading the mappings of a rank takes some ten microseconds of its node's CPUs.
pub(super) const SHARED_MEMORY_LOOK_MAX: Duration = Duration::from_secs(60);

/// Keys that the strobe thread keeps at a time: one for each node of the largest partition, in two terms.
pub(super) const DATAGRAM_KEYS_MAX: usize = 2 * strobe_core::limits::MEMBERS_MAX;

/// How long the supervisors that an earlier life left are waited for.
pub(super) const ADOPTION_TIME_MAX: Duration = Duration::from_secs(2);

/// Events that wait for the agent's loop; further sources wait.
pub(super) const EVENTS_MAX: usize = 1024;

/// Period of the figures. In a cluster they are combined, and slower.
pub(super) const FIGURES_PERIOD: Duration = Duration::from_millis(200);

/// Between two looks at the policy of kubelet's CPU manager, which changes only when kubelet is started anew.
pub(super) const CPU_MANAGER_PERIOD: Duration = Duration::from_secs(10);

/// Records between two figures. Further ones are dropped and counted.
pub(super) const RECORDS_BETWEEN_FIGURES_MAX: usize = 4096;

/// How long a supervisor may live on once its ranks are gone: longer than it waits for a slow reader of the last output and
/// for what its ranks left behind. Past it it is killed, and what it still holds is lost.
pub(super) const SUPERVISOR_END_MAX: Duration = LAST_OUTPUT.saturating_add(Duration::from_secs(5));

/// How long killed ranks are waited for before it is said that they do not go; they are waited for again then.
pub(super) const KILL_TIME_MAX: Duration = Duration::from_secs(10);

/// Messages that wait to be sent in a session. Reports replace each other and figures are dropped beyond.
pub(super) const SESSION_MESSAGES_MAX: usize = 64;

/// How long an agent stays that leaves after it refused a session, so that its authority hears why. Past it the authority sees a broken
/// connection, and learns nothing worse.
pub(super) const REFUSAL_TIME: Duration = Duration::from_millis(200);

/// How long a machine manager that leaves waits for another to be appointed. Past it it goes, and the others run free until then. Far less
/// than its pod is given to end.
pub(super) const HAND_OVER_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of the parts in which a file is given to all nodes: what is on its way while the part before it is written.
pub(super) const FILE_PART_BYTES: u64 = 16 << 20;

/// Parts of a file that are in the memory of every node at a time; a further one waits until all nodes have written the first of these. The
/// giver has up to three more, which are read and wait.
pub(super) const FILE_SLOTS: u32 = 3;

/// Bytes of what is said of a part: a name and some numbers. A block that claims more is no part of a file.
pub(super) const FILE_DESCRIPTION_BYTES_MAX: u64 = 512;

/// Parts of a file that are read and wait for their turn.
pub(super) const FILE_PARTS_READ_AHEAD: usize = 1;

/// How long a file may come no further: an operation has no outcome, or is refused again and again, or nodes do not write. Past it, it is given up.
pub(super) const FILE_PATIENCE: Duration = Duration::from_secs(10);

/// First pause before an operation is called again that was refused, or did not hold.
pub(super) const OPERATION_PAUSE_MIN: Duration = Duration::from_millis(1);

/// Longest such pause.
pub(super) const OPERATION_PAUSE_MAX: Duration = Duration::from_millis(50);

/// Messages to one supervisor that wait for its task. A further one closes the connection: a supervisor that does not
/// read is taken over again by its next connection.
pub(super) const SUPERVISOR_MESSAGES_MAX: usize = 256;

/// Connections that wait to be accepted.
pub(super) const SUPERVISORS_BACKLOG: i32 = 128;

/// Connections that one pod may have at a time: its supervisor's, and that of the supervisor's next try. Further ones wait, and those
/// that say nothing make room.
pub(super) const CONNECTIONS_PER_POD_MAX: usize = 4;

/// Those who wait for a pod's gang. A further one is told at once that it waits in vain, and is asked again later by whoever sent it.
pub(super) const PODS_AWAITED_MAX: usize = 256;

/// How long a connection may say nothing at first. Past it it is closed; a supervisor connects again.
pub(super) const HELLO_TIME_MAX: Duration = Duration::from_secs(5);

/// How long after its grace a gang is killed by its cgroup, should its supervisor not have done it.
pub(super) const GRACE_MARGIN: Duration = Duration::from_secs(1);

/// Connections whose first message has not come. A further one is closed: supervisors try again, and these have their time.
pub(super) const STRANGERS_MAX: usize = 128;

const _: () = assert!(FILE_PART_BYTES < strobe_core::limits::BLOCK_BYTES_MAX && FILE_SLOTS <= strobe_core::limits::NODE_REGIONS_MAX);
