//! The tables on disk, from which a proxy that starts serves before anybody tells it anything.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tidegate_types::data_plane::ProxyTable;

const FILE: &str = "tables.json";

/// A table with the address its scope was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredTable<'a> {
    pub(crate) table: Cow<'a, ProxyTable>,
    pub(crate) address: SocketAddr,
    /// Where clients in plain text come in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redirect: Option<SocketAddr>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents<'a> {
    tables: Vec<StoredTable<'a>>,
}

/// Reads what was stored. A file that cannot be understood is moved aside: serving nothing until
/// the control plane publishes again is better than never starting.
pub(crate) fn load(home: &Path) -> io::Result<Vec<StoredTable<'static>>> {
    let path = home.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice::<Contents<'static>>(&text) {
        Ok(contents) => Ok(contents.tables),
        Err(error) => {
            let aside = PathBuf::from(format!("{}.damaged", path.display()));
            tracing::error!(
                file = %path.display(), moved_to = %aside.display(), %error,
                "the stored tables cannot be read; starting without any"
            );
            fs::rename(&path, &aside)?;
            Ok(Vec::new())
        }
    }
}

/// Tables as they are stored.
pub(crate) fn text(tables: Vec<StoredTable<'_>>) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Contents { tables })
}

/// Stores the tables in place of the former ones: a process that starts finds either the old or the
/// new ones, whenever this one was killed. A machine may forget them until [`sync`].
pub(crate) fn store(home: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = home.join("tables.json.new");
    let mut file = File::create(&temporary)?;
    file.write_all(text)?;
    drop(file);
    fs::rename(&temporary, home.join(FILE))
}

/// Waits until what was stored outlasts a machine that loses its power.
pub(crate) fn sync(home: &Path) -> io::Result<()> {
    File::open(home.join(FILE))?.sync_all()?;
    File::open(home)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_moved_aside() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(FILE), "{\"tables\":[{").unwrap();
        assert_eq!(load(home.path()).unwrap(), vec![]);
        assert!(home.path().join("tables.json.damaged").exists());
        assert!(!home.path().join(FILE).exists());
    }
}
