//! Networks, as they are allowed to connect (R5).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A network in CIDR notation, such as `192.0.2.0/24` or `2001:db8::/32`; a single address is one, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// Its first address; an IPv4 address is never in IPv6's clothes.
    first: IpAddr,
    /// How many bits are the network's: 0 to 32, or to 128.
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It isn't written as one.
    #[error("write an IP address and the length of its prefix, such as \"192.0.2.0/24\" or \"2001:db8::/32\"")]
    Malformed,
    /// The address has bits behind the prefix.
    #[error("the address has bits behind the prefix: write \"{0}\", or without a prefix for the one address")]
    Host(Network),
}

impl Network {
    /// The network of `address` that has a prefix of so many bits, at most as many as the address has.
    pub fn around(address: IpAddr, prefix: u8) -> Self {
        let first = address.to_canonical();
        let prefix = prefix.min(width(first));
        Self { first: cut(first, prefix), prefix }
    }

    /// Its first address; an IPv4 address is never in IPv6's clothes.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Whether `address` is in it. An IPv4 address may come in IPv6's clothes.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && cut(address, self.prefix) == self.first
    }

    /// Whether all of `other` is in it.
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.first)
    }

    /// Whether all of it is this machine.
    pub fn is_loopback(&self) -> bool {
        match self.first {
            IpAddr::V4(first) => first.is_loopback() && self.prefix >= 8,
            IpAddr::V6(first) => first.is_loopback() && self.prefix == 128,
        }
    }
}

/// Who may connect to a service (R5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedNetworks {
    /// Every address.
    All,
    /// Only addresses of these networks.
    Only(Vec<Network>),
}

impl AllowedNetworks {
    /// Whether `address` may connect.
    pub fn allow(&self, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Only(networks) => networks.iter().any(|network| network.contains(address)),
        }
    }

    /// Whether somebody may connect who may not by `other`. Where networks only lie in two of them together, in doubt he
    /// may.
    pub fn exceed(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::All) => false,
            (Self::All, Self::Only(_)) => true,
            (Self::Only(networks), Self::Only(others)) => {
                networks.iter().any(|network| !others.iter().any(|known| known.covers(network)))
            }
        }
    }

    /// The networks as they are written; none for all.
    pub fn listed(&self) -> &[Network] {
        match self {
            Self::All => &[],
            Self::Only(networks) => networks,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let written: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
        let address = written.to_canonical();
        let prefix = match prefix {
            None => width(address),
            Some(prefix) => prefix
                .parse()
                // A prefix of an address in IPv6's clothes would count the clothes.
                .ok()
                .filter(|bits| {
                    *bits <= width(address) && address == written && prefix.bytes().all(|b| b.is_ascii_digit())
                })
                .ok_or(NetworkError::Malformed)?,
        };
        let network = Self::around(address, prefix);
        if network.first == address { Ok(network) } else { Err(NetworkError::Host(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address without what is behind the prefix.
fn cut(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r5_a_network_covers_itself_and_what_is_within() {
        for (network, other, covers) in [
            ("192.0.2.0/24", "192.0.2.0/24", true),
            ("192.0.2.0/24", "192.0.2.128/25", true),
            ("192.0.2.0/24", "192.0.2.7", true),
            ("192.0.2.0/24", "192.0.2.0/23", false),
            ("192.0.2.0/24", "192.0.3.0/24", false),
            ("0.0.0.0/0", "::/0", false),
            ("::/0", "2001:db8::/32", true),
        ] {
            let [network, other] = [network, other].map(|text| text.parse::<Network>().unwrap());
            assert_eq!(network.covers(&other), covers, "{network} {other}");
        }
    }

    #[test]
    fn r5_networks_contain_their_addresses_and_no_other() {
        for (network, inside, outside) in [
            (
                "192.0.2.0/24",
                &["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.7"][..],
                &["192.0.3.0", "192.0.1.255", "::"][..],
            ),
            ("127.0.0.3", &["127.0.0.3"], &["127.0.0.2", "127.0.0.4"]),
            ("0.0.0.0/0", &["1.2.3.4", "::ffff:1.2.3.4"], &["::1"]),
            ("2001:db8::/32", &["2001:db8:1::1"], &["2001:db9::", "0.0.0.0"]),
            ("::/0", &["::1", "2001:db8::1"], &["127.0.0.1", "::ffff:127.0.0.1"]),
            ("10.0.0.0/31", &["10.0.0.1"], &["10.0.0.2"]),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(inside.iter().all(|address| network.contains(address.parse().unwrap())), "{network}");
            assert!(!outside.iter().any(|address| network.contains(address.parse().unwrap())), "{network}");
        }
    }

    #[test]
    fn r5_allowed_networks_allow_theirs_and_exceed_what_they_add_to() {
        let only = |texts: &[&str]| AllowedNetworks::Only(texts.iter().map(|text| text.parse().unwrap()).collect());
        let (all, none, some) = (AllowedNetworks::All, only(&[]), only(&["192.0.2.0/24", "127.0.0.1"]));
        for (allowed, inside, outside) in [(&all, true, true), (&none, false, false), (&some, true, false)] {
            assert_eq!(allowed.allow([192, 0, 2, 7].into()), inside, "{allowed:?}");
            assert_eq!(allowed.allow([192, 0, 3, 7].into()), outside, "{allowed:?}");
        }
        for (more, less) in [(&all, &some), (&all, &none), (&some, &none), (&some, &only(&["127.0.0.1"]))] {
            assert!(more.exceed(less) && !less.exceed(more), "{more:?} {less:?}");
            assert!(!more.exceed(more) && !less.exceed(less), "{more:?} {less:?}");
        }
    }

    #[test]
    fn networks_are_read_strictly_and_shown_whole() {
        for (text, shown) in [("127.0.0.1", "127.0.0.1/32"), ("::1", "::1/128"), ("10.0.0.0/8", "10.0.0.0/8")] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown);
        }
        for text in
            ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10/8", "::/129", "::ffff:10.0.0.0/104", "localhost"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Malformed), "{text}");
        }
        assert_eq!("10.1.2.3/8".parse::<Network>().unwrap_err().to_string().split('"').nth(1), Some("10.0.0.0/8"));
    }

    #[test]
    fn r42b_only_what_is_all_loopback_is_loopback() {
        for (text, expected) in [
            ("127.0.0.0/8", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("126.0.0.0/7", false),
            ("::/0", false),
            ("10.0.0.0/8", false),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().is_loopback(), expected, "{text}");
        }
    }
}
