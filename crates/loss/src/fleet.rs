//! What is wanted of the proxy: who is there, and who gets which share.

use std::net::SocketAddr;

/// An instance that takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    /// 0 or 1.
    pub(crate) version: usize,
    /// Never used twice.
    pub(crate) number: u32,
    pub(crate) address: SocketAddr,
}

/// Everybody who is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fleet {
    /// In percent; both are 100.
    pub(crate) shares: [u32; 2],
    pub(crate) members: Vec<Member>,
}

impl Fleet {
    /// The instances of a version.
    pub(crate) fn of(&self, version: usize) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.version == version)
    }
}
