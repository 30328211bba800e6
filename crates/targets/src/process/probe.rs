//! Asking an instance once how it is.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf, process::Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tidegate_types::{Duration, Probe, Timestamp, data_plane::Question};
use tokio::process::{Child, Command};

use super::clock::SteadyClock;

/// Whom to ask.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) port: Option<u16>,
    pub(crate) directory: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) started: Timestamp,
    pub(crate) clock: SteadyClock,
}

/// Asks once. An error says what came instead of a good answer, as a sentence without an end.
pub(crate) async fn ask(probe: &Probe, subject: &Subject, limit: Duration) -> Result<(), String> {
    let question = match probe {
        Probe::Http { path } => Question::Http { path: path.clone() },
        Probe::Tcp => Question::Tcp,
        Probe::Command { run } => {
            return tokio::time::timeout(limit.into(), command(run, subject))
                .await
                .unwrap_or_else(|_| Err(format!("`{run}` did not end within {limit}")));
        }
        Probe::Running { minimum } => return running(*minimum, subject),
    };
    let address = (Ipv4Addr::LOCALHOST, port(subject)?).into();
    // The proxy asks the same in the same words.
    tidegate_proxy::probe::ask(&question, address, limit).await
}

fn port(subject: &Subject) -> Result<u16, String> {
    subject.port.ok_or_else(|| "it has no port".to_owned())
}

fn running(minimum: Duration, subject: &Subject) -> Result<(), String> {
    let age = subject.clock.now().since(subject.started);
    if age >= minimum { Ok(()) } else { Err(format!("it has run for {age} of {minimum}")) }
}

/// A command that is killed with its whole group when nobody waits for it any more.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // None once it was reaped; until then nobody else can have the number.
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn command(run: &str, subject: &Subject) -> Result<(), String> {
    let mut group = Command::new("/bin/sh")
        .arg("-c")
        .arg(run)
        .current_dir(&subject.directory)
        .env_clear()
        .envs(&subject.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map(Group)
        .map_err(|error| format!("`{run}` could not be run: {error}"))?;
    match group.0.wait().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => match status.code() {
            Some(code) => Err(format!("`{run}` exited with code {code}")),
            None => Err(format!("`{run}` was ended by a signal")),
        },
        Err(error) => Err(format!("`{run}`: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn subject(port: Option<u16>) -> Subject {
        let clock = SteadyClock::starting_at(Timestamp::from_millis(0));
        Subject {
            port,
            directory: std::env::temp_dir(),
            environment: std::env::vars().filter(|(name, _)| name == "PATH").collect(),
            started: clock.now(),
            clock,
        }
    }

    fn get(path: &str) -> Probe {
        Probe::Http { path: path.to_owned() }
    }

    fn shell(run: &str) -> Probe {
        Probe::Command { run: run.to_owned() }
    }

    #[tokio::test]
    async fn http_is_good_from_200_to_399() {
        for (answer, expected) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
            ("HTTP/1.1 302 Found\r\n\r\n", Ok(())),
            ("HTTP/1.1 503 No\r\n\r\n", Err("GET /health answered 503")),
            ("nonsense\r\n", Err("GET /health was not answered with HTTP")),
            ("", Err("GET /health was not answered with HTTP")),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                String::from_utf8_lossy(&request[..length]).into_owned()
            });
            let found = ask(&get("/health"), &subject(Some(port)), LIMIT).await;
            assert_eq!(found, expected.map_err(str::to_owned));
            let request = server.await.unwrap();
            assert!(request.starts_with("GET /health HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        }
    }

    #[tokio::test]
    async fn what_hangs_or_refuses_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let short = Duration::from_millis(50);
        assert_eq!(
            ask(&get("/health"), &subject(Some(port)), short).await,
            Err("GET /health did not answer within 50ms".to_owned())
        );
        assert_eq!(ask(&Probe::Tcp, &subject(Some(port)), LIMIT).await, Ok(()));
        drop(listener);
        assert_eq!(
            ask(&Probe::Tcp, &subject(Some(port)), LIMIT).await,
            Err(format!("port {port}: connection refused"))
        );
        assert_eq!(
            ask(&get("/health"), &subject(Some(port)), LIMIT).await,
            Err("GET /health: connection refused".to_owned())
        );
        assert!(ask(&Probe::Tcp, &subject(None), LIMIT).await.is_err());
    }

    #[tokio::test]
    async fn a_command_is_good_when_it_exits_with_0_and_killed_when_it_hangs() {
        let asked = subject(None);
        assert_eq!(ask(&shell("true"), &asked, LIMIT).await, Ok(()));
        assert_eq!(
            ask(&shell("exit 3"), &asked, LIMIT).await,
            Err("`exit 3` exited with code 3".to_owned())
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let run = format!("sleep 600 & echo $! > {}; wait", file.display());
        let asked = tokio::spawn(async move { ask(&shell(&run), &asked, LIMIT).await });
        let pid = loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some(pid) = text.strip_suffix('\n') {
                break Pid::from_raw(pid.parse().unwrap()).unwrap();
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        };
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        let gone = async {
            loop {
                let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
                if !status.is_ok_and(|text| !text.contains(") Z ")) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LIMIT.into(), gone).await.unwrap();
    }

    #[tokio::test]
    async fn running_is_a_matter_of_age() {
        let asked = subject(None);
        let minimum = |minimum| Probe::Running { minimum };
        assert_eq!(ask(&minimum(Duration::ZERO), &asked, LIMIT).await, Ok(()));
        assert!(ask(&minimum(Duration::from_hours(1)), &asked, LIMIT).await.is_err());
    }
}
