//! What the Engine is asked for, word for word.

use super::{Ground, Inputs, request};
use crate::labels::StartedWith;
use crate::names::{self, Names};
use expect_test::{Expect, expect, expect_file};
use model::container::{Container, Device, Logging, Namespaces};
use model::project::{Attachment, File, FileKind, Limits, Mount, MountSource, Role, Runs, Template, User};
use model::secret::Secret;
use model::units::{Bytes, MilliCpus};
use model::{ReleaseNumber, SpecHash};
use plan::action::replica::Start;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use testkit::project::name;

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 128, 0, last)
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn runs(entrypoint: Option<&str>, command: Option<&str>) -> Runs {
    Runs::Image {
        image: name("registry.example/shop/api:2"),
        pull: Default::default(),
        pin: Some(format!("sha256:{}", "ab".repeat(32)).parse().expect("an id")),
        entrypoint: entrypoint.map(words),
        command: command.map(words),
    }
}

/// What runs an image, and nothing else.
fn plain() -> Template {
    Template { runs: runs(None, None), ..testkit::project::process(&["true"]) }
}

/// Every key has a value of its own.
fn full() -> Template {
    let mount = |target: &str, source: MountSource, read_only| Mount { target: target.into(), source, read_only };
    let aliases = |names: &[&str]| Attachment { aliases: names.iter().map(|name| (*name).to_owned()).collect() };
    let file = |target: &str, kind| File {
        target: target.into(),
        content: Secret::new("never shown"),
        mode: 0o440,
        uid: Some(1),
        gid: Some(2),
        kind,
    };
    Template {
        runs: runs(Some("/entry --deep"), Some("serve all")),
        environment: [("A", "1"), ("EMPTY", ""), ("ODD", "a \"b\" $c\nd")]
            .map(|(key, value)| (key.to_owned(), Secret::new(value)))
            .into(),
        working_dir: Some("/srv".into()),
        user: Some(User { uid: 1000, gid: 1001 }),
        hostname: Some("api-host".into()),
        mounts: vec![
            mount("/var/data/", MountSource::Volume(name("data")), false),
            mount("/var/kept", MountSource::Anonymous, false),
            mount("/var/shared", MountSource::External("elsewhere".into()), true),
            mount("/var/logs", MountSource::Host("/srv/logs".into()), true),
            mount("/etc/app", MountSource::Bundle("config/app".into()), true),
            mount("/tmp", MountSource::Tmpfs { size: Some(Bytes(1 << 20)) }, false),
        ],
        files: vec![file("/run/secrets/key", FileKind::Secret), file("/etc/app.conf", FileKind::Config)],
        networks: [(name("back"), aliases(&["api.internal"])), (name("front"), aliases(&[]))].into(),
        extra_hosts: [("peer".to_owned(), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)))].into(),
        limits: Limits {
            cpus: Some(MilliCpus(1500)),
            memory: Some(Bytes(64 << 20)),
            pids: std::num::NonZeroU32::new(100),
            shm: Some(Bytes(32 << 20)),
            ulimits: [("nofile".to_owned(), (1024, 2048))].into(),
        },
        cap_add: BTreeSet::from(["NET_ADMIN".to_owned()]),
        cap_drop: BTreeSet::from(["ALL".to_owned()]),
        read_only: true,
        stop_signal: Some(10),
        stop_grace: Duration::from_millis(2500),
        labels: map(&[("team", "shop"), ("com.docker.compose.project", "not this one")]),
        container: container(),
    }
}

fn container() -> Container {
    Container {
        user: Some("app:staff".into()),
        group_add: words("video 44"),
        init: true,
        privileged: true,
        tty: true,
        stdin_open: true,
        platform: Some("linux/amd64".into()),
        runtime: Some("runsc".into()),
        devices: vec![Device { host: "/dev/sda".into(), inside: "/dev/xvda".into(), permissions: "r".into() }],
        device_cgroup_rules: vec!["c 1:3 mr".into()],
        sysctls: map(&[("net.core.somaxconn", "1024")]),
        security_opt: words("no-new-privileges:true"),
        dns: vec![IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9))],
        dns_opt: words("ndots:1"),
        dns_search: words("example.org"),
        domainname: Some("example.org".into()),
        namespaces: Namespaces {
            network: None,
            ipc: Some("shareable".into()),
            pid: Some("host".into()),
            uts: Some("host".into()),
            user: Some("host".into()),
            cgroup: Some("private".into()),
        },
        logging: Some(Logging { driver: Some("local".into()), options: map(&[("max-size", "1m")]) }),
        memory_reservation: Some(32 << 20),
        memory_swap: Some(-1),
        mem_swappiness: Some(10),
        cpu_shares: Some(512),
        cpu_period: Some(100_000),
        cpu_quota: Some(50_000),
        cpuset: Some("0-1".into()),
        oom_score_adj: Some(500),
        oom_kill_disable: true,
        cgroup_parent: Some("/shop".into()),
        storage_opt: map(&[("size", "1G")]),
        host_gateway: BTreeSet::from(["host.docker.internal".to_owned()]),
        external_networks: [("proxy".to_owned(), Attachment::default())].into(),
        annotations: map(&[("note", "well")]),
    }
}

fn check(template: Template, role: Role, usual_driver: &str, want: &dyn Fn(&str)) {
    let addresses = template.networks.keys().cloned().zip([ip(64), ip(65)]).collect();
    let hosts = (!template.networks.is_empty()).then(|| PathBuf::from("/run/hosts"));
    let files: Vec<PathBuf> = (0..template.files.len()).map(|n| format!("/run/files/{n}").into()).collect();
    let asks = template.mounts.iter().any(|mount| mount.source == MountSource::Anonymous);
    let start = Start {
        id: name("api.3"),
        role,
        template: Arc::new(template),
        hash: SpecHash::from_digest([7; 16]),
        release: ReleaseNumber(4),
        bundle: "c".repeat(64).parse().expect("digits"),
        uid_base: 0,
        addresses,
        failures: 2,
    };
    let with = StartedWith::new(&start, "api-host".into(), 10, 1);
    let anonymous =
        if asks { map(&[("/var/kept", "shop-production_api.1.var-kept"), ("/one-off", "")]) } else { map(&[]) };
    let stack = name("shop@production");
    let networks = start.template.networks.keys().map(|name| (name.clone(), names::network(&stack, name)));
    let volume = |mount: &Mount| match &mount.source {
        MountSource::Volume(name) => Some((name.clone(), names::volume(&stack, name))),
        _ => None,
    };
    let volumes = start.template.mounts.iter().filter_map(volume);
    let ground = Ground { networks: networks.collect(), volumes: volumes.collect() };
    let asked = request(&Inputs {
        names: &Names::default(),
        stack: &stack,
        start: &start,
        with: &with,
        stop_signal: 10,
        bundle: Path::new("/bundles/c"),
        hosts: hosts.as_deref(),
        files: &files,
        anonymous: &anonymous,
        ground: &ground,
        usual_driver,
    });
    let asked = asked.expect("it can be asked for");
    // Through a value, as the Engine's types hold maps that are in no order.
    let sorted = |value: serde_json::Result<serde_json::Value>| {
        let mut value = value.expect("plain data");
        value.sort_all_objects();
        serde_json::to_string_pretty(&value).expect("plain data")
    };
    let body = sorted(serde_json::to_value(&asked.body));
    let connect = sorted(serde_json::to_value(&asked.connect));
    let platform = asked.platform.unwrap_or_else(|| "-".into());
    want(&format!("name {}\nplatform {platform}\ncreate {body}\nconnect {connect}\n", asked.name));
}

#[test]
fn every_key_is_asked_for() {
    check(full(), Role::Service, "json-file", &|text| expect_file!["tests/full.txt"].assert_eq(text));
}

#[test]
fn what_is_not_written_is_not_asked_for() {
    check(plain(), Role::Job, "json-file", &|text| expect_file!["tests/plain.txt"].assert_eq(text));
}

fn part(template: Template, usual_driver: &str, key: &str, want: &Expect) {
    check(template, Role::Service, usual_driver, &|text| {
        let body = text.split_once("create ").and_then(|(_, rest)| rest.split_once("\nconnect ")).expect("a body").0;
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        want.assert_eq(&body.pointer(key).map_or_else(|| "none".into(), ToString::to_string));
    });
}

#[test]
fn an_entry_point_of_its_own_leaves_the_images_command_out() {
    let entry = || Template { runs: runs(Some("/entry"), None), ..plain() };
    part(entry(), "json-file", "/Entrypoint", &expect![[r#"["/entry"]"#]]);
    part(entry(), "json-file", "/Cmd", &expect!["[]"]);
    let command = || Template { runs: runs(None, Some("serve")), ..plain() };
    part(command(), "json-file", "/Entrypoint", &expect!["none"]);
    part(command(), "json-file", "/Cmd", &expect![[r#"["serve"]"#]]);
}

#[test]
fn the_machines_network_has_the_machines_name_and_hosts() {
    let mut template = plain();
    template.container.namespaces.network = Some("host".into());
    part(template.clone(), "json-file", "/Hostname", &expect!["none"]);
    part(template.clone(), "json-file", "/HostConfig/NetworkMode", &expect![[r#""host""#]]);
    let named = Template { hostname: Some("face".into()), ..template };
    part(named, "json-file", "/Hostname", &expect![[r#""api-host""#]]);
    let mut template = plain();
    template.container.namespaces.uts = Some("host".into());
    part(template, "json-file", "/Hostname", &expect!["none"]);
    part(plain(), "json-file", "/HostConfig/NetworkMode", &expect![[r#""none""#]]);
}

#[test]
fn another_usual_way_of_keeping_output_is_left_as_it_is() {
    part(plain(), "journald", "/HostConfig/LogConfig", &expect!["none"]);
    let mut template = plain();
    template.container.logging = Some(Logging { driver: None, options: map(&[("tag", "shop")]) });
    part(template, "journald", "/HostConfig/LogConfig", &expect![[r#"{"Config":{"tag":"shop"},"Type":"journald"}"#]]);
}

#[test]
fn a_file_of_the_bundle_cannot_climb_out_of_it() {
    for path in ["../other", "/etc/shadow", "a/../../b"] {
        assert!(super::within(path).is_err(), "{path}");
    }
    assert_eq!(super::within("./a/b").ok(), Some(Path::new("./a/b")));
}
