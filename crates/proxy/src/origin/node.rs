//! The address of somebody in a chain.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Reads an address, with or without a port. What is hidden or unknown is none.
pub(super) fn read(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| bracketed().map(IpAddr::V6))
        // The port may be hidden as well in RFC 7239; nobody has been seen to do that.
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// The address as RFC 7239 has it.
pub(super) fn write(address: IpAddr, text: &mut String) {
    use std::fmt::Write as _;
    // Writing to a text does not fail.
    let _ = match address {
        IpAddr::V4(address) => write!(text, "{address}"),
        IpAddr::V6(address) => write!(text, "\"[{address}]\""),
    };
}
