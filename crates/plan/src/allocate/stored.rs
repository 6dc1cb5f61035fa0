//! The durable text form of an allocation: one line per thing given out, after a line with the version.

use super::Allocation;
use model::stack::Subnet;
use std::fmt::Write;
use std::str::FromStr;

/// The first line of what is written; every version is read.
const VERSION: &str = "allocation 1";

/// A text that is no allocation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the stored addresses cannot be read: `{text}`")]
pub struct AllocationTextError {
    /// Its number, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

impl Allocation {
    /// The text that [`Allocation::from_text`] reads.
    pub fn to_text(&self) -> String {
        let mut text = format!("{VERSION}\n");
        let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes everything");
        for (name, Subnet { net, gateway, replicas_from, internal }) in &self.networks {
            line(format_args!("network {name} {net} {gateway} {replicas_from} {internal}"));
        }
        for (service, addresses) in &self.addresses {
            for (network, address) in addresses {
                line(format_args!("address {service} {network} {address}"));
            }
        }
        for (service, ports) in &self.ports {
            for (target, port) in ports {
                line(format_args!("port {service} {target} {port}"));
            }
        }
        text
    }

    /// Reads what [`Allocation::to_text`] wrote.
    pub fn from_text(text: &str) -> Result<Self, AllocationTextError> {
        let mut allocation = Self::default();
        for (index, line) in text.lines().enumerate() {
            let wrong = || AllocationTextError { line: index + 1, text: line.to_owned() };
            if index == 0 && line != VERSION {
                return Err(wrong());
            }
            if index > 0 {
                allocation.read(line).ok_or_else(wrong)?;
            }
        }
        Ok(allocation)
    }

    fn read(&mut self, line: &str) -> Option<()> {
        fn part<'a, T: FromStr>(parts: &mut impl Iterator<Item = &'a str>) -> Option<T> {
            parts.next()?.parse().ok()
        }
        let mut parts = line.split(' ');
        match parts.next()? {
            "network" => {
                let name = part(&mut parts)?;
                let (net, gateway) = (part(&mut parts)?, part(&mut parts)?);
                let (replicas_from, internal) = (part(&mut parts)?, part(&mut parts)?);
                self.networks.insert(name, Subnet { net, gateway, replicas_from, internal });
            }
            "address" => {
                let (service, network) = (part(&mut parts)?, part(&mut parts)?);
                self.addresses.entry(service).or_default().insert(network, part(&mut parts)?);
            }
            "port" => {
                let (service, target) = (part(&mut parts)?, part(&mut parts)?);
                self.ports.entry(service).or_default().insert(target, part(&mut parts)?);
            }
            _ => return None,
        }
        parts.next().is_none().then_some(())
    }
}
