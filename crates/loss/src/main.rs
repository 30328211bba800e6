//! Prints how many requests are lost, for each proxy that is there.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use tidegate_loss::{Contender, Failure, Settings, run};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(until_interrupted()));
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(lost) => {
            say(&format!("error: Tidegate lost {lost} requests"));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Being interrupted clears up like everything else: what is dropped ends what it started.
async fn until_interrupted() -> Result<u64, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        counted = count() => counted,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    }
}

/// What Tidegate lost.
async fn count() -> Result<u64, Failure> {
    let only = std::env::args().nth(1);
    let own = std::env::current_exe()?;
    let beside = own.parent().ok_or("this program is in no folder")?;
    let built = |name: &str| {
        let path = beside.join(name);
        let missing = format!("{} is missing: run `make bench-loss`", path.display());
        if path.is_file() { Ok(path) } else { Err(missing) }
    };
    let settings = Settings {
        application: built("tidegate-testapp")?,
        flips: 1_000,
        flip_pause: Duration::from_millis(25),
        answers: 500,
    };
    let contenders = [
        ("tidegate", Some(Contender::Tidegate(built("tidegate")?))),
        ("nginx", installed("nginx").map(Contender::Nginx)),
        ("haproxy", installed("haproxy").map(Contender::HaProxy)),
        ("caddy", installed("caddy").map(Contender::Caddy)),
    ];
    let mut lost = 0;
    for (name, contender) in contenders {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let Some(contender) = contender else {
            say(&format!("SKIPPED: {name} is not installed"));
            continue;
        };
        say(&format!("{name}: {} changes of shares", settings.flips));
        match run(&contender, &settings).await {
            Ok(report) => {
                writeln!(io::stdout().lock(), "{report}")?;
                if matches!(contender, Contender::Tidegate(_)) {
                    lost += report.lost();
                }
            }
            Err(error) if matches!(contender, Contender::Tidegate(_)) => return Err(error),
            // What another proxy cannot do is its outcome.
            Err(error) => writeln!(io::stdout().lock(), "{}: {error}\n", contender.name())?,
        }
    }
    Ok(lost)
}

/// Where a program is; servers are often not in the path of those who only use them.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| Path::new(&folder).join(name)).find(|file| file.is_file())
}

/// Progress, on stderr.
fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
