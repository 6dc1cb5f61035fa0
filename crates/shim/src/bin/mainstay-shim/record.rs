//! The status file: what the shim knows, replaced as a whole at every change.
//!
//! A final status must be written even when the disk has filled up meanwhile: two spare files with their blocks
//! already allocated are kept, and each write uses one up.

use rustix::fs::FallocateFlags;
use shim::life::{self, Process};
use shim::spec::Spec;
use shim::status::{State, Status, Step, VERSION};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::clock;

/// Room for a status with some notes: one block of the usual file systems.
const SPARE_BYTES: u64 = 4096;

pub(crate) struct Record {
    dir: PathBuf,
    status: Status,
    /// What is known has not reached the file yet.
    is_behind: bool,
}

impl Record {
    pub(crate) fn new(spec: &Spec) -> io::Result<Self> {
        let pid = std::process::id() as i32;
        let shim = Process::find(pid).ok_or_else(|| io::Error::other("this process is not in /proc"))?;
        let status = Status {
            version: VERSION,
            name: spec.name.clone(),
            boot_id: life::boot_id()?,
            shim,
            init: None,
            workload: None,
            state: State::Starting { step: Step::Folder },
            notes: Vec::new(),
            created_at: clock::now(),
            started_at: None,
            finished_at: None,
        };
        let mut record = Self { dir: spec.dir.clone(), status, is_behind: true };
        record.write()?;
        record.is_behind = false;
        Ok(record)
    }

    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    /// The file does not tell everything yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Changes what is known and has it written; a failing disk is met by [`Record::retry`].
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status);
        self.is_behind = true;
        self.retry();
    }

    /// Writes what has not been written yet. Returns whether nothing is left to write.
    pub(crate) fn retry(&mut self) -> bool {
        if self.is_behind && self.write().is_ok() {
            self.is_behind = false;
        }
        !self.is_behind
    }

    fn write(&mut self) -> io::Result<()> {
        let json = serde_json::to_vec(&self.status)?;
        let spares = [self.dir.join(".status.1"), self.dir.join(".status.2")];
        let spare = spares.iter().find(|path| path.exists()).unwrap_or(&spares[0]);
        let mut file = File::options().write(true).create(true).truncate(false).mode(0o600).open(spare)?;
        file.write_all(&json)?;
        file.set_len(json.len() as u64)?;
        std::fs::rename(spare, self.dir.join("status"))?;
        for path in spares {
            // Only a provision: without it the next write takes what the disk has then.
            if let Ok(file) = File::options().write(true).create_new(true).mode(0o600).open(path) {
                let _ = rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, SPARE_BYTES);
            }
        }
        Ok(())
    }
}
