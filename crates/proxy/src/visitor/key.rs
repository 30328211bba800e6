//! The secret by which visitors are divided.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use siphasher::sip::SipHasher24;
use tidegate_types::{RevisionId, Scope};

const FILE: &str = "visitors.key";
const TEMPORARY: &str = "visitors.key.new";

/// A key for SipHash-2-4, made at the first start and kept in the proxy's home, so that every
/// worker and every later proxy says the same of a visitor. It is never printed.
///
/// A keyed hash with 64 bits is no signature for money. Here it is enough: all that can be won by
/// forging a cookie is another place among the visitors, and that anybody can have by throwing the
/// cookie away and asking again. What the key does is to keep what others write into a cookie from
/// being taken for ours, and to keep anybody from computing which user names are the guinea pigs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key([u8; 16]);

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(…)")
    }
}

/// What a hash is for: the same bytes mean something else in another place.
#[derive(Debug, Clone, Copy)]
enum Use {
    Cookie = 1,
    Header = 2,
    Division = 3,
    Place = 4,
}

impl Key {
    /// The key in this home, made when there is none. Nothing fails for want of it: with another
    /// key visitors are divided anew, and that is told.
    pub(crate) fn of_home(home: &Path) -> Self {
        match load(home) {
            Ok(Some(key)) => return key,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(
                    file = %home.join(FILE).display(), %error,
                    "the key of the visitors cannot be read; sticky visitors are divided anew"
                );
            }
        }
        let key = Self::random();
        if let Err(error) = store(home, key) {
            tracing::warn!(
                file = %home.join(FILE).display(), %error,
                "the key of the visitors cannot be stored; sticky visitors are divided anew when \
                 the proxy starts again"
            );
        }
        key
    }

    pub(crate) fn random() -> Self {
        let mut bytes = [0; 16];
        let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        if read.is_err() {
            // The standard library's tables are seeded by the operating system, too.
            let state = RandomState::new();
            let halves = [state.hash_one(0), state.hash_one(1)].map(u64::to_le_bytes);
            bytes.copy_from_slice(halves.as_flattened());
        }
        Self(bytes)
    }

    /// Signs the contents of a cookie.
    pub(crate) fn signature(self, visitor: u64, day: u16) -> u64 {
        let mut hasher = self.hasher(Use::Cookie);
        hasher.write(&visitor.to_le_bytes());
        hasher.write(&day.to_le_bytes());
        hasher.finish()
    }

    /// Who sends this value of a header.
    pub(crate) fn visitor_of(self, value: &[u8]) -> u64 {
        let mut hasher = self.hasher(Use::Header);
        hasher.write(value);
        hasher.finish()
    }

    /// A number for the division between a candidate and the others. The route is no part of it: a component that
    /// answers by two rules has the same visitors under both.
    pub(crate) fn division(self, scope: &Scope, candidate: Option<&RevisionId>) -> u64 {
        let mut hasher = self.hasher(Use::Division);
        hasher.write(scope.to_string().as_bytes());
        hasher.write(&[0]);
        hasher.write(candidate.map_or("", RevisionId::as_str).as_bytes());
        hasher.finish()
    }

    /// Where a visitor stands in a rollout: anywhere, evenly, and in another rollout elsewhere.
    pub(crate) fn place(self, visitor: u64, division: u64) -> u64 {
        let mut hasher = self.hasher(Use::Place);
        hasher.write(&visitor.to_le_bytes());
        hasher.write(&division.to_le_bytes());
        hasher.finish()
    }

    fn hasher(self, what_for: Use) -> SipHasher24 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&[what_for as u8]);
        hasher
    }
}

fn load(home: &Path) -> io::Result<Option<Key>> {
    let text = match fs::read_to_string(home.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let digits = text.trim_end();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is not 32 hexadecimal digits"));
    }
    let number = u128::from_str_radix(digits, 16)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok(Some(Key(number.to_be_bytes())))
}

/// Stores a key so that there is a whole one or none, and nobody else can read it.
fn store(home: &Path, key: Key) -> io::Result<()> {
    let temporary = home.join(TEMPORARY);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(format!("{:032x}\n", u128::from_be_bytes(key.0)).as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, home.join(FILE))?;
    File::open(home)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_of_a_home_stays_the_same_and_is_nobody_elses_to_read() {
        let home = tempfile::tempdir().unwrap();
        let key = Key::of_home(home.path());
        assert_eq!(Key::of_home(home.path()), key);
        let mode = fs::metadata(home.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(Key::of_home(elsewhere.path()), key);
        assert_eq!(format!("{key:?}"), "Key(…)");
    }

    #[test]
    fn a_key_that_is_none_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let before = Key::of_home(home.path());
        for damaged in [&b""[..], b"0123", b"+1234567890123456789012345678901", b"\xff\xfe"] {
            fs::write(home.path().join(FILE), damaged).unwrap();
            let new = Key::of_home(home.path());
            assert_ne!(new, before);
            assert_eq!(Key::of_home(home.path()), new, "{damaged:?}");
        }
    }

    #[test]
    fn a_home_that_cannot_be_written_gives_a_key_all_the_same() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(FILE)).unwrap();
        assert_ne!(Key::of_home(home.path()), Key::of_home(home.path()));
    }

    #[test]
    fn a_hash_for_one_thing_is_none_for_another() {
        let key = Key([7; 16]);
        let scope: Scope = "shop/production".parse().unwrap();
        let all = [
            key.signature(1, 0),
            key.signature(1, 1),
            key.signature(2, 0),
            key.visitor_of(&1_u64.to_le_bytes()),
            key.place(1, 0),
            key.place(0, 1),
            key.division(&scope, None),
            key.division(&scope, Some(&RevisionId::new("api@1"))),
            Key([8; 16]).signature(1, 0),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one), "{index}");
        }
    }
}
