//! Placeholder of the first commit; replaced by the crate's own modules.
