//! A service's metrics in Prometheus' text form, with those every process has under the ecosystem's names.

use prometheus::{
    Counter, Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts,
};

/// The content type of [`Registry::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Seconds, from an answer out of memory to one that is lost.
const DURATION_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

const ONCE: &str = "every series is registered once, with a valid name";

/// The series of one process.
pub struct Registry {
    series: prometheus::Registry,
    resident: IntGauge,
    cpu: Counter,
    open_files: IntGauge,
}

impl Registry {
    /// A registry with the process's own series and `app_info{service,version}`.
    #[must_use]
    pub fn new(service: &str, version: &str) -> Self {
        let series = prometheus::Registry::new();
        let seconds_now = jiff::Timestamp::now().as_millisecond();
        let mut registry = Self {
            resident: IntGauge::new("process_resident_memory_bytes", "Resident memory.").expect(ONCE),
            cpu: Counter::new("process_cpu_seconds_total", "User and system time.").expect(ONCE),
            open_files: IntGauge::new("process_open_fds", "Open file descriptors.").expect(ONCE),
            series,
        };
        registry.add(registry.resident.clone());
        registry.add(registry.cpu.clone());
        registry.add(registry.open_files.clone());
        let started = registry.gauge("process_start_time_seconds", "Start of the process, seconds since 1970.");
        started.set(seconds_now / 1000);
        registry
            .gauge_vec("app_info", "Which version runs.", &["service", "version"])
            .with_label_values(&[service, version])
            .set(1);
        registry
    }

    fn add<C: prometheus::core::Collector + 'static>(&mut self, collector: C) {
        self.series.register(Box::new(collector)).expect(ONCE);
    }

    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str) -> IntCounter {
        let counter = IntCounter::new(name, help).expect(ONCE);
        self.add(counter.clone());
        counter
    }

    /// A counter for each combination of labels.
    pub fn counter_vec(&mut self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let counters = IntCounterVec::new(Opts::new(name, help), labels).expect(ONCE);
        self.add(counters.clone());
        counters
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str) -> IntGauge {
        let gauge = IntGauge::new(name, help).expect(ONCE);
        self.add(gauge.clone());
        gauge
    }

    /// A gauge for each combination of labels.
    pub fn gauge_vec(&mut self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let gauges = IntGaugeVec::new(Opts::new(name, help), labels).expect(ONCE);
        self.add(gauges.clone());
        gauges
    }

    /// A histogram of durations in seconds.
    pub fn durations(&mut self, name: &str, help: &str) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        let histogram = Histogram::with_opts(options).expect(ONCE);
        self.add(histogram.clone());
        histogram
    }

    /// A histogram of durations in seconds for each combination of labels.
    pub fn durations_vec(&mut self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        let histograms = HistogramVec::new(options, labels).expect(ONCE);
        self.add(histograms.clone());
        histograms
    }

    /// All series, as `GET /metrics` answers them.
    #[must_use]
    pub fn text(&self) -> String {
        self.observe_process();
        let mut text = Vec::new();
        prometheus::TextEncoder::new()
            .encode(&self.series.gather(), &mut text)
            .expect("series are encoded into memory");
        String::from_utf8(text).expect("the text form is UTF-8")
    }

    /// What `/proc` does not tell keeps its last value.
    fn observe_process(&self) {
        if let Some(bytes) =
            std::fs::read_to_string("/proc/self/status").ok().and_then(|status| resident_bytes(&status))
        {
            self.resident.set(bytes);
        }
        if let Some(seconds) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)) {
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            self.open_files.set(i64::try_from(files.count()).unwrap_or(i64::MAX));
        }
    }
}

fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()? * 1024)
}

/// Fields 14 and 15 count from the command's closing bracket, as the name itself may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    /// Linux shows user space 100 ticks a second on every machine (USER_HZ).
    const TICKS: f64 = 100.0;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_by_field() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2048 * 1024));
        let stat = "12 (a name) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
    }

    #[test]
    fn the_text_names_the_process_and_the_version() {
        let mut registry = Registry::new("api", "7");
        registry.counter("orders_total", "Orders.").inc_by(3);
        let text = registry.text();
        assert!(text.contains("\norders_total 3\n"), "{text}");
        assert!(text.contains("app_info{service=\"api\",version=\"7\"} 1"), "{text}");
        let resident = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
        assert!(resident.parse::<u64>().unwrap() > 100_000, "{resident}");
    }
}
