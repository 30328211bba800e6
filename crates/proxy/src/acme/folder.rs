//! What is kept of an authority in the home: the account, the certificates with their keys, and what
//! became of the tries to get them. Only the user who runs the proxy can read it.
//!
//! ```text
//! acme/<authority>/account.json
//! acme/<authority>/certificates/<host>.pem    the certificate and its key, so that they change as one
//! acme/<authority>/certificates/<host>.json   the tries
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    hash::Hasher as _,
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use tidegate_types::{Acme, CertificateFiles};

use super::schedule::Tries;
use crate::tls::Validity;

/// The part of the home that is one authority's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Folder(PathBuf);

/// An account with an authority.
#[derive(Serialize, Deserialize)]
pub(super) struct Account {
    /// As the authority knows it.
    pub(super) email: Option<String>,
    pub(super) credentials: AccountCredentials,
}

/// What could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be {what}: {source}", path.display())]
pub(super) struct FolderError {
    path: PathBuf,
    what: &'static str,
    source: io::Error,
}

impl Folder {
    /// Below the home of a proxy.
    pub(crate) fn new(home: &Path, acme: &Acme) -> Self {
        // A name that people recognise, and a number that tells one from any other.
        let host = acme.directory.split('/').nth(2).unwrap_or_default();
        let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || ".-".contains(*letter);
        let host: String = host.chars().filter(is_plain).take(100).collect();
        let mut hasher = SipHasher13::new();
        hasher.write(acme.directory.as_bytes());
        Self(home.join("acme").join(format!("{host}-{:016x}", hasher.finish())))
    }

    /// Where the certificate of a host is, or will be.
    pub(crate) fn certificate(&self, host: &str) -> CertificateFiles {
        let path = self.of_host(host, "pem");
        CertificateFiles { certificate: path.clone(), key: path }
    }

    /// From when until when the certificate of a host is valid, if there is one.
    pub(super) fn validity(&self, host: &str) -> Option<Validity> {
        Validity::of_file(&self.of_host(host, "pem"))
    }

    /// What became of the tries. What cannot be understood counts as none.
    pub(super) fn tries(&self, host: &str) -> Tries {
        let text = fs::read(self.of_host(host, "json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn store_tries(&self, host: &str, tries: &Tries) -> Result<(), FolderError> {
        write(&self.of_host(host, "json"), &serde_json::to_vec(tries).unwrap_or_default())
    }

    /// The account, if there is one that can be understood.
    pub(super) fn account(&self) -> Option<Account> {
        serde_json::from_slice(&fs::read(self.of_account()).ok()?).ok()
    }

    pub(super) fn store_account(&self, account: &Account) -> Result<(), FolderError> {
        write(&self.of_account(), &serde_json::to_vec(account).unwrap_or_default())
    }

    /// The authority does not know it any more.
    pub(super) fn forget_account(&self) {
        let _ = fs::remove_file(self.of_account());
    }

    /// Writes a certificate in place of the former one, if it is good according to `check`.
    pub(super) fn store_certificate<E>(
        &self,
        host: &str,
        text: &str,
        check: impl FnOnce(&CertificateFiles) -> Result<(), E>,
    ) -> Result<(), E>
    where
        E: From<FolderError>,
    {
        let path = self.of_host(host, "pem");
        let new = temporary(&path);
        write_to(&new, text.as_bytes())?;
        check(&CertificateFiles { certificate: new.clone(), key: new.clone() })?;
        Ok(replace(&new, &path)?)
    }

    fn of_account(&self) -> PathBuf {
        self.0.join("account.json")
    }

    fn of_host(&self, host: &str, kind: &str) -> PathBuf {
        self.0.join("certificates").join(format!("{host}.{kind}"))
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn write(path: &Path, text: &[u8]) -> Result<(), FolderError> {
    let new = temporary(path);
    write_to(&new, text)?;
    replace(&new, path)
}

fn write_to(path: &Path, text: &[u8]) -> Result<(), FolderError> {
    let written = || {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        // What an earlier try left may be open to others.
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text)?;
        file.sync_all()
    };
    written().map_err(|source| FolderError { path: path.to_owned(), what: "written", source })
}

/// After a crash there is either the old file or the new one.
fn replace(new: &Path, path: &Path) -> Result<(), FolderError> {
    let replaced = || {
        fs::rename(new, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    replaced().map_err(|source| FolderError { path: path.to_owned(), what: "replaced", source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn acme(directory: &str) -> Acme {
        Acme {
            hosts: vec!["shop".to_owned()],
            email: None,
            directory: directory.to_owned(),
            root: None,
        }
    }

    #[test]
    fn authorities_do_not_share_a_folder() {
        let home = Path::new("/home");
        let of = |directory: &str| Folder::new(home, &acme(directory)).0;
        let one = of("https://ca.example.com:14000/dir");
        assert_ne!(one, of("https://ca.example.com:14000/staging"));
        assert!(one.to_str().unwrap().contains("/acme/ca.example.com14000-"), "{}", one.display());
        for odd in ["", "..", "https://../dir", "https://a/../../etc"] {
            let path = of(odd);
            assert_eq!(path.parent(), Some(Path::new("/home/acme")), "{odd}");
            assert!(path.file_name().is_some(), "{odd}");
        }
    }

    #[test]
    fn nobody_else_can_read_what_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path(), &acme("https://ca/dir"));
        let path = folder.of_host("shop", "pem");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(temporary(&path), "left by an earlier try").unwrap();
        folder.store_certificate("shop", "a key", |_| Ok::<_, FolderError>(())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a key");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_that_is_not_good_takes_the_place_of_nothing() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path(), &acme("https://ca/dir"));
        folder.store_certificate("shop", "old", |_| Ok::<_, FolderError>(())).unwrap();
        let bad = || FolderError {
            path: PathBuf::new(),
            what: "used",
            source: io::Error::other("not good"),
        };
        folder.store_certificate("shop", "new", |_| Err::<(), _>(bad())).unwrap_err();
        let path = folder.of_host("shop", "pem");
        assert_eq!(fs::read_to_string(path).unwrap(), "old");
    }

    #[test]
    fn tries_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path(), &acme("https://ca/dir"));
        assert_eq!(folder.tries("shop"), Tries::default());
        let tries = Tries::default().begin(5).failed("no".to_owned(), false);
        folder.store_tries("shop", &tries).unwrap();
        assert_eq!(folder.tries("shop"), tries);
        fs::write(folder.of_host("shop", "json"), "{").unwrap();
        assert_eq!(folder.tries("shop"), Tries::default());
    }
}
