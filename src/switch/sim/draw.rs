//! What is drawn by lot, again and again the same for the same seed.

use std::{sync::Arc, time::Duration};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use crate::model::{Generation, KeyMaterial, MasterKey, Secret, SessionParameters, Suite};

/// Random numbers for one purpose of one call. Whatever is drawn for others changes nothing in them.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// For the course of a call.
    pub(super) fn course(seed: u64, call: u64) -> Self {
        Self::of(seed, call, 0)
    }

    /// For the keys of one generation of a call.
    pub(super) fn keys(seed: u64, call: u64, generation: Generation) -> Self {
        Self::of(seed, call, u8::try_from(generation.0).unwrap_or(u8::MAX))
    }

    fn of(seed: u64, call: u64, purpose: u8) -> Self {
        // Not by `seed_from_u64`, which is free to become another one.
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(seed.to_le_bytes()) {
            *to = from;
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(call << 8 | u64::from(purpose));
        Self(rng)
    }

    /// 0 to `bound`, `bound` left out; 0 if that is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        // The upper half of the product is below the bound, and as good as evenly spread.
        let product = u128::from(self.0.next_u64()) * bound as u128;
        usize::try_from(product >> 64).unwrap_or_default()
    }

    /// True so many times of 100.
    pub(super) fn chance(&mut self, percent: u8) -> bool {
        self.below(100) < usize::from(percent)
    }

    /// A part of `whole`, from `low` to `high` thousandths.
    pub(super) fn part(&mut self, whole: Duration, low: u32, high: u32) -> Duration {
        let spread = usize::try_from(high.saturating_sub(low)).unwrap_or_default();
        let thousandths = low.saturating_add(u32::try_from(self.below(spread.saturating_add(1))).unwrap_or_default());
        whole.saturating_mul(thousandths) / 1000
    }

    /// One of these; `None` if there is none.
    pub(super) fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len())).copied()
    }

    /// A key and a salt as the suite wants them.
    #[expect(clippy::expect_used, reason = "the length is the suite's, and a single key needs no MKI")]
    pub(super) fn key_material(&mut self, suite: Suite) -> Arc<KeyMaterial> {
        let mut bytes = vec![0; suite.key_len() + suite.salt_len()];
        self.0.fill_bytes(&mut bytes);
        let key = MasterKey::new(suite, &Secret::new(bytes), None, None);
        let material = key.and_then(|key| KeyMaterial::new(suite, vec![key], SessionParameters::default()));
        Arc::new(material.expect("a key of the right length"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_for_ever() {
        // Whoever changes these numbers changes every simulation that somebody has written down.
        let drawn: Vec<usize> = (0..4).map(|call| Draw::course(1, call).below(1_000_000)).collect();
        assert_eq!(drawn, [381_489, 430_674, 92_490, 485_429]);
        assert_ne!(Draw::course(1, 1).below(1 << 40), Draw::course(2, 1).below(1 << 40));
        assert_ne!(Draw::course(1, 1).below(1 << 40), Draw::keys(1, 1, Generation::FIRST).below(1 << 40));
    }

    #[test]
    fn bounds_are_kept() {
        let mut draw = Draw::course(7, 7);
        assert_eq!(draw.below(0), 0);
        assert_eq!(draw.one::<u8>(&[]), None);
        let whole = Duration::from_secs(10);
        let (low, high) = (Duration::from_secs(5), Duration::from_secs(15));
        for _ in 0..1000 {
            assert!(draw.below(3) < 3);
            assert!((low..=high).contains(&draw.part(whole, 500, 1500)));
            assert!(!draw.chance(0) && draw.chance(100));
        }
        let sevens = (0..1000).filter(|_| draw.below(10) == 7).count();
        assert!((50..=150).contains(&sevens), "{sevens} of 1000");
    }

    #[test]
    fn r18_keys_fit_their_suite() {
        for suite in Suite::ALL {
            let material = Draw::keys(1, 1, Generation::FIRST).key_material(suite);
            let [key] = material.keys() else { panic!() };
            assert_eq!((key.key.len(), key.salt.len()), (suite.key_len(), suite.salt_len()));
        }
    }
}
