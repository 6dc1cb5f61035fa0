//! The keys of a service, `build` and `deploy` included.

use super::Row;
use crate::keys::Standing::{self, Elsewhere, Emulated, Harmless, Honoured, NotYet, Refused, Within};

const DOCKER_ONLY: &str = "remove it; a replica has namespaces and limits of its own";
const HINT: &str = "the machine's scheduler decides";
const LABELS: &str = "labels are read by other tools only";
const ONE_MACHINE: &str = "there is one machine to place replicas on";
const ROLLOUT: &str = "a release watches readiness instead";
const NOT_IN_REFERENCE: &str = "refused as an unknown key: the reference implementation does not know it yet";
const OF_BUILD: Standing = Elsewhere("as `build`");

pub(super) const SERVICE: &[Row] = &[
    (
        "services.*.annotations",
        [
            Harmless("annotations are read by other tools only"),
            Within("Docker 24 and newer; an older one is named when it is planned"),
        ],
    ),
    (
        "services.*.attach",
        [Harmless("`mainstay logs` chooses what is shown"), Harmless("`mainstay logs` chooses what is shown")],
    ),
    ("services.*.blkio_config", [Harmless(HINT), Harmless(HINT)]),
    (
        "services.*.build",
        [
            Elsewhere(
                "not supported yet: `processes.<service>` of mainstay.yaml stands in; without it a warning, and nothing runs as the service",
            ),
            Honoured,
        ],
    ),
    (
        "services.*.cap_add",
        [
            Within(
                "what ends at the replica's own namespaces, such as `NET_ADMIN`; what would reach the machine is refused when it is planned",
            ),
            Honoured,
        ],
    ),
    ("services.*.cap_drop", [Honoured, Honoured]),
    ("services.*.cgroup", [NotYet(DOCKER_ONLY), Within("`host` and `private`")]),
    ("services.*.cgroup_parent", [NotYet(DOCKER_ONLY), Honoured]),
    ("services.*.command", [Honoured, Honoured]),
    ("services.*.configs", [Honoured, Honoured]),
    ("services.*.configs[].gid", [Honoured, Honoured]),
    ("services.*.configs[].mode", [Honoured, Honoured]),
    ("services.*.configs[].source", [Honoured, Honoured]),
    ("services.*.configs[].target", [Honoured, Honoured]),
    ("services.*.configs[].uid", [Honoured, Honoured]),
    (
        "services.*.container_name",
        [
            Harmless("replicas are named `service.number`, because two of a service run during a release"),
            Emulated(
                "replicas are named by their numbers, because two of a service run during a release; other services reach it by this name as well",
            ),
        ],
    ),
    ("services.*.cpu_count", [Harmless("it is known on Windows only"), Harmless("it is known on Windows only")]),
    ("services.*.cpu_percent", [Harmless("it is known on Windows only"), Harmless("it is known on Windows only")]),
    ("services.*.cpu_period", [NotYet("write the limit as `cpus`"), Honoured]),
    ("services.*.cpu_quota", [NotYet("write the limit as `cpus`"), Honoured]),
    (
        "services.*.cpu_rt_period",
        [Harmless(HINT), NotYet("remove it; real-time scheduling is not passed on to the engine")],
    ),
    (
        "services.*.cpu_rt_runtime",
        [Harmless(HINT), NotYet("remove it; real-time scheduling is not passed on to the engine")],
    ),
    ("services.*.cpu_shares", [Harmless(HINT), Honoured]),
    ("services.*.cpus", [Honoured, Honoured]),
    ("services.*.cpuset", [Harmless(HINT), Honoured]),
    (
        "services.*.credential_spec",
        [NotYet("it is known on Windows only: remove it"), Refused("it is known on Windows only", "remove it")],
    ),
    ("services.*.depends_on", [Honoured, Honoured]),
    ("services.*.depends_on.*", [Honoured, Honoured]),
    ("services.*.depends_on.*.condition", [Honoured, Honoured]),
    ("services.*.depends_on.*.required", [Honoured, Honoured]),
    (
        "services.*.depends_on.*.restart",
        [
            Harmless("a dependent keeps its connections through the stable address"),
            Harmless("a dependent keeps its connections through the stable address"),
        ],
    ),
    ("services.*.develop", [Harmless("files are not watched yet"), Harmless("files are not watched yet")]),
    ("services.*.device_cgroup_rules", [NotYet("remove it; devices cannot be passed to a replica yet"), Honoured]),
    (
        "services.*.devices",
        [
            NotYet("remove it; devices cannot be passed to a replica yet"),
            Within("paths of the machine; names such as `vendor.com/class=gpu` are not supported yet"),
        ],
    ),
    ("services.*.devices[].permissions", [NotYet("remove it; devices cannot be passed to a replica yet"), Honoured]),
    ("services.*.devices[].source", [NotYet("remove it; devices cannot be passed to a replica yet"), Honoured]),
    ("services.*.devices[].target", [NotYet("remove it; devices cannot be passed to a replica yet"), Honoured]),
    ("services.*.dns", [NotYet("remove it; names are resolved by the project's own network"), Honoured]),
    ("services.*.dns_opt", [NotYet("remove it; names are resolved by the project's own network"), Honoured]),
    ("services.*.dns_search", [NotYet("remove it; names are resolved by the project's own network"), Honoured]),
    ("services.*.domainname", [Harmless("a replica has no domain"), Honoured]),
    ("services.*.entrypoint", [Honoured, Honoured]),
    ("services.*.env_file", [Honoured, Honoured]),
    ("services.*.env_file[].format", [Honoured, Honoured]),
    ("services.*.env_file[].path", [Honoured, Honoured]),
    ("services.*.env_file[].required", [Honoured, Honoured]),
    ("services.*.environment", [Honoured, Honoured]),
    ("services.*.expose", [Honoured, Honoured]),
    (
        "services.*.extends",
        [
            Elsewhere("honoured: services are put together before an engine is asked"),
            Elsewhere("honoured: services are put together before an engine is asked"),
        ],
    ),
    (
        "services.*.external_links",
        [
            NotYet("put both into one project, or publish a port"),
            NotYet("put both into one project, or publish a port"),
        ],
    ),
    ("services.*.extra_hosts", [Within("addresses; `host-gateway` is refused"), Honoured]),
    (
        "services.*.gpus",
        [
            NotYet("remove it; devices cannot be passed to a replica yet"),
            NotYet("remove it; requests for graphics processors are not passed on to the engine yet"),
        ],
    ),
    ("services.*.group_add", [NotYet("write the group in `user: uid:gid`"), Honoured]),
    ("services.*.healthcheck", [Honoured, Honoured]),
    ("services.*.healthcheck.disable", [Honoured, Honoured]),
    ("services.*.healthcheck.interval", [Honoured, Honoured]),
    ("services.*.healthcheck.retries", [Honoured, Honoured]),
    ("services.*.healthcheck.start_interval", [Honoured, Honoured]),
    ("services.*.healthcheck.start_period", [Honoured, Honoured]),
    ("services.*.healthcheck.test", [Honoured, Honoured]),
    ("services.*.healthcheck.timeout", [Honoured, Honoured]),
    ("services.*.hostname", [Honoured, Honoured]),
    (
        "services.*.image",
        [
            Within(
                "images of the catalogue (`postgres`, `redis`, `nginx` …) run as the machine's own programs; others need `processes.<service>`",
            ),
            Honoured,
        ],
    ),
    ("services.*.init", [Emulated("every replica has an init that reaps and forwards signals"), Honoured]),
    (
        "services.*.ipc",
        [NotYet(DOCKER_ONLY), Within("`host`, `private` and `shareable`; another container's is refused")],
    ),
    ("services.*.isolation", [Harmless("it is known on Windows only"), Harmless("it is known on Windows only")]),
    ("services.*.label_file", [Harmless(LABELS), Honoured]),
    ("services.*.labels", [Harmless(LABELS), Honoured]),
    (
        "services.*.links",
        [
            Emulated("the names are seen by every service of the network"),
            Emulated("the names are seen by every service of the network"),
        ],
    ),
    ("services.*.logging", [Harmless("`mainstay logs` keeps the logs"), Honoured]),
    ("services.*.logging.driver", [Harmless("`mainstay logs` keeps the logs"), Honoured]),
    ("services.*.logging.options", [Harmless("`mainstay logs` keeps the logs"), Honoured]),
    (
        "services.*.mac_address",
        [Harmless("addresses are chosen by the network"), NotYet("remove it; two replicas cannot share one")],
    ),
    ("services.*.mem_limit", [Honoured, Honoured]),
    ("services.*.mem_reservation", [Harmless(HINT), Honoured]),
    ("services.*.mem_swappiness", [Harmless(HINT), Honoured]),
    ("services.*.memswap_limit", [Harmless(HINT), Honoured]),
    (
        "services.*.models",
        [NotYet("run the model as a service of its own"), NotYet("run the model as a service of its own")],
    ),
    (
        "services.*.network_mode",
        [
            NotYet("attach the service to `networks`, and publish what must be reached with `ports`"),
            Within("`host`, `none` and `bridge`; the network of another service or container is refused"),
        ],
    ),
    ("services.*.networks", [Honoured, Honoured]),
    ("services.*.networks.*", [Honoured, Honoured]),
    ("services.*.networks.*.aliases", [Honoured, Honoured]),
    (
        "services.*.networks.*.driver_opts",
        [Harmless("the network is our own"), NotYet("remove them; what the kernel is to do goes into `sysctls`")],
    ),
    (
        "services.*.networks.*.gw_priority",
        [
            Harmless("the first network that reaches outside is used"),
            Harmless("the first network that reaches outside is used"),
        ],
    ),
    (
        "services.*.networks.*.interface_name",
        [Harmless("interfaces are named by the network"), Harmless("interfaces are named by the network")],
    ),
    (
        "services.*.networks.*.ipv4_address",
        [
            NotYet("use the service's name instead: its address is stable"),
            NotYet("use the service's name instead: its address is stable"),
        ],
    ),
    (
        "services.*.networks.*.ipv6_address",
        [
            NotYet("use the service's name instead: its address is stable"),
            NotYet("use the service's name instead: its address is stable"),
        ],
    ),
    (
        "services.*.networks.*.link_local_ips",
        [
            NotYet("use the service's name instead: its address is stable"),
            NotYet("use the service's name instead: its address is stable"),
        ],
    ),
    (
        "services.*.networks.*.mac_address",
        [Harmless("addresses are chosen by the network"), NotYet("remove it; two replicas cannot share one")],
    ),
    (
        "services.*.networks.*.priority",
        [
            Harmless("the first network that reaches outside is used"),
            Harmless("the first network that reaches outside is used"),
        ],
    ),
    ("services.*.networks.*.use_service_name_alias", [Elsewhere(NOT_IN_REFERENCE), Elsewhere(NOT_IN_REFERENCE)]),
    ("services.*.oom_kill_disable", [Harmless(HINT), Honoured]),
    ("services.*.oom_score_adj", [Harmless(HINT), Honoured]),
    ("services.*.pid", [NotYet(DOCKER_ONLY), Within("`host`; another container's is refused")]),
    ("services.*.pids_limit", [Honoured, Honoured]),
    ("services.*.platform", [Harmless("what runs is what this machine can run"), Honoured]),
    ("services.*.ports", [Honoured, Honoured]),
    ("services.*.ports[].app_protocol", [Honoured, Honoured]),
    ("services.*.ports[].host_ip", [Honoured, Honoured]),
    (
        "services.*.ports[].mode",
        [Emulated("the edge listens on this machine"), Emulated("the edge listens on this machine")],
    ),
    (
        "services.*.ports[].name",
        [Harmless("ports are told apart by their numbers"), Harmless("ports are told apart by their numbers")],
    ),
    ("services.*.ports[].protocol", [Honoured, Honoured]),
    ("services.*.ports[].published", [Honoured, Honoured]),
    ("services.*.ports[].target", [Honoured, Honoured]),
    (
        "services.*.post_start",
        [
            NotYet("run it as a service with `depends_on` and `service_completed_successfully`"),
            NotYet("run it as a service with `depends_on` and `service_completed_successfully`"),
        ],
    ),
    (
        "services.*.pre_start",
        [
            NotYet("run it as a service with `depends_on` and `service_completed_successfully`"),
            NotYet("run it as a service with `depends_on` and `service_completed_successfully`"),
        ],
    ),
    (
        "services.*.pre_stop",
        [NotYet("handle `stop_signal` in the program instead"), NotYet("handle `stop_signal` in the program instead")],
    ),
    (
        "services.*.privileged",
        [Refused("a replica would own the whole machine", "name the capabilities it needs with `cap_add`"), Honoured],
    ),
    ("services.*.profiles", [Honoured, Honoured]),
    ("services.*.provider", [NotYet("run it as a service of its own"), NotYet("run it as a service of its own")]),
    (
        "services.*.pull_policy",
        [Harmless("a release runs from its bundle"), Within("all but `refresh`; beside `build` the image is built")],
    ),
    (
        "services.*.pull_refresh_after",
        [Harmless("a release runs from its bundle"), NotYet("write `pull_policy: every_12h`, or how often you want")],
    ),
    ("services.*.read_only", [Honoured, Honoured]),
    ("services.*.restart", [Honoured, Honoured]),
    ("services.*.runtime", [NotYet("remove it; there is one runtime"), Honoured]),
    ("services.*.scale", [Honoured, Honoured]),
    ("services.*.secrets", [Honoured, Honoured]),
    ("services.*.secrets[].gid", [Honoured, Honoured]),
    ("services.*.secrets[].mode", [Honoured, Honoured]),
    ("services.*.secrets[].source", [Honoured, Honoured]),
    ("services.*.secrets[].target", [Honoured, Honoured]),
    ("services.*.secrets[].uid", [Honoured, Honoured]),
    (
        "services.*.security_opt",
        [
            Within("`no-new-privileges` only, which always holds"),
            Within("all but `systempaths`; a seccomp profile comes along"),
        ],
    ),
    ("services.*.shm_size", [Honoured, Honoured]),
    ("services.*.stdin_open", [Harmless("a service has no terminal; use `mainstay exec`"), Honoured]),
    ("services.*.stop_grace_period", [Honoured, Honoured]),
    ("services.*.stop_signal", [Honoured, Honoured]),
    ("services.*.storage_opt", [Harmless("a replica writes to the machine's own disk"), Honoured]),
    ("services.*.sysctls", [NotYet("set it on the machine"), Honoured]),
    ("services.*.tmpfs", [Honoured, Honoured]),
    ("services.*.tty", [Harmless("a service has no terminal; use `mainstay exec`"), Honoured]),
    ("services.*.ulimits", [Honoured, Honoured]),
    ("services.*.ulimits.*", [Honoured, Honoured]),
    ("services.*.ulimits.*.hard", [Honoured, Honoured]),
    ("services.*.ulimits.*.soft", [Honoured, Honoured]),
    ("services.*.umask", [NotYet("set it in the program"), NotYet("set it in the program")]),
    (
        "services.*.use_api_socket",
        [
            Refused("a replica would own the whole machine", "remove it, and use `mainstay` from outside"),
            Refused("a replica would own the whole machine", "remove it, and use `mainstay` from outside"),
        ],
    ),
    (
        "services.*.user",
        [
            Within(
                "numbers only, `uid` or `uid:gid`: the users of an image are not known; the machine counts them from a base of its own",
            ),
            Honoured,
        ],
    ),
    ("services.*.userns_mode", [NotYet(DOCKER_ONLY), Within("`host`")]),
    ("services.*.uts", [NotYet(DOCKER_ONLY), Within("`host`")]),
    (
        "services.*.volumes_from",
        [
            NotYet("mount the same named volume in both services"),
            NotYet("mount the same named volume in both services"),
        ],
    ),
    ("services.*.working_dir", [Honoured, Honoured]),
];

pub(super) const BUILD: &[Row] = &[
    (
        "services.*.build.additional_contexts",
        [
            OF_BUILD,
            Within(
                "Docker 23 and newer: folders, images (`docker-image://`), git repositories and archives; the image of another service is not supported yet",
            ),
        ],
    ),
    ("services.*.build.args", [OF_BUILD, Honoured]),
    ("services.*.build.cache_from", [OF_BUILD, Within("images; other kinds of caches have no effect")]),
    ("services.*.build.cache_to", [OF_BUILD, Harmless("the engine keeps the layers")]),
    (
        "services.*.build.context",
        [
            OF_BUILD,
            Within(
                "folders, which go into the bundle without what `.dockerignore` leaves out; git repositories and archives",
            ),
        ],
    ),
    ("services.*.build.dockerfile", [OF_BUILD, Honoured]),
    ("services.*.build.dockerfile_inline", [OF_BUILD, Honoured]),
    ("services.*.build.entitlements", [OF_BUILD, NotYet("remove it, and do what needs it when the container runs")]),
    ("services.*.build.extra_hosts", [OF_BUILD, Within("addresses; `host-gateway` is refused")]),
    ("services.*.build.isolation", [OF_BUILD, Harmless("it is known on Windows only")]),
    ("services.*.build.labels", [OF_BUILD, Honoured]),
    ("services.*.build.network", [OF_BUILD, Within("`host`, `none` and `default`")]),
    ("services.*.build.no_cache", [OF_BUILD, Honoured]),
    ("services.*.build.no_cache_filter", [OF_BUILD, NotYet("write `no_cache: true`")]),
    ("services.*.build.platforms", [OF_BUILD, Within("one; of several the service's own or the machine's is built")]),
    ("services.*.build.privileged", [OF_BUILD, NotYet("remove it, and do what needs it when the container runs")]),
    ("services.*.build.provenance", [OF_BUILD, Harmless("no attestation is made")]),
    ("services.*.build.pull", [OF_BUILD, Honoured]),
    ("services.*.build.sbom", [OF_BUILD, Harmless("no attestation is made")]),
    ("services.*.build.secrets", [OF_BUILD, Honoured]),
    (
        "services.*.build.secrets[].gid",
        [OF_BUILD, Harmless("a step says how it sees the secret: `RUN --mount=type=secret,gid=…`")],
    ),
    (
        "services.*.build.secrets[].mode",
        [OF_BUILD, Harmless("a step says how it sees the secret: `RUN --mount=type=secret,mode=…`")],
    ),
    ("services.*.build.secrets[].source", [OF_BUILD, Honoured]),
    ("services.*.build.secrets[].target", [OF_BUILD, Honoured]),
    (
        "services.*.build.secrets[].uid",
        [OF_BUILD, Harmless("a step says how it sees the secret: `RUN --mount=type=secret,uid=…`")],
    ),
    ("services.*.build.shm_size", [OF_BUILD, Within("beside `secrets` with Docker 23 and newer only")]),
    ("services.*.build.ssh", [OF_BUILD, NotYet("give the step a key or token as a secret (`build.secrets`)")]),
    ("services.*.build.tags", [OF_BUILD, Honoured]),
    ("services.*.build.target", [OF_BUILD, Honoured]),
    ("services.*.build.ulimits", [OF_BUILD, NotYet("set the limit within the step, with `ulimit`")]),
];

pub(super) const DEPLOY: &[Row] = &[
    ("services.*.deploy", [Honoured, Honoured]),
    (
        "services.*.deploy.endpoint_mode",
        [Harmless("a service always has one stable address"), Harmless("a service always has one stable address")],
    ),
    ("services.*.deploy.labels", [Harmless(LABELS), Honoured]),
    ("services.*.deploy.mode", [Honoured, Honoured]),
    ("services.*.deploy.placement", [Harmless(ONE_MACHINE), Harmless(ONE_MACHINE)]),
    ("services.*.deploy.replicas", [Honoured, Honoured]),
    ("services.*.deploy.resources", [Honoured, Honoured]),
    ("services.*.deploy.resources.limits", [Honoured, Honoured]),
    ("services.*.deploy.resources.limits.cpus", [Honoured, Honoured]),
    ("services.*.deploy.resources.limits.memory", [Honoured, Honoured]),
    ("services.*.deploy.resources.limits.pids", [Honoured, Honoured]),
    ("services.*.deploy.resources.reservations", [Honoured, Honoured]),
    ("services.*.deploy.resources.reservations.cpus", [Harmless(ONE_MACHINE), Harmless(ONE_MACHINE)]),
    (
        "services.*.deploy.resources.reservations.devices",
        [
            NotYet("remove it; devices cannot be passed to a replica yet"),
            NotYet("remove it; requests for devices are not passed on to the engine yet"),
        ],
    ),
    ("services.*.deploy.resources.reservations.generic_resources", [Harmless(ONE_MACHINE), Harmless(ONE_MACHINE)]),
    ("services.*.deploy.resources.reservations.memory", [Harmless(ONE_MACHINE), Honoured]),
    ("services.*.deploy.restart_policy", [Honoured, Honoured]),
    ("services.*.deploy.restart_policy.condition", [Honoured, Honoured]),
    (
        "services.*.deploy.restart_policy.delay",
        [Harmless("restarts back off by themselves"), Harmless("restarts back off by themselves")],
    ),
    ("services.*.deploy.restart_policy.max_attempts", [Honoured, Honoured]),
    (
        "services.*.deploy.restart_policy.window",
        [Harmless("restarts back off by themselves"), Harmless("restarts back off by themselves")],
    ),
    ("services.*.deploy.rollback_config", [Harmless(ROLLOUT), Harmless(ROLLOUT)]),
    ("services.*.deploy.update_config", [Honoured, Honoured]),
    ("services.*.deploy.update_config.delay", [Harmless(ROLLOUT), Harmless(ROLLOUT)]),
    ("services.*.deploy.update_config.failure_action", [Harmless(ROLLOUT), Harmless(ROLLOUT)]),
    ("services.*.deploy.update_config.max_failure_ratio", [Harmless(ROLLOUT), Harmless(ROLLOUT)]),
    ("services.*.deploy.update_config.monitor", [Harmless(ROLLOUT), Harmless(ROLLOUT)]),
    ("services.*.deploy.update_config.order", [Honoured, Honoured]),
    ("services.*.deploy.update_config.parallelism", [Honoured, Honoured]),
];
