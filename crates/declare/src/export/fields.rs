//! The keys of each object in the reference's output, and how each is written.

/// How a value is written, and when it is left out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Text, unless empty.
    Text,
    /// Text, always.
    AnyText,
    /// A boolean, if true.
    Flag,
    /// A boolean, if false.
    OffFlag,
    /// A boolean, if it was written.
    SetFlag,
    /// A boolean that is true unless said otherwise.
    Required,
    /// A number, unless 0.
    Int,
    /// A number, always.
    AnyInt,
    /// A number, if it was written.
    SetInt,
    /// A number with a fraction, unless 0.
    Float,
    /// A size as text, in bytes, unless 0.
    Bytes,
    /// A size as text, in bytes, always.
    SetBytes,
    /// A duration, unless 0.
    Duration,
    /// A duration, if it was written.
    SetDuration,
    /// A list of texts; null without one.
    Words,
    /// A list of texts, unless empty.
    Texts,
    /// A mapping of texts, where a bare name has the empty text.
    Settings,
    /// A mapping of texts, where a bare name has none.
    Variables,
    /// A mapping of lists of texts.
    Options,
    /// Hosts and addresses as sorted lines.
    Hosts,
    /// The mode of a file, octal.
    Mode,
    /// Limits by name.
    Limits,
    /// How many devices; all is -1.
    Count,
    /// Keys of an agent.
    Ssh,
    /// An object, if it was written.
    Struct(&'static [Field]),
    /// An object, always.
    Always(&'static [Field]),
    /// A list of objects, unless empty.
    List(&'static [Field]),
    /// A list of whole containers, unless empty.
    Containers,
    /// Objects by name.
    Named(&'static [Field]),
}

/// A key and how its value is written.
pub(super) type Field = (&'static str, Kind);

use Kind::{
    Always, AnyInt, AnyText, Bytes, Containers, Count, Duration, Flag, Float, Hosts, Int, Limits, List, Mode, Named,
    OffFlag, Options, Required, SetBytes, SetDuration, SetFlag, SetInt, Settings, Ssh, Struct, Text, Texts, Variables,
    Words,
};

pub(super) const SERVICE: &[Field] = &[
    ("profiles", Texts),
    ("annotations", Settings),
    ("attach", SetFlag),
    ("build", Struct(BUILD)),
    ("develop", Struct(&[("watch", List(WATCH))])),
    ("blkio_config", Struct(BLKIO)),
    ("cap_add", Texts),
    ("cap_drop", Texts),
    ("cgroup_parent", Text),
    ("cgroup", Text),
    ("cpu_count", Int),
    ("cpu_percent", Float),
    ("cpu_period", Int),
    ("cpu_quota", Int),
    ("cpu_rt_period", Int),
    ("cpu_rt_runtime", Int),
    ("cpus", Float),
    ("cpuset", Text),
    ("cpu_shares", Int),
    ("command", Words),
    ("configs", List(GRANT)),
    ("container_name", Text),
    ("credential_spec", Struct(&[("config", Text), ("file", Text), ("registry", Text)])),
    ("depends_on", Named(&[("condition", Text), ("restart", Flag), ("required", Required)])),
    ("deploy", Struct(DEPLOY)),
    ("device_cgroup_rules", Texts),
    ("devices", List(&[("source", Text), ("target", Text), ("permissions", Text)])),
    ("dns", Texts),
    ("dns_opt", Texts),
    ("dns_search", Texts),
    ("domainname", Text),
    ("entrypoint", Words),
    ("provider", Struct(&[("type", Text), ("options", Options)])),
    ("environment", Variables),
    ("expose", Texts),
    ("external_links", Texts),
    ("extra_hosts", Hosts),
    ("group_add", Texts),
    ("gpus", List(DEVICE_REQUEST)),
    ("hostname", Text),
    ("healthcheck", Struct(HEALTHCHECK)),
    ("image", Text),
    ("init", SetFlag),
    ("ipc", Text),
    ("isolation", Text),
    ("labels", Settings),
    ("label_file", Texts),
    ("links", Texts),
    ("logging", Struct(&[("driver", Text), ("options", Settings)])),
    ("mem_limit", Bytes),
    ("mem_reservation", Bytes),
    ("memswap_limit", Bytes),
    ("mem_swappiness", Bytes),
    ("mac_address", Text),
    ("models", Named(&[("endpoint_var", Text), ("model_var", Text)])),
    ("network_mode", Text),
    ("networks", Named(ATTACHMENT)),
    ("oom_kill_disable", Flag),
    ("oom_score_adj", Int),
    ("pid", Text),
    ("pids_limit", Int),
    ("platform", Text),
    ("ports", List(PORT)),
    ("privileged", Flag),
    ("pull_policy", Text),
    ("pull_refresh_after", Text),
    ("read_only", Flag),
    ("restart", Text),
    ("runtime", Text),
    ("scale", SetInt),
    ("secrets", List(GRANT)),
    ("security_opt", Texts),
    ("shm_size", Bytes),
    ("stdin_open", Flag),
    ("stop_grace_period", SetDuration),
    ("stop_signal", Text),
    ("storage_opt", Settings),
    ("sysctls", Settings),
    ("tmpfs", Texts),
    ("tty", Flag),
    ("ulimits", Limits),
    ("use_api_socket", Flag),
    ("user", Text),
    ("userns_mode", Text),
    ("uts", Text),
    ("volumes", List(MOUNT)),
    ("volumes_from", Texts),
    ("working_dir", Text),
    ("pre_start", Containers),
    // Of jobs and hooks, which keep their files; those of services have been read.
    ("env_file", List(&[("path", Text), ("required", OffFlag), ("format", Text)])),
    // Of a hook that runs before the start.
    ("per_replica", Flag),
    // Of a job.
    ("triggers", Struct(&[("manual", SetFlag), ("schedule", List(SCHEDULE))])),
    ("post_start", List(HOOK)),
    ("pre_stop", List(HOOK)),
];

const BUILD: &[Field] = &[
    ("context", Text),
    ("dockerfile", Text),
    ("dockerfile_inline", Text),
    ("entitlements", Texts),
    ("args", Variables),
    ("provenance", Text),
    ("sbom", Text),
    ("ssh", Ssh),
    ("labels", Settings),
    ("cache_from", Texts),
    ("cache_to", Texts),
    ("no_cache", Flag),
    ("no_cache_filter", Texts),
    ("additional_contexts", Settings),
    ("pull", Flag),
    ("extra_hosts", Hosts),
    ("isolation", Text),
    ("network", Text),
    ("target", Text),
    ("secrets", List(GRANT)),
    ("shm_size", Bytes),
    ("tags", Texts),
    ("ulimits", Limits),
    ("platforms", Texts),
    ("privileged", Flag),
];

const WATCH: &[Field] = &[
    ("path", AnyText),
    ("action", AnyText),
    ("target", Text),
    ("exec", Always(HOOK)),
    ("include", Texts),
    ("ignore", Texts),
    ("initial_sync", Flag),
];

const HOOK: &[Field] = &[
    ("command", Words),
    ("image", Text),
    ("user", Text),
    ("privileged", Flag),
    ("working_dir", Text),
    ("environment", Variables),
];

const SCHEDULE: &[Field] = &[("cron", Text), ("timezone", Text), ("concurrency", Text), ("missed_fires", Text)];

const BLKIO: &[Field] = &[
    ("weight", Int),
    ("weight_device", List(&[("Path", AnyText), ("Weight", AnyInt)])),
    ("device_read_bps", List(RATE)),
    ("device_read_iops", List(RATE)),
    ("device_write_bps", List(RATE)),
    ("device_write_iops", List(RATE)),
];

const RATE: &[Field] = &[("Path", AnyText), ("Rate", SetBytes)];

const GRANT: &[Field] = &[("source", Text), ("target", Text), ("uid", Text), ("gid", Text), ("mode", Mode)];

const DEVICE_REQUEST: &[Field] =
    &[("capabilities", Texts), ("driver", Text), ("count", Count), ("device_ids", Texts), ("options", Settings)];

const HEALTHCHECK: &[Field] = &[
    ("test", Texts),
    ("timeout", SetDuration),
    ("interval", SetDuration),
    ("retries", SetInt),
    ("start_period", SetDuration),
    ("start_interval", SetDuration),
    ("disable", Flag),
];

const ATTACHMENT: &[Field] = &[
    ("aliases", Texts),
    ("driver_opts", Settings),
    ("gw_priority", Int),
    ("interface_name", Text),
    ("ipv4_address", Text),
    ("ipv6_address", Text),
    ("link_local_ips", Texts),
    ("mac_address", Text),
    ("priority", Int),
];

const PORT: &[Field] = &[
    ("name", Text),
    ("mode", Text),
    ("host_ip", Text),
    ("target", Int),
    ("published", Text),
    ("protocol", Text),
    ("app_protocol", Text),
];

const MOUNT: &[Field] = &[
    ("type", Text),
    ("source", Text),
    ("target", Text),
    ("read_only", Flag),
    ("consistency", Text),
    ("bind", Struct(&[("selinux", Text), ("propagation", Text), ("create_host_path", OffFlag), ("recursive", Text)])),
    ("volume", Struct(&[("labels", Settings), ("nocopy", Flag), ("subpath", Text)])),
    ("tmpfs", Struct(&[("size", Bytes), ("mode", Int)])),
    ("image", Struct(&[("subpath", Text)])),
];

const DEPLOY: &[Field] = &[
    ("mode", Text),
    ("replicas", SetInt),
    ("labels", Settings),
    ("update_config", Struct(ROLLOUT)),
    ("rollback_config", Struct(ROLLOUT)),
    ("resources", Always(&[("limits", Struct(RESOURCE)), ("reservations", Struct(RESOURCE))])),
    (
        "restart_policy",
        Struct(&[("condition", Text), ("delay", SetDuration), ("max_attempts", SetInt), ("window", SetDuration)]),
    ),
    (
        "placement",
        Always(&[("constraints", Texts), ("preferences", List(&[("spread", Text)])), ("max_replicas_per_node", Int)]),
    ),
    ("endpoint_mode", Text),
];

const ROLLOUT: &[Field] = &[
    ("parallelism", SetInt),
    ("delay", Duration),
    ("failure_action", Text),
    ("monitor", Duration),
    ("max_failure_ratio", Float),
    ("order", Text),
];

const RESOURCE: &[Field] = &[
    ("cpus", Float),
    ("memory", Bytes),
    ("pids", Int),
    ("devices", List(DEVICE_REQUEST)),
    ("generic_resources", List(&[("discrete_resource_spec", Struct(&[("kind", AnyText), ("value", AnyInt)]))])),
];

pub(super) const NETWORK: &[Field] = &[
    ("name", Text),
    ("driver", Text),
    ("driver_opts", Settings),
    (
        "ipam",
        Always(&[
            ("driver", Text),
            ("config", List(&[("subnet", Text), ("gateway", Text), ("ip_range", Text), ("aux_addresses", Settings)])),
            ("options", Settings),
        ]),
    ),
    ("external", Flag),
    ("internal", Flag),
    ("attachable", Flag),
    ("labels", Settings),
    ("enable_ipv4", SetFlag),
    ("enable_ipv6", SetFlag),
];

pub(super) const VOLUME: &[Field] =
    &[("name", Text), ("driver", Text), ("driver_opts", Settings), ("external", Flag), ("labels", Settings)];

pub(super) const SECRET: &[Field] = &[
    ("name", Text),
    ("file", Text),
    ("environment", Text),
    ("external", Flag),
    ("labels", Settings),
    ("driver", Text),
    ("driver_opts", Settings),
    ("template_driver", Text),
];

pub(super) const CONFIG: &[Field] = &[
    ("name", Text),
    ("file", Text),
    ("environment", Text),
    ("content", Text),
    ("external", Flag),
    ("labels", Settings),
    ("template_driver", Text),
];
