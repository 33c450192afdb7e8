//! What a planned stop does with sessions (R42).

use rustls_pki_types::ServerName;

use super::{number, raw};
use crate::config::{Stop, error::Problem};

/// How many gateways may be named.
const MOST: usize = 16;

pub(super) fn stop(raw: &raw::Stop) -> Result<Stop, Problem> {
    let gateways = &raw.gateways.value;
    if gateways.len() > MOST {
        let message = format!("stop.gateways names {} gateways: up to {MOST} are allowed", gateways.len());
        return Err(Problem::new(&raw.gateways.origin, message));
    }
    if let Some(wrong) = gateways.iter().find(|gateway| !is_place(&gateway.value)) {
        let example = "write host and port, such as \"cti2.example.org:2749\" or \"[2001:db8::1]:2749\"";
        return Err(Problem::new(&wrong.origin, format!("{:?} is no gateway: {example}", wrong.value)));
    }
    Ok(Stop {
        gateways: gateways.iter().map(|gateway| gateway.value.clone()).collect(),
        drain_seconds: number(&raw.drain_seconds, "stop.drain_seconds", 0, 300)?,
    })
}

/// Whether it is the name or address of a host, and a port.
fn is_place(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => Some(host).filter(|host| host.contains(':')),
        None => Some(host).filter(|host| !host.contains(':')),
    };
    let is_number = port.bytes().all(|digit| digit.is_ascii_digit());
    host.is_some_and(|host| ServerName::try_from(host).is_ok())
        && is_number
        && port.parse().is_ok_and(|port: u16| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_a_host_and_a_port() {
        for good in ["cti2.example.org:2749", "192.0.2.7:2749", "[2001:db8::1]:2748", "localhost:1"] {
            assert!(is_place(good), "{good}");
        }
        for bad in [
            "",
            ":2749",
            "cti2",
            "cti2:",
            "cti2:0",
            "cti2:+1",
            "cti2:65536",
            "2001:db8::1:2749",
            "[cti2]:1",
            "a b:1",
            "https://a:1",
        ] {
            assert!(!is_place(bad), "{bad}");
        }
    }
}
