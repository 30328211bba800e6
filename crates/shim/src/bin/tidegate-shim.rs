//! The shim alone, for tests: `tidegate-shim shim DIRECTORY`. Users get it within `tidegate`.
//!
//! `tidegate-shim daemon FILE` is a process that leaves its session, as daemons do, writes its
//! number to FILE and stays.

use std::{path::Path, process::ExitCode, time::Duration};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [word, directory] if word == "shim" => match tidegate_shim::main(Path::new(directory)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        [word, file] if word == "daemon" => {
            let left = rustix::process::setsid();
            let number = format!("{}\n", std::process::id());
            if left.is_err() || std::fs::write(file, number).is_err() {
                return ExitCode::FAILURE;
            }
            std::thread::sleep(Duration::from_mins(10));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("use: tidegate-shim shim DIRECTORY");
            ExitCode::from(2)
        }
    }
}
