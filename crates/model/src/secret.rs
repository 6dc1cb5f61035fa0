//! Values that must not be seen.

use std::fmt;
use std::sync::Arc;

/// A value that appears in no plan, log, error or snapshot: environment values, secret files.
///
/// It has no `Display` and no wire form; `Debug` prints three asterisks, so that the structures around it
/// stay printable in tests. Whoever must see the value says so with [`Secret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl AsRef<[u8]>) -> Self {
        Self(value.as_ref().into())
    }

    /// The value itself.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The value as text; bytes that are no UTF-8 are replaced.
    pub fn reveal_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
