//! Randomness as an argument: seeded by the system in production, by a number in tests.
//!
//! A BLAKE3 key stream: strong enough for keys, repeatable from its seed, and split by name, so that a new
//! kind of id does not renumber the others.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A stream of random bytes; clones draw from the same stream.
#[derive(Clone)]
pub struct Rng {
    seed: [u8; 32],
    output: Arc<Mutex<blake3::OutputReader>>,
}

/// The system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("could not read the system's randomness")]
pub struct NoEntropy(#[source] std::io::Error);

impl Rng {
    /// The stream that this seed gives.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let output = blake3::Hasher::new_keyed(&seed).finalize_xof();
        Self { seed, output: Arc::new(Mutex::new(output)) }
    }

    /// The stream of a small seed, for tests.
    pub fn from_number(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self::from_seed(bytes)
    }

    /// A stream nobody can guess, seeded by the kernel.
    pub fn from_system() -> Result<Self, NoEntropy> {
        let mut seed = [0; 32];
        let mut filled = 0;
        while filled < seed.len() {
            // A signal may cut the read short.
            match rustix::rand::getrandom(&mut seed[filled..], rustix::rand::GetRandomFlags::empty()) {
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(NoEntropy(errno.into())),
            }
        }
        Ok(Self::from_seed(seed))
    }

    /// A stream of its own for one kind of thing: the same name gives the same stream again, from its begin.
    pub fn stream(&self, name: &str) -> Self {
        Self::from_seed(*blake3::keyed_hash(&self.seed, name.as_bytes()).as_bytes())
    }

    /// Fills `out`.
    pub fn fill(&self, out: &mut [u8]) {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).fill(out);
    }

    /// So many random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// An id of `N` random bytes in lower-case hex.
    pub fn hex<const N: usize>(&self) -> String {
        self.bytes::<N>().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A number from 0 up to, not including, 1: for jitter.
    pub fn fraction(&self) -> f64 {
        // 53 bits are what a double holds.
        (u64::from_le_bytes(self.bytes()) >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let (a, b) = (Rng::from_number(7), Rng::from_number(7));
        assert_eq!(a.hex::<8>(), b.hex::<8>());
        assert_ne!(a.hex::<8>(), Rng::from_number(8).hex::<8>());
    }

    #[test]
    fn streams_do_not_disturb_each_other() {
        let (a, b) = (Rng::from_number(7), Rng::from_number(7));
        a.stream("other").bytes::<64>();
        assert_eq!(a.stream("ids").hex::<8>(), b.stream("ids").hex::<8>());
        assert_ne!(a.stream("ids").hex::<8>(), a.stream("keys").hex::<8>());
    }

    #[test]
    fn the_system_seeds_two_streams_differently() {
        let draw = || Rng::from_system().expect("the kernel has randomness").bytes::<32>();
        assert_ne!(draw(), draw());
        assert!((0.0..1.0).contains(&Rng::from_number(1).fraction()));
    }
}
