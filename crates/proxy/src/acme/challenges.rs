//! What an authority is answered that asks whether a host is ours.

use std::sync::{Arc, PoisonError, RwLock};

use instant_acme::KeyAuthorization;
use rustls::{
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};

/// How it is proved that a host is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Proof {
    /// By a certificate that is shown at the encrypted address (tls-alpn-01, RFC 8737).
    Tls,
    /// By a text that is read at the address in plain text (http-01).
    Http,
}

/// The question that a scope is prepared for: there is one order at a time.
#[derive(Debug, Default)]
pub(crate) struct Challenges(RwLock<Option<Prepared>>);

#[derive(Debug)]
enum Prepared {
    Tls { host: String, shown: Arc<CertifiedKey> },
    Http { token: String, answer: String },
}

impl Challenges {
    /// Answers a question until what is returned is dropped.
    pub(super) fn prepare(
        self: &Arc<Self>,
        proof: Proof,
        host: &str,
        token: &str,
        answer: &KeyAuthorization,
    ) -> Result<Answering, ProofError> {
        let prepared = match proof {
            Proof::Tls => Prepared::Tls { host: host.to_owned(), shown: shown(host, answer)? },
            Proof::Http => {
                Prepared::Http { token: token.to_owned(), answer: answer.as_str().to_owned() }
            }
        };
        self.set(Some(prepared));
        Ok(Answering(Arc::clone(self)))
    }

    fn set(&self, prepared: Option<Prepared>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = prepared;
    }

    /// What is shown to who asks for this host by the protocol of the question.
    pub(crate) fn certificate(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(Prepared::Tls { host: asked, shown }) if asked.eq_ignore_ascii_case(host) => {
                Some(Arc::clone(shown))
            }
            _ => None,
        }
    }

    /// What is to be read below this name.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(Prepared::Http { token, answer }) if token == name => Some(answer.clone()),
            _ => None,
        }
    }
}

/// A question is answered as long as this is held.
#[derive(Debug)]
pub(super) struct Answering(Arc<Challenges>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// Why a proof cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProofError {
    #[error("the proof cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the proof cannot be shown: {0}")]
    Key(#[from] rustls::Error),
}

fn shown(host: &str, answer: &KeyAuthorization) -> Result<Arc<CertifiedKey>, ProofError> {
    let mut params = rcgen::CertificateParams::new(vec![host.to_owned()])?;
    let digest = answer.digest();
    params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest.as_ref())];
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = ring::default_provider().key_provider.load_private_key(key)?;
    // Not looked at by the library, which does not know the extension and would refuse it.
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}
