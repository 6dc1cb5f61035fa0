//! `mainstay explain`: what a code means, or why a release failed.
//!
//! The pages of `docs/errors` are carried in the binary: whoever meets a code at night may have no network.

use super::args::Explain;
use super::{Context, releases};
use crate::exit::{Exit, Failure};
use crate::ui::paint::{Paint, Tone};
use crate::ui::table::Table;
use serde::Serialize;

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

#[derive(Serialize)]
struct Page<'a> {
    code: &'a str,
    title: &'a str,
    text: &'a str,
}

impl Page<'static> {
    fn of(&(code, text): &(&'static str, &'static str)) -> Self {
        let first = text.lines().next().unwrap_or_default();
        let title = first.trim_start_matches('#').trim().trim_start_matches(code).trim_start_matches(':').trim();
        Self { code, title, text }
    }
}

pub async fn run(args: &Explain, cx: &Context) -> Result<Exit, Failure> {
    let words: Vec<&str> = args.what.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => list(cx),
        ["release", number] => {
            let wrong =
                |_| Failure::usage(format!("`{number}` is no number of a release")).help("see `mainstay releases`");
            releases::show(cx, number.parse().map_err(wrong)?).await
        }
        ["release"] => {
            Err(Failure::usage("which release?").help("write `mainstay explain release 4`; see `mainstay releases`"))
        }
        [code] => page(code, cx),
        _ => Err(Failure::usage("too much to explain at once").help("write one code, or `release` and a number")),
    }
}

fn list(cx: &Context) -> Result<Exit, Failure> {
    let pages: Vec<Page> = PAGES.iter().map(Page::of).collect();
    if cx.ui.json {
        cx.ui.json(&pages);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["CODE", "WHAT"]);
    pages.iter().for_each(|page| table.row([page.code.to_owned(), page.title.to_owned()]));
    table.lines(cx.ui.out).iter().for_each(|line| cx.ui.data(line));
    cx.ui.next("`mainstay explain CODE` explains one");
    Ok(Exit::Done)
}

fn page(asked: &str, cx: &Context) -> Result<Exit, Failure> {
    let code = asked.to_uppercase();
    let Some(page) = PAGES.iter().find(|(known, _)| *known == code).map(Page::of) else {
        return Err(unknown(asked, &code));
    };
    if cx.ui.json {
        cx.ui.json(&page);
    } else {
        page.text.trim_end().lines().for_each(|line| cx.ui.data(markdown(line, cx.ui.out)));
    }
    cx.ui.next("`mainstay explain` lists all codes");
    Ok(Exit::Done)
}

fn unknown(asked: &str, code: &str) -> Failure {
    let failure = Failure::usage(format!("`{asked}` is no code of Mainstay"));
    let distance = |known: &str| {
        let number = |code: &str| code.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<i64>().ok();
        match (number(known), number(code)) {
            (Some(a), Some(b)) => (a - b).abs(),
            _ => i64::MAX,
        }
    };
    let mut near: Vec<(i64, &str)> = PAGES.iter().map(|(known, _)| (distance(known), *known)).collect();
    near.sort_unstable();
    let near: Vec<&str> = near.iter().filter(|(far, _)| *far < 20).take(3).map(|(_, known)| *known).collect();
    if near.is_empty() {
        return failure.help("see all codes with `mainstay explain`");
    }
    failure.help(format!("near ones are {}; see all codes with `mainstay explain`", near.join(", ")))
}

// The little of Markdown that the pages use.
fn markdown(line: &str, paint: Paint) -> String {
    if let Some(title) = line.strip_prefix("# ") {
        return paint.tone(Tone::Strong, title);
    }
    let bold = line.split("**").enumerate();
    let line: String =
        bold.map(|(n, part)| if n % 2 == 1 { paint.tone(Tone::Strong, part) } else { part.to_owned() }).collect();
    paint.commands(&line)
}
