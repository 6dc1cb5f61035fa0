//! The disk as `declare` reads it.

use declare::{FileError, Files};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The disk.
#[derive(Debug)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        let wrong = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileError::NotFound,
            _ => FileError::Refused(error.to_string()),
        };
        // A named pipe without a writer would keep a plain open waiting for ever.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
        let flags = i32::try_from(nonblocking).expect("open flags are an int");
        let mut file = File::options().read(true).custom_flags(flags).open(path).map_err(wrong)?;
        let metadata = file.metadata().map_err(wrong)?;
        if !metadata.is_file() {
            return Err(FileError::NotAFile);
        }
        if metadata.len() > limit {
            return Err(FileError::TooLarge { size: metadata.len(), limit });
        }
        let mut content = Vec::new();
        file.by_ref().take(limit + 1).read_to_end(&mut content).map_err(wrong)?;
        match content.len() as u64 {
            size if size > limit => Err(FileError::TooLarge { size, limit }),
            _ => Ok(content),
        }
    }

    fn exists(&self, path: &str) -> bool {
        Path::new(path).exists()
    }
}
