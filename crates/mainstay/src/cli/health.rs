//! `mainstay health`: the aggregated health document.

use super::Context;
use super::status::tone_of;
use crate::client::of_stack;
use crate::exit::{Exit, Failure};
use crate::ui::paint::tame;
use crate::ui::table::Table;
use server::api::status::HealthDocument;

pub async fn run(cx: &Context) -> Result<Exit, Failure> {
    // Outside a project the whole machine is meant.
    let (what, path) = match cx.settings.is_outside() {
        true => ("all stacks".to_owned(), "/health".to_owned()),
        false => {
            let stack = cx.stack()?;
            (stack.to_string(), of_stack(&stack, "/health"))
        }
    };
    let (_, document): (bool, HealthDocument) = cx.client().get_health(&path).await?;
    let exit = if document.status == "ok" { Exit::Done } else { Exit::Failed };
    if cx.ui.json {
        cx.ui.json(&document);
        return Ok(exit);
    }
    let paint = cx.ui.out;
    cx.ui.data(format!("{what}  {}", paint.tone(tone_of(&document.status), &document.status)));
    let mut table = Table::new(["SERVICE", "STATUS", "READY", "WHY"]);
    for (name, service) in &document.services {
        table.row([
            name.clone(),
            paint.tone(tone_of(&service.status), &service.status),
            format!("{}/{}", service.ready, service.replicas),
            tame(service.detail.as_deref().unwrap_or_default(), false),
        ]);
    }
    table.lines(paint).iter().for_each(|line| cx.ui.data(line));
    let bad = document
        .services
        .iter()
        .find(|(_, service)| !matches!(service.status.as_str(), "ok" | "completed" | "pending"));
    match bad {
        Some(_) if cx.settings.is_outside() => cx.ui.next("`mainstay status` shows all stacks"),
        Some((name, _)) => cx.ui.next(format!("`mainstay logs {name}` shows what it wrote")),
        None => cx.ui.next("`mainstay status` shows replicas and addresses"),
    }
    Ok(exit)
}
