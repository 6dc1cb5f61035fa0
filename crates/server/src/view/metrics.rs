//! Counters in Prometheus' text form, under the ecosystem's names.

use crate::api::status::Version;
use edge::control::{LATENCY_BOUNDS_MICROS, ServiceStats, Stats, UpstreamStats};
use std::fmt::Write;

/// The text for one scrape.
pub fn text(version: &Version, edge: Option<&Stats>) -> String {
    let mut text = Text::default();
    text.family("mainstay_build_info", "gauge", "The daemon's version.");
    text.sample("mainstay_build_info", &[("version", &version.version)], 1.0);
    text.family("mainstay_edge_up", "gauge", "Whether the edge answers.");
    text.sample("mainstay_edge_up", &[], if edge.is_some() { 1.0 } else { 0.0 });
    if let Some(stats) = edge {
        totals(&mut text, stats);
        services(&mut text, stats);
        upstreams(&mut text, stats);
    }
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.line(format_args!("{name}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a string takes everything");
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn totals(text: &mut Text, stats: &Stats) {
    let totals = &stats.totals;
    let counters = [
        ("mainstay_edge_connections_accepted_total", "Client connections accepted.", totals.connections_accepted),
        ("mainstay_edge_accept_failures_total", "Times no connection could be accepted.", totals.accept_failures),
        ("mainstay_edge_requests_refused_total", "Malformed, too large or too slow heads.", totals.requests_refused),
        ("mainstay_edge_task_panics_total", "Tasks that panicked.", totals.task_panics),
        ("mainstay_edge_websockets_cut_total", "WebSockets cut at the end of a drain.", totals.websockets_cut),
        ("mainstay_edge_tcp_cut_total", "TCP connections cut at the end of a drain.", totals.tcp_cut),
        ("mainstay_edge_log_lines_dropped_total", "Access log lines dropped.", totals.log_lines_dropped),
    ];
    for (name, help, value) in counters {
        text.family(name, "counter", help);
        text.sample(name, &[], value as f64);
    }
    text.family("mainstay_edge_connections_open", "gauge", "Client connections open now.");
    text.sample("mainstay_edge_connections_open", &[], totals.connections_open as f64);
}

fn services(text: &mut Text, stats: &Stats) {
    text.family("http_requests_total", "counter", "Requests answered by the edge.");
    for service in &stats.services {
        for (class, count) in (1u32..).zip(service.responses).filter(|(_, count)| *count > 0) {
            let status = format!("{class}xx");
            text.sample("http_requests_total", &labels(service, &[("status", &status)]), count as f64);
        }
    }
    type Read = fn(&ServiceStats) -> u64;
    let families: [(&str, &str, &str, Read); 8] = [
        ("mainstay_edge_retries_total", "counter", "Attempts beyond each request's first.", |s| s.retries),
        ("mainstay_edge_failures_total", "counter", "Requests without a whole answer.", |s| s.failures),
        ("mainstay_edge_abandoned_total", "counter", "Requests whose client left before an answer.", |s| s.abandoned),
        ("mainstay_edge_received_bytes_total", "counter", "Bytes of bodies from clients.", |s| s.bytes_in),
        ("mainstay_edge_sent_bytes_total", "counter", "Bytes of bodies to clients.", |s| s.bytes_out),
        ("mainstay_edge_requests_in_flight", "gauge", "Requests under way.", |s| s.in_flight),
        ("mainstay_edge_websockets_total", "counter", "Upgraded connections opened.", |s| s.websockets),
        ("mainstay_edge_tcp_connections_total", "counter", "TCP connections opened.", |s| s.tcp),
    ];
    for (name, kind, help, read) in families {
        text.family(name, kind, help);
        for service in &stats.services {
            text.sample(name, &labels(service, &[]), read(service) as f64);
        }
    }
    text.family("http_request_duration_seconds", "histogram", "From a request's head to the last byte of its answer.");
    for service in &stats.services {
        histogram(text, service);
    }
}

fn histogram(text: &mut Text, service: &ServiceStats) {
    let mut sum = 0;
    for (index, count) in service.latency.buckets.iter().enumerate() {
        sum += count;
        let bound = LATENCY_BOUNDS_MICROS.get(index).map_or("+Inf".into(), |micros| (*micros as f64 / 1e6).to_string());
        text.sample("http_request_duration_seconds_bucket", &labels(service, &[("le", &bound)]), sum as f64);
    }
    text.sample("http_request_duration_seconds_sum", &labels(service, &[]), service.latency.sum_micros as f64 / 1e6);
    text.sample("http_request_duration_seconds_count", &labels(service, &[]), service.latency.count() as f64);
}

fn labels<'a>(service: &'a ServiceStats, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut labels = vec![("stack", service.project.as_str()), ("service", service.service.as_str())];
    labels.extend_from_slice(more);
    labels
}

fn upstreams(text: &mut Text, stats: &Stats) {
    type Read = fn(&UpstreamStats) -> u64;
    let families: [(&str, &str, Read); 3] = [
        ("mainstay_edge_upstream_requests_total", "Requests sent to a replica.", |up| up.requests),
        ("mainstay_edge_upstream_failures_total", "Requests a replica died on.", |up| up.failures),
        ("mainstay_edge_upstream_connect_failures_total", "Connections a replica did not take.", |up| {
            up.connect_failures
        }),
    ];
    for (name, help, read) in families {
        text.family(name, "counter", help);
        for upstream in &stats.upstreams {
            let address = upstream.address.to_string();
            let labels = [("replica", upstream.id.as_str()), ("address", address.as_str())];
            text.sample(name, &labels, read(upstream) as f64);
        }
    }
}
