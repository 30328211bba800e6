//! Where servers are measured against each other: a temporary folder, free ports, and processors of
//! their own for those who serve and those who ask.

use std::{
    fs::File,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{available_parallelism, sleep},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::{Failure, say};

/// What has not happened by then does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The temporary folder, and who runs where.
#[derive(Debug)]
pub(crate) struct Ground {
    folder: TempDir,
    pinned: bool,
}

/// On which processor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    /// The proxy that is measured.
    Proxy,
    /// Who asks it, and whom it asks.
    World,
}

impl Ground {
    pub(crate) fn new() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("tg-bench-").tempdir()?;
        let processors = available_parallelism()?.get();
        let pinned = processors >= 2 && find("taskset").is_some();
        if !pinned {
            say("NOT PINNED: taskset or a second processor is missing, so that the figures are \
                 noisier than they need be");
        }
        Ok(Self { folder, pinned })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A command that will run on that side.
    pub(crate) fn command(&self, side: Side, program: &Path) -> Command {
        let mut command = if self.pinned {
            let mut command = Command::new("taskset");
            let processor = match side {
                Side::Proxy => "0",
                Side::World => "1",
            };
            command.args(["-c", processor]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // A terminal's interrupt is for us, who end it then; and a whole group can be ended.
        command.process_group(0).stdin(Stdio::null()).current_dir(self.path());
        command
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn serve(
        &self,
        name: &str,
        mut command: Command,
        addresses: &[SocketAddr],
    ) -> Result<Server, Failure> {
        let log = self.path().join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = command.stdout(output.try_clone()?).stderr(output).spawn()?;
        let mut server = Server { child };
        let began = Instant::now();
        for address in addresses {
            while TcpStream::connect(address).is_err() {
                if server.child.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                    let said = std::fs::read_to_string(&log).unwrap_or_default();
                    return Err(format!("{name} does not start:\n{said}").into());
                }
                sleep(Duration::from_millis(10));
            }
        }
        Ok(server)
    }
}

/// A server with its children; ends when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            return;
        };
        // Asked first, so that children are ended by their parent; then whoever is left. What fails
        // here has ended already.
        let _ = kill_process(pid, Signal::TERM);
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < Duration::from_secs(2)
        {
            sleep(Duration::from_millis(5));
        }
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A port that is free now.
pub(crate) fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// An installed program. Debian keeps servers where only root looks.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beyond = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(beyond);
    places.find_map(|place| {
        let program = place.join(name);
        program.is_file().then_some(program)
    })
}

/// An installed program, or a word to whoever reads that it is missing.
pub(crate) fn find_or_say(name: &str, package: &str, without: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        say(&format!("SKIPPED: {without}, as {name} is missing (Debian: apt install {package})"));
    }
    found
}

/// Writes a file below the folder.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), Failure> {
    match path.parent() {
        Some(folder) => match std::fs::create_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        },
        None => return Err("no place for a file".into()),
    }
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}
