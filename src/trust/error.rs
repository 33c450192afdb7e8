//! What can be wrong with certificates, keys and the ledger; each error names its file.

use std::{io, path::PathBuf};

use super::NotAccepted;
use crate::model::NameError;

/// What is wrong with certificates and keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// It has no secret.
    #[error("{}: no password is in it: write the password alone, on one line of 1 to 256 bytes", path.display())]
    NoSecret {
        /// The file.
        path: PathBuf,
    },
    /// A file can't be read.
    #[error("{}: can't be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file can't be written.
    #[error("{}: can't be written: {cause}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Something is there that must not be overwritten.
    #[error("{}: is there already, and nothing is overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A folder that should be set up has some of the files already.
    #[error("{}: is set up already: {} there, and nothing is overwritten", folder.display(), are_there(names))]
    SetUp {
        /// The folder.
        folder: PathBuf,
        /// The files that are there.
        names: Vec<&'static str>,
    },
    /// A folder that should be made has something in it already, or isn't a folder.
    #[error(
        "{}: is there and has no callgate.toml in it, so it isn't a gateway's, and nothing is added to it: name a config \
         with --config (`callgate init DIR` makes one in a folder of its own), or start in another place",
        folder.display()
    )]
    Occupied {
        /// The folder.
        folder: PathBuf,
    },
    /// Others than the folder's owner can replace what is in it.
    #[error("{}: others may write into this folder (mode {mode:04o}): chmod go-w, or name another one", path.display())]
    SharedFolder {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The folder is somebody else's, who can replace what is in it.
    #[error("{}: this folder belongs to the user {owner}, and you are {user}: name one of your own", path.display())]
    OthersFolder {
        /// The folder.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// This process's.
        user: u32,
    },
    /// A CA's certificate is where ours should go.
    #[error("{}: is there already and is not the CA in {}: an app would refuse this gateway by it", path.display(), ca.display())]
    OtherCa {
        /// The file.
        path: PathBuf,
        /// The gateway's CA.
        ca: PathBuf,
    },
    /// A file has no certificate in it.
    #[error("{}: there is no certificate in it (PEM, `-----BEGIN CERTIFICATE-----`)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file has no list of revoked certificates in it.
    #[error("{}: there is no CRL in it (PEM, `-----BEGIN X509 CRL-----`, or DER)", path.display())]
    NoCrl {
        /// The file.
        path: PathBuf,
    },
    /// A list of revoked certificates is another CA's.
    #[error("{}: the CRL is not signed by the CA in {}", path.display(), ca.display())]
    CrlNotFromCa {
        /// The CRL's file.
        path: PathBuf,
        /// The CA's file.
        ca: PathBuf,
    },
    /// A list of revoked certificates is out of date.
    #[error("{}: the CRL is out of date since {next_update}: get a new one from its CA", path.display())]
    CrlExpired {
        /// The file.
        path: PathBuf,
        /// By when there should have been another one, RFC 3339.
        next_update: String,
    },
    /// A file has no private key in it.
    #[error("{}: there is no private key in it (PEM, a block that begins with PRIVATE KEY)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A private key where a certificate belongs.
    #[error("{}: a private key is in it where a certificate belongs: the two files look swapped", path.display())]
    KeyForCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate where a private key belongs.
    #[error("{}: a certificate is in it where a private key belongs: the two files look swapped", path.display())]
    CertificateForKey {
        /// The file.
        path: PathBuf,
    },
    /// A file's PEM or what is in it is damaged.
    #[error("{}: is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// Certificate and key are not a pair.
    #[error("{} and {} don't belong together: the key is not the certificate's", certificate.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate has expired.
    #[error("{}: the certificate expired on {not_after}", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Its last moment, RFC 3339.
        not_after: String,
    },
    /// The certificate is not valid yet.
    #[error("{}: the certificate is not valid before {not_before}; is this machine's clock right?", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// Its first moment, RFC 3339.
        not_before: String,
    },
    /// The certificate is not for TLS servers.
    #[error("{}: the certificate is not for TLS servers (extended key usage serverAuth)", path.display())]
    NotForServers {
        /// The file.
        path: PathBuf,
    },
    /// The certificate is not a CA's.
    #[error("{}: the certificate is not a CA's", path.display())]
    NotCa {
        /// The file.
        path: PathBuf,
    },
    /// The certificate does not come from the CA.
    #[error("{}: the certificate does not come from the CA in {}: {reason}", path.display(), ca.display())]
    NotFromCa {
        /// The certificate's file.
        path: PathBuf,
        /// The CA's file.
        ca: PathBuf,
        /// Why.
        reason: String,
    },
    /// An app's certificate would not open the TLS door.
    #[error("{}: {why}{}", path.display(), mend(*why))]
    NotAccepted {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        why: NotAccepted,
    },
    /// A certificate would outlive its CA.
    #[error("the certificate would outlive the CA, which ends on {ca_not_after}: ask for fewer days, or make a new CA")]
    OutlivesCa {
        /// The CA's last moment, RFC 3339.
        ca_not_after: String,
    },
    /// The CA has ended.
    #[error("the CA ended on {not_after}: make a new one")]
    CaEnded {
        /// Its last moment, RFC 3339.
        not_after: String,
    },
    /// A name for the gateway's certificate is neither a DNS name nor an IP address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    GatewayName(String),
    /// A name of a user or an instance that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A number of days that makes no date.
    #[error("{0} days are not allowed: from 1 to 36500")]
    Days(u32),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Making a certificate failed in the library.
    #[error("a certificate can't be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The TLS library refused the settings.
    #[error("the TLS settings don't work: {0}")]
    Tls(String),
    /// The system's source of randomness failed.
    #[error("no randomness could be had from the system")]
    Randomness,
}

impl TrustError {
    /// Whether a file or a wish of the operator is at fault, and not a condition of the machine.
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::Unwritable { .. } | Self::Make(_) | Self::Tls(_) | Self::Randomness)
            && !matches!(self, Self::Ledger(LedgerError::Unwritable { .. }))
    }
}

/// What is wrong with the ledger.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// It can't be read.
    #[error("{}: the ledger can't be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It can't be written.
    #[error("{}: the ledger can't be written: {cause}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A line of it can't be understood.
    #[error("{}:{line}: this line of the ledger can't be understood: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        reason: String,
    },
}

fn mend(why: NotAccepted) -> &'static str {
    match why {
        NotAccepted::CrlExpired => ": get the present one from the CA",
        NotAccepted::CrlMissing => ": name it in `tls.client_crl`, or say --no-crl if the CA has none",
        NotAccepted::SelfSigned | NotAccepted::UnknownIssuer => ": add its CA to the file that `tls.client_ca` names",
        NotAccepted::NoUsage | NotAccepted::NotForClients => ": ask its CA for one with clientAuth",
        _ => "",
    }
}

fn are_there(names: &[&str]) -> String {
    match names {
        [name] => format!("{name} is"),
        names => format!("{} are", names.join(", ")),
    }
}
