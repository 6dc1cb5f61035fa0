//! The durable form of a record, versioned.
//!
//! What is wanted, scaled and restarted lies in the store's own columns; this is the rest.

use super::record::{Good, Kind, OpenRun, Record, Running, Wanted};
use crate::api::release::Explanation;
use jiff::Timestamp;
use model::container::Pinned;
use model::probe::{Check, Probe};
use model::{ReleaseNumber, StackId};
use plan::allocate::Allocation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;
use store::{Desire, StackState};

/// The version written; every version is read.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Rest {
    v: u32,
    #[serde(default)]
    engine: Option<String>,
    wanted: Option<Release>,
    good: Option<Release>,
    /// What the good one is settled with; that of the wanted one when none.
    #[serde(default)]
    good_given: Option<Given>,
    up_since: Option<Timestamp>,
    last_run: u64,
    open: Option<Open>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Release {
    release: u64,
    bundle: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    images: BTreeMap<String, Image>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Image {
    id: String,
    digest: Option<String>,
    ports: BTreeSet<u16>,
    ready: Option<Ready>,
}

/// The check that an image brings: always a command.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    argv: Vec<String>,
    interval_ms: u64,
    timeout_ms: u64,
    retries: NonZeroU32,
    start_period_ms: u64,
    start_interval_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Given {
    allocation: String,
    scale: BTreeMap<String, u32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    run: u64,
    kind: String,
    release: Option<u64>,
    actor: String,
    since: Timestamp,
    #[serde(default)]
    failed: Option<Explanation>,
}

/// The name of the setting that holds the rest of a stack's record.
pub fn key(id: &StackId) -> String {
    format!("record/{id}")
}

/// What the store's own columns hold.
pub fn desire(record: &Record) -> Desire {
    let (release, down) = match &record.wanted {
        Wanted::Up(running) => (Some(running.release), None),
        Wanted::Down(volumes) => (None, Some(volumes.clone())),
        Wanted::Nothing => (None, None),
    };
    Desire { release, down, asked_at: record.asked_at, scale: record.scale.clone(), restart: record.restart.clone() }
}

/// The rest as bytes.
pub fn rest(record: &Record) -> Vec<u8> {
    let release = |running: &Running| Release {
        release: running.release.0,
        bundle: running.bundle.to_string(),
        images: running.images.iter().map(|(name, pinned)| (name.to_string(), image(pinned))).collect(),
    };
    let open = record.open.as_ref().map(|open| Open {
        run: open.run,
        kind: kind_name(open.kind).into(),
        release: match open.kind {
            Kind::Release(number) => Some(number.0),
            _ => None,
        },
        actor: open.actor.clone(),
        since: open.since,
        failed: open.failed.clone(),
    });
    let given = |good: &Good| Given {
        allocation: good.allocation.to_text(),
        scale: good.scale.iter().map(|(name, count)| (name.to_string(), *count)).collect(),
    };
    let rest = Rest {
        v: VERSION,
        engine: record.engine.map(|engine| engine.to_string()),
        wanted: record.release().map(release),
        good: record.good.as_ref().map(|good| release(&good.running)),
        good_given: record.good.as_ref().map(given),
        up_since: record.up_since,
        last_run: record.last_run,
        open,
    };
    serde_json::to_vec(&rest).expect("a record is plain data")
}

/// A record from what is stored.
///
/// Errors: why the stored form cannot be read, in words.
pub fn read(state: StackState, rest: Option<&[u8]>) -> Result<Record, String> {
    let mut record = Record::new(state.uid_base, state.desire.asked_at);
    record.scale = state.desire.scale;
    record.restart = state.desire.restart;
    if let Some(text) = &state.allocation {
        record.allocation = Allocation::from_text(text).map_err(|error| error.to_string())?;
    }
    let Some(rest) = rest else {
        return match (state.desire.release, state.desire.down) {
            (Some(release), _) => Err(format!("release {release} is wanted, and what it runs from is missing")),
            (None, Some(volumes)) => Ok(Record { wanted: Wanted::Down(volumes), ..record }),
            (None, None) => Ok(record),
        };
    };
    let rest: Rest = serde_json::from_slice(rest).map_err(|error| error.to_string())?;
    if rest.v > VERSION {
        return Err(format!("it was written by a newer version (form {}, this one reads {VERSION})", rest.v));
    }
    record.good = match rest.good.map(running).transpose()? {
        Some(running) => Some(good(running, rest.good_given, &record)?),
        None => None,
    };
    let engine = rest.engine.map(|text| text.parse());
    record.engine = engine.transpose().map_err(|error: model::policy::UnknownEngine| error.to_string())?;
    record.up_since = rest.up_since;
    record.last_run = rest.last_run;
    record.open = rest.open.map(open).transpose()?;
    record.wanted = match (state.desire.down, rest.wanted) {
        (None, Some(release)) => Wanted::Up(running(release)?),
        (Some(volumes), _) => Wanted::Down(volumes),
        (None, None) => Wanted::Nothing,
    };
    Ok(record)
}

fn running(release: Release) -> Result<Running, String> {
    let bundle = release.bundle.parse().map_err(|error: model::id::IdError| error.to_string())?;
    let pinned = |(name, image): (String, Image)| {
        let name = name.parse().map_err(|error: model::name::NameError| error.to_string())?;
        Ok::<_, String>((name, pinned(image)?))
    };
    let images = release.images.into_iter().map(pinned).collect::<Result<_, _>>()?;
    Ok(Running { release: ReleaseNumber(release.release), bundle, images })
}

fn image(pinned: &Pinned) -> Image {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let ready = pinned.ready.as_ref().and_then(|probe| match &probe.check {
        Check::Command { argv } => Some(Ready {
            argv: argv.clone(),
            interval_ms: millis(probe.interval),
            timeout_ms: millis(probe.timeout),
            retries: probe.retries,
            start_period_ms: millis(probe.start_period),
            start_interval_ms: millis(probe.start_interval),
        }),
        Check::Http { .. } | Check::Tcp { .. } => None,
    });
    Image { id: pinned.id.to_string(), digest: pinned.digest.clone(), ports: pinned.ports.clone(), ready }
}

fn pinned(image: Image) -> Result<Pinned, String> {
    let id = image.id.parse().map_err(|error: model::id::IdError| error.to_string())?;
    let ready = image.ready.map(|ready| Probe {
        check: Check::Command { argv: ready.argv },
        interval: Duration::from_millis(ready.interval_ms),
        timeout: Duration::from_millis(ready.timeout_ms),
        retries: ready.retries,
        start_period: Duration::from_millis(ready.start_period_ms),
        start_interval: Duration::from_millis(ready.start_interval_ms),
    });
    Ok(Pinned { id, digest: image.digest, ports: image.ports, ready })
}

fn good(running: Running, given: Option<Given>, record: &Record) -> Result<Good, String> {
    let Some(given) = given else {
        return Ok(Good { running, allocation: record.allocation.clone(), scale: record.scale.clone() });
    };
    let allocation = Allocation::from_text(&given.allocation).map_err(|error| error.to_string())?;
    let name = |text: String| text.parse().map_err(|error: model::name::NameError| error.to_string());
    let scale = given.scale.into_iter().map(|(text, count)| Ok((name(text)?, count)));
    Ok(Good { running, allocation, scale: scale.collect::<Result<_, String>>()? })
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Release(_) => "release",
        Kind::Down => "down",
        Kind::Restart => "restart",
        Kind::Scale => "scale",
        Kind::Repair => "repair",
    }
}

fn open(open: Open) -> Result<OpenRun, String> {
    let kind = match (open.kind.as_str(), open.release) {
        ("release", Some(number)) => Kind::Release(ReleaseNumber(number)),
        ("down", _) => Kind::Down,
        ("restart", _) => Kind::Restart,
        ("scale", _) => Kind::Scale,
        ("repair", _) => Kind::Repair,
        (other, _) => return Err(format!("it has a run of kind `{other}`")),
    };
    Ok(OpenRun { run: open.run, kind, actor: open.actor, since: open.since, failed: open.failed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::EnvironmentName;
    use std::collections::BTreeSet;

    fn record() -> Record {
        let bundle = "b".repeat(64).parse().expect("64 hexadecimal digits");
        let running = Running { release: ReleaseNumber(3), bundle, images: BTreeMap::new() };
        let mut record = Record::new(7, Timestamp::UNIX_EPOCH);
        record.wanted = Wanted::Up(running.clone());
        let scale = BTreeMap::from([("api".parse().expect("legal"), 2)]);
        record.good = Some(Good { running, allocation: Allocation::default(), scale });
        record.last_run = 9;
        record.scale = BTreeMap::from([("api".parse().expect("legal"), 3)]);
        record.open = Some(OpenRun {
            run: 9,
            kind: Kind::Release(ReleaseNumber(3)),
            actor: "root".into(),
            since: Timestamp::UNIX_EPOCH,
            failed: Some(Explanation { summary: "why".into(), ..Explanation::default() }),
        });
        record
    }

    fn state(record: &Record) -> StackState {
        let environment: EnvironmentName = "production".parse().expect("legal");
        StackState {
            id: StackId { project: "shop".parse().expect("legal"), environment },
            uid_base: record.uid_base,
            generation: plan::Generation(1),
            desire: desire(record),
            allocation: Some(record.allocation.to_text()),
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_record_reads_what_it_wrote() {
        let record = record();
        assert_eq!(read(state(&record), Some(&rest(&record))), Ok(record.clone()));
        let down =
            Record { wanted: Wanted::Down(BTreeSet::from(["data".parse().expect("legal")])), open: None, ..record };
        assert_eq!(read(state(&down), Some(&rest(&down))), Ok(down.clone()));
        let fresh = Record { wanted: Wanted::Nothing, ..down };
        assert_eq!(read(state(&fresh), Some(&rest(&fresh))), Ok(fresh));
    }

    #[test]
    fn the_first_stored_form_is_still_read() {
        let first = br#"{"v":1,"wanted":null,"good":null,"up_since":null,"last_run":4,"open":null}"#;
        let record = Record::new(7, Timestamp::UNIX_EPOCH);
        assert_eq!(read(state(&record), Some(first)).map(|record| record.last_run), Ok(4));
    }

    #[test]
    fn a_record_whose_rest_is_lost_is_not_taken_for_one_that_wants_nothing() {
        let fresh = Record::new(7, Timestamp::UNIX_EPOCH);
        assert_eq!(read(state(&fresh), None).map(|record| record.wanted), Ok(Wanted::Nothing));
        let error = read(state(&record()), None).expect_err("release 3 is wanted");
        assert!(error.contains("release 3"), "{error}");
    }

    #[test]
    fn a_newer_form_is_refused_and_not_guessed_at() {
        let newer = br#"{"v":2,"wanted":null,"good":null,"up_since":null,"last_run":0,"open":null}"#;
        let error = read(state(&record()), Some(newer)).expect_err("it is newer");
        assert!(error.contains("newer version"), "{error}");
    }
}
