//! Clients of an API server, from a file as kubectl reads it.

use std::path::Path;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};

/// A client with the rights of the file's user.
///
/// # Errors
/// The file cannot be read, or is none for clients.
pub(crate) async fn of(kubeconfig: &Path) -> Result<kube::Client> {
    let file = Kubeconfig::read_from(kubeconfig).with_context(|| format!("read {}", kubeconfig.display()))?;
    let configuration = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    kube::Client::try_from(configuration.context("understand the file for clients")?).context("make a client")
}
