//! Every limit of the sessions with agents, with what happens at it.

use std::time::Duration;

/// Messages to one agent that wait in its session. Past it the session is closed: the next one says everything anew.
pub const SESSION_MESSAGES: usize = 256;

/// Longest time to open a session. Past it the session is tried again.
pub const SESSION_OPENING: Duration = Duration::from_secs(2);

/// Least silence of an agent that counts as such. Agents send figures every 200 ms.
pub const SILENCE: Duration = Duration::from_secs(1);

/// Time until a session that broke is opened again, doubled each time that none comes to a hello.
pub const DIAL_AGAIN: Duration = Duration::from_millis(100);

/// Longest time until a session is opened again.
pub const DIAL_AGAIN_MAX: Duration = Duration::from_secs(2);
