//! The list of what the gateway's own CA revoked, for others that take its certificates (R3).

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use callgate_wire::v1::ErrorCode;
use time::OffsetDateTime;
use tokio::task::spawn_blocking;
use utoipa_axum::routes;

use super::{
    Api,
    problem::Problem,
    routes::{Kind, Least, Routes},
};
use crate::admin::accounts::Role;

const DER: &str = "application/pkix-crl";
const PEM: &str = "application/x-pem-file";

pub(super) fn routes(routes: Routes) -> Routes {
    routes.add(Least::Role(Role::Reader), Kind::Read, routes!(read_crl))
}

/// Read the CRL
///
/// What the gateway's own CA revoked and what hasn't expired, signed by it. The gateway's doors don't need it: they ask the
/// ledger. It is made again when something is revoked, and each hour; the next one comes within seven days. DER, or PEM if
/// `Accept` asks for `application/x-pem-file`. Without `tls.own_ca` and `tls.own_ca_key` there is none.
#[utoipa::path(
    get, path = "/v1/crl", tag = "certificates",
    responses((
        status = 200, description = "The list",
        content((String = "application/pkix-crl"), (String = "application/x-pem-file")),
    )),
)]
async fn read_crl(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Response, Problem> {
    let own = api.config.borrow().tls.own_ca.clone();
    let Some((certificate, key)) = own.and_then(|own| Some((own.certificate, own.key?))) else {
        let detail = "tls.own_ca and tls.own_ca_key: without both the gateway doesn't make the CRL of its CA";
        return Err(Problem::of(ErrorCode::NotConfigured, detail));
    };
    let made = {
        let api = Arc::clone(&api);
        // It reads the CA's files.
        spawn_blocking(move || {
            let state = api.administration.state();
            api.own_crl.current((&certificate, &key), &state.certificates, &state.ledger, OffsetDateTime::now_utc())
        })
    };
    let crl = made.await.map_err(|_| Problem::of(ErrorCode::Internal, ""))?.map_err(|error| {
        tracing::error!(%error, "the CRL of the gateway's own CA can't be made");
        let detail = "tls.own_ca and tls.own_ca_key: the CA can't be used, and the gateway's log has the reason";
        Problem::of(ErrorCode::NotConfigured, detail)
    })?;
    Ok(if asks_for_pem(&headers) {
        ([(header::CONTENT_TYPE, PEM)], crl.to_pem()).into_response()
    } else {
        ([(header::CONTENT_TYPE, DER)], crl.der().to_vec()).into_response()
    })
}

/// Whether PEM is accepted, and named by that.
fn asks_for_pem(headers: &HeaderMap) -> bool {
    let types = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = types.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    types.any(|range| range.trim().eq_ignore_ascii_case(PEM))
}
