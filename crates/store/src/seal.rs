//! Secrets at rest: sealed with a key that lies in the state folder and nowhere else.
//!
//! Owns `secrets/key`, made once and never printed. XChaCha20-Poly1305: its nonces are long enough to be drawn
//! at random. What is sealed is bound to a label, so that one sealed value cannot be put in another's place.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use model::fingerprint::HashKey;
use runtime::Rng;
use runtime::files::{self, FileError};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The form of sealed values: one byte of version, the nonce, the sealed text with its tag.
const VERSION: u8 = 1;
const NONCE: usize = 24;

/// Seals and unseals; clones have the same key.
#[derive(Clone)]
pub struct Keys {
    key: [u8; 32],
    rng: Rng,
}

/// The key or a sealed value cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or made.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is state, and no key to it.
    #[error("`{}` is missing, and without it nothing sealed in the state folder can be read", .0.display())]
    Missing(PathBuf),
    /// It is no key.
    #[error("`{}` is no key: it has {len} bytes, not 32", path.display())]
    NoKey {
        /// The key file.
        path: PathBuf,
        /// Its length.
        len: usize,
    },
    /// Others than its owner can read it.
    #[error("`{}` can be read by others (mode {mode:o})", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The value was sealed with another key or for another place, or it was changed.
    #[error("sealed {label} cannot be opened: it was damaged, or sealed with another key")]
    Unopenable {
        /// What was looked for.
        label: String,
    },
}

impl SealError {
    /// What to do about it, one imperative sentence.
    pub fn cure(&self) -> String {
        match self {
            Self::File(error) => error.cure().unwrap_or("make the state folder readable and writable").to_owned(),
            Self::Missing(path) | Self::NoKey { path, .. } => format!("put the backup of `{}` back", path.display()),
            Self::Exposed { path, .. } => {
                format!("run `chmod 600 {}`, and change secrets that others may have read", path.display())
            }
            Self::Unopenable { .. } => "put the backup of the state folder back, its key included".to_owned(),
        }
    }
}

impl Keys {
    /// Reads the key in this folder; in a new state folder it is made.
    pub(crate) fn open(folder: &Path, is_new: bool, rng: &Rng) -> Result<Self, SealError> {
        let path = folder.join("key");
        let rng = rng.stream("nonces");
        match (files::metadata(&path)?, is_new) {
            (None, false) => Err(SealError::Missing(path)),
            (None, true) => {
                files::create_dir(folder, 0o700)?;
                let key = rng.stream("key").bytes();
                files::write(&path, &key, 0o600)?;
                Ok(Self { key, rng })
            }
            (Some(metadata), _) => {
                let mode = metadata.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(SealError::Exposed { path, mode });
                }
                let bytes = files::read(&path)?;
                let len = bytes.len();
                let key = bytes.try_into().map_err(|_| SealError::NoKey { path, len })?;
                Ok(Self { key, rng })
            }
        }
    }

    /// A fixed key, for tests of what stands on it.
    pub fn from_bytes(key: [u8; 32], rng: &Rng) -> Self {
        Self { key, rng: rng.clone() }
    }

    /// The key of the hashes that leave the daemon: follows from this one, tells nothing of it.
    pub fn hash_key(&self) -> HashKey {
        HashKey(blake3::derive_key("mainstay 2026 keyed hashes of templates and declarations", &self.key))
    }

    /// Seals a value; `label` says what it is and is needed to open it.
    pub fn seal(&self, label: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = self.rng.bytes::<NONCE>();
        let payload = Payload { msg: plain, aad: label.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).expect("fails only beyond 256 GiB");
        [&[VERSION], nonce.as_slice(), &sealed].concat()
    }

    /// Opens a sealed value.
    pub fn unseal(&self, label: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let unopenable = || SealError::Unopenable { label: label.to_owned() };
        let rest = sealed.strip_prefix(&[VERSION]).ok_or_else(unopenable)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or_else(unopenable)?;
        let payload = Payload { msg: sealed, aad: label.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).map_err(|_| unopenable())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.key.into())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_its_label_only() {
        let rng = Rng::from_number(1);
        let keys = Keys::from_bytes([7; 32], &rng);
        let sealed = keys.seal("a", b"secret");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_ne!(sealed, keys.seal("a", b"secret"), "no nonce is used twice");
        assert_eq!(keys.unseal("a", &sealed).unwrap(), b"secret");
        assert!(keys.unseal("b", &sealed).is_err());
        assert!(Keys::from_bytes([8; 32], &rng).unseal("a", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.unseal("a", &changed).is_err(), "byte {at}");
            assert!(keys.unseal("a", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_key_is_made_once_and_guarded() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("secrets");
        let rng = Rng::from_number(1);
        assert!(matches!(Keys::open(&folder, false, &rng), Err(SealError::Missing(_))));
        let sealed = Keys::open(&folder, true, &rng).unwrap().seal("a", b"x");
        let again = Keys::open(&folder, false, &Rng::from_number(2)).unwrap();
        assert_eq!(again.unseal("a", &sealed).unwrap(), b"x");
        let key = folder.join("key");
        files::set_mode(&key, 0o644).unwrap();
        let error = Keys::open(&folder, false, &rng).unwrap_err();
        assert!(error.cure().starts_with("run `chmod 600 "), "{error}");
        files::write(&key, b"short", 0o600).unwrap();
        assert!(matches!(Keys::open(&folder, false, &rng), Err(SealError::NoKey { len: 5, .. })));
    }
}
