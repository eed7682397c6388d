//! Stopping and continuing the ranks of one gang on this node.
