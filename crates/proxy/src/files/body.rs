//! A part of a file as the body of an answer.

use std::{fs::File, os::unix::fs::FileExt as _};

use bytes::Bytes;

/// How much is read at once.
const CHUNK: u64 = 64 * 1024;

/// Reads a part of a file, a chunk whenever the client has taken the one before.
///
/// Reads on the worker's thread: the files of a release are local and mostly in the page cache,
/// where a read costs less than handing it to another thread.
#[derive(Debug)]
pub(crate) struct FileBody {
    /// None when only the length is told, to HEAD.
    file: Option<File>,
    offset: u64,
    left: u64,
}

impl FileBody {
    pub(crate) fn new(file: File, offset: u64, length: u64) -> Self {
        Self { file: Some(file), offset, left: length }
    }

    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self { file: None, offset: 0, left: 0 }
    }

    /// How many bytes are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next chunk; none at the end.
    pub(crate) fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        let file = self.file.as_ref().filter(|_| self.left > 0)?;
        let size = usize::try_from(self.left.min(CHUNK)).unwrap_or(0);
        let mut chunk = vec![0; size];
        match file.read_at(&mut chunk, self.offset) {
            // Announced, and not there: the answer must not look complete.
            Ok(0) => Some(Err(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => {
                chunk.truncate(read);
                self.offset += read as u64;
                self.left -= read as u64;
                Some(Ok(Bytes::from(chunk)))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
