//! The hash by which the edge remembers which routing is in force.
//!
//! Covers listeners, hosts, paths and the content of folders, never replicas: those come and go without a change of
//! routes. Unkeyed, because nothing in it is secret.

use model::policy::RouteTarget;
use model::project::{PortProtocol, Role, Runs};
use model::stack::{Stack, Target};
use model::{ServiceName, SpecHash};

/// The hash of the routing of `stack`.
pub fn routing_hash(stack: &Stack) -> SpecHash {
    let mut feed = Feed(Vec::with_capacity(64 * stack.services.len()));
    for (service, target) in stack.services.iter().filter(|(_, target)| target.role == Role::Service) {
        feed.service(service, target, stack.leads(target));
    }
    for route in &stack.routes {
        feed.text("host");
        feed.text(&route.host);
        for path in &route.paths {
            feed.text(&path.prefix);
            match &path.target {
                RouteTarget::Health => feed.text("@health"),
                RouteTarget::Ready => feed.text("@ready"),
                RouteTarget::Service { service, port } => {
                    feed.text(service.as_str());
                    feed.number(u64::from(*port));
                }
            }
        }
    }
    feed.finish()
}

/// The hash of a routing without anything: what is in force after a stack was taken down.
pub fn hash_of_nothing() -> SpecHash {
    Feed(Vec::new()).finish()
}

/// Text with its length before it, so that no two routings share an encoding.
struct Feed(Vec<u8>);

impl Feed {
    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn service(&mut self, service: &ServiceName, target: &Target, is_led: bool) {
        let is_folder = matches!(target.template.runs, Runs::Static { .. });
        let listens_inside = !target.direct && !target.ports.is_empty();
        if !is_folder && !listens_inside && !is_led && target.published.is_empty() {
            return;
        }
        if is_led {
            self.text(target.balance.as_str());
        }
        self.text("service");
        self.text(service.as_str());
        self.number(u64::from(target.direct));
        if is_folder {
            self.text(&target.hash.to_string());
        }
        self.number(target.addresses.len() as u64);
        for address in target.addresses.values() {
            self.number(u64::from(u32::from(*address)));
        }
        self.number(target.ports.len() as u64);
        for port in &target.ports {
            self.number(u64::from(*port));
        }
        self.number(target.published.len() as u64);
        for port in &target.published {
            self.text(&port.host.map(|host| host.to_string()).unwrap_or_default());
            self.number(u64::from(port.published.unwrap_or(0)));
            self.number(u64::from(port.target));
            self.number(match port.protocol {
                PortProtocol::Auto => 0,
                PortProtocol::Http => 1,
                PortProtocol::Tcp => 2,
            });
        }
    }

    fn finish(self) -> SpecHash {
        let mut short = [0; 16];
        short.copy_from_slice(&blake3::hash(&self.0).as_bytes()[..16]);
        SpecHash::from_digest(short)
    }
}
