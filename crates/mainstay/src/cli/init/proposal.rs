//! The mainstay.yaml that `init` proposes for a Compose file that is there.
//!
//! Pure: what was seen of the project in, text out. What is a guess and might be wrong is a comment.

use declare::survey::Surveyed;
use declare::syntax::emit::word;
use model::policy::EngineKind;
use std::fmt::Write as _;

/// Ports that speak no HTTP: nothing there is for a browser.
const NO_HTTP: [u16; 14] = [21, 22, 25, 53, 1433, 1521, 3306, 4222, 5432, 5672, 6379, 9092, 11211, 27017];

/// A route that somebody probably wants.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Guess {
    host: String,
    prefix: String,
    service: String,
    port: u16,
}

/// The text for these services on this engine.
pub fn policy(name: &str, engine: EngineKind, services: &[Surveyed]) -> String {
    let mut out = Lines(String::new());
    out.line(&format!("# How {name} is operated. All of it is optional; compose.yaml says what runs."));
    out.line("# For completion in your editor: `mainstay schema > .mainstay.schema.json`, and as the first line");
    out.line("# `# yaml-language-server: $schema=.mainstay.schema.json`.");
    out.line(&format!("project: {}", word(name)));
    environments(name, engine, services, &mut out);
    routes(name, services, &mut out);
    if engine == EngineKind::Process {
        processes(services, &mut out);
    }
    probes(services, &mut out);
    stores(services, &mut out);
    objectives(name, services, &mut out);
    out.0
}

struct Lines(String);

impl Lines {
    fn line(&mut self, line: &str) {
        writeln!(self.0, "{line}").expect("text takes text");
    }
}

fn environments(name: &str, engine: EngineKind, services: &[Surveyed], out: &mut Lines) {
    let scaled = services.iter().find(|service| !service.is_store).map_or("SERVICE", |service| &service.name);
    out.line("");
    out.line("# Where it runs. `mainstay -e production up` chooses one; without a choice it is development.");
    out.line(match engine {
        EngineKind::Docker => {
            "# Images are built and run by Docker, which answers here; `{ engine: docker }` holds it to that."
        }
        _ => "# Everything runs as processes of the machine; `{ engine: docker }` has Docker build and run images.",
    });
    out.line("environments:");
    out.line("  development: {}");
    out.line("  # production:");
    out.line(&format!("  #   variables: {{ DOMAIN: {name}.example }}"));
    out.line(&format!("  #   replicas: {{ {}: 2 }}", word(scaled)));
}

fn routes(name: &str, services: &[Surveyed], out: &mut Lines) {
    let own = format!("${{DOMAIN:-{name}.localhost}}");
    out.line("");
    out.line("# What is reached under which host and path, on the machine's HTTP port.");
    let labelled: Vec<Guess> = services.iter().flat_map(of_labels).collect();
    if !labelled.is_empty() {
        out.line("# Taken from the `traefik` labels of the Compose file.");
        out.line("routes:");
        let mut hosts: Vec<&str> = labelled.iter().map(|guess| guess.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        for host in hosts {
            let paths: Vec<&Guess> = labelled.iter().filter(|guess| guess.host == host).collect();
            route(host, &paths, "", out);
        }
        return;
    }
    let fronts = of_ports(name, services);
    let Some((first, others)) = fronts.split_first() else {
        out.line("# routes:");
        out.line(&format!("#   - host: \"{own}\""));
        out.line("#     paths: { /: \"SERVICE:PORT\" }");
        return;
    };
    out.line("routes:");
    route(&own, &[first], "", out);
    for other in others {
        route(&format!("{}.{own}", other.service), &[other], "# ", out);
    }
}

fn route(host: &str, paths: &[&Guess], sign: &str, out: &mut Lines) {
    out.line(&format!("  {sign}- host: \"{host}\""));
    let targets = paths.iter().map(|path| format!("{}: \"{}:{}\"", path.prefix, path.service, path.port));
    out.line(&format!("  {sign}  paths: {{ {} }}", targets.collect::<Vec<_>>().join(", ")));
}

/// Services that a browser would be pointed at: those that publish a port which may speak HTTP, likely ones first.
fn of_ports(project: &str, services: &[Surveyed]) -> Vec<Guess> {
    let may = |service: &&Surveyed| !service.is_store;
    let ports = services.iter().filter(may).flat_map(|service| {
        let first = service.published.iter().find(|port| !NO_HTTP.contains(port));
        first.map(|port| (service.name.clone(), *port))
    });
    let mut all: Vec<(String, u16)> = ports.collect();
    let is_front = |name: &str| ["web", "www", "frontend", "front", "ui", "app", "nginx", project].contains(&name);
    all.sort_by_key(|(name, port)| (*port != 80, !is_front(name), *port != 8080, name.clone()));
    let guess = |(service, port)| Guess { host: String::new(), prefix: "/".into(), service, port };
    all.into_iter().map(guess).collect()
}

/// Routes that `traefik` labels speak of: hosts and path prefixes that are put together with `&&` and `||`.
fn of_labels(service: &Surveyed) -> Vec<Guess> {
    let port = service
        .labels
        .iter()
        .find(|(key, _)| key.starts_with("traefik.http.services.") && key.ends_with(".loadbalancer.server.port"));
    let port = port.and_then(|(_, port)| port.parse().ok());
    let Some(port) = port.or_else(|| service.ports.first().copied().filter(|_| service.ports.len() == 1)) else {
        return Vec::new();
    };
    let is_rule = |key: &str| key.starts_with("traefik.http.routers.") && key.ends_with(".rule");
    let rules = service.labels.iter().filter(|(key, _)| is_rule(key)).map(|(_, rule)| rule);
    let mut all = Vec::new();
    for rule in rules.filter(|rule| !rule.contains('!')) {
        let mut prefixes = arguments(rule, &["PathPrefix", "Path"]);
        if prefixes.is_empty() {
            prefixes.push("/".into());
        }
        for host in arguments(rule, &["Host"]) {
            for prefix in prefixes.iter().filter(|prefix| prefix.starts_with('/')) {
                let guess = Guess { host: host.clone(), prefix: prefix.clone(), service: service.name.clone(), port };
                if !all.contains(&guess) {
                    all.push(guess);
                }
            }
        }
    }
    all
}

/// What stands in the brackets behind these words.
fn arguments(rule: &str, words: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = rule;
    while let Some((before, after)) = rest.split_once('(') {
        let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let (inside, behind) = after.split_once(')').unwrap_or((after, ""));
        if words.contains(&word) {
            let bare = |text: &str| text.trim().trim_matches(['`', '"', '\'']).to_owned();
            all.extend(inside.split(',').map(bare).filter(|text| !text.is_empty() && !text.contains(['"', '{', '`'])));
        }
        // Of brackets within brackets the inner ones are looked at.
        rest = if words.contains(&word) { behind } else { after };
    }
    all
}

fn processes(services: &[Surveyed], out: &mut Lines) {
    out.line("");
    out.line("# How services run without a container: what is built, what of the project they see, what is run.");
    out.line("# Well-known images (postgres, redis …) need nothing here: the machine's own programs run.");
    let mut names: Vec<&str> =
        services.iter().filter(|service| service.is_built).map(|service| service.name.as_str()).collect();
    if names.is_empty() {
        names.push("SERVICE");
    }
    out.line("# processes:");
    for name in names {
        out.line(&format!("#   {}:", word(name)));
        out.line("#     build: make");
        out.line(&format!("#     artifacts: [bin/{name}]"));
        out.line(&format!("#     command: [bin/{name}]"));
    }
}

fn probes(services: &[Surveyed], out: &mut Lines) {
    out.line("");
    out.line(
        "# When a replica gets traffic (ready), and when it is replaced (live). Compose's healthcheck counts as ready.",
    );
    out.line("# probes:");
    let asked = |service: &&Surveyed| !service.has_health && !service.is_store && !service.ports.is_empty();
    let mut none = true;
    for service in services.iter().filter(asked) {
        none = false;
        let port = service.ports.first().expect("asked for above");
        let check = if NO_HTTP.contains(port) { format!("tcp: {port}") } else { format!("http: /, port: {port}") };
        out.line(&format!("#   {}: {{ ready: {{ {check}, interval: 2s }} }}", word(&service.name)));
    }
    if none {
        out.line("#   SERVICE:");
        out.line("#     ready: { http: /ready, port: 3000, interval: 1s }");
        out.line("#     live: { http: /live, port: 3000, interval: 5s }");
    }
}

fn stores(services: &[Surveyed], out: &mut Lines) {
    let stores: Vec<&Surveyed> = services.iter().filter(|service| service.is_store).collect();
    if stores.is_empty() {
        return;
    }
    out.line("");
    out.line("# Data stores. Their names lead to them directly, and they are replaced stop-first:");
    for store in &stores {
        let image = store.image.as_ref().map(ToString::to_string).unwrap_or_default();
        let kept = match store.volumes.as_slice() {
            [] => "no volume: its data are lost with it".to_owned(),
            names => format!("in {}", names.join(", ")),
        };
        out.line(&format!("#   {}  {image}, {kept}", store.name));
    }
    out.line("# The names are kept; until a version knows them they are refused.");
    out.line("# backups:");
    for store in stores {
        let scheme = match store.image.as_ref().map(|image| image.repository()) {
            Some(name) if name.contains("postg") || name.contains("timescale") || name.contains("pgvector") => {
                "postgres"
            }
            Some(name) if name.contains("redis") || name.contains("valkey") || name.contains("keydb") => "redis",
            Some(name) if name.contains("mongo") => "mongodb",
            Some(name) if name.contains("mysql") || name.contains("mariadb") || name.contains("percona") => "mysql",
            _ => match store.volumes.first() {
                Some(volume) => {
                    out.line(&format!(
                        "#   {}: {{ source: \"volume://{volume}\", schedule: \"0 2 * * *\" }}",
                        word(&store.name)
                    ));
                    continue;
                }
                None => continue,
            },
        };
        let name = &store.name;
        let source = format!("{scheme}://{name}");
        out.line(&format!(
            "#   {}: {{ source: \"{source}\", schedule: \"0 2 * * *\", keep: {{ daily: 30 }} }}",
            word(name)
        ));
    }
}

fn objectives(project: &str, services: &[Surveyed], out: &mut Lines) {
    let labelled = services.iter().flat_map(of_labels).next();
    let Some(front) = labelled.or_else(|| of_ports(project, services).into_iter().next()) else { return };
    let name = word(&front.service);
    out.line("");
    out.line("# What the application promises. The name is kept; until a version knows it, it is refused.");
    out.line("# objectives:");
    out.line(&format!("#   availability: {{ service: {name}, ratio: \"99.9%\" }}"));
    out.line(&format!("#   latency: {{ service: {name}, p95: 200ms, alert: 500ms }}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use declare::{Input, MemoryFiles};
    use expect_test::expect;

    fn proposed(engine: EngineKind, compose: &str) -> String {
        let files = MemoryFiles::new().with("/srv/shop/compose.yaml", compose);
        let loaded = |files: &MemoryFiles| {
            declare::load(&Input {
                files,
                project_dir: "/srv/shop",
                compose: None,
                policy: None,
                environment: None,
                profiles: [].into(),
                process_env: [].into(),
                env_files: None,
                engine: None,
                default_engine: engine,
                keeps_layers: false,
            })
        };
        let seen = loaded(&files);
        let resolved = seen.resolved.unwrap_or_else(|| panic!("{:#?}", seen.diagnostics));
        let text = policy("shop", engine, &declare::survey::survey(&resolved));
        let after = loaded(&files.with("/srv/shop/mainstay.yaml", &text));
        let errors = |all: &[model::Diagnostic]| all.iter().filter(|d| d.is_error()).count();
        assert_eq!(errors(&after.diagnostics), errors(&seen.diagnostics), "{text}\n{:#?}", after.diagnostics);
        let laid_out = declare::layout::usual(model::span::FileId(0), &text).expect("YAML");
        assert_eq!(laid_out, text, "not in the usual layout");
        text
    }

    #[test]
    fn stores_routes_and_what_is_built_are_found() {
        let text = proposed(
            EngineKind::Process,
            "services:
  web: { build: web, ports: [\"8080:80\"], depends_on: [api] }
  api: { build: api, ports: [\"3000:3000\"], healthcheck: { test: [CMD, a] } }
  db: { image: \"postgres:15\", ports: [\"5432:5432\"], volumes: [\"data:/var/lib/postgresql/data\"] }
  search: { image: \"elasticsearch:8\", privileged: true }
volumes: { data: {} }
",
        );
        expect![[r##"
            # How shop is operated. All of it is optional; compose.yaml says what runs.
            # For completion in your editor: `mainstay schema > .mainstay.schema.json`, and as the first line
            # `# yaml-language-server: $schema=.mainstay.schema.json`.
            project: shop

            # Where it runs. `mainstay -e production up` chooses one; without a choice it is development.
            # Everything runs as processes of the machine; `{ engine: docker }` has Docker build and run images.
            environments:
              development: {}
              # production:
              #   variables: { DOMAIN: shop.example }
              #   replicas: { web: 2 }

            # What is reached under which host and path, on the machine's HTTP port.
            routes:
              - host: "${DOMAIN:-shop.localhost}"
                paths: { /: "web:80" }
              # - host: "api.${DOMAIN:-shop.localhost}"
              #   paths: { /: "api:3000" }

            # How services run without a container: what is built, what of the project they see, what is run.
            # Well-known images (postgres, redis …) need nothing here: the machine's own programs run.
            # processes:
            #   web:
            #     build: make
            #     artifacts: [bin/web]
            #     command: [bin/web]
            #   api:
            #     build: make
            #     artifacts: [bin/api]
            #     command: [bin/api]

            # When a replica gets traffic (ready), and when it is replaced (live). Compose's healthcheck counts as ready.
            # probes:
            #   web: { ready: { http: /, port: 80, interval: 2s } }

            # Data stores. Their names lead to them directly, and they are replaced stop-first:
            #   db  postgres:15, in data
            #   search  elasticsearch:8, no volume: its data are lost with it
            # The names are kept; until a version knows them they are refused.
            # backups:
            #   db: { source: "postgres://db", schedule: "0 2 * * *", keep: { daily: 30 } }

            # What the application promises. The name is kept; until a version knows it, it is refused.
            # objectives:
            #   availability: { service: web, ratio: "99.9%" }
            #   latency: { service: web, p95: 200ms, alert: 500ms }
        "##]].assert_eq(&text);
    }

    #[test]
    fn what_docker_runs_needs_no_recipe() {
        let compose = "services:\n  web: { build: web, ports: [\"8080:80\"] }\n  db: { image: \"postgres:15\" }\n";
        let text = proposed(EngineKind::Docker, compose);
        assert!(!text.contains("processes:") && !text.contains("without a container"), "{text}");
        assert!(
            text.contains("built and run by Docker") && text.contains("web: { ready: { http: /, port: 80"),
            "{text}"
        );
        assert!(proposed(EngineKind::Process, compose).contains("# processes:"));
    }

    #[test]
    fn traefik_labels_become_routes() {
        let text = proposed(
            EngineKind::Process,
            "services:
  api:
    image: acme/api:1
    labels:
      traefik.http.routers.api.rule: \"(Host(`shop.example`) || Host(`www.shop.example`)) && PathPrefix(`/api`, `/v2`)\"
      traefik.http.services.api.loadbalancer.server.port: \"3000\"
  web:
    image: acme/web:1
    expose: [\"80\"]
    labels: [\"traefik.http.routers.web.rule=Host(`shop.example`)\"]
  odd:
    image: acme/odd:1
    expose: [\"80\"]
    labels: [\"traefik.http.routers.odd.rule=Host(`odd.example`) && !Path(`/x`)\"]
",
        );
        let routes = text.split("\nroutes:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
        let wanted = [
            r#"  - host: "shop.example""#,
            r#"    paths: { /api: "api:3000", /v2: "api:3000", /: "web:80" }"#,
            r#"  - host: "www.shop.example""#,
            r#"    paths: { /api: "api:3000", /v2: "api:3000" }"#,
        ];
        assert_eq!(routes, wanted.join("\n"));
    }
}
