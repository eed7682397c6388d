//! Every limit of the schema, with its meaning and what happens beyond it. Times are in `partition::TimeField`.

/// Most nodes of one gang. A job that asks for more is refused by the schema.
pub const MAX_NODES: u32 = 4096;

/// Most ranks of one gang on one node. More is refused by the schema.
pub const MAX_RANKS_PER_NODE: u32 = 1024;

/// Most CPUs of one rank. More is refused by the schema.
pub const MAX_CPUS_PER_RANK: u32 = 1024;

/// Most CPUs that a gang may hold on one node (`ranksPerNode` × `cpusPerRank`). More is refused by a rule.
pub const MAX_CPUS_PER_NODE: u32 = 1024;

/// Most ranks of one gang on all nodes together. More is refused by a rule.
pub const MAX_RANKS: u32 = 65_536;

/// Highest CPU number that a CPU list may name. A higher one is refused by a rule.
pub const MAX_CPU_NUMBER: u16 = 1023;

/// Longest text of a CPU list, in bytes. Longer is refused by the schema; the CEL cost estimate depends on it.
pub const MAX_CPU_LIST_LENGTH: u32 = 256;

/// Longest CPU list that is written for a node, in bytes: room for two of every three CPUs up to the highest, the longest that there is.
pub const MAX_WRITTEN_CPU_LIST_LENGTH: u32 = 3072;

/// Longest address of an agent, in bytes: an IPv6 address in brackets with zone and port is shorter. The writer sends no longer ones.
pub const MAX_ADDRESS_LENGTH: u32 = 128;

/// Longest text of a part in per cent, in bytes. The writer sends no longer ones.
pub const MAX_PERCENT_LENGTH: u32 = 16;

/// Longest text of a duration, in bytes. Longer is refused by the schema.
pub const MAX_DURATION_LENGTH: u32 = 32;

/// Most rows of a partition. More is refused by the schema; the status lists one entry a row.
pub const MAX_ROWS: u8 = 16;

/// Most containers and most init containers of a template. More is refused by the schema; CEL walks both lists.
pub const MAX_CONTAINERS: u32 = 16;

/// Most words of a container's command and of its arguments. More is refused by the schema; CEL compares them.
pub const MAX_COMMAND_WORDS: u32 = 1024;

/// Longest name of a container or a partition, in bytes (Kubernetes' own limit for a DNS label and a label's value).
pub const MAX_LABEL_LENGTH: u32 = 63;

/// Longest name of a ParallelJob, in bytes: pods are called `job-incarnation-index` and their names become
/// host names, which hold at most 63 bytes. Longer is refused by a rule.
pub const MAX_JOB_NAME_LENGTH: u32 = 45;

/// Longest name of a partition, a priority class or a manager, in bytes (Kubernetes' limit for an object name).
pub const MAX_NAME_LENGTH: u32 = 253;

/// Most restarts that a job may ask for. More is refused by the schema.
pub const MAX_RESTARTS: u32 = 1000;

/// Most namespaces that a partition may list; for more use the selector. More is refused by the schema.
pub const MAX_ALLOWED_NAMESPACES: u32 = 256;

/// Most labels of a node selector. More is refused by the schema.
pub const MAX_SELECTOR_LABELS: u32 = 32;

/// Most conditions of a status. The writer never sets more: there is one a condition type.
pub const MAX_CONDITIONS: u32 = 16;

/// Most failures that a status lists, the first ones. Later ones are only counted.
pub const MAX_FAILURES: u32 = 10;

/// Longest message in a status, in bytes. The writer cuts longer ones.
pub const MAX_MESSAGE_LENGTH: u32 = 1024;

/// Largest generated CRD file in bytes: client-side apply keeps a copy in an annotation of at most 262,144 bytes.
pub const MAX_CRD_BYTES: usize = 200 * 1024;

/// Largest manifest file that local mode reads, in bytes. A larger one is refused unread.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// Most problems that one check reports; a note says how many more there were.
pub const MAX_PROBLEMS: usize = 20;

/// Deepest nesting of a manifest. Deeper is refused: no field of ours lies deeper.
pub const MAX_MANIFEST_DEPTH: usize = 64;

/// Most YAML events that the aliases of a file may stand for together. More is refused: a few aliases of aliases could
/// otherwise fill the memory.
pub const MAX_ALIAS_EVENTS: usize = 10_000;

const _: () = assert!(MAX_RANKS >= MAX_NODES && MAX_RANKS >= MAX_RANKS_PER_NODE);
const _: () = assert!(MAX_CPUS_PER_NODE <= MAX_CPU_NUMBER as u32 + 1);
const _: () = assert!(MAX_CRD_BYTES < 262_144);
