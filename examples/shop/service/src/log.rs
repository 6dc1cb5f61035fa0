//! One JSON object a line on standard output: timestamp, level, service, message, then the event's own fields.
//!
//! Field names are the ones log stores look for (`requestId`, `durationMs`). Lines are written whole, under the
//! lock of standard output; when its reader is gone they are dropped, as nobody is left to be told.

use std::fmt;
use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::environment::{Environment, SettingError, error};

/// Sends all events of this process to standard output; `LOG_LEVEL` (default `info`) says from which level on.
pub fn start(service: &'static str, environment: &Environment) -> Result<(), SettingError> {
    let wanted = environment.text("LOG_LEVEL").unwrap_or("info");
    let filter =
        EnvFilter::try_new(wanted).map_err(|_| error("LOG_LEVEL", wanted, "error, warn, info, debug or trace"))?;
    tracing_subscriber::registry().with(filter).with(JsonLines { service }).init();
    std::panic::set_hook(Box::new(|panic| tracing::error!(panic = %panic, "a bug: the code panicked")));
    Ok(())
}

/// A line for a process that ends before its log has started.
pub fn last_words(service: &'static str, message: &dyn fmt::Display) {
    write(&head(service, "error", Some(message.to_string())));
}

struct JsonLines {
    service: &'static str,
}

impl<S: Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let message = fields.0.remove("message").and_then(|message| message.as_str().map(str::to_owned));
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let mut line = head(self.service, &level, message);
        line.extend(fields.0);
        write(&line);
    }
}

fn head(service: &str, level: &str, message: Option<String>) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("timestamp".into(), Timestamp::now().to_string().into());
    line.insert("level".into(), level.into());
    line.insert("service".into(), service.into());
    line.insert("message".into(), message.unwrap_or_default().into());
    line
}

fn write(line: &Map<String, Value>) {
    let mut text = Value::Object(line.clone()).to_string();
    text.push('\n');
    // Standard output is the log: there is no other place left to report its failure to.
    let _reader_gone = std::io::stdout().lock().write_all(text.as_bytes());
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.insert(field.name().to_owned(), chain(value).into());
    }
}

/// An error with all its causes in one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Some libraries already repeat their cause in their own text.
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}
