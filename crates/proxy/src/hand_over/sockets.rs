//! Lines with open files in their company.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{io::Interest, net::UnixStream};

/// The most files in the company of one message; the kernel takes 253.
const MOST_FILES: usize = 250;

/// A child that is started at the same moment must not get them.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
/// The proxy starts no children.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();

/// Sends a line with files in its company: as many as fit with each of its first bytes, the last of
/// them with the rest.
pub(super) async fn send(
    stream: &UnixStream,
    line: &[u8],
    mut files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut sent = 0;
    while sent < line.len() {
        let (now, later) = files.split_at(files.len().min(MOST_FILES));
        let end = if later.is_empty() { line.len() } else { sent + 1 };
        stream.writable().await?;
        let outcome = stream.try_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
            let mut company = SendAncillaryBuffer::new(&mut space);
            if !now.is_empty() && !company.push(SendAncillaryMessage::ScmRights(now)) {
                return Err(io::Error::other(format!("{} files are too many", now.len())));
            }
            let part = [IoSlice::new(&line[sent..end])];
            Ok(sendmsg(stream, &part, &mut company, SendFlags::NOSIGNAL)?)
        });
        match outcome {
            // They have gone with the first of these bytes.
            Ok(bytes) => (sent, files) = (sent + bytes, later),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Receives a line with the files in its company. Nothing may follow the line unasked.
pub(super) async fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut line, mut files) = (Vec::new(), Vec::new());
    let mut part = vec![0_u8; 64 * 1024];
    while line.last() != Some(&b'\n') {
        stream.readable().await?;
        let outcome = stream.try_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
            let mut company = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut part)];
            let received = recvmsg(stream, &mut slices, &mut company, CLOSE_ON_EXEC)?;
            for message in company.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    files.extend(received);
                }
            }
            Ok(received.bytes)
        });
        match outcome {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => line.extend_from_slice(&part[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok((line, files))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read as _, Write as _},
        os::fd::AsFd as _,
    };

    use super::*;

    #[tokio::test]
    async fn more_files_than_fit_into_one_message_arrive_in_order() {
        let (from, to) = UnixStream::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let others = File::open("/dev/null").unwrap();
        let mut files = vec![others.as_fd(); 600];
        (files[0], files[599]) = (reader.as_fd(), writer.as_fd());
        let line = [vec![b'x'; 300_000], b"\n".to_vec()].concat();
        let (sent, received) = tokio::join!(send(&from, &line, &files), receive(&to));
        sent.unwrap();
        let (text, mut received) = received.unwrap();
        assert_eq!((text.len(), received.len()), (line.len(), 600));
        let mut last = File::from(received.pop().unwrap());
        last.write_all(b"through the last").unwrap();
        drop((last, writer));
        let mut heard = String::new();
        File::from(received.swap_remove(0)).read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "through the last");
    }

    #[tokio::test]
    async fn a_line_that_breaks_off_is_an_error() {
        let (from, to) = UnixStream::pair().unwrap();
        send(&from, b"no end", &[]).await.unwrap();
        drop(from);
        assert_eq!(receive(&to).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
