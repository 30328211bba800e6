//! Networks: addresses that begin alike.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// All addresses that begin as this one does, as in `10.0.0.0/8`; a single address has all of its
/// bits.
///
/// An IPv4 address is the same however it is written: `::ffff:10.0.0.1` is in `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Text that is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// It is something else.
    #[error("`{0}` is not a network: write an IP address, or a network such as `10.0.0.0/8`")]
    Text(String),
    /// The address goes on behind the network.
    #[error("`{text}` is an address within the network `{network}`")]
    Within {
        /// What was written.
        text: String,
        /// What was probably meant.
        network: Network,
    },
}

impl Network {
    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                begin_alike(own.to_bits().into(), other.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                begin_alike(own.to_bits(), other.to_bits(), 128, self.bits)
            }
            _ => false,
        }
    }

    /// The network of so many bits that an address is in.
    fn around(address: IpAddr, bits: u8) -> Self {
        let address = match address {
            IpAddr::V4(address) => {
                let rest = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
                IpAddr::V4((address.to_bits() & !rest).into())
            }
            IpAddr::V6(address) => {
                let rest = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
                IpAddr::V6((address.to_bits() & !rest).into())
            }
        };
        Self { address, bits }
    }
}

/// Whether the first `bits` of `width` are the same.
fn begin_alike(one: u128, other: u128, width: u8, bits: u8) -> bool {
    (one ^ other).checked_shr(u32::from(width - bits)).unwrap_or(0) == 0
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, bits: width(address) }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork::Text(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let written: IpAddr = address.parse().map_err(|_| invalid())?;
        let Some(bits) = bits else {
            return Ok(written.into());
        };
        let digits = !bits.starts_with('+') && (bits == "0" || !bits.starts_with('0'));
        let bits: u8 = bits.parse().map_err(|_| invalid())?;
        if !digits || bits > width(written) {
            return Err(invalid());
        }
        let network = Self::around(written, bits);
        if network.address != written {
            return Err(InvalidNetwork::Within { text: text.to_owned(), network });
        }
        // IPv4 that is written as IPv6.
        Ok(match (network.address.to_canonical(), bits.checked_sub(96)) {
            (address @ IpAddr::V4(_), Some(bits)) if written.is_ipv6() => Self { address, bits },
            _ => network,
        })
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == width(self.address) {
            write!(formatter, "{}", self.address)
        } else {
            write!(formatter, "{}/{}", self.address, self.bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_in_a_network_that_begins_alike() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.100"),
        ] {
            assert!(network(text).contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/8/8",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/-8",
            "a/8",
            "10.0.0.0:80",
            "[::1]",
            "fe80::1%eth0",
            " ::1",
        ] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork::Text(text.into())), "{text}");
        }
        let within =
            InvalidNetwork::Within { text: "10.0.0.1/8".into(), network: network("10.0.0.0/8") };
        assert_eq!("10.0.0.1/8".parse::<Network>(), Err(within));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(address: IpAddr, bits: u8) {
            let bits = bits % (width(address) + 1);
            // IPv4 that is written as IPv6 is IPv4, of which that network is no part.
            prop_assume!(address == address.to_canonical() || bits >= 96);
            let network: Network = match Network::around(address, bits).to_string().parse() {
                Ok(network) => network,
                Err(error) => panic!("{error}"),
            };
            prop_assert!(network.contains(address));
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }
    }
}
