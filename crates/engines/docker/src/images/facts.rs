//! What an image says of itself, out of the Engine's answer. Pure.

use bollard::models::{HealthConfig, ImageConfig, ImageInspect};
use engine::images::{Facts, Healthcheck};
use std::time::Duration;

/// What is known of an image.
pub fn facts(image: &ImageInspect) -> Facts {
    let none = ImageConfig::default();
    let config = image.config.as_ref().unwrap_or(&none);
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Facts {
        size: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        ports: config.exposed_ports.iter().flatten().filter_map(|port| tcp(port)).collect(),
        entrypoint: config.entrypoint.clone().unwrap_or_default(),
        command: config.cmd.clone().unwrap_or_default(),
        volumes: config.volumes.iter().flatten().cloned().collect(),
        healthcheck: config.healthcheck.as_ref().and_then(|check| healthcheck(check, config.shell.as_deref())),
        stop_signal: given(&config.stop_signal),
        user: given(&config.user),
    }
}

/// `8080/tcp` or `8080`; other protocols are no business of the edge.
fn tcp(port: &str) -> Option<u16> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    (protocol == "tcp").then(|| number.parse().ok())?
}

/// A shell form runs in the image's own shell, as the Engine would run it.
fn healthcheck(check: &HealthConfig, shell: Option<&[String]>) -> Option<Healthcheck> {
    let (kind, words) = check.test.as_deref()?.split_first()?;
    let command = match (kind.as_str(), words) {
        ("CMD", [_, ..]) => words.to_vec(),
        ("CMD-SHELL", [line, ..]) => {
            let usual = ["/bin/sh".to_owned(), "-c".to_owned()];
            let shell = shell.filter(|shell| !shell.is_empty()).unwrap_or(&usual);
            shell.iter().chain([line]).cloned().collect()
        }
        _ => return None,
    };
    Some(Healthcheck {
        command,
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        start_period: nanoseconds(check.start_period),
        retries: check.retries.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0),
    })
}

/// 0 stands for the Engine's usual value.
fn nanoseconds(count: Option<i64>) -> Option<Duration> {
    count.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_command() {
        let check = |test: &[&str], shell: Option<&[&str]>, expected: Option<&[&str]>| {
            let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            let config = HealthConfig { test: Some(words(test)), interval: Some(2_000_000_000), ..Default::default() };
            let found = healthcheck(&config, shell.map(words).as_deref());
            assert_eq!(found.as_ref().map(|check| check.command.clone()), expected.map(words), "{test:?}");
            assert!(
                found.is_none_or(|check| check.interval == Some(Duration::from_secs(2)) && check.timeout.is_none())
            );
        };
        check(&["CMD", "curl", "-f", "x"], None, Some(&["curl", "-f", "x"]));
        check(&["CMD-SHELL", "curl x || exit 1"], None, Some(&["/bin/sh", "-c", "curl x || exit 1"]));
        check(&["CMD-SHELL", "x"], Some(&["/bin/bash", "-ec"]), Some(&["/bin/bash", "-ec", "x"]));
        check(&["NONE"], None, None);
        check(&["CMD"], None, None);
        check(&[], None, None);
    }

    #[test]
    fn only_tcp_ports_count() {
        assert_eq!((tcp("80/tcp"), tcp("80"), tcp("53/udp"), tcp("x")), (Some(80), Some(80), None, None));
    }
}
