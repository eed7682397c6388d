//! The operator's certificate authority: one root for all partitions, kept in a Secret, its certificate told to the agents by a ConfigMap.
//!
//! While another takes its place there are two roots, that all trust ([`rotation`]).

pub mod rotation;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use strobe_fabric::authority::{AuthorityError, CertificateAuthority};

use crate::access::{AccessError, access};
use crate::controller::MANAGER;
use crate::limits::CERTIFICATES_AGAIN;
use crate::names::{ANNOTATION_PUBLISHED, AUTHORITY_SECRET, ROOTS};

/// Entries of the Secret.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// An authority that is trusted before it signs.
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
/// The root of one that signs no more and is still trusted.
const PREVIOUS_CERTIFICATE: &str = "previous.crt";

/// The entry of the ConfigMap.
const ROOTS_ENTRY: &str = "roots.pem";

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The API server did not answer as it should.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// What the Secret holds is no authority.
    #[error("Secret {AUTHORITY_SECRET} is damaged: when it is deleted a new one is made, and the agents have to be restarted")]
    Damaged(#[source] Option<AuthorityError>),
    /// None could be made.
    #[error("no certificate authority could be made")]
    Make(#[source] AuthorityError),
}

/// The authority that is kept, or a new one where there is none. Its root is told to the agents. An API server that does not answer is
/// asked again.
///
/// # Errors
/// See [`CertificatesError`].
pub async fn authority(client: &Client, namespace: &str) -> Result<CertificateAuthority, CertificatesError> {
    loop {
        match found_or_made(client, namespace).await {
            Err(error @ CertificatesError::Access(_)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no certificate authority yet; tried again");
                tokio::time::sleep(CERTIFICATES_AGAIN).await;
            }
            result => return result,
        }
    }
}

async fn found_or_made(client: &Client, namespace: &str) -> Result<CertificateAuthority, CertificatesError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let authority = match read(&secrets).await? {
        Some(secret) => load(&secret)?,
        None => make(&secrets).await?,
    };
    publish(client, namespace, authority.roots_pem()).await?;
    Ok(authority)
}

async fn read(secrets: &Api<Secret>) -> Result<Option<Secret>, AccessError> {
    secrets.get_opt(AUTHORITY_SECRET).await.map_err(access("read the Secret of the certificate authority"))
}

fn load(secret: &Secret) -> Result<CertificateAuthority, CertificatesError> {
    let needed = |name| entry(secret, name).ok_or(CertificatesError::Damaged(None));
    let authority = CertificateAuthority::load(needed(CERTIFICATE)?, needed(KEY)?);
    let authority = authority.map_err(|error| CertificatesError::Damaged(Some(error)))?;
    let others = [NEXT_CERTIFICATE, PREVIOUS_CERTIFICATE].into_iter().filter_map(|name| entry(secret, name));
    Ok(others.fold(authority, CertificateAuthority::trusting))
}

/// An entry of the Secret, as text.
fn entry<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    secret.data.as_ref()?.get(name).and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
}

/// Makes one. Where another replica was faster, that one's counts.
async fn make(secrets: &Api<Secret>) -> Result<CertificateAuthority, CertificatesError> {
    let authority = CertificateAuthority::new("strobe").map_err(CertificatesError::Make)?;
    let entries = [(CERTIFICATE, authority.root_pem().to_owned()), (KEY, authority.key_pem())];
    let secret = Secret {
        metadata: ObjectMeta { name: Some(AUTHORITY_SECRET.to_owned()), ..ObjectMeta::default() },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(entries.map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes()))).into()),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(authority),
        Err(kube::Error::Api(answer)) if answer.code == 409 => {
            let secret = read(secrets).await?.ok_or(CertificatesError::Damaged(None))?;
            load(&secret)
        }
        Err(error) => Err(access("keep a new certificate authority in a Secret")(error).into()),
    }
}

/// Tells the agents the roots, and since when, where others or none were told before.
async fn publish(client: &Client, namespace: &str, roots_pem: &str) -> Result<(), AccessError> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let known = published(&maps).await?;
    if known.is_some_and(|(roots, _)| roots == roots_pem) {
        return Ok(());
    }
    let data = BTreeMap::from([(ROOTS_ENTRY, roots_pem)]);
    let metadata = json!({ "name": ROOTS, "annotations": { ANNOTATION_PUBLISHED: Timestamp::now().to_string() } });
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
    let applied = maps.patch(ROOTS, &PatchParams::apply(MANAGER).force(), &Patch::Apply(map)).await;
    applied.map(|_| ()).map_err(access("tell the agents the root of the certificate authority"))
}

/// The roots that agents are told, and since when; none before the first.
async fn published(maps: &Api<ConfigMap>) -> Result<Option<(String, Option<Timestamp>)>, AccessError> {
    let map = maps.get_opt(ROOTS).await.map_err(access("read the roots that agents are told"))?;
    Ok(map.and_then(|map| {
        let since = map.annotations().get(ANNOTATION_PUBLISHED).and_then(|at| at.parse().ok());
        Some((map.data?.remove(ROOTS_ENTRY)?, since))
    }))
}
