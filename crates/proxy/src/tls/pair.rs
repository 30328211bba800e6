//! A certificate and its key, read from their files.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use tidegate_types::{CertificateFiles, Scope};

use super::validity::{Moment, Validity};

/// How a certificate is judged that is valid at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is refused.
    Strict,
    /// It is used: it was before, and nothing better is there.
    Lenient,
}

/// Why a pair cannot be used. Nothing of what the files hold is in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PairError {
    #[error("the file {} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the file {} holds no certificate in PEM form", path.display())]
    NoCertificate { path: PathBuf },
    #[error(
        "the file {} holds no private key in PEM form; an encrypted one cannot be used",
        path.display()
    )]
    NoKey { path: PathBuf },
    #[error("the key {} cannot be used with the certificate {}: {source}", key.display(), certificate.display())]
    Unusable { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("the certificate {} is damaged: it does not say how long it is valid", path.display())]
    Damaged { path: PathBuf },
    #[error("the certificate {} is valid only until {until}, which has passed", path.display())]
    Expired { path: PathBuf, until: String },
    #[error("the certificate {} is valid only from {from} on", path.display())]
    TooEarly { path: PathBuf, from: String },
    #[error("TLS cannot be set up: {0}")]
    Library(rustls::Error),
}

/// A certificate with its key, ready for use. Printed, it shows the names of the files.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) files: CertificateFiles,
    pub(super) key: Arc<CertifiedKey>,
    pub(super) until: Moment,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Pair").field(&self.files).finish()
    }
}

impl Pair {
    /// Reads the files.
    pub(super) fn load(files: &CertificateFiles, judgement: Judgement) -> Result<Self, PairError> {
        let CertificateFiles { certificate, key } = files;
        let text = read(certificate)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|_| PairError::NoCertificate { path: certificate.clone() })?;
        let Some(first) = chain.first() else {
            return Err(PairError::NoCertificate { path: certificate.clone() });
        };
        let damaged = || PairError::Damaged { path: certificate.clone() };
        let validity = Validity::of(first).ok_or_else(damaged)?;
        if judgement == Judgement::Strict {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
            let now = i64::try_from(now).unwrap_or(i64::MAX);
            let path = certificate.clone();
            if validity.until.seconds < now {
                return Err(PairError::Expired { path, until: validity.until.text });
            }
            if validity.from.seconds > now {
                return Err(PairError::TooEarly { path, from: validity.from.text });
            }
        }
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|_| PairError::NoKey { path: key.clone() })?;
        let pair =
            CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(|source| {
                PairError::Unusable { certificate: certificate.clone(), key: key.clone(), source }
            })?;
        Ok(Self { files: files.clone(), key: Arc::new(pair), until: validity.until })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PairError> {
    std::fs::read(path).map_err(|source| PairError::Unreadable { path: path.to_owned(), source })
}

/// A pair, and the files as they were when it was read.
#[derive(Debug)]
pub(super) struct Watched {
    files: CertificateFiles,
    /// None when it could not be read after a restart.
    pub(super) pair: Option<Pair>,
    /// None when the files are to be read again whatever they look like.
    seen: Option<Stamp>,
    /// What was said last of files that cannot be used, so that it is said once.
    complaint: Option<String>,
}

impl Watched {
    /// Reads the files, or takes what was read before.
    pub(super) fn read(
        scope: &Scope,
        files: &CertificateFiles,
        kept: Option<&Pair>,
    ) -> Result<Self, PairError> {
        // Looked at before they are read, so that a change in between is seen the next time.
        let seen = Some(Stamp::of(files));
        let (pair, seen, complaint) = match (Pair::load(files, Judgement::Strict), kept) {
            (Ok(pair), _) => (pair, seen, None),
            (Err(error), Some(kept)) => {
                tracing::error!(%scope, %error, "what was read before is used in its place");
                (kept.clone(), None, Some(error.to_string()))
            }
            (Err(error), None) => return Err(error),
        };
        Ok(Self { files: files.clone(), pair: Some(pair), seen, complaint })
    }

    /// Reads files that were in use before a restart.
    pub(super) fn restored(files: &CertificateFiles) -> (Self, Option<PairError>) {
        let seen = Some(Stamp::of(files));
        let (pair, seen, error) = match Pair::load(files, Judgement::Lenient) {
            Ok(pair) => (Some(pair), seen, None),
            Err(error) => (None, None, Some(error)),
        };
        let complaint = error.as_ref().map(ToString::to_string);
        (Self { files: files.clone(), pair, seen, complaint }, error)
    }

    /// Reads files that may not be there yet, or takes what was read before.
    pub(super) fn ordered(files: &CertificateFiles, kept: Option<&Pair>) -> Self {
        let (mut watched, _missing) = Self::restored(files);
        watched.pair = watched.pair.or_else(|| kept.cloned());
        watched
    }

    /// Reads the files if they have changed. Says whether there is another pair now.
    pub(super) fn reload(&mut self, scope: &Scope) -> bool {
        let now = Stamp::of(&self.files);
        if self.seen.as_ref() == Some(&now) {
            return false;
        }
        match Pair::load(&self.files, Judgement::Strict) {
            Ok(pair) => {
                let certificate = self.files.certificate.display();
                tracing::info!(%scope, %certificate, "the certificate was read again");
                self.pair = Some(pair);
                self.seen = Some(now);
                self.complaint = None;
                true
            }
            // They are read again in a second: the other file may still be on its way.
            Err(error) => {
                let complaint = error.to_string();
                if self.complaint.as_ref() != Some(&complaint) {
                    tracing::error!(
                        %scope, %error,
                        "a certificate cannot be used as it is now; the former one stays in use"
                    );
                    self.complaint = Some(complaint);
                }
                self.seen = None;
                false
            }
        }
    }
}

/// What changes when a file does, or when a link leads to another file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([Option<(u64, u64, i64, i64)>; 2]);

impl Stamp {
    /// As the files are now.
    fn of(files: &CertificateFiles) -> Self {
        Self([&files.certificate, &files.key].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
        }))
    }
}
