//! The shim alone, for tests: `tidegate-shim shim DIRECTORY`. Users get it within `tidegate`.

use std::{path::Path, process::ExitCode};

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
        _ => {
            eprintln!("use: tidegate-shim shim DIRECTORY");
            ExitCode::from(2)
        }
    }
}
