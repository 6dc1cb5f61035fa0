//! The images of a release: the daemon finds, fetches or builds them while we show how it goes.
//!
//! Owns what is shown; which images are needed, and how they come about, is the daemon's and its engine's matter.

use super::identity;
use crate::cli::Context;
use crate::client::of_stack;
use crate::client::stream::Messages;
use crate::declaration::Declaration;
use crate::exit::Failure;
use crate::progress::words;
use crate::ui::live::Live;
use crate::ui::paint::{Tone, tame};
use model::policy::EngineKind;
use model::project::Runs;
use server::api::images::{ImageEvent, ImagesRequest};
use std::collections::{BTreeMap, VecDeque};
use tokio::time::Instant;

/// Of a failed build so many lines are shown.
const KEPT: usize = 200;

/// Whether a project has images that an engine runs.
pub fn needs_any(declaration: &Declaration) -> bool {
    let runs_images = declaration.project.engine == Some(EngineKind::Docker);
    let is_image = |runs: &Runs| matches!(runs, Runs::Image { .. } | Runs::Build { .. });
    runs_images && declaration.project.services.values().any(|service| is_image(&service.template.runs))
}

/// Has the daemon prepare the images of a bundle; gives the image of each service.
pub async fn prepare(
    cx: &Context,
    declaration: &Declaration,
    bundle: &str,
    adopt: Option<&str>,
) -> Result<BTreeMap<String, String>, Failure> {
    let request = ImagesRequest {
        bundle: bundle.to_owned(),
        logins: identity::logins(cx, &declaration.project).await,
        revision: identity::revision(&declaration.root).await,
        source: identity::source(&declaration.root).await,
        adopt: adopt.map(str::to_owned),
    };
    let path = of_stack(&declaration.stack, "/images");
    let mut messages = Messages::events(&path, cx.client().open_with(&path, &request).await?);
    let mut shown = Shown { cx, live: Live::new(&cx.ui), rows: BTreeMap::new(), kept: VecDeque::new() };
    loop {
        let event = tokio::select! {
            event = messages.next::<ImageEvent>() => event?,
            () = tokio::time::sleep(std::time::Duration::from_millis(80)) => {
                shown.show();
                continue;
            }
        };
        match event {
            Some(ImageEvent::Finished { images }) => return Ok(images),
            Some(ImageEvent::Failed { error }) => return Err(shown.failed(error)),
            Some(event) => shown.take(event),
            None => return Err(Failure::failed("the daemon stopped preparing the images without a word")),
        }
    }
}

/// What is shown of the work under way.
struct Shown<'a> {
    cx: &'a Context,
    live: Live,
    rows: BTreeMap<String, Row>,
    kept: VecDeque<String>,
}

struct Row {
    begun: Instant,
    text: String,
}

impl Shown<'_> {
    fn take(&mut self, event: ImageEvent) {
        match event {
            ImageEvent::Step { services, number, of, text, cached } => {
                let count = if of > 0 { format!("[{number}/{of}] ") } else { String::new() };
                let cached = if cached { " (cached)" } else { "" };
                let text = format!("{count}{}{cached}", tame(&text, false));
                if !self.live.is_on() {
                    self.cx.ui.detail(format!("{}  {text}", services.join(", ")));
                }
                self.row(&services).text = text;
            }
            ImageEvent::Bytes { services, done, total } => {
                let (done, total) = (words::bytes(done), words::bytes(total));
                self.row(&services).text = format!("{done} of {total}");
            }
            ImageEvent::Line { services, text } => {
                if self.cx.ui.verbose {
                    self.live.above(&self.cx.ui, &format!("{}  {}", services.join(", "), tame(&text, false)));
                }
                self.kept.push_back(text);
                if self.kept.len() > KEPT {
                    self.kept.pop_front();
                }
            }
            ImageEvent::Ready { services, id: _, how, digest: _, size, millis } => {
                self.ready(&services, &how, size, millis)
            }
            ImageEvent::Finished { .. } | ImageEvent::Failed { .. } | ImageEvent::Unknown => {}
        }
    }

    fn row(&mut self, services: &[String]) -> &mut Row {
        let new = || Row { begun: Instant::now(), text: String::new() };
        self.rows.entry(services.join(", ")).or_insert_with(new)
    }

    fn ready(&mut self, services: &[String], how: &str, size: u64, millis: u64) {
        let name = services.join(", ");
        self.rows.remove(&name);
        // What was there already is nothing anybody waited for.
        if how == "found" {
            return self.cx.ui.detail(format!("image of {name} is there"));
        }
        let err = self.cx.ui.err;
        let size = words::bytes(size);
        let took = err.tone(Tone::Dim, &words::seconds(millis));
        let done = format!("  {} {how} {name}  {size}  {took}", err.tone(Tone::Good, "✔"));
        self.live.above(&self.cx.ui, &done);
    }

    fn show(&mut self) {
        let rows = &self.rows;
        self.live.show(|turning| {
            let line = |(name, row): (&String, &Row)| {
                let took = words::seconds(u64::try_from(row.begun.elapsed().as_millis()).unwrap_or(u64::MAX));
                format!("  {turning} {name}  {}  {took}", row.text)
            };
            rows.iter().map(line).collect()
        });
    }

    fn failed(mut self, error: server::api::ApiError) -> Failure {
        self.live.clear();
        Failure::from(error)
    }
}
