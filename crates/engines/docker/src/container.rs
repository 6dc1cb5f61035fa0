//! From a template to what the Engine is asked to create. Pure: where things lie is an argument.

use crate::error::Error;
use crate::labels::{self, StartedWith};
use crate::names::{self, Names};
use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountBindOptions, MountTmpfsOptions, MountType,
    NetworkingConfig, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use model::container::{Container, ImageId};
use model::project::{Limits, MountSource, Runs, Template};
use model::{NetworkName, StackId, VolumeName};
use plan::action::replica::Start;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// What the Engine keeps of a container's output when nobody says otherwise; we keep our own copy.
const LOG_DRIVER: &str = "json-file";
const LOG_OPTIONS: [(&str, &str); 2] = [("max-size", "10m"), ("max-file", "2")];

/// What a container is made of beside its template.
pub(crate) struct Inputs<'a> {
    pub names: &'a Names,
    pub stack: &'a StackId,
    pub start: &'a Start,
    /// What it is labelled with.
    pub with: &'a StartedWith,
    /// The signal that asks it to stop.
    pub stop_signal: i32,
    /// The folder of its bundle.
    pub bundle: &'a Path,
    /// Its hosts file; none where it has the machine's network or none.
    pub hosts: Option<&'a Path>,
    /// Its secrets and configs, as files of the machine, in the template's order.
    pub files: &'a [PathBuf],
    /// The names of its volumes without a name, by target; an empty name for one that goes with the container.
    pub anonymous: &'a BTreeMap<String, String>,
    /// The networks and volumes it stands on.
    pub ground: &'a Ground,
    /// The Engine's usual way of keeping output.
    pub usual_driver: &'a str,
}

/// What the Engine calls the networks and volumes of a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ground {
    pub networks: BTreeMap<NetworkName, String>,
    pub volumes: BTreeMap<VolumeName, String>,
}

/// What the Engine is asked for, in this order: create, connect, start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub name: String,
    pub platform: Option<String>,
    pub body: ContainerCreateBody,
    /// Networks beside the first one, which older Engines do not take when a container is created.
    pub connect: Vec<(String, EndpointSettings)>,
}

/// The image a template's containers are of.
pub(crate) fn image(runs: &Runs) -> Result<&ImageId, Error> {
    match runs {
        Runs::Image { pin, .. } | Runs::Build { pin, .. } => pin.as_ref().ok_or(Error::NotPinned),
        Runs::Process { .. } => Err(Error::NoContainer),
        Runs::Static { .. } => Err(Error::Static),
    }
}

/// What the Engine is asked for.
pub(crate) fn request(inputs: &Inputs<'_>) -> Result<Request, Error> {
    let template = &*inputs.start.template;
    let (entrypoint, command) = match &template.runs {
        Runs::Image { entrypoint, command, .. } | Runs::Build { entrypoint, command, .. } => (entrypoint, command),
        Runs::Process { .. } => return Err(Error::NoContainer),
        Runs::Static { .. } => return Err(Error::Static),
    };
    let mut endpoints = endpoints(inputs);
    let first = (!endpoints.is_empty()).then(|| endpoints.remove(0));
    let mode = template.container.namespaces.network.clone();
    let mode = mode.unwrap_or_else(|| first.as_ref().map_or_else(|| "none".into(), |(name, _)| name.clone()));
    let user = template.user.as_ref().map(|user| format!("{}:{}", user.uid, user.gid));
    let environment = template.environment.iter().map(|(name, value)| format!("{name}={}", value.reveal_text()));
    let body = ContainerCreateBody {
        hostname: hostname(inputs, &mode),
        domainname: template.container.domainname.clone(),
        user: template.container.user.clone().or(user),
        tty: template.container.tty.then_some(true),
        open_stdin: template.container.stdin_open.then_some(true),
        env: Some(environment.collect()),
        entrypoint: entrypoint.clone(),
        // A new entry point means that the image's command is not for it, as Compose has it.
        cmd: command.clone().or_else(|| entrypoint.as_ref().map(|_| Vec::new())),
        // We ask ourselves: the Engine begins after a whole interval only.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }),
        image: Some(image(&template.runs)?.to_string()),
        working_dir: template.working_dir.clone(),
        labels: Some(labels::of_container(inputs.names, inputs.stack, &inputs.start.id, inputs.with, &template.labels)),
        stop_signal: Some(inputs.stop_signal.to_string()),
        stop_timeout: i64::try_from(template.stop_grace.as_secs()).ok(),
        host_config: Some(host(inputs, template, mode)?),
        networking_config: first.map(|endpoint| NetworkingConfig { endpoints_config: Some(HashMap::from([endpoint])) }),
        ..ContainerCreateBody::default()
    };
    let name = names::container(inputs.stack, &inputs.start.id);
    Ok(Request { name, platform: template.container.platform.clone(), body, connect: endpoints })
}

/// Its name; on the machine's network, and under the machine's name, only one that is asked for.
fn hostname(inputs: &Inputs<'_>, mode: &str) -> Option<String> {
    let template = &*inputs.start.template;
    let is_machines = mode == "host" || template.container.namespaces.uts.is_some();
    Some(&inputs.with.hostname).filter(|_| !is_machines || template.hostname.is_some()).cloned()
}

/// Its networks: the project's with its own address on each, then the others.
fn endpoints(inputs: &Inputs<'_>) -> Vec<(String, EndpointSettings)> {
    let template = &*inputs.start.template;
    let service = inputs.start.id.service.as_str();
    // Whoever asks the Engine's name server, past the hosts file, finds the replicas themselves.
    let aliases = |more: &std::collections::BTreeSet<String>| {
        let all = std::iter::once(service.to_owned()).chain(more.iter().cloned());
        Some(all.collect::<Vec<_>>())
    };
    let own = inputs.start.addresses.iter().map(|(name, ip)| {
        let attachment = template.networks.get(name).cloned().unwrap_or_default();
        let ipam = EndpointIpamConfig { ipv4_address: Some(ip.to_string()), ..EndpointIpamConfig::default() };
        let settings = EndpointSettings {
            ipam_config: Some(ipam),
            aliases: aliases(&attachment.aliases),
            ..EndpointSettings::default()
        };
        (inputs.ground.networks.get(name).cloned().unwrap_or_default(), settings)
    });
    let others = template.container.external_networks.iter().map(|(name, attachment)| {
        (name.clone(), EndpointSettings { aliases: aliases(&attachment.aliases), ..EndpointSettings::default() })
    });
    own.chain(others).collect()
}

fn host(inputs: &Inputs<'_>, template: &Template, network_mode: String) -> Result<HostConfig, Error> {
    let mut config = HostConfig {
        network_mode: Some(network_mode),
        // Whether and when one is started again is decided by the planner.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        binds: Some(binds(template)),
        mounts: Some(mounts(inputs, template)?),
        cap_add: list(template.cap_add.iter()),
        cap_drop: list(template.cap_drop.iter()),
        readonly_rootfs: template.read_only.then_some(true),
        log_config: log_config(&template.container, inputs.usual_driver),
        ..HostConfig::default()
    };
    limits(&template.limits, &template.container, &mut config);
    keys(&template.container, &mut config);
    Ok(config)
}

fn limits(limits: &Limits, container: &Container, config: &mut HostConfig) {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    config.nano_cpus = limits.cpus.map(|cpus| i64::from(cpus.0) * 1_000_000);
    config.memory = limits.memory.map(|bytes| number(bytes.0));
    config.pids_limit = limits.pids.map(|pids| i64::from(pids.get()));
    config.shm_size = limits.shm.map(|bytes| number(bytes.0));
    let ulimit = |(name, (soft, hard)): (&String, &(u64, u64))| ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(number(*soft)),
        hard: Some(number(*hard)),
    };
    config.ulimits = Some(limits.ulimits.iter().map(ulimit).collect::<Vec<_>>()).filter(|all| !all.is_empty());
    config.memory_reservation = container.memory_reservation.map(number);
    config.memory_swap = container.memory_swap;
    config.memory_swappiness = container.mem_swappiness.map(i64::from);
    config.cpu_shares = container.cpu_shares.map(number);
    config.cpu_period = container.cpu_period.map(number);
    config.cpu_quota = container.cpu_quota;
    config.cpuset_cpus = container.cpuset.clone();
    config.oom_score_adj = container.oom_score_adj.map(i64::from);
    config.oom_kill_disable = container.oom_kill_disable.then_some(true);
}

fn keys(container: &Container, config: &mut HostConfig) {
    config.init = container.init.then_some(true);
    config.privileged = container.privileged.then_some(true);
    config.group_add = list(container.group_add.iter());
    config.runtime = container.runtime.clone();
    let device = |device: &model::container::Device| DeviceMapping {
        path_on_host: Some(device.host.clone()),
        path_in_container: Some(device.inside.clone()),
        cgroup_permissions: Some(device.permissions.clone()),
    };
    config.devices = Some(container.devices.iter().map(device).collect::<Vec<_>>()).filter(|all| !all.is_empty());
    config.device_cgroup_rules = list(container.device_cgroup_rules.iter());
    config.sysctls = map(&container.sysctls);
    config.security_opt = list(container.security_opt.iter());
    config.dns = list(container.dns.iter());
    config.dns_options = list(container.dns_opt.iter());
    config.dns_search = list(container.dns_search.iter());
    config.ipc_mode = container.namespaces.ipc.clone();
    config.pid_mode = container.namespaces.pid.clone();
    config.uts_mode = container.namespaces.uts.clone();
    config.userns_mode = container.namespaces.user.clone();
    config.cgroupns_mode = container.namespaces.cgroup.as_deref().map(|mode| match mode {
        "host" => HostConfigCgroupnsModeEnum::HOST,
        _ => HostConfigCgroupnsModeEnum::PRIVATE,
    });
    config.cgroup_parent = container.cgroup_parent.clone();
    config.storage_opt = map(&container.storage_opt);
    config.annotations = map(&container.annotations);
}

fn log_config(container: &Container, usual: &str) -> Option<HostConfigLogConfig> {
    match &container.logging {
        Some(logging) => Some(HostConfigLogConfig {
            typ: Some(logging.driver.clone().unwrap_or_else(|| usual.to_owned())),
            config: map(&logging.options),
        }),
        // Somebody who chose another driver for the whole machine has also bounded it.
        None if usual != LOG_DRIVER => None,
        None => {
            let options = LOG_OPTIONS.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Some(HostConfigLogConfig { typ: Some(LOG_DRIVER.into()), config: Some(options.into()) })
        }
    }
}

/// Paths of the machine. The Engine makes a missing one, as it does for Compose's short form.
fn binds(template: &Template) -> Vec<String> {
    let bind = |mount: &model::project::Mount| match &mount.source {
        MountSource::Host(path) => Some(format!("{path}:{}{}", mount.target, if mount.read_only { ":ro" } else { "" })),
        _ => None,
    };
    template.mounts.iter().filter_map(bind).collect()
}

fn mounts(inputs: &Inputs<'_>, template: &Template) -> Result<Vec<Mount>, Error> {
    let mut mounts = Vec::new();
    let mut targets = std::collections::BTreeSet::new();
    for mount in &template.mounts {
        targets.insert(mount.target.trim_end_matches('/').to_owned());
        let made = match &mount.source {
            MountSource::Host(_) => continue,
            MountSource::Volume(name) => volume(inputs.ground.volumes.get(name).cloned()),
            MountSource::External(name) => volume(Some(name.clone())),
            MountSource::Anonymous => continue,
            MountSource::Bundle(path) => bind(&inputs.bundle.join(within(path)?), true),
            MountSource::Tmpfs { size } => Mount {
                typ: Some(MountType::TMPFS),
                tmpfs_options: Some(MountTmpfsOptions {
                    size_bytes: size.and_then(|size| i64::try_from(size.0).ok()),
                    ..MountTmpfsOptions::default()
                }),
                ..Mount::default()
            },
        };
        let read_only = made.read_only.unwrap_or_default() || mount.read_only;
        mounts.push(Mount { target: Some(mount.target.clone()), read_only: Some(read_only), ..made });
    }
    for (target, name) in inputs.anonymous {
        let made = volume(Some(name.clone()).filter(|name| !name.is_empty()));
        mounts.push(Mount { target: Some(target.clone()), ..made });
    }
    for (file, path) in template.files.iter().zip(inputs.files) {
        mounts.push(Mount { target: Some(file.target.clone()), ..bind(path, true) });
    }
    if let Some(hosts) = inputs.hosts.filter(|_| !targets.contains("/etc/hosts")) {
        mounts.push(Mount { target: Some("/etc/hosts".into()), ..bind(hosts, false) });
    }
    Ok(mounts)
}

fn volume(source: Option<String>) -> Mount {
    Mount { typ: Some(MountType::VOLUME), source, ..Mount::default() }
}

fn bind(source: &Path, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions::default()),
        ..Mount::default()
    }
}

/// A path within the bundle.
fn within(path: &str) -> Result<&Path, Error> {
    let is_inside = Path::new(path)
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
    if is_inside { Ok(Path::new(path)) } else { Err(Error::Path(path.to_owned())) }
}

fn list<T: ToString>(items: impl Iterator<Item = T>) -> Option<Vec<String>> {
    let all: Vec<String> = items.map(|item| item.to_string()).collect();
    (!all.is_empty()).then_some(all)
}

fn map(map: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!map.is_empty()).then(|| map.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests;
