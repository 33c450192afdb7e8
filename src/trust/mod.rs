//! Who is who: the CA, the ledger of its certificates, and the settings of the TLS door.
//!
//! A certificate opens the TLS door only if its chain, dates and usage are good **and** the ledger knows it (R3). The
//! ledger is asked at each handshake, and no handshake is ever skipped by resumption. Nothing here decides what an app
//! may do once it is in.

mod ca;
mod certificates;
mod client_crls;
mod crl;
mod ends;
mod error;
mod files;
mod foreign;
mod gateway;
mod import;
mod ledger;
mod name;
mod own_crl;
mod pem;
mod private_files;
mod refused;
mod secret_file;
mod setup;
mod tls;
mod try_out;
mod verifier;

pub use ca::{Ca, Issued, Validity, same_certificate};
pub use certificates::{CertificateRecord, CertificateRecords, Fingerprint, Origin, Revocation, records_of_file};
pub use client_crls::{CaChange, ClientCrls};
pub use crl::Crl;
pub use ends::{Ends, first_end};
pub use error::{LedgerError, TrustError};
pub use files::{Existing, make_folder, own_folder, write_private, write_public};
pub use foreign::{CrlCheck, Foreign};
pub use gateway::{GatewayRequest, check_gateway, gateway_names, request_gateway};
pub use import::check_app;
pub use ledger::{Entry, Ledger, LedgerSnapshot, Operation, Record, Status};
pub use own_crl::OwnCrl;
pub use pem::{certificates, private_key};
pub use private_files::{SharedFile, shared_files};
pub use refused::{NotAccepted, Refused, Shown, shown, witnessed};
pub use secret_file::secret;
pub use setup::{CA_CERTIFICATE, CA_KEY, CONFIG, CRL, InitOptions, init};
pub use tls::{
    CertificateIdentity, Clients, TlsPolicy, TlsSettings, channel_binding, peer_identity, refusal, refusal_io,
    server_config, server_config_at,
};
pub use try_out::{TRY_OUT_USERS, identity_files, try_out, write_identity};
pub use verifier::LedgerVerifier;
