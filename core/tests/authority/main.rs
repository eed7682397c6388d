//! The authority, sentence by sentence of the design, and under random reports.

mod bench;
mod jobs;
mod launches;
mod places;
mod random;
mod resuming;
mod terms;
