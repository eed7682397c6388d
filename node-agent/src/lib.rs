//! Library shared by the agent and the supervisor.
