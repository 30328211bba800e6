//! Which processes still have to do with a folder.

use std::{fs, os::unix::ffi::OsStrExt as _, path::Path, process::Command};

/// A process that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: u32,
    /// What it runs, as far as it says.
    pub(super) command: String,
}

/// The processes, but for this one, that name `folder` in their command or environment, or work or
/// come from below it.
pub(super) fn below(folder: &Path) -> Vec<Process> {
    let own = std::process::id();
    let mut found = match fs::read_dir("/proc/self/fd") {
        Ok(_) => from_proc(folder),
        Err(_) => from_ps(folder),
    };
    found.retain(|process| process.id != own);
    found
}

fn from_proc(folder: &Path) -> Vec<Process> {
    let wanted = folder.as_os_str().as_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // What cannot be read belongs to somebody else, or ended in between.
        let text = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let link = |name: &str| fs::read_link(entry.path().join(name)).unwrap_or_default();
        let command = text("cmdline");
        let concerned = mentions(&command, wanted)
            || mentions(&text("environ"), wanted)
            || mentions(link("cwd").as_os_str().as_bytes(), wanted)
            || mentions(link("exe").as_os_str().as_bytes(), wanted);
        if concerned {
            let mut command =
                String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
            if command.is_empty() {
                // It is just being started, or has just ended.
                command = format!("[{}]", String::from_utf8_lossy(&text("comm")).trim());
            }
            found.push(Process { id, command });
        }
    }
    found
}

/// Where there is no `/proc`: by the commands alone.
fn from_ps(folder: &Path) -> Vec<Process> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,args="]).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let folder = folder.to_string_lossy();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .filter(|(_, command)| command.contains(&*folder))
        .filter_map(|(id, command)| {
            Some(Process { id: id.parse().ok()?, command: command.trim().to_owned() })
        })
        .collect()
}

fn mentions(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len().max(1)).any(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_process_is_found_by_where_it_works_until_it_ends() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let folder = folder.path().canonicalize().expect("it is there");
        assert_eq!(below(&folder), []);
        let mut child = Command::new("cat")
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("`cat` is there");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while below(&folder).iter().all(|process| process.id != child.id()) {
            assert!(std::time::Instant::now() < deadline, "it was not found");
            std::thread::yield_now();
        }
        drop(child.stdin.take());
        child.wait().expect("it ends with its input");
        assert_eq!(below(&folder), []);
    }
}
