//! The shape of every key of the Compose Specification, in the notation of [`super::grammar`].
//!
//! Source: the specification's JSON Schema, as of version 5 of its reference implementation. What the reference takes
//! beside its schema (a string where a number is wanted, because a variable may stand there) is said here too.

/// The table.
pub const TABLE: &str = "
file = {
  version: text, name: text, include: [text | include],
  services: { <name>: service },
  jobs: { <name>: job },
  models: { <name>: model },
  networks: { <name>: network | null },
  volumes: { <name>: volume | null },
  secrets: { <name>: secret },
  configs: { <name>: config }
}
include = { path: texts, env_file: texts, project_directory: text, <any>: any }

texts = text | [text]
settings = { <any>: text | number | bool | null } | [text]
command = null | text | [text]
flag = bool | text
whole = int | text
amount = number | text
options = { <any>: text | number }

container = {
  annotations: settings, blkio_config: blkio, cap_add: [text], cap_drop: [text], cgroup: 'host' | 'private',
  cgroup_parent: text, command: command, configs: [text | grant], cpu_count: whole, cpu_percent: whole,
  cpu_shares: amount, cpu_quota: amount, cpu_period: amount, cpu_rt_period: amount, cpu_rt_runtime: amount,
  cpus: amount, cpuset: text, credential_spec: { config: text, file: text, registry: text },
  device_cgroup_rules: [text], devices: [text | device], dns: texts, dns_opt: [text], dns_search: texts,
  domainname: text, entrypoint: command, env_file: text | [text | env_file], environment: settings,
  extra_hosts: hosts, gpus: 'all' | [device_request], group_add: [text | exact], hostname: text, image: text,
  init: flag, ipc: text, isolation: text, label_file: texts, labels: settings,
  logging: { driver: text, options: { <any>: text | number | null } }, mac_address: text, mem_limit: amount,
  mem_reservation: whole, mem_swappiness: whole, memswap_limit: amount,
  models: [text] | { <name>: { endpoint_var: text, model_var: text } | null }, network_mode: text,
  networks: [text] | { <name>: attachment | null }, oom_kill_disable: flag, oom_score_adj: whole, pid: text | null,
  pids_limit: amount, platform: text, privileged: flag, pull_policy: text, pull_refresh_after: text, read_only: flag,
  runtime: text, secrets: [text | grant], security_opt: [text], shm_size: amount, stop_grace_period: text,
  stop_signal: text, storage_opt: { <any>: text | int | null }, sysctls: settings, tmpfs: texts, ulimits: ulimits,
  use_api_socket: bool, user: text, userns_mode: text, uts: text, volumes: [text | mount], volumes_from: [text],
  working_dir: text
}
workload = {
  build: text | build, depends_on: [text] | { <name>: dependency }, expose: [text | exact], healthcheck: healthcheck,
  ports: [exact | text | port], stdin_open: flag, tty: flag
}
service = {
  ..container, ..workload, attach: flag, container_name: text, deploy: deploy | null, develop: develop | null,
  extends: text | extends, external_links: [text], links: [text], post_start: [hook], pre_start: [pre_start],
  pre_stop: [hook], profiles: [text],
  provider: { type*: text, options: { <any>: provider_option | [provider_option] } }, restart: text, scale: whole
}
job = {
  ..container, ..workload, profiles: [text],
  triggers*: { manual: flag, schedule: [text | schedule] }
}
schedule = { cron*: text, timezone: text, concurrency: 'forbid' | 'queue', missed_fires: 'one' | 'skip' }
provider_option = text | number | bool
extends = { service*: text, file: text, <any>: any }
dependency = {
  restart: flag, required: bool,
  condition*: 'service_started' | 'service_healthy' | 'service_completed_successfully'
}
device = { source*: text, target*: text, permissions: text }
device_request = { capabilities: [text], count: whole, device_ids: [text], driver: text, options: settings }
reserved_device = { capabilities*: [text], count: whole, device_ids: [text], driver: text, options: settings }
env_file = { path*: text, format: text, required: flag }
hosts = { <any>: text | [text] } | [text]
attachment = {
  aliases: [text], interface_name: text, ipv4_address: text, ipv6_address: text, link_local_ips: [text],
  mac_address: text, driver_opts: options, priority: number, gw_priority: number
}
port = { name: text, mode: text, host_ip: text, target*: whole, published: exact | text, protocol: text, app_protocol: text }
hook = { command*: command, user: text, privileged: flag, working_dir: text, environment: settings }
pre_start = { ..container, per_replica: flag }
grant = { source: text, target: text, uid: text, gid: text, mode: amount }
ulimits = { <any>: exact | text | { hard*: exact | text, soft*: exact | text } }
mount = {
  type*: 'bind' | 'volume' | 'tmpfs' | 'cluster' | 'npipe' | 'image',
  source: text, target*: text, read_only: flag, consistency: text,
  bind: {
    propagation: text, create_host_path: flag, recursive: 'enabled' | 'disabled' | 'writable' | 'readonly',
    selinux: 'z' | 'Z'
  },
  volume: { labels: settings, nocopy: flag, subpath: text },
  tmpfs: { size: whole, mode: number },
  image: { subpath: text }
}
healthcheck = {
  disable: flag, interval: text, retries: amount, test: texts, timeout: text, start_period: text, start_interval: text
}
blkio = {!
  device_read_bps: [rate], device_read_iops: [rate], device_write_bps: [rate], device_write_iops: [rate],
  weight: int, weight_device: [{! path: text, weight: int }]
}
rate = {! path: text, rate: whole }

build = {
  context: text, dockerfile: text, dockerfile_inline: text, entitlements: [text], args: settings, ssh: settings,
  labels: settings, cache_from: [text], cache_to: [text], no_cache: flag, no_cache_filter: texts,
  additional_contexts: settings, network: text, provenance: text | bool, sbom: text | bool, pull: flag, target: text,
  shm_size: whole, extra_hosts: hosts, isolation: text, privileged: flag, secrets: [text | grant], tags: [text],
  ulimits: ulimits, platforms: [text]
}
develop = { watch: [watch] }
watch = {
  ignore: texts, include: texts, path*: text,
  action*: 'rebuild' | 'sync' | 'restart' | 'sync+restart' | 'sync+exec',
  target: text, exec: hook, initial_sync: bool
}

deploy = {
  mode: text, endpoint_mode: text, replicas: whole, labels: settings, rollback_config: rollout, update_config: rollout,
  resources: {
    limits: { cpus: amount, memory: text, pids: whole },
    reservations: { cpus: amount, memory: text, generic_resources: [generic], devices: [reserved_device] }
  },
  restart_policy: { condition: text, delay: text, max_attempts: whole, window: text },
  placement: { constraints: [text], preferences: [{ spread: text }], max_replicas_per_node: whole }
}
rollout = {
  parallelism: whole, delay: text, failure_action: text, monitor: text, max_failure_ratio: amount,
  order: 'start-first' | 'stop-first'
}
generic = { discrete_resource_spec: { kind: text, value: amount } }

model = { name: text, model*: text, context_size: int, runtime_flags: [text] }
external = bool | text | { <any>: any }
named = bool | text | { name: text }
network = {
  name: text, driver: text, driver_opts: options, external: named, internal: flag, enable_ipv4: flag,
  enable_ipv6: flag, attachable: flag, labels: settings,
  ipam: {
    driver: text, options: { <any>: text },
    config: [{ subnet: text, ip_range: text, gateway: text, aux_addresses: { <any>: text } }]
  }
}
volume = { name: text, driver: text, driver_opts: options, external: named, labels: settings }
secret = {
  name: text, environment: text, file: text, external: external, labels: settings, driver: text, driver_opts: options,
  template_driver: text
}
config = { name: text, content: text, environment: text, file: text, external: external, labels: settings,
  template_driver: text }
";
