//! Where a device or a PBX is reached.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{DeviceName, NameError, text};

/// The transport of an address. SIP over TLS counts as TCP: a feed doesn't tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Transport {
    Udp,
    Tcp,
}

/// Transport, IP address and port: written `udp:192.0.2.1:5060`, `tcp:[2001:db8::1]:5061`, or without a transport for UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The transport.
    pub transport: Transport,
    /// IP address and port. An IPv4 address that is mapped into IPv6 is kept as IPv4.
    pub socket: SocketAddr,
}

impl Address {
    /// An address; IPv4 in IPv6's clothes becomes IPv4.
    pub fn new(transport: Transport, ip: IpAddr, port: u16) -> Self {
        Self { transport, socket: SocketAddr::new(ip.to_canonical(), port) }
    }

    /// The name of a device that nothing but its address is known of.
    ///
    /// # Errors
    /// None in practice: an address is short and printable.
    pub fn device_name(&self) -> Result<DeviceName, NameError> {
        self.to_string().parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Udp => self.socket.fmt(f),
            Transport::Tcp => write!(f, "tcp:{}", self.socket),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

/// A text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no address such as udp:192.0.2.7:5060 or tcp:[2001:db8::7]:5060")]
pub struct NoAddress;

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let (transport, socket) = match text.split_once(':') {
            Some(("udp", rest)) => (Transport::Udp, rest),
            Some(("tcp", rest)) => (Transport::Tcp, rest),
            _ => (Transport::Udp, text),
        };
        let socket: SocketAddr = socket.parse().map_err(|_| NoAddress)?;
        Ok(Self::new(transport, socket.ip(), socket.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("udp:127.0.0.1:5060", "127.0.0.1:5060"),
            ("127.0.0.1:5060", "127.0.0.1:5060"),
            ("tcp:[::1]:5061", "tcp:[::1]:5061"),
            ("[::ffff:10.0.0.1]:5060", "10.0.0.1:5060"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        assert!("sctp:127.0.0.1:5060".parse::<Address>().is_err());
        assert!("127.0.0.1".parse::<Address>().is_err());
    }
}
