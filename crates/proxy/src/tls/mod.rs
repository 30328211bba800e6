//! Encrypted connections: certificates from files, chosen by the name a client asks for, and read
//! again when the files change. Those that are ordered ([`crate::acme`]) are files, too.

mod accept;
mod pair;
mod validity;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use rustls::{
    ServerConfig, SignatureScheme,
    client::verify_server_name,
    crypto::ring,
    pki_types::ServerName,
    server::{
        ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert,
    },
    sign::CertifiedKey,
};
use tidegate_types::{Acme, CertificateFiles, Scope, Tls};

use self::pair::{Judgement, Pair, Watched};
#[cfg(test)]
pub(crate) use self::validity::Moment;
pub(crate) use self::{accept::serve, pair::PairError, validity::Validity};
use crate::acme::{self, Challenges};

/// The name of HTTP/2 in a handshake.
const HTTP2: &[u8] = b"h2";
/// The name of the protocol by which an authority asks whether a host is ours (RFC 8737). Nothing is
/// said after the handshake.
const QUESTION: &[u8] = b"acme-tls/1";

/// So many pairs that a table named before are kept for one that names them again.
const KEPT: usize = 16;

/// How the connections of a scope are encrypted. The keys of its session tickets are here, too, so
/// that a client that comes back to another worker needs no whole handshake.
#[derive(Debug)]
pub(crate) struct Termination {
    scope: Scope,
    tls: Box<Tls>,
    config: Arc<ServerConfig>,
    tickets: Arc<dyn ProducesTickets>,
    shown: Arc<Shown>,
    pairs: Mutex<Pairs>,
}

/// Certificates that were read.
#[derive(Debug)]
struct Pairs {
    /// In the order of the table.
    named: Vec<Watched>,
    /// In the order of their hosts. Those that are not there yet are read when they are.
    ordered: Vec<Watched>,
    /// Of tables before, the latest first: whoever goes back to one needs no file for it.
    former: Vec<Pair>,
}

impl Termination {
    /// Reads all certificates that a table names. One that cannot be read or has expired, and that
    /// was in use before, is used as it was.
    pub(crate) fn new(
        home: &Path,
        scope: &Scope,
        tls: Box<Tls>,
        before: Option<&Self>,
    ) -> Result<Self, PairError> {
        let former = before.map(|before| before.lock().all()).unwrap_or_default();
        let kept = |files: &CertificateFiles| former.iter().find(|pair| pair.files == *files);
        let mut named = Vec::with_capacity(tls.certificates.len());
        for files in &tls.certificates {
            named.push(Watched::read(scope, files, kept(files))?);
        }
        let files = ordered_files(home, &tls);
        let ordered = files.iter().map(|files| Watched::ordered(files, kept(files))).collect();
        let is_named =
            |pair: &Pair| tls.certificates.iter().chain(&files).any(|files| *files == pair.files);
        let former = former.iter().filter(|pair| !is_named(pair)).take(KEPT).cloned().collect();
        Self::with(scope, tls, Pairs { named, ordered, former }, before)
    }

    /// Reads the certificates of a table that was in force before a restart. Those that have
    /// expired are used, and those that cannot be read are left out as long as there is another, or
    /// may come.
    pub(crate) fn restored(home: &Path, scope: &Scope, tls: Box<Tls>) -> Result<Self, PairError> {
        let mut named = Vec::with_capacity(tls.certificates.len());
        let mut missing = None;
        for files in &tls.certificates {
            let (watched, error) = Watched::restored(files);
            named.push(watched);
            missing = missing.or(error);
        }
        let has_none = tls.acme.is_none() && named.iter().all(|watched| watched.pair.is_none());
        match missing {
            Some(error) if has_none => return Err(error),
            Some(error) => {
                tracing::error!(%scope, %error, "served without one of the certificates");
            }
            None => {}
        }
        let files = ordered_files(home, &tls);
        let ordered = files.iter().map(|files| Watched::ordered(files, None)).collect();
        Self::with(scope, tls, Pairs { named, ordered, former: Vec::new() }, None)
    }

    fn with(
        scope: &Scope,
        tls: Box<Tls>,
        pairs: Pairs,
        before: Option<&Self>,
    ) -> Result<Self, PairError> {
        let tickets = match before {
            Some(before) => Arc::clone(&before.tickets),
            None => ring::Ticketer::new().map_err(PairError::Library)?,
        };
        // An order that is under way goes on.
        let challenges = before.map(Self::challenges).unwrap_or_default();
        let shown =
            Arc::new(Shown { keys: RwLock::new(pairs.keys(tls.acme.as_ref())), challenges });
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(PairError::Library)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
        if let Some(acme) = &tls.acme {
            config.alpn_protocols.push(QUESTION.to_vec());
            for (host, watched) in acme.hosts.iter().zip(&pairs.ordered) {
                if watched.pair.is_none() && !pairs.holds(host) {
                    tracing::warn!(
                        %scope, host,
                        "there is no certificate yet: it is ordered, and until it is there nobody \
                         can connect by HTTPS"
                    );
                }
            }
        }
        config.ticketer = Arc::clone(&tickets);
        // Tickets do for those who come back; a store here would be a lock between the workers.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let config = Arc::new(config);
        Ok(Self { scope: scope.clone(), tls, config, tickets, shown, pairs: Mutex::new(pairs) })
    }

    /// Of which scope.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What is ordered.
    pub(crate) fn acme(&self) -> Option<&Acme> {
        self.tls.acme.as_ref()
    }

    /// Whether an authority can ask in plain text, too.
    pub(crate) fn redirects(&self) -> bool {
        self.tls.redirect_from.is_some()
    }

    /// What an authority is answered that asks whether a host is ours.
    pub(crate) fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.shown.challenges)
    }

    /// Whether a certificate of the user is valid for this host, so that none is ordered.
    pub(crate) fn holds(&self, host: &str) -> bool {
        self.lock().holds(host)
    }

    /// Whether this is what a table asks for.
    pub(crate) fn is_of(&self, tls: &Tls) -> bool {
        *self.tls == *tls
    }

    /// For new handshakes.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Reads the pairs whose files have changed since they were read. One that cannot be used does
    /// not take the place of the one in use. Blocks as long as the files do.
    pub(crate) fn reload(&self) {
        let mut pairs = self.lock();
        let mut changed = false;
        let Pairs { named, ordered, .. } = &mut *pairs;
        for watched in named.iter_mut().chain(ordered) {
            changed |= watched.reload(&self.scope);
        }
        if changed {
            *self.shown.keys.write().unwrap_or_else(PoisonError::into_inner) =
                pairs.keys(self.acme());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pairs> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pairs {
    fn in_use(&self) -> impl Iterator<Item = &Pair> {
        self.named.iter().chain(&self.ordered).filter_map(|watched| watched.pair.as_ref())
    }

    fn keys(&self, acme: Option<&Acme>) -> Keys {
        let key = |watched: &Watched| watched.pair.as_ref().map(|pair| Arc::clone(&pair.key));
        let hosts = acme.map(|acme| acme.hosts.as_slice()).unwrap_or_default();
        Keys {
            named: self.named.iter().filter_map(key).collect(),
            ordered: hosts
                .iter()
                .zip(&self.ordered)
                .filter_map(|(host, watched)| Some((host.clone(), key(watched)?)))
                .collect(),
        }
    }

    fn all(&self) -> Vec<Pair> {
        self.in_use().chain(&self.former).cloned().collect()
    }

    fn holds(&self, host: &str) -> bool {
        let mut named = self.named.iter().filter_map(|watched| watched.pair.as_ref());
        ServerName::try_from(host)
            .is_ok_and(|name| named.any(|pair| is_valid_for(&pair.key, &name)))
    }
}

/// Where the certificates are that are ordered.
fn ordered_files(home: &Path, tls: &Tls) -> Vec<CertificateFiles> {
    let Some(acme) = &tls.acme else {
        return Vec::new();
    };
    let folder = acme::Folder::new(home, acme);
    acme.hosts.iter().map(|host| folder.certificate(host)).collect()
}

/// Whether the pair in these files is one for this host.
pub(crate) fn is_for(files: &CertificateFiles, host: &str) -> Result<bool, PairError> {
    // The clock here may be behind that of who issued it.
    let pair = Pair::load(files, Judgement::Lenient)?;
    Ok(ServerName::try_from(host).is_ok_and(|name| is_valid_for(&pair.key, &name)))
}

/// Until when a certificate is valid, if it and its key can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidUntil {
    /// In seconds since 1970.
    pub seconds: i64,
    /// To be read by people.
    pub text: String,
}

/// Reads a pair as it would be read to be served, and says until when it is valid or what is wrong.
pub fn examine(files: &CertificateFiles) -> Result<ValidUntil, String> {
    let until = Pair::load(files, Judgement::Strict).map_err(|error| error.to_string())?.until;
    Ok(ValidUntil { seconds: until.seconds, text: until.text })
}

/// The certificates that clients are shown.
#[derive(Debug)]
struct Shown {
    keys: RwLock<Keys>,
    challenges: Arc<Challenges>,
}

#[derive(Debug)]
struct Keys {
    /// Of the user, in the order of the table.
    named: Vec<Arc<CertifiedKey>>,
    /// By their hosts, of which there may be many: they are not all looked at for each client.
    ordered: HashMap<String, Arc<CertifiedKey>>,
}

impl Keys {
    /// What a client is shown that asks for this host and understands these.
    fn find(&self, host: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let understood = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let name = host.and_then(|host| ServerName::try_from(host).ok());
        let mut named = self.named.iter().filter(understood);
        name.and_then(|name| named.find(|key| is_valid_for(key, &name)))
            .or_else(|| self.ordered.get(host?).filter(understood))
            .or_else(|| self.named.iter().find(understood))
            .or_else(|| self.ordered.values().find(understood))
            .or_else(|| self.named.first())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.alpn().is_some_and(|mut offered| offered.any(|name| name == QUESTION)) {
            return self.challenges.certificate(hello.server_name()?);
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.find(hello.server_name(), hello.signature_schemes()).cloned()
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.cert
        .first()
        .and_then(|certificate| ParsedCertificate::try_from(certificate).ok())
        .is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};

    use super::*;

    fn write(folder: &Path, name: &str) -> CertificateFiles {
        let names = vec!["shop".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let files = CertificateFiles {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    fn shown(termination: &Termination) -> Vec<u8> {
        termination.shown.keys.read().unwrap().named[0].cert[0].to_vec()
    }

    #[test]
    fn what_cannot_be_used_takes_the_place_of_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path(), "used");
        let other = write(folder.path(), "other");
        let scope = "shop/production".parse().unwrap();
        let tls = Tls { certificates: vec![files.clone()], ..Tls::default() }.into();
        let termination = Termination::new(folder.path(), &scope, tls, None).unwrap();
        let first = shown(&termination);
        let read_again = || {
            termination.reload();
            shown(&termination)
        };
        assert_eq!(read_again(), first);
        // The new certificate is there and its key is not.
        std::fs::copy(&other.certificate, &files.certificate).unwrap();
        assert_eq!(read_again(), first);
        std::fs::remove_file(&files.certificate).unwrap();
        assert_eq!(read_again(), first);
        std::fs::copy(&other.certificate, &files.certificate).unwrap();
        std::fs::copy(&other.key, &files.key).unwrap();
        let second = read_again();
        assert_ne!(second, first);
        assert_eq!(read_again(), second);
    }

    #[test]
    fn a_key_is_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path(), "used");
        let secret = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let part = &secret.secret_der()[40..56];
        let number = <[u8; 16]>::try_from(part).map(u128::from_be_bytes).unwrap();
        let hexadecimal = format!("{number:032x}");
        let decimal = format!("{part:?}");
        let scope = "shop/production".parse().unwrap();
        let tls = Tls { certificates: vec![files], ..Tls::default() }.into();
        let printed = format!("{:?}", Termination::new(folder.path(), &scope, tls, None).unwrap());
        for secret in [hexadecimal.as_str(), decimal.trim_matches(['[', ']'])] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
