//! What every command has: where it runs, where the data is, and how to talk.

use std::{
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;
use tidegate_server::client::Client;

use crate::{
    arguments::Global,
    exit::Exit,
    fault::Fault,
    style::{self, Style},
};

/// Of everything that `--json` prints.
const SCHEMA_VERSION: u32 = 1;

/// What every command has.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) directory: PathBuf,
    pub(crate) home: PathBuf,
    pub(crate) json: bool,
    pub(crate) verbose: u8,
    /// For stdout.
    pub(crate) style: Style,
    /// For stderr.
    pub(crate) talk_style: Style,
    /// Whether stderr shows a block that is drawn again and again.
    pub(crate) live: bool,
}

impl Context {
    pub(crate) fn new(global: &Global) -> Result<Self, Fault> {
        let here = env::current_dir().map_err(|error| {
            Fault::new(Exit::Usage, "folder", format!("the present folder cannot be used: {error}"))
        })?;
        let directory = match &global.directory {
            None => here.clone(),
            Some(directory) => here.join(directory),
        };
        if !directory.is_dir() {
            let what = format!("{} is not a folder", directory.display());
            return Err(Fault::new(Exit::Usage, "folder", what));
        }
        let home = match &global.home {
            Some(home) => here.join(home),
            None => default_home()?,
        };
        Ok(Self {
            directory,
            home,
            json: global.json,
            verbose: global.verbose,
            style: Style::for_stream(&io::stdout(), global.no_color || global.json),
            talk_style: Style::for_stream(&io::stderr(), global.no_color),
            live: style::live() && !global.json,
        })
    }

    /// A client of the control plane.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.home)
    }

    /// A result, on stdout. That nobody reads it (`| head`) is no fault.
    #[expect(clippy::unused_self, reason = "talking belongs to the context")]
    pub(crate) fn print(&self, text: impl AsRef<str>) {
        let mut stdout = io::stdout().lock();
        let _ = writeln!(stdout, "{}", text.as_ref().trim_end_matches('\n'));
    }

    /// Progress, on stderr.
    #[expect(clippy::unused_self, reason = "talking belongs to the context")]
    pub(crate) fn talk(&self, text: impl AsRef<str>) {
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "{}", text.as_ref());
    }

    /// Something the user should know that is no failure.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        self.talk(format!("{} {}", self.talk_style.yellow("note:"), text.as_ref()));
    }

    /// A result for programs: an object, named by `name` unless it is one already.
    pub(crate) fn print_json(&self, name: &str, value: &impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        let mut object = serde_json::Map::new();
        object.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
        object.insert(name.to_owned(), value);
        self.print(serde_json::to_string_pretty(&object).unwrap_or_default());
    }

    /// A fault: on stderr for people, on stdout for programs.
    pub(crate) fn report(&self, fault: &Fault) {
        if self.json {
            self.print_json("error", fault);
        } else {
            self.talk(fault.render(self.talk_style).join("\n"));
        }
    }
}

fn default_home() -> Result<PathBuf, Fault> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("tidegate")).ok_or_else(|| {
        Fault::new(Exit::Usage, "home", "there is no home: neither HOME nor TIDEGATE_HOME is set")
            .next("say where the data goes with --home FOLDER")
    })
}

/// Who the user is, for the history.
pub(crate) fn actor() -> String {
    ["TIDEGATE_ACTOR", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| env::var(name).ok())
        .find(|name| !name.trim().is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// A path as people like to read it: from their home.
pub(crate) fn short(path: &Path) -> String {
    let home = env::var_os("HOME").map(PathBuf::from);
    match home.as_deref().and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) if !rest.as_os_str().is_empty() => format!("~/{}", rest.display()),
        _ => path.display().to_string(),
    }
}
