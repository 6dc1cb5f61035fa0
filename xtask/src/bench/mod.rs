//! The one door for all benchmarks: each measures ours against a goal and, where there is one, against peers.
//!
//! A bench is a function from the [`Bench`] it runs in to rows; [`ALL`] lists them. What is not met stays visible in
//! `docs/benchmarks.md`, which only `--write` changes.

mod adoption;
mod compose;
mod decisions;
mod docker;
mod edge;
mod footprint;
mod row;
mod table;
mod up;

use crate::machine::{catch_interrupts, is_interrupted};
use crate::shop::{self, Profile};
use anyhow::{Context as _, bail, ensure};
use row::Row;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options of `bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only benches whose name begins so [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Write all figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write docs/benchmarks.md: all of it, or the section of the one bench that has its own (compose, docker)
    #[arg(long)]
    write: bool,
    /// Rounds that medians are taken over
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measure this binary, of an earlier release say, instead of one built here
    #[arg(long, value_name = "PATH", conflicts_with = "write")]
    binary: Option<PathBuf>,
    /// List the benches and measure nothing
    #[arg(long)]
    list: bool,
}

/// A bench: a name, what it measures, and how.
struct Entry {
    name: &'static str,
    what: &'static str,
    measure: fn(&Bench) -> anyhow::Result<Vec<Row>>,
}

/// Every bench. The quick ones first.
const ALL: &[Entry] = &[
    Entry { name: "plan", what: "from a stack, or its text, to a plan", measure: decisions::measure },
    Entry { name: "compose", what: "a Compose file's text to the resolved project", measure: compose::measure },
    Entry { name: "up", what: "the shop's first `up`, and one that changes nothing", measure: up::measure },
    Entry { name: "footprint", what: "memory and time of daemon and shims with the shop", measure: footprint::measure },
    Entry { name: "adoption", what: "a daemon's restart with 200 replicas", measure: adoption::measure },
    Entry { name: "edge", what: "latency and throughput of the edge", measure: edge::measure },
    Entry { name: "docker", what: "the Docker engine beside docker-compose and the Engine", measure: docker::measure },
];

/// What a bench runs in.
pub struct Bench {
    /// The checkout.
    pub root: PathBuf,
    /// Rounds that medians are taken over.
    pub rounds: usize,
    binary: OnceCell<PathBuf>,
}

impl Bench {
    /// The release binary, built once.
    pub fn binary(&self) -> anyhow::Result<PathBuf> {
        if let Some(binary) = self.binary.get() {
            return Ok(binary.clone());
        }
        let binary = shop::build(&self.root, Profile::Release)?;
        Ok(self.binary.get_or_init(|| binary).clone())
    }
}

/// Measures what was asked for; whether everything could be measured.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<bool> {
    if options.list {
        ALL.iter().for_each(|entry| println!("{:<12} {}", entry.name, entry.what));
        return Ok(true);
    }
    ensure!(options.rounds > 0, "no rounds, no median: write `--rounds 1` or more");
    let entries = chosen(&options.names)?;
    let section = section(&entries);
    ensure!(
        !options.write || section.is_some() || entries.len() == ALL.len(),
        "`--write` writes the whole page, or the section of `compose` or of `docker`: leave the other names out"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async { catch_interrupts() }).context("listen for signals")?;
    let bench = Bench { root: root.to_owned(), rounds: options.rounds, binary: OnceCell::new() };
    if let Some(binary) = &options.binary {
        let binary = binary.canonicalize().with_context(|| format!("find {}", binary.display()))?;
        bench.binary.get_or_init(|| binary);
    }
    let mut rows = Vec::new();
    for entry in entries {
        ensure!(!is_interrupted(), "interrupted");
        eprintln!("bench {}: {}", entry.name, entry.what);
        let measured = (entry.measure)(&bench);
        rows.extend(measured.unwrap_or_else(|error| vec![Row::failed(entry.name, &format!("{error:#}"))]));
    }
    print!("{}", table::text(&rows));
    let setting = setting(root, options)?;
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&table::json(&rows, &setting)).context("write figures as JSON")?;
        std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))?;
    }
    if options.write {
        let path = root.join("docs/benchmarks.md");
        let page = match section {
            None => table::page(&rows, &setting),
            Some((title, what)) => {
                let page = std::fs::read_to_string(&path).context("read the page")?;
                table::with_section(&page, title, &table::section(title, what, &rows, &setting))
            }
        };
        std::fs::write(path, page).context("write the page")?;
    }
    Ok(rows.iter().all(|row| row.failure.is_none()))
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Entry>> {
    for name in names {
        if !ALL.iter().any(|entry| entry.name.starts_with(name.as_str())) {
            let all: Vec<&str> = ALL.iter().map(|entry| entry.name).collect();
            bail!("there is no bench `{name}`: there are {}", all.join(", "));
        }
    }
    let is_chosen = |entry: &&Entry| names.is_empty() || names.iter().any(|name| entry.name.starts_with(name.as_str()));
    Ok(ALL.iter().filter(is_chosen).collect())
}

/// The title of the section that is written when only this bench is run, and what stands above its figures.
fn section(entries: &[&Entry]) -> Option<(&'static str, &'static str)> {
    match entries {
        [only] if only.name == "compose" => Some((
            "Reading Compose files",
            "Whole processes, from start to end, beside the reference implementation, which refuses files of more than 100,000 values.",
        )),
        [only] if only.name == "docker" => Some((
            "Docker",
            "Mainstay, docker-compose and the Engine alone on one Docker Engine, in one run and in turn. docker-compose's health\nchecks ask every 200 ms: the Engine has no start_interval, and would ask for the first time after 5 s.\n\nBetween services the edge, which spreads requests, is one more hop of HTTP on the same two cores. Looked at on 2026-11-27 with the same load: direct, a\nrequest costs 30 µs of processor time (nginx 16.5, wrk 13.8); the edge adds 33 µs, two thirds of it in the kernel (`perf record`:\nwritev 46 %, epoll 14 %, recv 7 %). So about half of direct is the most that two busy cores can give; a service that computes for a\nmillisecond a request loses 3 %. With `balance: connections` the kernel leads each connection, and nothing stands between.",
        )),
        _ => None,
    }
}

/// When, where and how figures were measured, one line each.
fn setting(root: &Path, options: &Options) -> anyhow::Result<Vec<(&'static str, String)>> {
    let ask = |program: &str, arguments: &[&str]| -> anyhow::Result<String> {
        let output = Command::new(program).args(arguments).current_dir(root).output();
        let output = output.with_context(|| format!("run {program}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let names: String = options.names.iter().map(|name| format!(" {name}")).collect();
    Ok(vec![
        ("date", ask("date", &["-u", "+%F"])?),
        ("command", format!("./dev bench{names} --rounds {}", options.rounds)),
        ("machine", format!("{model}, {cores} cores, Linux {}", ask("uname", &["-r"])?)),
        ("commit", ask("git", &["describe", "--always", "--dirty"])?),
        ("compiler", ask("rustc", &["--version"])?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benches_are_chosen_by_the_beginning_of_their_names() {
        let names = |wanted: &[&str]| -> anyhow::Result<Vec<&str>> {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            Ok(chosen(&wanted)?.iter().map(|entry| entry.name).collect())
        };
        assert_eq!(names(&[]).unwrap().len(), ALL.len());
        assert_eq!(names(&["ed", "plan"]).unwrap(), ["plan", "edge"]);
        let error = names(&["speed"]).unwrap_err().to_string();
        assert!(error.starts_with("there is no bench `speed`: there are plan, "), "{error}");
    }
}
