//! The files of TLS: what is wrong with one is told with the setting that names it, and with what to do.

use std::sync::Arc;

use time::OffsetDateTime;

use super::StartError;
use crate::{
    config::{Config, HttpConfig, OwnCa, TlsFiles},
    cti::TlsSide,
    http,
    model::Mode,
    trust::{self, Ca, Ends, Ledger, LedgerError, TlsPolicy, TlsSettings, TrustError},
};

/// Reads the files of TLS, if anything is to be open for it.
///
/// # Errors
/// [`StartError::Ledger`] and [`StartError::Trust`]: one of them is not as it should be.
pub fn check_tls_files(config: &Config) -> Result<(), StartError> {
    http_side(config, &config.metrics, None)?;
    http_side(config, &config.admin.https, None)?;
    if let Some(OwnCa { certificate, key: Some(key) }) = &config.tls.own_ca {
        Ca::load(certificate, key).map_err(|error| StartError::Trust {
            setting: "`tls.own_ca` and `tls.own_ca_key`: ",
            mend: mend(&error),
            error,
        })?;
    }
    tls_side(config, None).map(drop)
}

/// What the TLS door needs; `None` if it is closed. Without a ledger that is kept elsewhere it is the file's.
///
/// # Errors
/// A file of the TLS door is not as it should be.
pub(super) fn tls_side(config: &Config, kept: Option<&Arc<Ledger>>) -> Result<Option<TlsSide>, StartError> {
    if !has_tls_door(config) {
        return Ok(None);
    }
    let ledger = ledger(config, kept)?;
    let policy = TlsPolicy::door(config.doors.strength);
    let TlsSettings { server, crls, certificate } = server_config(&config.tls, &ledger, policy)?;
    // When they were read, and then from time to time.
    crls.tell_ages(OffsetDateTime::now_utc());
    Ok(Some(TlsSide { config: server, ledger, crls, certificate }))
}

/// What a service over HTTP needs; `None` if it doesn't listen for TLS.
///
/// # Errors
/// A file of `[tls]` is not as it should be.
pub(super) fn http_side(
    config: &Config,
    service: &HttpConfig,
    kept: Option<&Arc<Ledger>>,
) -> Result<Option<http::TlsSide>, StartError> {
    let Some((_, strength)) = service.listen.tls() else { return Ok(None) };
    let ledger = ledger(config, kept)?;
    let TlsSettings { server, crls, certificate } = server_config(&config.tls, &ledger, TlsPolicy::http(strength))?;
    // Where there is a door it has the same lists, and tells of them.
    if !has_tls_door(config) {
        crls.tell_ages(OffsetDateTime::now_utc());
    }
    Ok(Some(http::TlsSide { config: server, ledger, crls, certificate }))
}

/// When the certificates of what listens for TLS end, a door or a service; `None` if nothing does.
///
/// # Errors
/// One of the files can't be read any more, and the door needs it. Of a service that is told when it begins to listen.
pub(super) fn ends(config: &Config) -> Result<Option<Ends>, StartError> {
    let ends = Ends::read(&config.tls);
    if has_tls_door(config) {
        return ends.map(Some).map_err(|error| at_fault(&config.tls, error));
    }
    Ok(ends.ok().filter(|_| has_tls_service(config)))
}

/// Whether apps can come by TLS.
fn has_tls_door(config: &Config) -> bool {
    config.mode == Mode::Mixed && config.doors.tls.is_some()
}

/// Whether a service over HTTP listens for TLS.
pub(super) fn has_tls_service(config: &Config) -> bool {
    [&config.metrics, &config.admin.https].into_iter().any(|service| service.listen.tls().is_some())
}

/// The one that is kept elsewhere, if there is such a one, and else the file's.
fn ledger(config: &Config, kept: Option<&Arc<Ledger>>) -> Result<Arc<Ledger>, StartError> {
    match kept {
        Some(ledger) => Ok(Arc::clone(ledger)),
        None => Ok(Arc::new(Ledger::open(&config.tls.ledger)?)),
    }
}

fn server_config(files: &TlsFiles, ledger: &Arc<Ledger>, policy: TlsPolicy) -> Result<TlsSettings, StartError> {
    trust::server_config(files, Arc::clone(ledger), policy).map_err(|error| at_fault(files, error))
}

fn at_fault(files: &TlsFiles, error: TrustError) -> StartError {
    StartError::Trust { setting: setting(files, &error), mend: mend(&error), error }
}

/// With a colon and a space behind it; empty if no setting is to blame.
fn setting(files: &TlsFiles, error: &TrustError) -> &'static str {
    let path = match error {
        TrustError::Mismatch { .. } => return "`tls.certificate` and `tls.key`: ",
        TrustError::NoKey { .. } | TrustError::CertificateForKey { .. } => return "`tls.key`: ",
        TrustError::NoCrl { .. } | TrustError::CrlNotFromCa { .. } => return "`tls.client_crl`: ",
        TrustError::Unreadable { path, .. } | TrustError::Damaged { path, .. } if files.client_crl.contains(path) => {
            return "`tls.client_crl`: ";
        }
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
        TrustError::CrlNotFromCa { .. } => ": name the CRL of a CA that is in `tls.client_ca`, or add the CA to it",
        TrustError::NoCertificate { .. }
        | TrustError::NoCrl { .. }
        | TrustError::NoKey { .. }
        | TrustError::Damaged { .. } => ": name the right file, or put it there",
        TrustError::Mismatch { .. } => ": name the key that this certificate was issued for",
        TrustError::Expired { .. } | TrustError::NotForServers { .. } => {
            ": `callgate cert renew` makes the next one, and `callgate cert csr` asks another CA for it"
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{config::HttpListen, trust::init};

    #[test]
    fn r32_the_ends_are_those_of_whatever_listens_for_tls() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &Default::default(), OffsetDateTime::now_utc()).unwrap();
        let of = |folder: &Path, mode: Mode, admin: bool| {
            let mut config = Config::parse("", "test.toml", folder, std::iter::empty()).unwrap();
            config.mode = mode;
            config.doors.tls = "127.0.0.1:2749".parse().ok();
            config.metrics.listen = HttpListen::Closed;
            if !admin {
                config.admin.https.listen = HttpListen::Closed;
            }
            ends(&config).map(|ends| ends.is_some()).map_err(drop)
        };
        for (mode, admin, expected) in
            [(Mode::Mixed, false, true), (Mode::NonSecure, true, true), (Mode::NonSecure, false, false)]
        {
            assert_eq!(of(folder.path(), mode, admin), Ok(expected), "{mode:?} {admin}");
        }
        let nowhere = folder.path().join("nowhere");
        assert_eq!(of(&nowhere, Mode::Mixed, false), Err(()), "the door needs them");
        assert_eq!(of(&nowhere, Mode::NonSecure, true), Ok(false));
    }
}
