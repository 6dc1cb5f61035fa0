//! The Compose Specification's keys, every one of them, and what each engine makes of it.
//!
//! A key below a key that is not honoured needs no row of its own. `docs/conformance.md` is written from this table.

use super::Standing::{Elsewhere, Emulated, Harmless, Honoured, NotYet, Refused, Within};
use super::{Standing, Table};
use model::policy::EngineKind;
use std::sync::LazyLock;

/// The engines there are, in the order of the columns.
pub const ENGINES: [EngineKind; 1] = [EngineKind::Process];

/// One key and what each of [`ENGINES`] makes of it.
pub type Row = (&'static str, [Standing; ENGINES.len()]);

/// All rows, each behind the one it lies in; what is below a key that is not honoured needs none.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [TOP, SERVICE, DEPLOY, MOUNTS, OBJECTS].into_iter().flatten()
}

static TABLES: LazyLock<[Table; ENGINES.len()]> = LazyLock::new(|| {
    std::array::from_fn(|column| Table::new(rows().map(|(path, standings)| (*path, standings[column]))))
});

/// What an engine makes of each key; none for an engine that there is not.
pub fn table(engine: EngineKind) -> Option<&'static Table> {
    ENGINES.iter().position(|one| *one == engine).map(|column| &TABLES[column])
}

const DOCKER_ONLY: &str = "remove it; a replica has namespaces and limits of its own";
const HINT: &str = "the machine's scheduler decides";
const ONE_MACHINE: &str = "there is one machine to place replicas on";
const ROLLOUT: &str = "a release watches readiness instead";

const TOP: &[Row] = &[
    ("version", [Harmless("the specification made it obsolete")]),
    ("name", [Honoured]),
    ("include", [Elsewhere("honoured: files are put together before an engine is asked")]),
    ("jobs", [NotYet("declare it under `services` with `deploy.mode: replicated-job`")]),
    ("models", [NotYet("run the model as a service of its own")]),
    ("services", [Honoured]),
    ("networks", [Honoured]),
    ("volumes", [Honoured]),
    ("secrets", [Honoured]),
    ("configs", [Honoured]),
    ("services.*", [Honoured]),
];

const SERVICE: &[Row] = &[
    ("services.*.annotations", [Harmless("annotations are read by other tools only")]),
    ("services.*.attach", [Harmless("`mainstay logs` chooses what is shown")]),
    ("services.*.blkio_config", [Harmless(HINT)]),
    (
        "services.*.build",
        [Elsewhere(
            "not supported yet: `processes.<service>` of mainstay.yaml stands in; without it a warning, and nothing runs as the service",
        )],
    ),
    ("services.*.cap_add", [Honoured]),
    ("services.*.cap_drop", [Honoured]),
    ("services.*.cgroup", [NotYet(DOCKER_ONLY)]),
    ("services.*.cgroup_parent", [NotYet(DOCKER_ONLY)]),
    ("services.*.command", [Honoured]),
    ("services.*.configs", [Honoured]),
    ("services.*.configs[].gid", [Honoured]),
    ("services.*.configs[].mode", [Honoured]),
    ("services.*.configs[].source", [Honoured]),
    ("services.*.configs[].target", [Honoured]),
    ("services.*.configs[].uid", [Honoured]),
    (
        "services.*.container_name",
        [Harmless("replicas are named `service.number`, because two of a service run during a release")],
    ),
    ("services.*.cpu_count", [Harmless("it is known on Windows only")]),
    ("services.*.cpu_percent", [Harmless("it is known on Windows only")]),
    ("services.*.cpu_period", [NotYet("write the limit as `cpus`")]),
    ("services.*.cpu_quota", [NotYet("write the limit as `cpus`")]),
    ("services.*.cpu_rt_period", [Harmless(HINT)]),
    ("services.*.cpu_rt_runtime", [Harmless(HINT)]),
    ("services.*.cpu_shares", [Harmless(HINT)]),
    ("services.*.cpus", [Honoured]),
    ("services.*.cpuset", [Harmless(HINT)]),
    ("services.*.credential_spec", [NotYet("it is known on Windows only: remove it")]),
    ("services.*.depends_on", [Honoured]),
    ("services.*.depends_on.*", [Honoured]),
    ("services.*.depends_on.*.condition", [Honoured]),
    ("services.*.depends_on.*.required", [Honoured]),
    ("services.*.depends_on.*.restart", [Harmless("a dependent keeps its connections through the stable address")]),
    ("services.*.develop", [Harmless("files are not watched yet")]),
    ("services.*.device_cgroup_rules", [NotYet("remove it; devices cannot be passed to a replica yet")]),
    ("services.*.devices", [NotYet("remove it; devices cannot be passed to a replica yet")]),
    ("services.*.dns", [NotYet("remove it; names are resolved by the project's own network")]),
    ("services.*.dns_opt", [NotYet("remove it; names are resolved by the project's own network")]),
    ("services.*.dns_search", [NotYet("remove it; names are resolved by the project's own network")]),
    ("services.*.domainname", [Harmless("a replica has no domain")]),
    ("services.*.entrypoint", [Honoured]),
    ("services.*.env_file", [Honoured]),
    ("services.*.env_file[].format", [Honoured]),
    ("services.*.env_file[].path", [Honoured]),
    ("services.*.env_file[].required", [Honoured]),
    ("services.*.environment", [Honoured]),
    ("services.*.expose", [Honoured]),
    ("services.*.extends", [Elsewhere("honoured: services are put together before an engine is asked")]),
    ("services.*.external_links", [NotYet("put both into one project, or publish a port")]),
    ("services.*.extra_hosts", [Within("addresses; `host-gateway` is refused")]),
    ("services.*.gpus", [NotYet("remove it; devices cannot be passed to a replica yet")]),
    ("services.*.group_add", [NotYet("write the group in `user: uid:gid`")]),
    ("services.*.healthcheck", [Honoured]),
    ("services.*.healthcheck.disable", [Honoured]),
    ("services.*.healthcheck.interval", [Honoured]),
    ("services.*.healthcheck.retries", [Honoured]),
    ("services.*.healthcheck.start_interval", [Honoured]),
    ("services.*.healthcheck.start_period", [Honoured]),
    ("services.*.healthcheck.test", [Honoured]),
    ("services.*.healthcheck.timeout", [Honoured]),
    ("services.*.hostname", [Honoured]),
    (
        "services.*.image",
        [Within(
            "images of the catalogue (`postgres`, `redis`, `nginx` …) run as the machine's own programs; others need `processes.<service>`",
        )],
    ),
    ("services.*.init", [Emulated("every replica has an init that reaps and forwards signals")]),
    ("services.*.ipc", [NotYet(DOCKER_ONLY)]),
    ("services.*.isolation", [Harmless("it is known on Windows only")]),
    ("services.*.label_file", [Honoured]),
    ("services.*.labels", [Honoured]),
    ("services.*.links", [Emulated("the names are seen by every service of the network")]),
    ("services.*.logging", [Harmless("`mainstay logs` keeps the logs")]),
    ("services.*.mac_address", [Harmless("addresses are chosen by the network")]),
    ("services.*.mem_limit", [Honoured]),
    ("services.*.mem_reservation", [Harmless(HINT)]),
    ("services.*.mem_swappiness", [Harmless(HINT)]),
    ("services.*.memswap_limit", [Harmless(HINT)]),
    ("services.*.models", [NotYet("run the model as a service of its own")]),
    (
        "services.*.network_mode",
        [NotYet("attach the service to `networks`, and publish what must be reached with `ports`")],
    ),
    ("services.*.networks", [Honoured]),
    ("services.*.networks.*", [Honoured]),
    ("services.*.networks.*.aliases", [Honoured]),
    ("services.*.networks.*.driver_opts", [Harmless("the network is our own")]),
    ("services.*.networks.*.gw_priority", [Harmless("the first network that reaches outside is used")]),
    ("services.*.networks.*.interface_name", [Harmless("interfaces are named by the network")]),
    ("services.*.networks.*.ipv4_address", [NotYet("use the service's name instead: its address is stable")]),
    ("services.*.networks.*.ipv6_address", [NotYet("use the service's name instead: its address is stable")]),
    ("services.*.networks.*.link_local_ips", [NotYet("use the service's name instead: its address is stable")]),
    ("services.*.networks.*.mac_address", [Harmless("addresses are chosen by the network")]),
    ("services.*.networks.*.priority", [Harmless("the first network that reaches outside is used")]),
    ("services.*.networks.*.use_service_name_alias", [Harmless("the service's name is always known")]),
    ("services.*.oom_kill_disable", [Harmless(HINT)]),
    ("services.*.oom_score_adj", [Harmless(HINT)]),
    ("services.*.pid", [NotYet(DOCKER_ONLY)]),
    ("services.*.pids_limit", [Honoured]),
    ("services.*.platform", [Harmless("what runs is what this machine can run")]),
    ("services.*.ports", [Honoured]),
    ("services.*.ports[].app_protocol", [Honoured]),
    ("services.*.ports[].host_ip", [Honoured]),
    ("services.*.ports[].mode", [Emulated("the edge listens on this machine")]),
    ("services.*.ports[].name", [Harmless("ports are told apart by their numbers")]),
    ("services.*.ports[].protocol", [Honoured]),
    ("services.*.ports[].published", [Honoured]),
    ("services.*.ports[].target", [Honoured]),
    ("services.*.post_start", [NotYet("run it as a service with `depends_on` and `service_completed_successfully`")]),
    ("services.*.pre_start", [NotYet("run it as a service with `depends_on` and `service_completed_successfully`")]),
    ("services.*.pre_stop", [NotYet("handle `stop_signal` in the program instead")]),
    (
        "services.*.privileged",
        [Refused("a replica would own the whole machine", "name the capabilities it needs with `cap_add`")],
    ),
    ("services.*.profiles", [Honoured]),
    ("services.*.provider", [NotYet("run it as a service of its own")]),
    ("services.*.pull_policy", [Harmless("a release runs from its bundle")]),
    ("services.*.pull_refresh_after", [Harmless("a release runs from its bundle")]),
    ("services.*.read_only", [Honoured]),
    ("services.*.restart", [Honoured]),
    ("services.*.runtime", [NotYet("remove it; there is one runtime")]),
    ("services.*.scale", [Honoured]),
    ("services.*.secrets", [Honoured]),
    ("services.*.secrets[].gid", [Honoured]),
    ("services.*.secrets[].mode", [Honoured]),
    ("services.*.secrets[].source", [Honoured]),
    ("services.*.secrets[].target", [Honoured]),
    ("services.*.secrets[].uid", [Honoured]),
    ("services.*.security_opt", [Within("`no-new-privileges` only, which always holds")]),
    ("services.*.shm_size", [Honoured]),
    ("services.*.stdin_open", [Harmless("a service has no terminal; use `mainstay exec`")]),
    ("services.*.stop_grace_period", [Honoured]),
    ("services.*.stop_signal", [Honoured]),
    ("services.*.storage_opt", [Harmless("a replica writes to the machine's own disk")]),
    ("services.*.sysctls", [NotYet("set it on the machine")]),
    ("services.*.tmpfs", [Honoured]),
    ("services.*.tty", [Harmless("a service has no terminal; use `mainstay exec`")]),
    ("services.*.ulimits", [Honoured]),
    ("services.*.ulimits.*", [Honoured]),
    ("services.*.ulimits.*.hard", [Honoured]),
    ("services.*.ulimits.*.soft", [Honoured]),
    ("services.*.umask", [NotYet("set it in the program")]),
    (
        "services.*.use_api_socket",
        [Refused("a replica would own the whole machine", "remove it, and use `mainstay` from outside")],
    ),
    ("services.*.user", [Within("numbers only, `uid` or `uid:gid`: the users of an image are not known")]),
    ("services.*.userns_mode", [NotYet(DOCKER_ONLY)]),
    ("services.*.uts", [NotYet(DOCKER_ONLY)]),
    ("services.*.volumes_from", [NotYet("mount the same named volume in both services")]),
    ("services.*.working_dir", [Honoured]),
];

const DEPLOY: &[Row] = &[
    ("services.*.deploy", [Honoured]),
    ("services.*.deploy.endpoint_mode", [Harmless("a service always has one stable address")]),
    ("services.*.deploy.labels", [Honoured]),
    ("services.*.deploy.mode", [Honoured]),
    ("services.*.deploy.placement", [Harmless(ONE_MACHINE)]),
    ("services.*.deploy.replicas", [Honoured]),
    ("services.*.deploy.resources", [Honoured]),
    ("services.*.deploy.resources.limits", [Honoured]),
    ("services.*.deploy.resources.limits.cpus", [Honoured]),
    ("services.*.deploy.resources.limits.memory", [Honoured]),
    ("services.*.deploy.resources.limits.pids", [Honoured]),
    ("services.*.deploy.resources.reservations", [Honoured]),
    ("services.*.deploy.resources.reservations.cpus", [Harmless(ONE_MACHINE)]),
    (
        "services.*.deploy.resources.reservations.devices",
        [NotYet("remove it; devices cannot be passed to a replica yet")],
    ),
    ("services.*.deploy.resources.reservations.generic_resources", [Harmless(ONE_MACHINE)]),
    ("services.*.deploy.resources.reservations.memory", [Harmless(ONE_MACHINE)]),
    ("services.*.deploy.restart_policy", [Honoured]),
    ("services.*.deploy.restart_policy.condition", [Honoured]),
    ("services.*.deploy.restart_policy.delay", [Harmless("restarts back off by themselves")]),
    ("services.*.deploy.restart_policy.max_attempts", [Honoured]),
    ("services.*.deploy.restart_policy.window", [Harmless("restarts back off by themselves")]),
    ("services.*.deploy.rollback_config", [Harmless(ROLLOUT)]),
    ("services.*.deploy.update_config", [Honoured]),
    ("services.*.deploy.update_config.delay", [Harmless(ROLLOUT)]),
    ("services.*.deploy.update_config.failure_action", [Harmless(ROLLOUT)]),
    ("services.*.deploy.update_config.max_failure_ratio", [Harmless(ROLLOUT)]),
    ("services.*.deploy.update_config.monitor", [Harmless(ROLLOUT)]),
    ("services.*.deploy.update_config.order", [Honoured]),
    ("services.*.deploy.update_config.parallelism", [Honoured]),
];

const MOUNTS: &[Row] = &[
    ("services.*.volumes", [Honoured]),
    ("services.*.volumes[].bind", [Honoured]),
    ("services.*.volumes[].bind.create_host_path", [Harmless("a path must exist, or come with the bundle")]),
    ("services.*.volumes[].bind.propagation", [Harmless("mounts of a replica stay private")]),
    ("services.*.volumes[].bind.recursive", [Harmless("mounts below the path are seen")]),
    ("services.*.volumes[].bind.selinux", [Harmless("labels are left as they are")]),
    ("services.*.volumes[].consistency", [Harmless("files are the machine's own")]),
    ("services.*.volumes[].image", [NotYet("copy the files into the project and mount them")]),
    ("services.*.volumes[].read_only", [Honoured]),
    ("services.*.volumes[].source", [Honoured]),
    ("services.*.volumes[].target", [Honoured]),
    ("services.*.volumes[].tmpfs", [Honoured]),
    ("services.*.volumes[].tmpfs.mode", [Harmless("everybody in the replica may write there")]),
    ("services.*.volumes[].tmpfs.size", [Honoured]),
    ("services.*.volumes[].type", [Within("`bind`, `volume` and `tmpfs`")]),
    ("services.*.volumes[].volume", [Honoured]),
    ("services.*.volumes[].volume.labels", [Harmless("write them under the volume")]),
    ("services.*.volumes[].volume.nocopy", [Harmless("nothing is copied from an image")]),
    ("services.*.volumes[].volume.subpath", [NotYet("use a volume of its own")]),
];

const OBJECTS: &[Row] = &[
    ("networks.*", [Honoured]),
    ("networks.*.attachable", [Harmless("`mainstay run` can always attach")]),
    ("networks.*.driver", [Within("`bridge`, `overlay` and `default`, all of them one bridge")]),
    ("networks.*.driver_opts", [Harmless("the network is our own")]),
    ("networks.*.enable_ipv4", [Harmless("networks have IPv4")]),
    ("networks.*.enable_ipv6", [Harmless("networks have IPv4 only")]),
    ("networks.*.external", [NotYet("declare the network here, and reach other projects through published ports")]),
    ("networks.*.internal", [Honoured]),
    ("networks.*.ipam", [Honoured]),
    ("networks.*.ipam.config", [Honoured]),
    ("networks.*.ipam.config[].aux_addresses", [Harmless("addresses are given by the network")]),
    ("networks.*.ipam.config[].gateway", [Harmless("the gateway is the subnet's first address")]),
    ("networks.*.ipam.config[].ip_range", [Harmless("addresses are given by the network")]),
    ("networks.*.ipam.config[].subnet", [Within("the first IPv4 subnet, of at most 28 bits of prefix")]),
    ("networks.*.ipam.driver", [Harmless("addresses are given by the network")]),
    ("networks.*.ipam.options", [Harmless("addresses are given by the network")]),
    ("networks.*.labels", [Harmless("labels of networks are read by other tools only")]),
    ("networks.*.name", [Harmless("a network belongs to its project and environment")]),
    ("volumes.*", [Honoured]),
    ("volumes.*.driver", [Within("`local` only")]),
    ("volumes.*.driver_opts", [NotYet("mount the path with a bind mount instead")]),
    ("volumes.*.external", [NotYet("declare the volume here, and copy the data into it")]),
    ("volumes.*.labels", [Harmless("labels of volumes are read by other tools only")]),
    ("volumes.*.name", [Harmless("a volume belongs to its project and environment")]),
    ("secrets.*", [Honoured]),
    ("secrets.*.driver", [NotYet("give the secret as `file` or `environment`")]),
    ("secrets.*.driver_opts", [NotYet("give the secret as `file` or `environment`")]),
    ("secrets.*.environment", [Honoured]),
    ("secrets.*.external", [NotYet("give the secret as `file` or `environment`")]),
    ("secrets.*.file", [Honoured]),
    ("secrets.*.labels", [Harmless("labels of secrets are read by other tools only")]),
    ("secrets.*.name", [Harmless("a secret belongs to its project and environment")]),
    ("secrets.*.template_driver", [NotYet("write the content out")]),
    ("configs.*", [Honoured]),
    ("configs.*.content", [Honoured]),
    ("configs.*.environment", [Honoured]),
    ("configs.*.external", [NotYet("give the config as `file`, `content` or `environment`")]),
    ("configs.*.file", [Honoured]),
    ("configs.*.labels", [Harmless("labels of configs are read by other tools only")]),
    ("configs.*.name", [Harmless("a config belongs to its project and environment")]),
    ("configs.*.template_driver", [NotYet("write the content out")]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_specification_is_classified_for_every_engine() {
        let paths = include_str!("../../tests/data/compose-keys.txt");
        assert!(paths.lines().count() > 500, "the list of keys is not whole");
        for engine in ENGINES {
            let table = table(engine).expect("an engine of the columns");
            let missing: Vec<&str> = paths.lines().filter(|path| table.standing(path).is_none()).collect();
            assert!(missing.is_empty(), "not classified for {engine}: {missing:#?}");
        }
    }

    #[test]
    fn every_row_is_a_key_of_the_specification() {
        let paths: std::collections::BTreeSet<&str> =
            include_str!("../../tests/data/compose-keys.txt").lines().collect();
        for (path, _) in rows() {
            // Rows of names that the user chooses are ours.
            assert!(path.ends_with(".*") || paths.contains(path), "`{path}` is no key of the specification");
        }
    }
}
