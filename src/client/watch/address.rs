//! Addresses of gateways, as people write them.

/// The host of `host`, `host:port`, `[address]:port` or an address of IPv6.
pub fn host(address: &str) -> &str {
    if let Some(bracketed) = address.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or(bracketed);
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => address,
    }
}

/// The address with its own port, or this one.
pub fn with_port(address: &str, port: u16) -> String {
    let host = host(address);
    match address.trim_start_matches('[').get(host.len()..).unwrap_or_default().trim_start_matches(']') {
        rest if rest.starts_with(':') => address.to_owned(),
        _ if host.contains(':') => format!("[{host}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_gets_a_port() {
        for (address, name, whole) in [
            ("localhost", "localhost", "localhost:2749"),
            ("cti.example.net:5000", "cti.example.net", "cti.example.net:5000"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.1:2749"),
            ("[2001:db8::1]:5000", "2001:db8::1", "[2001:db8::1]:5000"),
            ("[2001:db8::1]", "2001:db8::1", "[2001:db8::1]:2749"),
            ("::1", "::1", "[::1]:2749"),
        ] {
            assert_eq!((host(address), with_port(address, 2749).as_str()), (name, whole), "{address}");
        }
    }
}
