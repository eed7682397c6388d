//! The identities of an API server for a test: its own, that of its clients, and the key that signs service accounts. Nothing but this
//! server trusts them.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

/// The group whose members the API server's authorisation lets do everything.
const ADMINISTRATORS: &str = "system:masters";

/// A certificate and its key, as PEM.
struct Identity {
    certificate: String,
    key: String,
}

/// Writes what the server reads, and the file for clients.
///
/// # Errors
/// The system gives no random numbers, or the folder cannot be written to.
pub(super) fn write(folder: &Path, address: SocketAddrV4) -> Result<()> {
    let authority = authority()?;
    let server = issue(&authority, "kube-apiserver", None, Some(address)).context("the server's certificate")?;
    let client = issue(&authority, "test", Some(ADMINISTRATORS), None).context("the clients' certificate")?;
    let accounts = KeyPair::generate().context("the key of service accounts")?;
    let kubeconfig = kubeconfig(address).to_string();
    for (name, text) in [
        ("ca.crt", &authority.pem()),
        ("server.crt", &server.certificate),
        ("server.key", &server.key),
        ("client.crt", &client.certificate),
        ("client.key", &client.key),
        ("accounts.key", &accounts.serialize_pem()),
        ("accounts.pub", &accounts.public_key_pem()),
        ("kubeconfig", &kubeconfig),
    ] {
        fs::write(folder.join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "strobe test");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().context("make a key")?).context("sign the authority's certificate")
}

fn issue(authority: &CertifiedIssuer<'_, KeyPair>, name: &str, group: Option<&str>, address: Option<SocketAddrV4>) -> Result<Identity> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        parameters.distinguished_name.push(DnType::OrganizationName, group);
    }
    parameters.subject_alt_names = address.map(|address| SanType::IpAddress((*address.ip()).into())).into_iter().collect();
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().context("make a key")?;
    let certificate = parameters.signed_by(&key, authority).context("sign")?;
    Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// The file for clients; JSON is YAML, too. The names of files are relative to its own.
fn kubeconfig(address: SocketAddrV4) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": format!("https://{address}"), "certificate-authority": "ca.crt" } }],
        "users": [{ "name": "test", "user": { "client-certificate": "client.crt", "client-key": "client.key" } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    })
}
