//! Single values by key.

use super::Tx;
use crate::error::StoreError;

impl Tx<'_> {
    /// The value of a setting.
    pub fn setting(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.value("SELECT value FROM settings WHERE key = ?1", [key])
    }

    /// Sets a setting; whoever puts a secret there seals it first.
    pub fn set_setting(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let sql = "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
        self.execute(sql, (key, value)).map(drop)
    }

    /// Removes a setting; one that is not there counts as removed.
    pub fn remove_setting(&self, key: &str) -> Result<(), StoreError> {
        self.execute("DELETE FROM settings WHERE key = ?1", [key]).map(drop)
    }
}
