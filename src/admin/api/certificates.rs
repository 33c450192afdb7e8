//! The ledger: which certificates open the TLS door, as whom (R3, R11). None is made here: who has the CA's key issues.

use std::{path::Path, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use callgate_wire::v1::ErrorCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::task::spawn_blocking;
use utoipa::ToSchema;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::{
    Api,
    answer::{Changed, Made, Put, Versioned, place},
    extract::{Asked, Body, Named, instance_or_first},
    page::{Page, list_query},
    problem::Problem,
    routes::{Kind, Least, Routes},
};
use crate::{
    admin::{Caller, accounts::Role},
    model::{InstanceId, UserName},
    store::Version,
    trust::{CertificateRecord, CrlCheck, Fingerprint, LedgerSnapshot, Origin, TrustError, check_app},
};

const OPERATOR: Least = Least::Role(Role::Operator);
const READER: Least = Least::Role(Role::Reader);
/// The longest text of certificates, in bytes (R41a).
const MAX_PEM: usize = 32 * 1024;
/// The longest reason, in bytes.
const MAX_REASON: usize = 512;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add(READER, Kind::List, routes!(list_certificates))
        .add(OPERATOR, Kind::Create, routes!(import_certificate))
        .add(READER, Kind::Read, routes!(read_certificate))
        .add(OPERATOR, Kind::Act, routes!(revoke_certificate))
}

/// A certificate that the ledger knows
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// SHA-256 of its DER form, in hex: its name here
    #[schema(min_length = 64, max_length = 64)]
    pub sha256: String,
    /// Whose it is (R11)
    #[schema(example = "recorder")]
    pub user: String,
    /// Of which instance
    #[schema(example = "1")]
    pub instance: String,
    /// How it stands now
    pub state: CertificateState,
    /// Where it came from
    pub origin: CertificateOrigin,
    /// Its serial number, in hex
    pub serial: String,
    /// Its first moment
    #[schema(format = DateTime)]
    pub not_before: String,
    /// Its last moment
    #[schema(format = DateTime)]
    pub not_after: String,
    /// When the ledger got it
    #[schema(format = DateTime)]
    pub added_at: String,
    /// Of an imported one, how the CRL of its CA counts; null of others
    pub crl: Option<CrlStanding>,
    /// Since when and why it doesn't count any more, if it was revoked here
    pub revoked: Option<Revoked>,
}

/// How a certificate stands
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateState {
    /// Its time is over
    Expired,
    /// Its time has not begun
    NotYetValid,
    /// An administrator revoked it, for good
    Revoked,
    /// It counts, as far as the ledger says
    Valid,
}

/// Where a certificate came from
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateOrigin {
    /// Another CA issued it, and an administrator imported it for its user and instance
    Imported,
    /// This gateway's CA issued it
    Issued,
}

/// How the CRL of a certificate's CA counts
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CrlStanding {
    /// There must be one that is in date, or the certificate is refused
    pub required: bool,
    /// The code by which a handshake is refused for the CRL's sake; null if it isn't
    #[schema(example = "CERTIFICATE_STATUS_UNKNOWN")]
    pub against: Option<String>,
}

/// That a certificate doesn't count any more
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// Since when
    #[schema(format = DateTime)]
    pub at: String,
    /// Why, as the administrator put it
    pub reason: String,
}

/// A certificate of another CA that is to count
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCertificate {
    /// Whose it is to be, whatever names stand in it
    #[schema(value_type = String, max_length = 128, example = "recorder")]
    user: UserName,
    /// Of which instance; 1 if it isn't said
    #[schema(value_type = Option<String>, pattern = "^[a-zA-Z0-9]{1,128}$", example = "1")]
    instance: Option<InstanceId>,
    /// The certificate, followed by those between it and its CA (PEM)
    #[schema(max_length = 32_768, example = "-----BEGIN CERTIFICATE-----\n...")]
    pem: String,
    /// Its CA has no CRL: what that revokes, only a revocation here tells the gateway
    #[serde(default)]
    no_crl: bool,
}

/// Why a certificate is revoked
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRevocation {
    /// It stands in the ledger. If it begins with one of the words of RFC 5280, such as `key compromise` or `superseded`,
    /// it is in the CRL as that
    #[schema(min_length = 1, max_length = 512, example = "key compromise: laptop lost")]
    reason: String,
}

list_query! {
    /// Which certificates
    CertificateQuery of "certificates" {
        /// Only those of this user
        #[param(max_length = 128)]
        user: String,
        /// Only those of this instance
        #[param(max_length = 128)]
        instance: String,
        /// Only those that stand so
        state: CertificateState,
        /// Only those that came from there
        origin: CertificateOrigin,
    }
}

/// List certificates
#[utoipa::path(
    get, path = "/v1/certificates", tag = "certificates", params(CertificateQuery),
    responses((status = 200, description = "A page of certificates, by their SHA-256", body = Page<Certificate>)),
)]
async fn list_certificates(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<CertificateQuery>,
) -> Result<Json<Page<Certificate>>, Problem> {
    let window = query.window()?;
    let now = OffsetDateTime::now_utc();
    let state = api.administration.state();
    let is_meant = |record: &CertificateRecord| {
        query.user.as_deref().is_none_or(|user| record.user.as_str() == user)
            && query.instance.as_deref().is_none_or(|instance| record.instance.as_str() == instance)
            && query.origin.is_none_or(|origin| origin == record.origin.into())
            && query.state.is_none_or(|state| state == state_of(record, now))
    };
    let meant = state.certificates.iter().filter(|(_, (_, record))| is_meant(record));
    let meant = meant.map(|(fingerprint, (_, record))| (fingerprint.to_hex(), (fingerprint, record)));
    Ok(Json(window.page(meant, |_, (fingerprint, record)| shown(&api, &state.ledger, *fingerprint, record, now))))
}

/// Import a certificate of another CA
///
/// It must come from a CA in `tls.client_ca`, be valid now and for TLS clients, and not be revoked by its CA, whose CRL must be
/// there unless `no_crl` says that there is none. The same certificate sent again only changes how the CRL counts. It counts when
/// this is answered.
#[utoipa::path(
    post, path = "/v1/certificates", tag = "certificates", request_body = NewCertificate,
    responses(
        (status = 201, description = "The certificate", body = Changed<Certificate>),
        (status = 200, description = "It was there, and its CA's CRL counts otherwise now", body = Changed<Certificate>),
    ),
)]
async fn import_certificate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewCertificate>,
) -> Result<Put<Certificate>, Problem> {
    let NewCertificate { user, instance, pem, no_crl } = new;
    let pem = Zeroizing::new(pem);
    let instance = instance_or_first(instance)?;
    if pem.len() > MAX_PEM {
        return Err(Problem::field("pem", format_args!("up to {MAX_PEM} bytes are allowed")));
    }
    if pem.contains("PRIVATE KEY-----") {
        let problem = "there is a private key in it, which only the app should have: send the certificate alone";
        return Err(Problem::field("pem", problem));
    }
    let files = api.config.borrow().tls.clone();
    let crl = if no_crl { CrlCheck::None } else { CrlCheck::Required };
    // It reads the files of the client CAs.
    let checked = spawn_blocking(move || {
        let name = Path::new(PEM);
        check_app((name, &pem), (&user, &instance), crl, &files, OffsetDateTime::now_utc())
    });
    let (fingerprint, record) =
        checked.await.map_err(|_| Problem::of(ErrorCode::Internal, ""))?.map_err(|error| not_taken(&error))?;
    let was_there = api.administration.state().certificates.contains_key(&fingerprint);
    let done = api.administration.add_certificate(&caller.actor, fingerprint, &record).await?;
    let changed = Changed::new(done, api.certificate(fingerprint)?.1);
    Ok(match was_there {
        true => Put::Replaced(changed),
        false => Put::Made(Made(place("certificates", &[&fingerprint.to_hex()]), changed)),
    })
}

/// Read a certificate
#[utoipa::path(
    get, path = "/v1/certificates/{sha256}", tag = "certificates",
    params(("sha256" = String, Path, description = "SHA-256 of its DER form, in hex")),
    responses((status = 200, description = "The certificate", body = Certificate)),
)]
async fn read_certificate(
    State(api): State<Arc<Api>>,
    Named(fingerprint): Named<Fingerprint>,
) -> Result<Versioned<Certificate>, Problem> {
    let (version, certificate) = api.certificate(fingerprint)?;
    Ok(Versioned(version, certificate))
}

/// Revoke a certificate
///
/// For good, from now on. When this is answered it opens no session, and the one that was open by it is closed; no other is.
/// One that is revoked already stays as it is.
#[utoipa::path(
    post, path = "/v1/certificates/{sha256}/revoke", tag = "certificates", request_body = NewRevocation,
    params(("sha256" = String, Path, description = "SHA-256 of its DER form, in hex")),
    responses((status = 200, description = "It is revoked", body = Changed<Certificate>)),
)]
async fn revoke_certificate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(fingerprint): Named<Fingerprint>,
    Body(NewRevocation { reason }): Body<NewRevocation>,
) -> Result<Changed<Certificate>, Problem> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
        let problem = format!("1 to {MAX_REASON} bytes of text, without line ends");
        return Err(Problem::field("reason", problem));
    }
    let done = api.administration.revoke(&caller.actor, fingerprint, reason).await?;
    Ok(Changed::new(done, api.certificate(fingerprint)?.1))
}

/// What the text of a certificate is called where something is wrong with it: as its field.
const PEM: &str = "pem";

/// Why it isn't imported.
fn not_taken(error: &TrustError) -> Problem {
    match error {
        TrustError::NotAccepted { why, .. } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why.code(), format!("{PEM}: {}", why.text()))
        }
        TrustError::Damaged { path, .. }
        | TrustError::NoCertificate { path }
        | TrustError::KeyForCertificate { path }
            if path == Path::new(PEM) =>
        {
            Problem::of(ErrorCode::FieldInvalid, error.to_string())
        }
        // It is for the log what this machine's files are.
        _ => {
            tracing::error!(%error, "a certificate can't be checked for its import");
            let detail = "tls.client_ca or tls.client_crl: it can't be used, and the gateway's log has the reason";
            Problem::of(ErrorCode::NotConfigured, detail)
        }
    }
}

impl Api {
    fn certificate(&self, fingerprint: Fingerprint) -> Result<(Version, Certificate), Problem> {
        let state = self.administration.state();
        let Some((version, record)) = state.certificates.get(&fingerprint) else {
            return Err(Problem::not_found(format_args!("certificate {}", fingerprint.to_hex())));
        };
        Ok((*version, shown(self, &state.ledger, fingerprint, record, OffsetDateTime::now_utc())))
    }
}

fn shown(
    api: &Api,
    ledger: &LedgerSnapshot,
    fingerprint: Fingerprint,
    record: &CertificateRecord,
    now: OffsetDateTime,
) -> Certificate {
    let crl = (record.origin == Origin::Imported).then(|| {
        let entry = ledger.lookup(&fingerprint.0);
        let against = entry.and_then(|entry| api.administration.client_crls().against(entry, now));
        CrlStanding {
            required: record.foreign.as_ref().is_none_or(|foreign| foreign.crl == CrlCheck::Required),
            against: against.map(|why| why.code().as_str_name().into()),
        }
    });
    Certificate {
        sha256: fingerprint.to_hex(),
        user: record.user.to_string(),
        instance: record.instance.to_string(),
        state: state_of(record, now),
        origin: record.origin.into(),
        serial: record.serial.clone(),
        not_before: record.not_before.clone(),
        not_after: record.not_after.clone(),
        added_at: record.added_at.clone(),
        crl,
        revoked: record
            .revoked
            .as_ref()
            .map(|revocation| Revoked { at: revocation.at.clone(), reason: revocation.reason.clone() }),
    }
}

fn state_of(record: &CertificateRecord, now: OffsetDateTime) -> CertificateState {
    match record.dates() {
        _ if record.revoked.is_some() => CertificateState::Revoked,
        Some((not_before, _)) if now < not_before => CertificateState::NotYetValid,
        _ if record.counts_at(now) => CertificateState::Valid,
        _ => CertificateState::Expired,
    }
}

impl From<Origin> for CertificateOrigin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Imported => Self::Imported,
            Origin::Issued => Self::Issued,
        }
    }
}
