//! The output of a job: a line each, with the time at which it was read.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tidegate_types::{LogLimits, Timestamp};

use crate::{Error, record::file_error};

/// A longer line is kept in pieces, so that output without line ends needs no more memory.
const LONGEST_LINE: usize = 16 * 1024;
/// Read at once from the end of a file.
const BLOCK: u64 = 64 * 1024;

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was read.
    pub at: Timestamp,
    /// The line, without its end.
    pub text: String,
}

fn path_of(directory: &Path, age: u32) -> PathBuf {
    match age {
        0 => directory.join("log"),
        age => directory.join(format!("log.{age}")),
    }
}

/// Writes output to rotated files. It never fails: what cannot be written is dropped and counted,
/// because a full disk must not stop the job.
pub(crate) struct LogWriter {
    directory: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    /// Bytes in the current file.
    size: u64,
    /// The beginning of a line whose end was not read yet.
    partial: Vec<u8>,
    /// Whole lines that are not written yet.
    pending: Vec<u8>,
    pending_lines: u64,
    /// Lines dropped since the last one that was written.
    dropped: u64,
    /// A write ended in the middle of a line.
    torn: bool,
}

impl LogWriter {
    pub(crate) fn new(directory: &Path, limits: LogLimits) -> Self {
        Self {
            directory: directory.to_owned(),
            limits,
            file: None,
            size: 0,
            partial: Vec::new(),
            pending: Vec::new(),
            pending_lines: 0,
            dropped: 0,
            torn: false,
        }
    }

    /// Takes output that was read at `at` and writes the whole lines in it.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], at: Timestamp) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let room = LONGEST_LINE - self.partial.len();
            let line = end.unwrap_or(bytes.len());
            self.partial.extend_from_slice(&bytes[..line.min(room)]);
            if line > room {
                bytes = &bytes[room..];
                self.cut_partial(at);
            } else if end.is_some() {
                bytes = &bytes[line + 1..];
                self.end_line(at);
            } else {
                bytes = &[];
            }
        }
        self.write_pending(at);
    }

    /// Writes what is left, also a line without its end.
    pub(crate) fn finish(&mut self, at: Timestamp) {
        if !self.partial.is_empty() {
            self.end_line(at);
        }
        self.write_pending(at);
    }

    /// Ends a line that is too long, if possible between two characters.
    fn cut_partial(&mut self, at: Timestamp) {
        let whole = match std::str::from_utf8(&self.partial) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.partial.len(),
        };
        let rest = self.partial.split_off(whole);
        self.end_line(at);
        self.partial = rest;
    }

    fn end_line(&mut self, at: Timestamp) {
        let line = format!("{} ", at.as_millis());
        let length = (line.len() + self.partial.len() + 1) as u64;
        let waiting = self.size + self.pending.len() as u64;
        if waiting > 0 && waiting + length > self.limits.file_bytes {
            self.write_pending(at);
            self.rotate();
        }
        self.pending.extend_from_slice(line.as_bytes());
        self.pending.append(&mut self.partial);
        self.pending.push(b'\n');
        self.pending_lines += 1;
    }

    fn write_pending(&mut self, at: Timestamp) {
        if self.pending.is_empty() {
            return;
        }
        if self.dropped > 0 || self.torn {
            let mut note = if self.torn { vec![b'\n'] } else { Vec::new() };
            if self.dropped > 0 {
                let text = format!(
                    "{} [tidegate] {} lines were lost: the log could not be written\n",
                    at.as_millis(),
                    self.dropped
                );
                note.extend_from_slice(text.as_bytes());
            }
            note.append(&mut self.pending);
            self.pending = note;
        }
        match self.try_write() {
            Ok(()) => {
                self.dropped = 0;
                self.torn = false;
            }
            Err(()) => self.dropped += self.pending_lines,
        }
        self.pending.clear();
        self.pending_lines = 0;
    }

    fn try_write(&mut self) -> Result<(), ()> {
        if self.file.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path_of(&self.directory, 0))
                .map_err(drop)?;
            self.size = file.metadata().map_or(0, |metadata| metadata.len());
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else {
            return Err(());
        };
        let mut rest: &[u8] = &self.pending;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(()),
                Ok(written) => {
                    self.size += written as u64;
                    rest = &rest[written..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(()),
            }
        }
        Ok(())
    }

    fn rotate(&mut self) {
        self.file = None;
        self.size = 0;
        self.torn = false;
        let oldest = self.limits.files.max(1) - 1;
        let _ = fs::remove_file(path_of(&self.directory, oldest));
        for age in (0..oldest).rev() {
            let _ = fs::rename(path_of(&self.directory, age), path_of(&self.directory, age + 1));
        }
    }
}

/// The last `lines` lines of a job's output, oldest first; none when there is no output.
pub fn tail(directory: &Path, lines: usize) -> Result<Vec<Line>, Error> {
    let mut newest_first = Vec::new();
    for age in 0.. {
        if newest_first.len() >= lines {
            break;
        }
        let path = path_of(directory, age);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Between two steps of a rotation there is no `log` yet.
            Err(error) if error.kind() == ErrorKind::NotFound && age == 0 => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(file_error("read", &path)(error)),
        };
        let text = end_of(file, lines - newest_first.len()).map_err(file_error("read", &path))?;
        newest_first.extend(
            text.split(|byte| *byte == b'\n')
                .rev()
                .filter_map(parse)
                .take(lines - newest_first.len()),
        );
    }
    newest_first.reverse();
    Ok(newest_first)
}

fn parse(line: &[u8]) -> Option<Line> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    Some(Line {
        at: Timestamp::from_millis(at),
        text: String::from_utf8_lossy(&line[space + 1..]).trim_end_matches('\r').to_owned(),
    })
}

/// At least the last `lines` lines of a file, or all of it.
fn end_of(mut file: File, lines: usize) -> std::io::Result<Vec<u8>> {
    let mut start = file.metadata()?.len();
    let mut text = Vec::new();
    let mut line_ends = 0;
    // One more than asked for: the first line found may be cut.
    while start > 0 && line_ends <= lines {
        let length = start.min(BLOCK);
        start -= length;
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        (&mut file).take(length).read_to_end(&mut block)?;
        line_ends += block.split(|byte| *byte == b'\n').count() - 1;
        block.append(&mut text);
        text = block;
    }
    if start > 0 {
        let first = text.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        text.drain(..=first);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn texts(directory: &Path, lines: usize) -> Vec<String> {
        tail(directory, lines).unwrap().into_iter().map(|line| line.text).collect()
    }

    fn limits(file_bytes: u64, files: u32) -> LogLimits {
        LogLimits { file_bytes, files }
    }

    #[test]
    fn lines_come_back_whole_with_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogWriter::new(folder.path(), limits(1 << 20, 2));
        log.feed(b"one\ntw", at(1));
        assert_eq!(texts(folder.path(), 9), ["one"]);
        log.feed(b"o\r\n\nlast", at(2));
        log.finish(at(3));
        let lines = tail(folder.path(), 9).unwrap();
        let expected = [(1, "one"), (2, "two"), (2, ""), (3, "last")];
        assert_eq!(
            lines,
            expected.map(|(millis, text)| Line { at: at(millis), text: text.to_owned() })
        );
        assert_eq!(texts(folder.path(), 2), ["", "last"]);
        assert_eq!(texts(&folder.path().join("none"), 2), [""; 0]);
    }

    #[test]
    fn a_flood_is_rotated_and_the_newest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogWriter::new(folder.path(), limits(1_000, 3));
        for number in 0..10_000 {
            log.feed(format!("line {number}\n").as_bytes(), at(number));
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), entry.metadata().unwrap().len()))
            .collect();
        names.sort();
        assert_eq!(names.len(), 3);
        assert!(names.iter().all(|(_, size)| *size <= 1_000), "{names:?}");
        let kept = texts(folder.path(), 100);
        assert_eq!(kept.len(), 100);
        assert_eq!(kept[0], "line 9900");
        assert_eq!(kept[99], "line 9999");
    }

    #[test]
    fn output_without_line_ends_needs_no_memory_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogWriter::new(folder.path(), limits(10 << 20, 2));
        let character = "€".as_bytes();
        let block = character.repeat(10_000);
        for _ in 0..20 {
            log.feed(&block, at(1));
            assert!(log.partial.capacity() <= 4 * LONGEST_LINE);
        }
        log.finish(at(2));
        let lines = texts(folder.path(), 1_000);
        assert!(lines.iter().all(|line| line.len() <= LONGEST_LINE));
        assert_eq!(lines.concat(), "€".repeat(200_000));
    }

    #[test]
    fn a_tail_over_many_blocks_is_exact() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogWriter::new(folder.path(), limits(100 << 20, 2));
        let line = "x".repeat(1_000);
        for number in 0..1_000 {
            log.feed(format!("{number} {line}\n").as_bytes(), at(number));
        }
        let found = tail(folder.path(), 500).unwrap();
        assert_eq!(found.len(), 500);
        assert_eq!((found[0].at, found[499].at), (at(500), at(999)));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_said_later() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("later");
        let mut log = LogWriter::new(&place, limits(1 << 20, 2));
        log.feed(b"one\ntwo\n", at(1));
        fs::create_dir(&place).unwrap();
        log.feed(b"three\n", at(2));
        assert_eq!(
            texts(&place, 9),
            ["[tidegate] 2 lines were lost: the log could not be written", "three"]
        );
    }
}
