//! `mainstay events`: what happened, oldest first.

use super::Context;
use super::args::Events;
use crate::client::{self, escaped, stream::Messages};
use crate::exit::{Exit, Failure};
use crate::ui::paint::{Paint, Tone, tame};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use server::api::event::Event;
use std::time::Duration;
use tokio::time::Instant;

const ABSENCE: Duration = Duration::from_secs(30);

pub async fn run(args: &Events, cx: &Context) -> Result<Exit, Failure> {
    let all = args.all || cx.settings.is_outside();
    let stack = if all { None } else { Some(cx.stack()?.to_string()) };
    let mut last: Option<u64> = None;
    let mut connected = false;
    let mut gone: Option<Instant> = None;
    loop {
        let ended = read(args, cx, stack.as_deref(), &mut last, (&mut connected, &mut gone)).await;
        let absent = match ended {
            Ok(()) if !args.follow || cx.ui.is_unread() => break,
            Ok(()) => None,
            Err(error) if args.follow && connected && error.is_absence() => Some(error),
            Err(error) => return Err(error.into()),
        };
        let since = *gone.get_or_insert_with(Instant::now);
        if since.elapsed() > ABSENCE {
            return Err(absent.map_or_else(|| Failure::failed("the daemon ended the stream"), Failure::from));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    match last {
        None => cx.ui.next("nothing happened so far"),
        Some(_) => cx.ui.next("`mainstay events -f` goes on with what happens from now on"),
    }
    Ok(Exit::Done)
}

async fn read(
    args: &Events,
    cx: &Context,
    stack: Option<&str>,
    last: &mut Option<u64>,
    (connected, gone): (&mut bool, &mut Option<Instant>),
) -> Result<(), client::Error> {
    let from = match *last {
        Some(id) => format!("after={id}"),
        None => format!("last={}", args.last),
    };
    let stack = stack.map(|stack| format!("&stack={}", escaped(stack))).unwrap_or_default();
    let path = format!("/v1/events?{from}&follow={}{stack}", args.follow);
    let mut messages = Messages::events(&path, cx.client().open(&path).await?);
    *connected = true;
    while let Some(event) = messages.next::<Event>().await? {
        *gone = None;
        *last = Some(event.id);
        if cx.ui.is_unread() {
            break;
        }
        if cx.ui.json {
            cx.ui.json_line(&event);
        } else {
            cx.ui.data(line(&event, &TimeZone::system(), cx.ui.out));
        }
    }
    Ok(())
}

fn line(event: &Event, zone: &TimeZone, paint: Paint) -> String {
    let time = match event.time.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        Err(_) => event.time.clone(),
    };
    let tone = match event.kind.rsplit('.').next().unwrap_or_default() {
        "failed" | "dead" | "unready" => Tone::Bad,
        "ready" | "done" | "finished" => Tone::Good,
        _ => Tone::Accent,
    };
    let cause = event.cause.as_deref().map(|cause| format!(" ({cause})")).unwrap_or_default();
    // What the daemon does by itself is the rule.
    let actor = if event.actor == "mainstay" { String::new() } else { format!(" by {}", event.actor) };
    let rest = paint.tone(Tone::Dim, &tame(&format!("{cause}{actor}"), false));
    format!(
        "{}  {}  {}  {}{rest}",
        paint.tone(Tone::Dim, &time),
        paint.tone(tone, &format!("{:18}", event.kind)),
        paint.tone(Tone::Strong, &format!("{:12}", event.subject)),
        tame(&event.text, false),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = Event {
            id: 7,
            time: "2026-01-02T03:04:05.123Z".into(),
            stack: None,
            subject: "api.1".into(),
            kind: "replica.exited".into(),
            actor: "mainstay".into(),
            cause: Some("release 4".into()),
            text: "exited with code 1\n".into(),
        };
        assert_eq!(
            line(&event, &TimeZone::UTC, Paint(false)),
            "2026-01-02 03:04:05 UTC  replica.exited      api.1         exited with code 1 (release 4)"
        );
    }
}
