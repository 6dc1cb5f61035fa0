use super::*;
use model::project::{self, Role, User};
use model::{ReleaseNumber, Secret};
use std::collections::BTreeMap;
use std::sync::Arc;
use testkit::project::process as template;

fn start(template: Template) -> Start {
    Start {
        id: "api.1".parse().expect("an id"),
        role: Role::Service,
        template: Arc::new(template),
        hash: "00112233445566778899aabbccddeeff".parse().expect("a hash"),
        release: ReleaseNumber(1),
        bundle: "0".repeat(64).parse().expect("a bundle"),
        uid_base: 200_000,
        addresses: plan::Addresses::default(),
        failures: 0,
    }
}

fn check(template: Template, program: &Program) -> Result<Spec, SpecError> {
    let base = PathBuf::from("/s");
    let join = |name: &str| base.join(name);
    let layout = Layout { run: join("run"), scratch: join("scratch"), volumes: join("volumes"), logs: join("logs") };
    build(&Inputs {
        stack: &"shop@production".parse().expect("a stack"),
        start: &start(template),
        program,
        layout: &layout,
        bundle: Path::new("/s/bundle"),
        network: "/s/netns".into(),
        groups: &Groups::default(),
        hidden: &["/s".into()],
        anonymous: &["/s/volumes/shop@production/api.1.anonymous".into()],
        accounts: ("root:x:0:0::/root:/bin/sh\napp:x:5:5::/:/bin/sh\n", "root:x:0:\n"),
    })
}

fn mount(target: &str, source: MountSource) -> project::Mount {
    project::Mount { target: target.into(), source, read_only: false }
}

#[test]
fn mounts_come_in_order_of_depth() {
    let mut template = template(&["./api"]);
    template.mounts = vec![
        mount("/data/deep/er", MountSource::Tmpfs { size: None }),
        mount("/data", MountSource::Volume("db".parse().expect("a name"))),
        mount("/anonymous", MountSource::Anonymous),
        mount("/conf/app.toml", MountSource::Bundle("files/app.toml".into())),
    ];
    let spec = check(template, &Program::plain(vec!["./api".into()])).expect("is legal");
    let found: Vec<String> = spec.root.mounts.iter().map(describe).collect();
    let want = [
        "/anonymous < /s/volumes/shop@production/api.1.anonymous false",
        "/data < /s/volumes/shop@production/db false",
        "/conf/app.toml < /s/bundle/files/app.toml true",
        "/etc/hosts < /s/run/shop@production/replicas/api.1/hosts true",
        "/etc/resolv.conf < /s/run/shop@production/replicas/api.1/resolv.conf true",
        "/data/deep/er memory",
    ];
    assert_eq!(found, want);
}

fn describe(mount: &Mount) -> String {
    match &mount.what {
        MountKind::Bind { source, read_only } => {
            format!("{} < {} {read_only}", mount.target.display(), source.display())
        }
        MountKind::Tmpfs { .. } => format!("{} memory", mount.target.display()),
    }
}

#[test]
fn users_are_counted_from_the_stacks_first() {
    let user = |uid, gid| {
        let mut template = template(&["x"]);
        template.user = Some(User { uid, gid });
        check(template, &Program::plain(vec!["x".into()])).map(|spec| (spec.identity.uid, spec.identity.gid))
    };
    assert_eq!(user(0, 0), Ok((200_000, 200_000)), "root inside is nobody outside");
    assert_eq!(user(1000, 33), Ok((201_000, 200_033)));
    assert_eq!(user(65_536, 0), Err(SpecError::User(65_536)));
    let spec = check(template(&["x"]), &Program::plain(vec!["x".into()])).expect("is legal");
    assert_eq!(spec.identity.uid, 200_999);
    let passwd = &spec.root.files[1].content.bytes().expect("text");
    let want = "root:x:0:0::/root:/bin/sh\napp:x:200999:200999::/tmp:/bin/sh\n";
    assert_eq!(String::from_utf8_lossy(passwd), want);
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let refused = |target: &str, source| {
        let mut template = template(&["x"]);
        template.mounts = vec![mount(target, source)];
        check(template, &Program::plain(vec!["x".into()])).expect_err("is refused")
    };
    assert!(matches!(refused("/x", MountSource::Host("/s/state.db".into())), SpecError::Hidden(_)));
    assert!(matches!(refused("/x", MountSource::Host("/".into())), SpecError::Hidden(_)));
    assert!(matches!(refused("/x", MountSource::Bundle("../../etc/shadow".into())), SpecError::Path(_)));
    assert!(matches!(refused("/x", MountSource::Bundle("/etc/shadow".into())), SpecError::Path(_)));
    assert!(matches!(refused("/a/../b", MountSource::Anonymous), SpecError::Path(_)));
    assert!(matches!(refused("b", MountSource::Tmpfs { size: None }), SpecError::Path(_)));
}

#[test]
fn the_users_variables_win() {
    let mut template = template(&["x"]);
    template.environment = BTreeMap::from([("HOME".to_owned(), Secret::new("/home/me"))]);
    let program = Program { env: vec![("LANG".into(), "C".into())], ..Program::plain(vec!["x".into()]) };
    let spec = check(template, &program).expect("is legal");
    let want = [("PATH", PATH), ("HOME", "/home/me"), ("HOSTNAME", "api-1"), ("LANG", "C")];
    let want: Vec<_> = want.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(spec.workload.env, want);
}
