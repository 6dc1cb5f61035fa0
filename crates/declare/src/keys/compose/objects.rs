//! The keys of the file itself, of mounts, and of networks, volumes, secrets and configs.

use super::Row;
use crate::keys::Standing::{Elsewhere, Harmless, Honoured, NotYet, Within};

pub(super) const TOP: &[Row] = &[
    ("version", [Harmless("the specification made it obsolete"), Harmless("the specification made it obsolete")]),
    ("name", [Honoured, Honoured]),
    (
        "include",
        [
            Elsewhere("honoured: files are put together before an engine is asked"),
            Elsewhere("honoured: files are put together before an engine is asked"),
        ],
    ),
    (
        "jobs",
        [
            NotYet("declare it under `services` with `deploy.mode: replicated-job`"),
            NotYet("declare it under `services` with `deploy.mode: replicated-job`"),
        ],
    ),
    ("models", [NotYet("run the model as a service of its own"), NotYet("run the model as a service of its own")]),
    ("services", [Honoured, Honoured]),
    ("networks", [Honoured, Honoured]),
    ("volumes", [Honoured, Honoured]),
    ("secrets", [Honoured, Honoured]),
    ("configs", [Honoured, Honoured]),
    ("services.*", [Honoured, Honoured]),
];

pub(super) const MOUNTS: &[Row] = &[
    ("services.*.volumes", [Honoured, Honoured]),
    ("services.*.volumes[].bind", [Honoured, Honoured]),
    (
        "services.*.volumes[].bind.create_host_path",
        [Harmless("a path must exist, or come with the bundle"), Harmless("a missing path is made")],
    ),
    (
        "services.*.volumes[].bind.propagation",
        [Harmless("mounts of a replica stay private"), Harmless("mounts of a replica stay private")],
    ),
    (
        "services.*.volumes[].bind.recursive",
        [Harmless("mounts below the path are seen"), Harmless("mounts below the path are seen")],
    ),
    (
        "services.*.volumes[].bind.selinux",
        [Harmless("labels are left as they are"), Harmless("labels are left as they are")],
    ),
    (
        "services.*.volumes[].consistency",
        [Harmless("files are the machine's own"), Harmless("files are the machine's own")],
    ),
    (
        "services.*.volumes[].image",
        [
            NotYet("copy the files into the project and mount them"),
            NotYet("copy the files into the project and mount them"),
        ],
    ),
    ("services.*.volumes[].read_only", [Honoured, Honoured]),
    ("services.*.volumes[].source", [Honoured, Honoured]),
    ("services.*.volumes[].target", [Honoured, Honoured]),
    ("services.*.volumes[].tmpfs", [Honoured, Honoured]),
    (
        "services.*.volumes[].tmpfs.mode",
        [Harmless("everybody in the replica may write there"), Harmless("everybody in the replica may write there")],
    ),
    ("services.*.volumes[].tmpfs.size", [Honoured, Honoured]),
    ("services.*.volumes[].type", [Within("`bind`, `volume` and `tmpfs`"), Within("`bind`, `volume` and `tmpfs`")]),
    ("services.*.volumes[].volume", [Honoured, Honoured]),
    (
        "services.*.volumes[].volume.labels",
        [Harmless("write them under the volume"), Harmless("write them under the volume")],
    ),
    (
        "services.*.volumes[].volume.nocopy",
        [
            Harmless("nothing is copied from an image"),
            NotYet("remove it; an empty volume begins with what the image has there"),
        ],
    ),
    ("services.*.volumes[].volume.subpath", [NotYet("use a volume of its own"), NotYet("use a volume of its own")]),
];

pub(super) const OBJECTS: &[Row] = &[
    ("networks.*", [Honoured, Honoured]),
    (
        "networks.*.attachable",
        [Harmless("`mainstay run` can always attach"), Harmless("`mainstay run` can always attach")],
    ),
    (
        "networks.*.driver",
        [Within("`bridge`, `overlay` and `default`, all of them one bridge"), Within("`bridge` and `default`")],
    ),
    ("networks.*.driver_opts", [Harmless("the network is our own"), Honoured]),
    ("networks.*.enable_ipv4", [Harmless("networks have IPv4"), Harmless("networks have IPv4")]),
    ("networks.*.enable_ipv6", [Harmless("networks have IPv4 only"), Harmless("networks have IPv4 only")]),
    (
        "networks.*.external",
        [NotYet("declare the network here, and reach other projects through published ports"), Honoured],
    ),
    (
        "networks.*.external.name",
        [NotYet("declare the network here, and reach other projects through published ports"), Honoured],
    ),
    ("networks.*.internal", [Honoured, Honoured]),
    ("networks.*.ipam", [Honoured, Honoured]),
    ("networks.*.ipam.config", [Honoured, Honoured]),
    (
        "networks.*.ipam.config[].aux_addresses",
        [Harmless("addresses are given by the network"), Harmless("addresses are given by the network")],
    ),
    (
        "networks.*.ipam.config[].gateway",
        [Harmless("the gateway is the subnet's first address"), Harmless("the gateway is the subnet's first address")],
    ),
    (
        "networks.*.ipam.config[].ip_range",
        [Harmless("addresses are given by the network"), Harmless("addresses are given by the network")],
    ),
    (
        "networks.*.ipam.config[].subnet",
        [
            Within("the first IPv4 subnet, of at most 28 bits of prefix"),
            Within("the first IPv4 subnet, of at most 28 bits of prefix"),
        ],
    ),
    (
        "networks.*.ipam.driver",
        [Harmless("addresses are given by the network"), Harmless("addresses are given by the network")],
    ),
    (
        "networks.*.ipam.options",
        [Harmless("addresses are given by the network"), Harmless("addresses are given by the network")],
    ),
    (
        "networks.*.labels",
        [
            Harmless("labels of networks are read by other tools only"),
            Harmless("labels of networks are read by other tools only"),
        ],
    ),
    ("networks.*.name", [Harmless("a network belongs to its project and environment"), Honoured]),
    ("volumes.*", [Honoured, Honoured]),
    ("volumes.*.driver", [Within("`local` only"), Within("`local` only")]),
    ("volumes.*.driver_opts", [NotYet("mount the path with a bind mount instead"), Honoured]),
    ("volumes.*.external", [NotYet("declare the volume here, and copy the data into it"), Honoured]),
    ("volumes.*.external.name", [NotYet("declare the volume here, and copy the data into it"), Honoured]),
    ("volumes.*.labels", [Harmless("labels of volumes are read by other tools only"), Honoured]),
    ("volumes.*.name", [Harmless("a volume belongs to its project and environment"), Honoured]),
    ("secrets.*", [Honoured, Honoured]),
    (
        "secrets.*.driver",
        [NotYet("give the secret as `file` or `environment`"), NotYet("give the secret as `file` or `environment`")],
    ),
    (
        "secrets.*.driver_opts",
        [NotYet("give the secret as `file` or `environment`"), NotYet("give the secret as `file` or `environment`")],
    ),
    ("secrets.*.environment", [Honoured, Honoured]),
    (
        "secrets.*.external",
        [NotYet("give the secret as `file` or `environment`"), NotYet("give the secret as `file` or `environment`")],
    ),
    ("secrets.*.file", [Honoured, Honoured]),
    (
        "secrets.*.labels",
        [
            Harmless("labels of secrets are read by other tools only"),
            Harmless("labels of secrets are read by other tools only"),
        ],
    ),
    (
        "secrets.*.name",
        [
            Harmless("a secret belongs to its project and environment"),
            Harmless("a secret belongs to its project and environment"),
        ],
    ),
    ("secrets.*.template_driver", [NotYet("write the content out"), NotYet("write the content out")]),
    ("configs.*", [Honoured, Honoured]),
    ("configs.*.content", [Honoured, Honoured]),
    ("configs.*.environment", [Honoured, Honoured]),
    (
        "configs.*.external",
        [
            NotYet("give the config as `file`, `content` or `environment`"),
            NotYet("give the config as `file`, `content` or `environment`"),
        ],
    ),
    ("configs.*.file", [Honoured, Honoured]),
    (
        "configs.*.labels",
        [
            Harmless("labels of configs are read by other tools only"),
            Harmless("labels of configs are read by other tools only"),
        ],
    ),
    (
        "configs.*.name",
        [
            Harmless("a config belongs to its project and environment"),
            Harmless("a config belongs to its project and environment"),
        ],
    ),
    ("configs.*.template_driver", [NotYet("write the content out"), NotYet("write the content out")]),
];
