//! Another certificate authority takes the place of the first, step by step, with two roots in between, so that no agent meets one whom it
//! does not trust: the new root is trusted, then it signs, then the old one is trusted no more.
//!
//! Between two steps every agent has to have enrolled anew, which each does within the life of its certificate.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use strobe_fabric::authority::{AuthorityError, CertificateAuthority};

use super::{CERTIFICATE, KEY, NEXT_CERTIFICATE, NEXT_KEY, PREVIOUS_CERTIFICATE, entry, load, published};
use crate::access::{AccessError, access};
use crate::limits::CERTIFICATE_VALIDITY;
use crate::names::AUTHORITY_SECRET;

/// What a step has done, and so what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new authority is trusted, and does not sign yet.
    Announced,
    /// It signs. The old one is still trusted.
    Signs,
    /// The old one is trusted no more.
    Over,
}

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The API server refused or did not answer.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// There is nothing to rotate.
    #[error("Secret {AUTHORITY_SECRET} holds no certificate authority: the operator makes one when it begins")]
    NoAuthority,
    /// The operator that runs knows nothing of the last step.
    #[error("the operator does not tell agents the roots of the last step yet: restart it first")]
    NotPublished,
    /// Some agents may not know the roots of the last step yet.
    #[error(
        "agents are told the roots of the last step since {since}: every one has enrolled anew by {at}; run it again then, or with --now once `kubectl rollout restart` has restarted them all"
    )]
    TooEarly {
        /// Since when they are told.
        since: Timestamp,
        /// When the next step may be.
        at: Timestamp,
    },
    /// No new authority could be made.
    #[error("no certificate authority could be made")]
    Make(#[source] AuthorityError),
}

/// Makes the next step. `now_anyway`: the agents were restarted since the last one.
///
/// # Errors
/// See [`RotationError`]; then nothing has changed.
pub async fn step(client: &Client, namespace: &str, now_anyway: bool) -> Result<Step, RotationError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = secrets.get_opt(AUTHORITY_SECRET).await.map_err(access("read the Secret of the certificate authority"))?;
    let told = published(&Api::namespaced(client.clone(), namespace)).await?;
    let (secret, step) = after(found.ok_or(RotationError::NoAuthority)?, told, Timestamp::now(), now_anyway)?;
    // With the version that was read: of two that rotate at a time one is refused.
    let replaced = secrets.replace(AUTHORITY_SECRET, &PostParams::default(), &secret).await;
    replaced.map_err(access("keep the certificate authority in its Secret"))?;
    Ok(step)
}

/// The Secret after its next step. `told`: the roots that agents are told, and since when.
fn after(
    mut secret: Secret,
    told: Option<(String, Option<Timestamp>)>,
    now: Timestamp,
    now_anyway: bool,
) -> Result<(Secret, Step), RotationError> {
    let text = |name| entry(&secret, name).map(str::to_owned);
    let current = text(CERTIFICATE).filter(|_| entry(&secret, KEY).is_some()).ok_or(RotationError::NoAuthority)?;
    let (next, previous) = (text(NEXT_CERTIFICATE).zip(text(NEXT_KEY)), text(PREVIOUS_CERTIFICATE));
    if next.is_some() || previous.is_some() {
        let roots = load(&secret).map_err(|_damaged| RotationError::NoAuthority)?.roots_pem().to_owned();
        let since = told.filter(|(told, _)| *told == roots).ok_or(RotationError::NotPublished)?.1;
        in_time(since.filter(|_| !now_anyway), now)?;
    }
    let data = secret.data.get_or_insert_default();
    let mut put = |name: &str, value: Option<String>| match value {
        Some(value) => drop(data.insert(name.to_owned(), ByteString(value.into_bytes()))),
        None => drop(data.remove(name)),
    };
    let step = if let Some((certificate, key)) = next {
        put(CERTIFICATE, Some(certificate));
        put(KEY, Some(key));
        put(NEXT_CERTIFICATE, None);
        put(NEXT_KEY, None);
        put(PREVIOUS_CERTIFICATE, Some(current));
        Step::Signs
    } else if previous.is_some() {
        put(PREVIOUS_CERTIFICATE, None);
        Step::Over
    } else {
        let authority = CertificateAuthority::new("strobe").map_err(RotationError::Make)?;
        put(NEXT_CERTIFICATE, Some(authority.root_pem().to_owned()));
        put(NEXT_KEY, Some(authority.key_pem()));
        Step::Announced
    };
    Ok((secret, step))
}

/// Refuses a step before every agent has enrolled anew since the last one.
fn in_time(since: Option<Timestamp>, now: Timestamp) -> Result<(), RotationError> {
    let Some(since) = since else { return Ok(()) };
    let at = since.checked_add(CERTIFICATE_VALIDITY).unwrap_or(Timestamp::MAX);
    if now < at { Err(RotationError::TooEarly { since, at }) } else { Ok(()) }
}

impl Step {
    /// What is to be done after it, in words.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Announced => {
                "a new root is in the Secret: restart the operator; agents trust it when they have enrolled anew. Run this again then"
            }
            Self::Signs => {
                "the new authority signs: restart the operator; agents have its certificates when they have enrolled anew. Run this again then"
            }
            Self::Over => "the old root is gone: restart the operator",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        let authority = CertificateAuthority::new("strobe").unwrap();
        let entries = [(CERTIFICATE, authority.root_pem().to_owned()), (KEY, authority.key_pem())];
        Secret { data: Some(entries.map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes()))).into()), ..Secret::default() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// What an operator that has begun with this Secret tells agents.
    fn told(secret: &Secret, since: Timestamp) -> Option<(String, Option<Timestamp>)> {
        Some((load(secret).unwrap().roots_pem().to_owned(), Some(since)))
    }

    #[test]
    fn whoever_is_one_step_behind_is_trusted_and_trusts() {
        let week = i64::try_from(CERTIFICATE_VALIDITY.as_secs()).unwrap();
        let mut stages = vec![secret()];
        for step in 0..3 {
            let last = stages.last().unwrap();
            let (next, _) = after(last.clone(), told(last, at(step * week)), at((step + 1) * week), false).unwrap();
            stages.push(next);
        }
        for pair in stages.windows(2) {
            let [before, now] = [&pair[0], &pair[1]].map(|secret| load(secret).unwrap());
            assert!(before.roots_pem().contains(now.root_pem()), "whoever has enrolled before trusts what is signed now");
            assert!(now.roots_pem().contains(before.root_pem()), "what was signed before is trusted now");
        }
        let [first, last] = [&stages[0], &stages[3]].map(|secret| load(secret).unwrap());
        assert_ne!(first.root_pem(), last.root_pem());
        assert_eq!(last.roots_pem(), last.root_pem(), "the old root is gone");
    }

    #[test]
    fn no_step_comes_before_all_agents_have_enrolled_anew_unless_they_were_restarted() {
        let first = secret();
        let (announced, step) = after(first.clone(), told(&first, at(0)), at(0), false).unwrap();
        assert_eq!(step, Step::Announced);
        let unheard = after(announced.clone(), told(&first, at(0)), at(i64::from(u32::MAX)), true).unwrap_err();
        assert!(matches!(unheard, RotationError::NotPublished), "{unheard}");
        let early = after(announced.clone(), told(&announced, at(30)), at(60), false).unwrap_err();
        assert!(matches!(early, RotationError::TooEarly { since, .. } if since == at(30)), "{early}");
        let (signs, step) = after(announced.clone(), told(&announced, at(30)), at(60), true).unwrap();
        assert_eq!(step, Step::Signs);
        assert!(after(signs.clone(), told(&signs, at(90)), at(120), false).is_err());
        assert_eq!(after(signs.clone(), told(&signs, at(90)), at(120), true).unwrap().1, Step::Over);
        assert!(matches!(after(Secret::default(), None, at(0), false), Err(RotationError::NoAuthority)));
    }
}
