//! Reading what the agent is told on its standard input.

use std::io::Read;

use strobe_proto::bootstrap::{Bootstrap, DOCUMENT_BYTES_MAX};

/// Why a bootstrap document is refused.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Standard input could not be read.
    #[error("cannot read the bootstrap document from standard input")]
    Read(#[source] std::io::Error),
    /// It is not what it should be.
    #[error("the bootstrap document on standard input is not valid; kubectl-strobe writes it")]
    Document(#[source] serde_json::Error),
    /// The settings do not agree with each other.
    #[error("the bootstrap document's settings are refused")]
    Settings(#[source] strobe_core::model::SettingsError),
}

/// Reads the document from standard input, to its end.
///
/// # Errors
/// See [`BootstrapError`].
pub fn bootstrap_from_standard_input() -> Result<Bootstrap, BootstrapError> {
    let mut text = String::new();
    std::io::stdin().take(DOCUMENT_BYTES_MAX).read_to_string(&mut text).map_err(BootstrapError::Read)?;
    let bootstrap: Bootstrap = serde_json::from_str(&text).map_err(BootstrapError::Document)?;
    let settings = bootstrap.settings.clone().validated().map_err(BootstrapError::Settings)?;
    Ok(Bootstrap { settings, ..bootstrap })
}
