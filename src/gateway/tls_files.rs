//! The files of TLS: what is wrong with one is told with the setting that names it, and with what to do.

use std::sync::Arc;

use super::StartError;
use crate::{
    config::{Config, HttpConfig, TlsFiles},
    cti::TlsSide,
    http,
    model::Mode,
    trust::{self, Ledger, LedgerError, TlsPolicy, TrustError},
};

/// Reads the files of TLS, if anything is to be open for it.
///
/// # Errors
/// [`StartError::Ledger`] and [`StartError::Trust`]: one of them is not as it should be.
pub fn check_tls_files(config: &Config) -> Result<(), StartError> {
    http_side(config, &config.metrics)?;
    tls_side(config).map(drop)
}

/// What the TLS door needs; `None` if it is closed.
///
/// # Errors
/// A file of the TLS door is not as it should be.
pub(super) fn tls_side(config: &Config) -> Result<Option<TlsSide>, StartError> {
    if config.mode == Mode::NonSecure || config.doors.tls.is_none() {
        return Ok(None);
    }
    let ledger = Arc::new(Ledger::open(&config.tls.ledger)?);
    let policy = TlsPolicy::door(config.doors.strength);
    let server = server_config(&config.tls, &ledger, policy)?;
    Ok(Some(TlsSide { config: server, ledger }))
}

/// What a service over HTTP needs; `None` if it doesn't listen for TLS.
///
/// # Errors
/// A file of [tls] is not as it should be.
pub(super) fn http_side(config: &Config, service: &HttpConfig) -> Result<Option<http::TlsSide>, StartError> {
    let Some((_, strength)) = service.listen.tls() else { return Ok(None) };
    let ledger = Arc::new(Ledger::open(&config.tls.ledger)?);
    let server = server_config(&config.tls, &ledger, TlsPolicy::http(strength))?;
    Ok(Some(http::TlsSide { config: server, ledger }))
}

fn server_config(
    files: &TlsFiles,
    ledger: &Arc<Ledger>,
    policy: TlsPolicy,
) -> Result<Arc<rustls::ServerConfig>, StartError> {
    trust::server_config(files, Arc::clone(ledger), policy).map_err(|error| StartError::Trust {
        setting: setting(files, &error),
        mend: mend(&error),
        error,
    })
}

/// With a colon and a space behind it; empty if no setting is to blame.
fn setting(files: &TlsFiles, error: &TrustError) -> &'static str {
    let path = match error {
        TrustError::Mismatch { .. } => return "`tls.certificate` and `tls.key`: ",
        TrustError::NoKey { .. } | TrustError::CertificateForKey { .. } => return "`tls.key`: ",
        TrustError::Unreadable { path, .. }
        | TrustError::Damaged { path, .. }
        | TrustError::NoCertificate { path }
        | TrustError::KeyForCertificate { path }
        | TrustError::Expired { path, .. }
        | TrustError::NotYetValid { path, .. }
        | TrustError::NotForServers { path } => path,
        _ => return "",
    };
    // In the order in which they are read.
    let named = [
        (&files.certificate, "`tls.certificate`: "),
        (&files.key, "`tls.key`: "),
        (&files.client_ca, "`tls.client_ca`: "),
    ];
    named.iter().find(|(file, _)| *file == path).map_or("", |(_, setting)| *setting)
}

/// What to do, where the error itself doesn't say it.
fn mend(error: &TrustError) -> &'static str {
    match error {
        TrustError::Unreadable { .. } => {
            ": mend the path, or what is there; `callgate init DIR` makes all files of a new gateway"
        }
        TrustError::NoCertificate { .. } | TrustError::NoKey { .. } | TrustError::Damaged { .. } => {
            ": name the right file, or put it there"
        }
        TrustError::Mismatch { .. } => ": name the key that this certificate was issued for",
        TrustError::Expired { .. } | TrustError::NotForServers { .. } => {
            ": `callgate cert csr` asks a CA for another one, and `callgate cert import` puts it there"
        }
        _ => "",
    }
}

pub(super) fn mend_ledger(error: &LedgerError) -> &'static str {
    match error {
        LedgerError::Unreadable { .. } => ": mend the path, or what is there",
        _ => "",
    }
}
