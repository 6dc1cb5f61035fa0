//! Our own terminal: its size, and raw mode while it belongs to a command elsewhere.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use server::api::exec::Resize;
use std::io;

/// Our terminal's size; that of an old terminal where it has none.
pub fn size() -> Resize {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Resize { rows: size.ws_row, columns: size.ws_col },
        _ => Resize { rows: 24, columns: 80 },
    }
}

/// Raw mode; the terminal is put back when dropped.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes our terminal raw.
    pub fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone needs no mode.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}
