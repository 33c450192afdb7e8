//! A gateway with what makes it one for years: its store, and the administration of users, devices and certificates.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use tracing::{error, info};

use super::{Acknowledgement, Gateway, Options, Page, StartError, api, connector};
use crate::{
    admin::{Actor, Administration, Imported, Journal, Outcome, Seed, Seeded},
    audit::Trail,
    config::{Config, SwitchConfig},
    http::{Need, Part, Reporter},
    model::SwitchName,
    store::{self, Embedded, Store},
    switch::{Switch, SwitchError},
    trust::{CertificateRecord, Fingerprint, Ledger, LedgerError, records_of_file},
};

/// How often what waits for the store or the log is tried again.
const HEALING: Duration = Duration::from_secs(1);

/// A gateway as `callgate serve` runs it.
pub struct Served {
    gateway: Gateway,
    administration: Arc<Administration>,
}

/// Opens the config's store for administration, and seeds it if it is empty. Nobody else can have it open.
///
/// # Errors
/// [`StartError::Store`] and [`StartError::Ledger`].
pub async fn administration(config: &Config, journal: Arc<dyn Journal>) -> Result<Administration, StartError> {
    let store: Arc<dyn Store> = Arc::new(Embedded::open(&config.store.file, store::Options::default())?);
    let seed = Seed {
        directory: Arc::clone(&config.directory),
        made_up: Arc::new(config.switches.iter().flat_map(SwitchConfig::simulated_devices).collect()),
    };
    let certificates = file_of_ledger(config)?;
    let (administration, seeded) = Administration::open(store, journal, seed).await?;
    let store = config.store.file.display();
    match seeded {
        Seeded::Now { users, devices } => {
            info!(%store, users, devices, "the store was empty, and has the config's users and devices now");
        }
        Seeded::Before => info!(%store, "users and devices are those of the store"),
    }
    import(&administration, &certificates).await?;
    Ok(administration)
}

impl Served {
    /// Starts the gateway and its switches by the administration's users, devices and certificates. What its sessions do and
    /// get goes on record in `trail`. The doors open last: who finds them open finds everything there.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        config: Config,
        administration: Administration,
        trail: Arc<dyn Trail>,
        page: Option<Page>,
    ) -> Result<Self, StartError> {
        let administration = Arc::new(administration);
        let directory = Arc::clone(&administration.state().directory);
        let config = Config { directory, ..config };
        let switches =
            config.switches.iter().map(|switch| connector(switch, &config)).collect::<Result<Vec<_>, _>>()?;
        let options =
            Options { ledger: Some(administration.ledger()), trail: Arc::clone(&trail), page, ..Options::default() };
        let (mut gateway, doors) = Gateway::prepare(config, options).await?;
        administration.go_live(gateway.live_rights());
        for switch in switches {
            gateway.attach(switch);
        }
        let audit = trail.folder().map(Into::into);
        gateway.health().probe("audit", Need::Ready, move || match trail.is_open() {
            true => Part::up(),
            false => Part::down("nothing can be recorded: no key leaves, and no right is granted"),
        });
        tokio::spawn(heal(Arc::downgrade(&administration), gateway.health().part("store", Need::Ready)));
        let api = api(&administration, gateway.settings(), Some(gateway.live()), audit, gateway.health().clone())?;
        gateway.serve_administration(api).await?;
        gateway.open(doors);
        let settings = gateway.settings_in_words();
        administration.note("gateway", ("start", "settings", ""), settings, Outcome::Done);
        Ok(Self { gateway, administration })
    }

    /// The administration of what it serves by.
    pub fn administration(&self) -> &Arc<Administration> {
        &self.administration
    }

    /// As [`Gateway::tls_address`].
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.gateway.tls_address()
    }

    /// As [`Gateway::reload`]: users and devices stay as they are. What the ledger's file has of certificates that the store
    /// doesn't is taken over first; what of it can't be recorded or stored waits for the next time, and is logged.
    ///
    /// # Errors
    /// [`StartError`]: the old settings stay in force as a whole.
    pub async fn reload(&mut self, config: Config) -> Result<Acknowledgement, StartError> {
        let imported = match file_of_ledger(&config) {
            Ok(certificates) => import(&self.administration, &certificates).await,
            Err(error) => Err(error),
        };
        match imported {
            // That the TLS door closes, and no app's certificate counts any more, waits for nothing, and neither does what the
            // settings take away (R21).
            Err(error)
                if matches!(&error, StartError::Import(refused) if refused.passes())
                    || self.gateway.would_close_tls_door(&config) =>
            {
                error!(%error, "the ledger's file is not taken over");
            }
            imported => imported?,
        }
        self.gateway.reload(config).await
    }

    /// As [`Gateway::attach`].
    pub fn attach(&mut self, switch: Box<dyn Switch>) {
        self.gateway.attach(switch);
    }

    /// As [`Gateway::switch_ended`].
    pub async fn switch_ended(&mut self) -> Option<(SwitchName, Result<(), SwitchError>)> {
        self.gateway.switch_ended().await
    }

    /// As [`Gateway::stopped`].
    pub fn stopped(&self) -> impl Future<Output = ()> + use<> {
        self.gateway.stopped()
    }

    /// The gateway, for who looks at it.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// As [`Gateway::drain_time`].
    pub fn drain_time(&self) -> Duration {
        self.gateway.drain_time()
    }

    /// As [`Gateway::drain`].
    pub fn drain(&mut self) -> impl Future<Output = ()> + use<> {
        self.gateway.drain()
    }

    /// As [`Gateway::stop`].
    pub async fn stop(self) {
        self.gateway.stop().await;
    }
}

/// Brings to the store and to the log what waits for them, for as long as there is an administration, and tells how the
/// store is.
async fn heal(administration: Weak<Administration>, store: Reporter) {
    loop {
        let Some(administration) = administration.upgrade() else { return };
        match administration.heal().await {
            Ok(_) => match administration.owed().await {
                None => store.up(""),
                Some(why) => store.down(&format!("it doesn't take what is taken away: {why}")),
            },
            Err(error) => {
                error!(%error, "what waits for the store or the log waits on");
                store.down(&error.to_string());
            }
        }
        drop(administration);
        tokio::time::sleep(HEALING).await;
    }
}

async fn import(
    administration: &Administration,
    certificates: &BTreeMap<Fingerprint, CertificateRecord>,
) -> Result<(), StartError> {
    let imported = administration.import(&Actor::Gateway, certificates).await?;
    if imported != Imported::default() {
        let Imported { added, changed, revoked } = imported;
        info!(added, changed, revoked, "certificates of the ledger's file are in the store now");
    }
    Ok(())
}

/// The certificates of the ledger's file: what `callgate cert` wrote while no gateway ran. There need not be one.
fn file_of_ledger(config: &Config) -> Result<BTreeMap<Fingerprint, CertificateRecord>, StartError> {
    let path = &config.tls.ledger;
    if matches!(fs::exists(path), Ok(false)) {
        return Ok(BTreeMap::new());
    }
    let lines = Ledger::open(path)?.records()?;
    let malformed = |(line, reason)| LedgerError::Malformed { path: path.clone(), line, reason };
    Ok(records_of_file(&lines).map_err(malformed)?)
}
