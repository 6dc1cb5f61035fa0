//! The `health` subcommand: asks the service in the same container over loopback whether it is well.
//!
//! Plain blocking code of the standard library: it runs every few seconds and should cost next to nothing.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(3);

/// Exit code 0 if `path` on `port` answers 200, else 1; what it answered goes to standard output.
#[must_use]
pub fn run(port: u16, path: &str) -> ExitCode {
    match ask(port, path) {
        Ok(status) if status == "200" => {
            println!("{path} answered 200");
            ExitCode::SUCCESS
        }
        Ok(status) => {
            println!("{path} answered {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("could not ask 127.0.0.1:{port}{path}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(port: u16, path: &str) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let status = String::from_utf8_lossy(&head).strip_prefix("HTTP/1.1 ").map(str::to_owned);
    status.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "not an HTTP/1.1 answer"))
}
