//! Well-known images: the port they listen on, and whether they keep data that must not be served by two at once.

use model::image::ImageRef;

struct Known {
    names: &'static [&'static str],
    port: u16,
    /// Keeps data: replaced stop-first, its name leads to it directly.
    is_store: bool,
}

const KNOWN: &[Known] = &[
    store(&["postgres", "postgis/postgis", "timescale/timescaledb", "bitnami/postgresql", "pgvector/pgvector"], 5432),
    store(&["mysql", "mariadb", "percona", "bitnami/mysql", "bitnami/mariadb"], 3306),
    store(&["redis", "valkey", "valkey/valkey", "redis/redis-stack", "bitnami/redis", "keydb", "eqalpha/keydb"], 6379),
    store(&["mongo", "bitnami/mongodb"], 27017),
    store(&["memcached"], 11211),
    store(&["rabbitmq"], 5672),
    store(&["elasticsearch", "opensearchproject/opensearch"], 9200),
    store(&["minio/minio"], 9000),
    store(&["influxdb"], 8086),
    store(&["couchdb"], 5984),
    store(&["cassandra"], 9042),
    store(&["neo4j"], 7687),
    store(&["nats"], 4222),
    store(&["etcd", "bitnami/etcd"], 2379),
    server(&["nginx", "nginxinc/nginx-unprivileged", "httpd", "caddy", "traefik", "haproxy"], 80),
];

const fn store(names: &'static [&'static str], port: u16) -> Known {
    Known { names, port, is_store: true }
}

const fn server(names: &'static [&'static str], port: u16) -> Known {
    Known { names, port, is_store: false }
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

/// Whether the image is a well-known data store.
pub fn is_store(image: &ImageRef) -> bool {
    known(image).is_some_and(|known| known.is_store)
}
