//! `callgate cert list`

use anyhow::Result;
use callgate::trust::{CrlCheck, Ledger, Operation, Record};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::distinct;
use crate::cli::{admin::Gateway, out::say};

/// Every certificate of the ledger, oldest first
#[derive(clap::Args)]
pub(in crate::cli) struct List {
    /// Print one JSON array
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    gateway: Gateway,
}

/// One certificate, as it stands now.
#[derive(Serialize)]
struct Row<'a> {
    user: &'a str,
    instance: &'a str,
    status: &'static str,
    origin: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    crl: Option<CrlCheck>,
    not_before: &'a str,
    not_after: &'a str,
    serial: &'a str,
    sha256: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl List {
    pub(super) fn run(self) -> Result<()> {
        let records = Ledger::open(self.gateway.config()?.tls.ledger)?.records()?;
        let now = OffsetDateTime::now_utc();
        let rows: Vec<Row<'_>> = distinct(&records).map(|issued| row(issued, &records, now)).collect();
        if self.json {
            say!("{}", serde_json::to_string_pretty(&rows)?)?;
            return Ok(());
        }
        if rows.is_empty() {
            say!("no certificate was issued yet")?;
        }
        for row in rows {
            let name = format!("{}/{}", row.user, row.instance);
            let note = match row.crl {
                None => "",
                Some(CrlCheck::None) => "  imported, without CRL",
                Some(CrlCheck::Required) => "  imported",
            };
            say!("{name:24} {:8} until {}  {}{note}", row.status, row.not_after, row.sha256)?;
            if let (Some(at), Some(reason)) = (row.revoked_at, row.reason) {
                say!("{:24} revoked at {at}: {reason}", "")?;
            }
        }
        Ok(())
    }
}

fn row<'a>(issued: &'a Record, records: &'a [Record], now: OffsetDateTime) -> Row<'a> {
    let revoked = records.iter().find(|record| record.op == Operation::Revoked && record.sha256 == issued.sha256);
    let expired = OffsetDateTime::parse(&issued.not_after, &Rfc3339).is_ok_and(|not_after| not_after < now);
    Row {
        user: &issued.user,
        instance: &issued.instance,
        status: match (revoked, expired) {
            (Some(_), _) => "revoked",
            (None, true) => "expired",
            (None, false) => "issued",
        },
        origin: if issued.op == Operation::Imported { "imported" } else { "issued" },
        crl: (issued.op == Operation::Imported).then(|| issued.foreign.clone().unwrap_or_default().crl),
        not_before: &issued.not_before,
        not_after: &issued.not_after,
        serial: &issued.serial,
        sha256: &issued.sha256,
        revoked_at: revoked.map(|record| record.at.as_str()),
        reason: revoked.map(|record| record.reason.as_str()),
    }
}
