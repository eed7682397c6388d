//! The plugin as kubelet sees it.
