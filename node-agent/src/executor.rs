//! The switching step, as the strobe thread executes it.
