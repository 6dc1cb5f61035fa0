//! What a container engine is told: the values of a project that was read for one, and which engine it is read for.

#![allow(clippy::disallowed_methods, reason = "tests read and update their own files")]
#![allow(dead_code, reason = "the support of other tests")]

mod support;

use mainstay_declare::{Because, Declared, Input, load};
use model::container::{Context, Pull, Recipe};
use model::policy::EngineKind;
use model::project::{Condition, MountSource, Order, Project, Runs, Template};
use std::collections::BTreeSet;
use std::time::Duration;
use support::{Case, LINE, diagnostics};

fn declared(case: &Case) -> Declared {
    let loaded = case.load();
    let said = diagnostics(&loaded);
    loaded.declared.unwrap_or_else(|| panic!("{said}"))
}

fn golden(text: &str) -> Declared {
    let (input, _) = text.split_once(LINE).expect("a golden file");
    declared(&Case::parse(&format!("{input}\n")))
}

fn template<'p>(project: &'p Project, name: &str) -> &'p Template {
    &project.services[name].template
}

#[test]
fn the_keys_of_a_container_are_read() {
    let project = golden(include_str!("data/docker.txt")).project;
    assert_eq!(project.engine, Some(EngineKind::Docker));
    let web = template(&project, "web");
    let container = &web.container;
    assert_eq!((container.user.as_deref(), web.user.as_ref()), (Some("node:staff"), None));
    assert_eq!(container.group_add, ["video", "44"]);
    assert!(container.init && container.privileged && container.tty && container.stdin_open);
    assert!(container.oom_kill_disable);
    assert_eq!(container.platform.as_deref(), Some("linux/amd64"));
    let devices: Vec<_> = container.devices.iter().map(|d| (&*d.host, &*d.inside, &*d.permissions)).collect();
    assert_eq!(devices, [("/dev/fuse", "/dev/fuse", "rwm"), ("/dev/null", "/dev/x", "r")]);
    assert_eq!(container.sysctls["net.core.somaxconn"], "1024");
    assert_eq!(
        container.security_opt,
        ["no-new-privileges:true", "seccomp={\"defaultAction\": \"SCMP_ACT_ERRNO\"}", "label=disable"]
    );
    assert_eq!(container.dns, ["10.0.0.53".parse::<std::net::IpAddr>().expect("one")]);
    let names = &container.namespaces;
    let all = [&names.network, &names.ipc, &names.pid, &names.uts, &names.user, &names.cgroup];
    let host = Some("host");
    assert_eq!(all.map(Option::as_deref), [None, Some("shareable"), host, host, host, Some("private")]);
    let logging = container.logging.as_ref().expect("written");
    assert_eq!((logging.driver.as_deref(), &*logging.options["max-file"]), (Some("json-file"), "3"));
    assert_eq!((container.memory_reservation, container.memory_swap), (Some(128 << 20), Some(1 << 30)));
    assert_eq!((container.mem_swappiness, container.cpu_shares), (Some(0), Some(73)));
    assert_eq!((container.cpu_period, container.cpu_quota), (Some(100_000), Some(50_000)));
    assert_eq!((container.cpuset.as_deref(), container.oom_score_adj), (Some("0-1"), Some(-500)));
    assert_eq!(container.host_gateway, BTreeSet::from(["host.docker.internal".to_owned()]));
    assert_eq!(web.extra_hosts.keys().collect::<Vec<_>>(), ["db.example"]);
    assert_eq!(container.annotations["a.b/c"], "d");
    let Runs::Image { pull, entrypoint: None, command: None, .. } = &web.runs else { panic!("an image runs") };
    assert_eq!(*pull, Pull::Every(Duration::from_secs(12 * 60 * 60)));
}

#[test]
fn networks_and_volumes_of_others_are_known_by_their_names_on_the_engine() {
    let project = golden(include_str!("data/docker.txt")).project;
    let web = template(&project, "web");
    let aliases = |of: &BTreeSet<String>| of.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(aliases(&web.networks["front"].aliases), "Shop_Web shop");
    let outside: Vec<_> = web.container.external_networks.iter().map(|(n, a)| (&**n, aliases(&a.aliases))).collect();
    assert_eq!(outside, [("traefik_default", "Shop_Web".to_owned())]);
    // A link is an alias of the one it leads to, which is started before.
    assert_eq!(aliases(&template(&project, "cache").networks["front"].aliases), "store");
    assert_eq!(project.services["web"].depends_on["cache"].condition, Condition::Started);
    let sources: Vec<_> = web.mounts.iter().map(|mount| mount.source.clone()).collect();
    assert_eq!(sources[1], MountSource::External("shared".into()));
    assert!(matches!(&sources[0], MountSource::Volume(name) if name.as_str() == "media"));
    assert_eq!(project.volumes.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["media", "nfs"]);
    let media = &project.volumes["media"];
    assert_eq!((media.name.as_deref(), &*media.labels["keep"]), (Some("shop-media"), "yes"));
    assert_eq!(project.volumes["nfs"].driver_opts["device"], "/srv/demo/exported");
    let names: Vec<_> = project.networks.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["default", "front"]);
    assert_eq!(project.networks["front"].name.as_deref(), Some("shop-front"));
    assert_eq!(project.networks["front"].driver_opts["com.docker.network.driver.mtu"], "1400");
}

#[test]
fn a_service_on_no_network_of_the_project_publishes_nothing_and_runs_once_at_a_time() {
    let project = golden(include_str!("data/docker.txt")).project;
    let agent = &project.services["agent"];
    assert!(agent.published.is_empty() && agent.template.networks.is_empty() && agent.direct);
    assert_eq!(agent.update.order, Order::StopFirst);
    assert_eq!(agent.template.container.namespaces.network.as_deref(), Some("host"));
    assert_eq!(agent.template.user.as_ref().map(|user| (user.uid, user.gid)), Some((1000, 0)));
    assert_eq!(template(&project, "plain").networks.keys().map(|n| n.as_str()).collect::<Vec<_>>(), ["default"]);
    // Data stores are as they are on every engine, and a folder needs no image.
    assert!(project.services["cache"].direct && project.services["cache"].ports.contains(&6379));
    assert!(matches!(&template(&project, "pages").runs, Runs::Static { root, .. } if root == "dist"));
    assert!(matches!(&template(&project, "web").runs, Runs::Image { .. }), "a recipe is for processes");
}

#[test]
fn a_build_has_what_it_is_made_of() {
    let declared = golden(include_str!("data/docker-builds.txt"));
    let project = &declared.project;
    let of = |name: &str| match &template(project, name).runs {
        Runs::Build { build, pin: None, .. } => (**build).clone(),
        other => panic!("{other:?}"),
    };
    let api = of("api");
    let Context::Bundle(place) = &api.context else { panic!("{:?}", api.context) };
    assert!(place.starts_with(".mainstay/contexts/api-"), "{place}");
    assert_eq!(api.recipe, Recipe::File("docker/Dockerfile".into()));
    let args: Vec<_> = api.args.iter().map(|(name, value)| format!("{name}={}", value.reveal_text())).collect();
    assert_eq!(args, ["TOKEN=from the environment", "VERSION=3"]);
    let secrets: Vec<_> = api.secrets.iter().map(|(name, value)| format!("{name}={}", value.reveal_text())).collect();
    assert_eq!(secrets, ["deploy=from the environment", "npm=//example\n"]);
    assert_eq!(api.contexts["base"], Context::Image("alpine:3".into()));
    assert_eq!(api.contexts["docs"], Context::Remote("https://example.org/docs.git#main".into()));
    assert!(matches!(&api.contexts["shared"], Context::Bundle(place) if place.contains("/shared-")));
    assert_eq!(api.cache_from, ["registry.example/shop/api:1", "registry.example/cache"]);
    assert_eq!((api.network.as_deref(), api.target.as_deref()), (Some("host"), Some("release")));
    assert_eq!(api.platform.as_deref(), Some("linux/arm64"));
    assert!(api.pull && api.no_cache);
    let names: Vec<_> = api.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["registry.example/shop/api:2", "shop/api:latest"]);
    // Who is built of the same folder in the same way shares its place; rules of an own Dockerfile make another.
    assert_eq!(of("worker").context, api.context);
    assert_ne!(of("web").context, of("all").context);
    assert_eq!(of("beside").recipe, Recipe::Inline("FROM scratch\nCOPY . .\n".into()));
    assert_eq!(of("inline").recipe, Recipe::Inline("FROM scratch".into()));
    assert_eq!(of("remote").context, Context::Remote("https://example.org/app.git#v1:docker".into()));
    assert_eq!(of("many").platform, None);
    // No path of the project is in the bundle for a build, and what is carried is what is asked for.
    assert!(declared.bundle_paths.is_empty());
    let places: BTreeSet<&str> = declared.contexts.iter().map(|context| &*context.bundle).collect();
    for name in project.services.keys() {
        let build = of(name.as_str());
        for context in build.contexts.values().chain([&build.context]) {
            assert!(!matches!(context, Context::Bundle(place) if !places.contains(&**place)), "{name}: {context:?}");
        }
    }
}

#[test]
fn what_is_said_outside_wins_over_the_file_over_what_the_machine_offers() {
    let check = |said: Option<EngineKind>, written: &str, offered: EngineKind, want: EngineKind| {
        let text = format!(
            "==> compose.yaml\nservices: {{ a: {{ image: redis }} }}\n==> mainstay.yaml\nenvironments: {{ e: {{ {written} }} }}\n"
        );
        let case = Case { engine: said, ..Case::parse(&text) };
        let input = Input { default_engine: offered, ..case.input() };
        let loaded = load(&input);
        let resolved = loaded.resolved.as_ref().unwrap_or_else(|| panic!("{}", diagnostics(&loaded)));
        let because = match (said, written) {
            (Some(_), _) => matches!(resolved.engine.because, Because::Said),
            (None, "") => matches!(resolved.engine.because, Because::Offered),
            (None, _) => matches!(resolved.engine.because, Because::Written(_)),
        };
        assert!(because, "{:?}", resolved.engine);
        assert_eq!(resolved.engine.kind, want);
        let project = loaded.declared.map(|declared| declared.project);
        let is_there = want != EngineKind::Swarm;
        assert_eq!(project.map(|project| project.engine), is_there.then_some(Some(want)));
    };
    use EngineKind::{Docker, Process, Swarm};
    check(None, "", Process, Process);
    check(None, "", Docker, Docker);
    check(None, "engine: process", Docker, Process);
    check(None, "engine: docker", Process, Docker);
    check(Some(Process), "engine: docker", Docker, Process);
    check(Some(Docker), "engine: process", Process, Docker);
    check(None, "engine: swarm", Docker, Swarm);
    check(Some(Swarm), "", Docker, Swarm);
    check(Some(Docker), "engine: swarm", Process, Docker);
}
