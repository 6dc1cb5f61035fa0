//! Request ids: kept when a client's is sane, made otherwise.
//!
//! Owns a generator per worker. Ids are unique, not secret: nothing may be guarded by them.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

use http::HeaderValue;

/// The longest id taken over from a client.
const MAX_LENGTH: usize = 128;

/// Makes 128-bit ids: a counter run through a mixing function, started from the system's randomness.
#[derive(Debug)]
pub(crate) struct RequestIds {
    high: Cell<u64>,
    low: Cell<u64>,
}

impl RequestIds {
    /// A generator with a state of its own.
    pub(crate) fn from_system() -> Self {
        // `RandomState` draws its keys from the system; two of them are 128 bits that no other worker has.
        let draw = || RandomState::new().build_hasher().finish();
        Self { high: Cell::new(draw()), low: Cell::new(draw()) }
    }

    /// A number that differs from worker to worker.
    pub(crate) fn random(&self) -> usize {
        mix(self.high.get()) as usize
    }

    /// A new id in 32 hexadecimal digits.
    pub(crate) fn next(&self) -> HeaderValue {
        // Weyl sequences with odd steps, so neither half repeats before 2^64 ids.
        self.high.set(self.high.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        self.low.set(self.low.get().wrapping_add(0xd1b5_4a32_d192_ed03));
        let (a, b) = (mix(self.high.get()), mix(self.low.get() ^ self.high.get().rotate_left(32)));
        let mut text = [0u8; 32];
        for (position, digit) in text.iter_mut().enumerate() {
            let half = if position < 16 { a } else { b };
            *digit = b"0123456789abcdef"[(half >> (60 - 4 * (position % 16)) & 0xf) as usize];
        }
        HeaderValue::from_bytes(&text).expect("hexadecimal digits are visible")
    }

    /// The client's id if it is sane, else a new one.
    pub(crate) fn keep_or_make(&self, offered: Option<&HeaderValue>) -> HeaderValue {
        match offered {
            Some(value) if is_sane(value.as_bytes()) => value.clone(),
            _ => self.next(),
        }
    }
}

fn is_sane(bytes: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_repeat() {
        let ids = RequestIds::from_system();
        let made: std::collections::HashSet<_> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 10_000);
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        let ids = RequestIds::from_system();
        for (offered, kept) in [("abc-1", true), ("", false), ("a b", false), (&"x".repeat(129), false)] {
            let offered = HeaderValue::from_str(offered).expect("a header value");
            assert_eq!(ids.keep_or_make(Some(&offered)) == offered, kept, "{offered:?}");
        }
    }
}
