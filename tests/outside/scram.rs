//! SCRAM-SHA-256 by hand (RFC 5802, section 3; RFC 7677), and bound to a TLS connection (RFC 9266).

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine, prelude::BASE64_STANDARD};

/// The first message of the app, and what must be remembered of it.
pub struct Scram {
    nonce: String,
    header: &'static str,
    bound_to: Vec<u8>,
    first_bare: String,
}

/// The last message of the app, and the signature that the gateway must answer with.
pub struct Proof {
    pub client_final: String,
    pub server_final: String,
}

impl Scram {
    /// `nonce` is printable ASCII without commas, and new for each try.
    pub fn new(user: &str, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { nonce: nonce.to_owned(), header: "n,,", bound_to: Vec::new(), first_bare: format!("n={user},r={nonce}") }
    }

    /// The same, bound to what the connection's ends have exported.
    pub fn bound(user: &str, nonce: &str, exported: [u8; 32]) -> Self {
        Self { header: "p=tls-exporter,,", bound_to: exported.to_vec(), ..Self::new(user, nonce) }
    }

    /// The client-first-message: no authorization identity.
    pub fn client_first(&self) -> String {
        format!("{}{}", self.header, self.first_bare)
    }

    /// Answers the server-first-message.
    pub fn prove(&self, password: &str, server_first: &str) -> Proof {
        let part = |name: &str| {
            let part = server_first.split(',').find_map(|part| part.strip_prefix(name));
            part.unwrap_or_else(|| panic!("no {name} in {server_first}"))
        };
        let (nonce, salt, iterations) = (part("r="), BASE64_STANDARD.decode(part("s=")).unwrap(), part("i="));
        assert!(nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len(), "{nonce}");
        let iterations: NonZeroU32 = iterations.parse().unwrap();
        assert!(iterations.get() >= 4096);

        let mut salted_password = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut salted_password);
        let client_key = sign(&salted_password, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        let binding = BASE64_STANDARD.encode([self.header.as_bytes(), &self.bound_to].concat());
        let without_proof = format!("c={binding},r={nonce}");
        let auth_message = format!("{},{server_first},{without_proof}", self.first_bare);
        let client_signature = sign(stored_key.as_ref(), auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&client_signature).map(|(key, signature)| key ^ signature).collect();
        let server_key = sign(&salted_password, b"Server Key");
        let server_signature = sign(&server_key, auth_message.as_bytes());
        Proof {
            client_final: format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)),
            server_final: format!("v={}", BASE64_STANDARD.encode(server_signature)),
        }
    }
}

fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}
