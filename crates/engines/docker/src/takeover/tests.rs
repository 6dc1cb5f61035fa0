//! When a container of another tool is as we would make it, told on what the Engine says of one that docker-compose made.

use super::differs::differs;
use super::ledger::{Ledgers, Taken};
use crate::container::Request;
use crate::labels::StartedWith;
use crate::layout::Layout;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, HostConfig, ImageConfig};
use expect_test::{Expect, expect};
use model::project::{Mount, MountSource, Role, Template};
use model::{ReleaseNumber, SpecHash, StackId};
use plan::Addresses;
use plan::action::replica::Start;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use testkit::project::name;

/// What the Engine (20.10) tells of it, as far as it is compared.
fn found() -> Value {
    json!({
        "Id": "c1", "Name": "/shop-web-1", "Image": "sha256:aa",
        "Config": {
            "Hostname": "0123456789ab", "User": "", "WorkingDir": "/app", "Image": "shop-web",
            "Env": ["A=one", "PATH=/bin"], "Cmd": ["serve"], "Entrypoint": null, "Volumes": {},
            "Labels": {"com.docker.compose.project": "shop", "of.the.image": "x", "own": "y"},
        },
        "HostConfig": {
            "NetworkMode": "shop_default", "RestartPolicy": {"Name": "always"}, "CapAdd": ["CAP_NET_ADMIN"], "CapDrop": null,
            "ExtraHosts": ["peer=192.0.2.7"], "ShmSize": 67_108_864, "IpcMode": "private", "PidsLimit": null, "Memory": 0,
            "LogConfig": {"Type": "json-file", "Config": {}}, "PortBindings": {"80/tcp": [{"HostPort": "8000"}]},
        },
        "Mounts": [
            {"Type": "volume", "Name": "shop_data", "Destination": "/data", "RW": true},
            {"Type": "volume", "Name": "f".repeat(64), "Destination": "/cache", "RW": true},
        ],
    })
}

fn image() -> ImageConfig {
    ImageConfig {
        env: Some(vec!["PATH=/bin".into(), "A=usual".into()]),
        cmd: Some(vec!["serve".into()]),
        working_dir: Some("/app".into()),
        volumes: Some(vec!["/cache".into()]),
        labels: Some([("of.the.image".to_owned(), "x".to_owned())].into()),
        ..ImageConfig::default()
    }
}

fn wanted() -> (Request, Template) {
    let mut template = testkit::project::process(&["true"]);
    template.mounts =
        vec![Mount { target: "/data/".into(), source: MountSource::Volume(name("data")), read_only: false }];
    template.labels = [("own".to_owned(), "y".to_owned())].into();
    template.extra_hosts = [("peer".to_owned(), "192.0.2.7".parse().expect("an address"))].into();
    let host = HostConfig { cap_add: Some(vec!["NET_ADMIN".into()]), ..HostConfig::default() };
    let body = ContainerCreateBody {
        image: Some("sha256:aa".into()),
        env: Some(vec!["A=one".into()]),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    (Request { name: "ours".into(), platform: None, body, connect: Vec::new() }, template)
}

fn start() -> Start {
    Start {
        id: "web.1".parse().expect("legal"),
        role: Role::Service,
        template: Arc::new(wanted().1),
        hash: SpecHash::from_digest([7; 16]),
        release: ReleaseNumber(1),
        bundle: "c".repeat(64).parse().expect("digits"),
        uid_base: 0,
        addresses: Addresses::default(),
        failures: 0,
    }
}

fn check(change: impl FnOnce(&mut Value, &mut Request, &mut Template), want: &Expect) {
    let (mut there, (mut request, mut template)) = (found(), wanted());
    change(&mut there, &mut request, &mut template);
    let there: ContainerInspectResponse = serde_json::from_value(there).expect("an answer of the Engine");
    let volumes = BTreeMap::from([("data".to_owned(), "shop_data".to_owned())]);
    want.assert_eq(&differs(&request, &template, &image(), &volumes, &there).join(", "));
}

#[test]
fn what_is_ours_to_decide_does_not_count() {
    check(|_, _, _| {}, &expect![""]);
    check(|there, _, _| there["HostConfig"]["PortBindings"] = json!({}), &expect![""]);
    check(|there, _, _| there["HostConfig"]["MemorySwap"] = json!(5), &expect![""]);
}

#[test]
fn every_other_difference_is_named_by_its_key() {
    check(|there, _, _| there["Image"] = json!("sha256:bb"), &expect!["image"]);
    check(|there, _, _| there["Config"]["Env"] = json!(["A=one"]), &expect!["environment"]);
    check(|there, _, _| there["Config"]["Cmd"] = json!(["serve", "all"]), &expect!["command"]);
    check(|_, request, _| request.body.entrypoint = Some(vec!["/x".into()]), &expect!["command, entrypoint"]);
    check(|there, _, _| there["Config"]["Labels"]["own"] = json!("z"), &expect!["labels"]);
    check(|there, _, _| there["HostConfig"]["CapAdd"] = json!(null), &expect!["cap_add"]);
    check(|there, _, _| there["HostConfig"]["Memory"] = json!(64), &expect!["mem_limit"]);
    check(|there, _, _| there["HostConfig"]["NetworkMode"] = json!("host"), &expect!["network_mode"]);
    check(|there, _, _| there["HostConfig"]["ExtraHosts"] = json!(null), &expect!["extra_hosts"]);
    check(|_, _, template| template.hostname = Some("web".into()), &expect!["hostname"]);
    check(|there, _, _| there["Mounts"][0]["RW"] = json!(false), &expect!["volumes (/data/)"]);
    check(|there, _, _| there["Mounts"][0]["Name"] = json!("other"), &expect!["volumes (/data/)"]);
    check(|there, _, _| there["Mounts"][1]["Destination"] = json!("/x"), &expect!["volumes (/x)"]);
    check(|_, _, template| template.mounts.clear(), &expect!["volumes (/data)"]);
}

#[test]
fn a_ledger_lasts_and_one_that_cannot_be_read_stops_its_stack_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let layout = Layout { run: at("run"), logs: at("logs"), ledgers: at("ledgers") };
    let stack = |text: &str| text.parse::<StackId>().expect("legal");
    let (shop, blog) = (stack("shop@production"), stack("blog@production"));
    let taken = Taken { replica: "web.1".into(), with: StartedWith::new(&start(), "h".into(), 15, 1) };
    let ledgers = Ledgers::read(&layout);
    for stack in [&shop, &blog] {
        ledgers
            .change(&layout, stack, |ledger| drop(ledger.taken.insert("c1".into(), taken.clone())))
            .expect("written");
    }
    runtime::files::write(&layout.ledgers.join("blog@production"), b"{", 0o600).expect("written");
    let next = Ledgers::read(&layout);
    let known = next.of(&shop).expect("it can be read");
    assert_eq!(known.container_of(&"web.1".parse().expect("legal")), Some("c1"));
    assert!(next.of(&blog).expect_err("it is torn").to_string().contains("blog@production"));
    assert!(next.check().is_err(), "nothing more is taken over");
    let blocked = Layout { ledgers: layout.ledgers.join("blog@production"), ..layout.clone() };
    assert!(Ledgers::read(&blocked).of(&shop).is_err(), "a folder that cannot be read is not an empty one");
    next.change(&layout, &shop, |ledger| ledger.taken.clear()).expect("written");
    assert!(!layout.ledgers.join("shop@production").exists(), "nothing is left of what is over");
}
