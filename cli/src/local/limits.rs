//! Every limit of the local mode, with what happens at it.

use std::time::Duration;

/// Events of agents and outputs that wait for the loop; past it their sources wait.
pub(super) const EVENTS: usize = 1024;

/// Lines and pictures that wait to be printed. Past it the ranks' output waits, and with it the ranks that write.
pub(super) const SCREEN_MESSAGES: usize = 256;

/// Status lines that wait while the terminal takes nothing. Past it the oldest is left out and counted.
pub(super) const WAITING_STATUS_LINES: usize = 256;

/// Longest time from an agent's start to the line that says where it listens. Past it the agent is killed and started again.
pub(super) const AGENT_START: Duration = Duration::from_secs(10);

/// Starts of an agent that may fail one after the other. Past it the run is given up, for it would never begin or end.
pub(super) const AGENT_START_ATTEMPTS: u32 = 5;

/// Bytes of the line that says where an agent listens. A longer one is refused.
pub(super) const LISTENING_LINE: u64 = 4096;

/// Time until a dead agent is started again, doubled at every death that follows soon.
pub(super) const RESTART_BACK_OFF: Duration = Duration::from_millis(100);

/// Longest time until a dead agent is started again.
pub(super) const RESTART_BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// An agent that lived so long has not died soon: its back-off begins anew.
pub(super) const LIVED_LONG: Duration = Duration::from_secs(10);

/// Time until a session that broke is opened again while its agent lives.
pub(super) const SESSION_AGAIN: Duration = Duration::from_millis(100);

/// How long the first term may take from the start of the agents. Past it the run is given up.
pub(super) const START_UP: Duration = Duration::from_secs(30);

/// Period of what is looked at without an event: silence, proof of death, the picture.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Of the epochs that an agent tells of together, that whose number this divides is shown; where there is none, the last. Agents tell of ten
/// at a time when the quantum is 50 ms: with two rows the last is the same row for minutes. A prime number keeps step with no fewer rows.
pub(super) const SHOWN_EPOCH: u64 = 17;
const _: () = assert!(SHOWN_EPOCH > strobe_core::limits::ROWS_MAX as u64, "every row is shown in its turn");

/// How long the last figures are waited for once every job has ended.
pub(super) const LAST_FIGURES: Duration = Duration::from_secs(1);

/// How long agents may take to leave: longer than they wait for a supervisor whose last output nobody takes. Past it
/// they are killed and their cgroups are removed from here.
pub(super) const LEAVING: Duration = Duration::from_secs(20);

/// How much longer than its grace a gang may take to end after an interrupt. Past it everything is killed.
pub(super) const ENDING_MARGIN: Duration = Duration::from_secs(10);

/// How long killed processes may take to be gone. Past it what they hold is left behind, and said.
pub(super) const KILLED: Duration = Duration::from_secs(5);

/// How long the ranks' last lines are waited for: longer than a supervisor waits for a slow reader. Past it they are lost.
pub(super) const LAST_OUTPUT: Duration = Duration::from_secs(12);

/// Bytes of a path of a unix socket, its end included (`sockaddr_un`). A run folder whose sockets would be longer is refused.
pub(super) const SOCKET_PATH: usize = 108;

/// Epochs whose instants are collected until all agents have told theirs. Past it the oldest counts with those that did.
pub(super) const OPEN_EPOCHS: usize = 8192;

/// Longest time that a histogram tells apart. A longer one counts as this long.
pub(super) const HISTOGRAM_TIME: Duration = Duration::from_secs(3600);

/// Bytes that are read from a gang's output at a time.
pub(super) const OUTPUT_BYTES: usize = 64 << 10;

/// Longest line of a gang's output. A supervisor's pieces are shorter; a longer line is cut here.
pub(super) const LINE_BYTES: usize = 64 << 10;

/// Failures of one job that the report lists, the first ones. Later ones are only counted, as restarts.
pub(super) const FAILURES: usize = 10;
