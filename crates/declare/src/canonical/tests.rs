use super::*;
use crate::syntax::{build, emit};
use model::span::FileId;

/// The canonical form of one service's keys, as one line of JSON, or the codes of what was found.
fn check(keys: &str, want: &str) {
    let text = format!("services: {{a: {{{keys}}}}}");
    let mut found = Findings::default();
    let mut tree = build::parse(FileId(0), &text, &mut found).expect("the test's YAML is legal");
    compose(&mut tree, &mut found);
    let one_line = |tree: &Node| emit::json(tree).split_whitespace().collect::<Vec<_>>().join(" ");
    let got = one_line(&tree);
    compose(&mut tree, &mut found);
    assert_eq!(one_line(&tree), got, "twice is as once: {keys}");
    let codes: Vec<&str> = found.into_sorted().iter().map(|d| d.code).collect();
    if !codes.is_empty() {
        assert_eq!(codes.join(" "), want, "{keys}");
        return;
    }
    let got = got.strip_prefix(r#"{ "services": { "a": { "#).and_then(|g| g.strip_suffix(" } } }"));
    assert_eq!(got, Some(want), "{keys}");
}

#[test]
fn short_forms_become_long() {
    check("command: 'a \"b c\"'", r#""command": ["a", "b c"]"#);
    check("command: 'a \"b c'", "MS0044");
    check("environment: [A=1, B=x=y, C, A=2]", r#""environment": { "A": "2", "B": "x=y", "C": null }"#);
    check("environment: {A: 1.0, B: true, C: }", r#""environment": { "A": "1", "B": "true", "C": null }"#);
    check("labels: [a=1, b]", r#""labels": { "a": "1", "b": "" }"#);
    check("build: ./x", r#""build": { "context": "./x" }"#);
    check("depends_on: [b]", r#""depends_on": { "b": { "condition": "service_started", "required": true } }"#);
    check("depends_on: {b: {restart: true}}", r#""depends_on": { "b": { "restart": true, "required": true } }"#);
    check("networks: [b, c]", r#""networks": { "b": null, "c": null }"#);
    check("env_file: .env", r#""env_file": [{ "path": ".env" }]"#);
    check("secrets: [s]", r#""secrets": [{ "source": "s" }]"#);
    check("healthcheck: {test: curl x}", r#""healthcheck": { "test": ["CMD-SHELL", "curl x"] }"#);
    check("gpus: all", r#""gpus": [{ "count": -1 }]"#);
    check("devices: ['/dev/a:/dev/b']", {
        r#""devices": [{ "source": "/dev/a", "target": "/dev/b", "permissions": "rwm" }]"#
    });
    check("tmpfs: /run", r#""tmpfs": ["/run"]"#);
    check("extra_hosts: ['a:1.2.3.4', 'b=::1', 'a=5.6.7.8']", {
        r#""extra_hosts": { "a": ["1.2.3.4", "5.6.7.8"], "b": ["::1"] }"#
    });
    check("extra_hosts: [a]", "MS0016");
    check("environment: !reset null", r#""environment": null"#);
    check("environment: [{a: 1}]", "MS0015");
}

#[test]
fn ports_are_taken_apart() {
    check("ports: [80]", r#""ports": [{ "target": 80, "protocol": "tcp" }]"#);
    check("ports: ['8080:80']", r#""ports": [{ "target": 80, "published": "8080", "protocol": "tcp" }]"#);
    check("ports: ['127.0.0.1::80']", r#""ports": [{ "target": 80, "host_ip": "127.0.0.1", "protocol": "tcp" }]"#);
    check("ports: ['[::1]:1:2/udp']", {
        r#""ports": [{ "target": 2, "published": "1", "host_ip": "::1", "protocol": "udp" }]"#
    });
    check("ports: ['8-9:1-2']", {
        r#""ports": [{ "target": 1, "published": "8", "protocol": "tcp" }, { "target": 2, "published": "9", "protocol": "tcp" }]"#
    });
    check("ports: ['80:80/TCP']", r#""ports": [{ "target": 80, "published": "80", "protocol": "tcp" }]"#);
    check("ports: ['8000-9000:80']", r#""ports": [{ "target": 80, "published": "8000-9000", "protocol": "tcp" }]"#);
    check("ports: ['99-100:99-100']", {
        r#""ports": [{ "target": 100, "published": "100", "protocol": "tcp" }, { "target": 99, "published": "99", "protocol": "tcp" }]"#
    });
    for bad in ["'8-9:1-3'", "0", "x", "'70000:1'", "'1:2:x'", "''"] {
        check(&format!("ports: [{bad}]"), "MS0040");
    }
    check("ports: ['1-65535', '1-65535:1-65535', '1-65535']", "MS0003");
}

#[test]
fn mounts_are_taken_apart() {
    check("volumes: ['db:/d']", {
        r#""volumes": [{ "type": "volume", "source": "db", "target": "/d", "volume": {} }]"#
    });
    check("volumes: ['./d:/d:ro,z']", {
        r#""volumes": [{ "type": "bind", "source": "./d", "target": "/d", "read_only": true, "bind": { "selinux": "z" } }]"#
    });
    check("volumes: ['db:/d:nocopy']", {
        r#""volumes": [{ "type": "volume", "source": "db", "target": "/d", "volume": { "nocopy": true } }]"#
    });
    check("volumes: ['C:\\x:/y']", {
        r#""volumes": [{ "type": "bind", "source": "C:\\x", "target": "/y", "bind": {} }]"#
    });
    check("volumes: ['db:/b:what']", "MS0013");
    check("volumes: [/d]", r#""volumes": [{ "type": "volume", "target": "/d" }]"#);
    for bad in ["'db:/b:ro:x'", "':/x'", "'db:/x:'"] {
        check(&format!("volumes: [{bad}]"), "MS0041");
    }
}
