//! Administrators, whose deeds go on one after the other, and what counts by them.

use std::sync::Arc;

use super::{
    super::{Fault, deeds::Deed},
    Simulation,
};
use crate::hub::{Certificates, Rights};

/// How many deeds may be under way at once.
const AT_ONCE: usize = 4;

impl Simulation {
    /// Somebody begins a deed, and sometimes what takes it back at once.
    pub(super) fn somebody_administers(&mut self) -> Result<(), String> {
        let now = self.wishes.last().unwrap().clone();
        let deed = Deed::draw(&mut self.random, &now);
        let back = deed.back(&now).filter(|_| self.random.below(3) == 0);
        for deed in [Some(deed), back].into_iter().flatten() {
            if self.operator.under_way() < AT_ONCE {
                let number = self.wishes.last().unwrap().certificates.len() + self.operator.issuing();
                self.operator.begin(deed, number);
                // Who comes first has the first turn.
                self.go_on(self.operator.under_way() - 1)?;
            }
        }
        Ok(())
    }

    /// One of the deeds goes on as far as it can.
    pub(super) fn administration_goes_on(&mut self) -> Result<(), String> {
        match self.operator.under_way() {
            0 => Ok(()),
            under_way => {
                let at = self.random.below(under_way);
                self.go_on(at)
            }
        }
    }

    /// Whoever has been answered hears it.
    pub(super) fn note_acknowledged(&mut self) -> Result<(), String> {
        self.operator.unacknowledged().rev().try_for_each(|at| self.go_on(at))
    }

    fn go_on(&mut self, at: usize) -> Result<(), String> {
        let step = self.step.get();
        let progress = self.operator.go_on(at, self.wishes.last().unwrap())?;
        if let Some(made) = progress.made {
            self.wishes.push(made);
            self.made.push(step);
            self.rights.push(self.operator.rights());
        }
        if let Some((version, effect)) = progress.acknowledged {
            let must = self.effects.remove(&version).unwrap_or_default();
            if effect != must {
                return Err(format!("version {version} is acknowledged with {effect:?}, and did {must:?}"));
            }
            self.acknowledged.push((version, step));
            self.counts.deeds += 1;
        }
        self.counts.refused += usize::from(progress.refused);
        Ok(())
    }

    /// The rights that workers get, which a fault makes others of.
    pub(super) fn faulty(&self, rights: &Arc<Rights>) -> Arc<Rights> {
        let before = &self.rights[usize::try_from(rights.version).unwrap() - 2];
        let (directory, certificates) = match self.fault {
            Fault::DirectoryStale => (&before.directory, &rights.certificates),
            Fault::LedgerStale => (&rights.directory, &before.certificates),
            _ => return Arc::clone(rights),
        };
        let known = Arc::clone(&certificates.known);
        // The ledger itself would tell.
        let ledger = certificates.ledger.clone().filter(|_| self.fault != Fault::LedgerStale);
        Arc::new(Rights {
            version: rights.version,
            mode: rights.mode,
            lenient_doors: rights.lenient_doors,
            directory: Arc::clone(directory),
            certificates: Certificates { known, ledger, crls: Arc::clone(&certificates.crls) },
        })
    }
}
