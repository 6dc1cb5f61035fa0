//! Well-known images: the port they listen on, and whether they keep data that must not be served by two at once.

use model::image::ImageRef;

struct Known {
    names: &'static [&'static str],
    port: u16,
    /// What it keeps, if anything.
    store: Option<Store>,
}

/// A data store: replaced stop-first, and its name leads to it directly.
struct Store {
    /// Where its data lie.
    data: &'static str,
    /// The user it runs as.
    user: &'static str,
}

const KNOWN: &[Known] = &[
    store(
        &["postgres", "postgis/postgis", "timescale/timescaledb", "pgvector/pgvector"],
        5432,
        "/var/lib/postgresql",
        "postgres",
    ),
    store(&["bitnami/postgresql"], 5432, "/bitnami/postgresql", ""),
    store(&["mysql", "mariadb", "percona"], 3306, "/var/lib/mysql", "mysql"),
    store(&["bitnami/mysql", "bitnami/mariadb"], 3306, "/bitnami", ""),
    store(&["redis", "redis/redis-stack"], 6379, "/data", "redis"),
    store(&["valkey", "valkey/valkey"], 6379, "/data", "valkey"),
    store(&["keydb", "eqalpha/keydb"], 6379, "/data", "keydb"),
    store(&["bitnami/redis"], 6379, "/bitnami/redis", ""),
    store(&["mongo"], 27017, "/data/db", "mongodb"),
    store(&["bitnami/mongodb"], 27017, "/bitnami/mongodb", ""),
    store(&["memcached"], 11211, "", "memcache"),
    store(&["rabbitmq"], 5672, "/var/lib/rabbitmq", "rabbitmq"),
    store(&["elasticsearch"], 9200, "/usr/share/elasticsearch/data", "elasticsearch"),
    store(&["opensearchproject/opensearch"], 9200, "/usr/share/opensearch/data", "opensearch"),
    store(&["minio/minio"], 9000, "/data", ""),
    store(&["influxdb"], 8086, "/var/lib/influxdb", "influxdb"),
    store(&["couchdb"], 5984, "/opt/couchdb/data", "couchdb"),
    store(&["cassandra"], 9042, "/var/lib/cassandra", "cassandra"),
    store(&["neo4j"], 7687, "/data", "neo4j"),
    store(&["nats"], 4222, "", ""),
    store(&["etcd", "bitnami/etcd"], 2379, "", ""),
    server(&["nginx", "nginxinc/nginx-unprivileged", "httpd", "caddy", "traefik", "haproxy"], 80),
];

const fn store(names: &'static [&'static str], port: u16, data: &'static str, user: &'static str) -> Known {
    Known { names, port, store: Some(Store { data, user }) }
}

const fn server(names: &'static [&'static str], port: u16) -> Known {
    Known { names, port, store: None }
}

fn known(image: &ImageRef) -> Option<&'static Known> {
    let repository = image.repository();
    let name = image.official_name().unwrap_or_else(|| repository.strip_prefix("docker.io/").unwrap_or(repository));
    KNOWN.iter().find(|known| known.names.contains(&name))
}

/// The port a well-known image listens on.
pub fn port(image: &ImageRef) -> Option<u16> {
    known(image).map(|known| known.port)
}

fn store_of(image: &ImageRef) -> Option<&'static Store> {
    known(image).and_then(|known| known.store.as_ref())
}

/// Whether the image is a well-known one.
pub fn is_known(image: &ImageRef) -> bool {
    known(image).is_some()
}

/// Whether the image is a well-known data store.
pub fn is_store(image: &ImageRef) -> bool {
    store_of(image).is_some()
}

/// The name of the user that a well-known data store runs as.
pub fn user(image: &ImageRef) -> Option<&'static str> {
    store_of(image).map(|store| store.user).filter(|user| !user.is_empty())
}

/// Where a well-known data store keeps its data; none for those that keep them in memory or where they are told to.
pub fn data(image: &ImageRef) -> Option<&'static str> {
    store_of(image).map(|store| store.data).filter(|data| !data.is_empty())
}
