//! The tables through the handle, on a real file.

#![allow(clippy::disallowed_methods, reason = "tests touch the machine")]

mod scene;

use mainstay_store::{
    Completion, Desire, EventId, EventQuery, NewEvent, NewRelease, ReleaseState, StackChange, Store, StoreError,
};
use plan::run::{NewRun, RunEnd, StepOutcome};
use plan::{Generation, StepId};
use scene::{at, make, stack, store};
use std::collections::BTreeMap;

async fn with_shop() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(dir.path()).await;
    store.run("make a stack", |tx| make(tx, &stack("shop"), at(1))).await.expect("made");
    (dir, store)
}

fn event(text: &str) -> NewEvent {
    NewEvent {
        time: at(9),
        subject: "api.1".into(),
        kind: "replica.ready".into(),
        actor: "mainstay".into(),
        cause: None,
        text: text.into(),
        data: Some("{\"a\":1}".into()),
    }
}

#[tokio::test]
async fn what_is_wanted_of_a_stack_is_kept_and_counted() {
    let (dir, store) = with_shop().await;
    let desire = Desire {
        release: Some(model::ReleaseNumber(3)),
        down: Some(["data".parse().unwrap()].into()),
        asked_at: "2026-11-21T07:00:00.123456789Z".parse().unwrap(),
        scale: [("api".parse().unwrap(), 5)].into(),
        restart: [("web".parse().unwrap(), at(77))].into(),
    };
    let change = StackChange { desire: Some(desire.clone()), allocation: Some("{}".into()) };
    let again = change.clone();
    let change = move |basis| move |tx: &mainstay_store::Tx<'_>| tx.change_stack(&stack("shop"), basis, again);
    let new = store.run("change", change.clone()(Generation(0))).await.unwrap();
    assert_eq!(new, Generation(1));
    let stale = store.run("change", change(Generation(0))).await.unwrap_err();
    assert!(matches!(stale, StoreError::Stale { basis: Generation(0), current: Generation(1) }), "{stale}");
    drop(store);
    let store = reopened(dir.path()).await;
    let state = store.run("read", |tx| tx.stack(&stack("shop"))).await.unwrap().expect("there");
    assert_eq!((state.desire, state.generation, state.uid_base), (desire, Generation(1), 1000));
    assert_eq!((state.allocation.as_deref(), state.created_at), (Some("{}"), at(1)));
}

/// Opens again once the last handle's thread has given the lock back.
async fn reopened(state: &std::path::Path) -> Store {
    for _ in 0..1000 {
        match scene::open(state).await {
            Ok(opened) => return opened.store,
            Err(StoreError::InUse(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the lock was never given back")
}

#[tokio::test]
async fn user_numbers_are_given_once() {
    let (_dir, store) = with_shop().await;
    let base = async |name: &'static str| {
        let made = store.run("make", move |tx| make(tx, &stack(name), at(2))).await;
        made.map(|state| state.uid_base)
    };
    assert_eq!((base("shop").await.unwrap(), base("blog").await.unwrap()), (1000, 1100));
    assert_eq!((base("shop").await.unwrap(), base("wiki").await.unwrap()), (1000, 1200));
    assert!(matches!(base("more").await.unwrap_err(), StoreError::NoUids(_)));
}

#[tokio::test]
async fn releases_are_numbered_per_stack() {
    let (_dir, store) = with_shop().await;
    let new = NewRelease {
        bundle: "ab".repeat(32).parse().unwrap(),
        actor: "ann".into(),
        message: Some("fix".into()),
        config_hash: "h".into(),
        created_at: at(5),
        images: [("api".into(), "sha256:1".into())].into(),
        again: None,
    };
    let again = new.clone();
    let numbers = store.run("release", move |tx| {
        let first = tx.add_release(&stack("shop"), &again)?;
        let second = tx.add_release(&stack("shop"), &again)?;
        tx.set_release_state(&stack("shop"), first, ReleaseState::Superseded, at(6), Some("later one"))?;
        tx.set_release_state(&stack("shop"), second, ReleaseState::Running, at(6), None)?;
        Ok((first.0, second.0))
    });
    assert_eq!(numbers.await.unwrap(), (1, 2));
    let releases = store.run("read", |tx| tx.releases(&stack("shop"), 10)).await.unwrap();
    let got: Vec<_> = releases.iter().map(|r| (r.number.0, r.state, r.finished_at, r.outcome.as_deref())).collect();
    let want = [(2, ReleaseState::Running, None, None), (1, ReleaseState::Superseded, Some(at(6)), Some("later one"))];
    assert_eq!(got, want);
    assert_eq!(releases[0].new, new);
    let none = store.run("read", |tx| {
        tx.set_release_state(&stack("shop"), model::ReleaseNumber(9), ReleaseState::Done, at(6), None)
    });
    assert_eq!(none.await.unwrap_err().to_string(), "`shop@production` has no release 9");
    let nobody = store.run("read", |tx| tx.releases(&stack("none"), 1)).await.unwrap_err();
    assert_eq!(nobody.to_string(), "there is no stack `none@production`");
}

#[tokio::test]
async fn the_journal_tells_what_was_cut_short() {
    let (_dir, store) = with_shop().await;
    let new = NewRun { stack: stack("shop"), basis: Generation(0), digest: "d".into(), text: "plan".into() };
    let begin = |basis: u64| {
        let new = NewRun { basis: Generation(basis), ..new.clone() };
        store.run("begin a run", move |tx| tx.begin_run(&new, at(1)))
    };
    let run = begin(0).await.unwrap();
    assert!(matches!(begin(1).await.unwrap_err(), StoreError::Busy { .. }));
    let steps = store.run("steps", move |tx| {
        for step in 1..=4 {
            tx.begin_step(run, StepId(step), at(2))?;
        }
        tx.end_step(run, StepId(1), &StepOutcome::Done, at(3))?;
        tx.end_step(run, StepId(2), &StepOutcome::Failed("no".into()), at(3))?;
        tx.end_step(run, StepId(3), &StepOutcome::GivenUp, at(3))
    });
    steps.await.unwrap();
    let open = store.run("read", |tx| tx.open_run(&stack("shop"))).await.unwrap().expect("one is open");
    assert_eq!((open.id, &open.run), (run, &new));
    assert_eq!((open.done, open.failed, open.begun), (vec![StepId(1)], vec![StepId(2), StepId(3)], vec![StepId(4)]));
    store.run("end", move |tx| tx.end_run(run, RunEnd::Interrupted, at(4))).await.unwrap();
    assert_eq!(store.run("read", |tx| tx.open_run(&stack("shop"))).await.unwrap(), None);
    for late in [
        store.run("end", move |tx| tx.end_run(run, RunEnd::Complete, at(5))).await,
        store.run("step", move |tx| tx.begin_step(run, StepId(5), at(5))).await,
    ] {
        assert!(matches!(late.unwrap_err(), StoreError::NoSuchRun(_)));
    }
    assert!(matches!(begin(0).await.unwrap_err(), StoreError::Stale { .. }), "an accepted plan is a change");
    begin(1).await.unwrap();
    let recorded = store.run("read", move |tx| Ok((tx.runs(&stack("shop"), 9)?, tx.steps(run)?))).await.unwrap();
    assert_eq!(recorded.0.iter().map(|run| run.ended).collect::<Vec<_>>(), [None, Some((at(4), RunEnd::Interrupted))]);
    assert_eq!(recorded.1[1].ended, Some((at(3), StepOutcome::Failed("no".into()))));
}

#[tokio::test]
async fn one_that_fails_takes_nothing_else_with_it_and_leaves_nothing() {
    let (_dir, store) = with_shop().await;
    let good = store.run("set", |tx| tx.set_setting("a", b"1"));
    let bad = store.run("set", |tx| {
        tx.set_setting("b", b"1")?;
        tx.append_event(None, event("lost"))?;
        tx.release(&stack("none"), model::ReleaseNumber(1)).map(drop)
    });
    let (good, bad, after) = tokio::join!(good, bad, store.run("set", |tx| tx.set_setting("c", b"1")));
    assert!(good.is_ok() && after.is_ok() && matches!(bad, Err(StoreError::NoSuchStack(_))));
    let kept = store.run("read", |tx| Ok((tx.setting("a")?, tx.setting("b")?, tx.setting("c")?, tx.last_event()?)));
    assert_eq!(kept.await.unwrap(), (Some(b"1".to_vec()), None, Some(b"1".to_vec()), EventId(0)));
}

#[tokio::test]
async fn who_follows_events_misses_none_and_sees_none_twice() {
    let (_dir, store) = with_shop().await;
    let append = |text: String, of: Option<&'static str>| {
        store.run("append", move |tx| tx.append_event(of.map(stack).as_ref(), event(&text)))
    };
    let first = append("1".into(), Some("shop")).await.unwrap();
    append("2".into(), None).await.unwrap();
    let mut all = store.follow(EventId(0), None);
    let mut later = store.follow(first, None);
    let mut shop = store.follow(EventId(0), Some(stack("shop")));
    // More than a follower may lag behind: it has to read the table again.
    for n in 3..=3000u32 {
        let of = if n % 1000 == 0 { Some("shop") } else { Some("blog") };
        append(n.to_string(), of).await.unwrap();
    }
    for n in 1..=3000u32 {
        assert_eq!(all.next().await.unwrap().event.text, n.to_string());
    }
    assert_eq!(later.next().await.unwrap().event.text, "2");
    for want in ["1", "1000", "2000", "3000"] {
        let event = shop.next().await.unwrap();
        assert_eq!((event.event.text.as_str(), event.stack), (want, Some(stack("shop"))));
    }
    let (next, _) = tokio::join!(shop.next(), append("live".into(), Some("shop")));
    assert_eq!(next.unwrap().event.text, "live");
    let query = EventQuery { after: EventId(2), stack: Some(stack("blog")), most: 2 };
    let some = store.run("read", move |tx| tx.events(&query)).await.unwrap();
    assert_eq!(some.iter().map(|e| e.id.0).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(some[0].event, event("3"));
    let newest = store.run("read", |tx| tx.newest_events(None, 2)).await.unwrap();
    assert_eq!(newest.iter().map(|e| e.event.text.as_str()).collect::<Vec<_>>(), ["3000", "live"]);
}

#[tokio::test]
async fn a_stop_writes_what_was_handed_in_and_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = runtime::Tasks::new(runtime::SystemClock::shared());
    let rng = runtime::Rng::from_number(1);
    let store = Store::open(dir.path(), "us", &tasks, &rng).await.unwrap().store;
    let handed_in: BTreeMap<u32, _> = (0..50)
        .map(|n| {
            let store = store.clone();
            let set = async move { store.run("set", move |tx| tx.set_setting(&n.to_string(), b"")).await };
            (n, tokio::spawn(set))
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(tasks.shutdown(std::time::Duration::from_secs(20)).await.is_empty());
    let mut kept = Vec::new();
    for (n, write) in handed_in {
        match write.await.unwrap() {
            Ok(()) => kept.push(n),
            Err(StoreError::Closed { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    let again = reopened(dir.path()).await;
    for n in kept {
        assert!(again.run("read", move |tx| tx.setting(&n.to_string())).await.unwrap().is_some(), "{n}");
    }
    assert!(matches!(store.run("late", |tx| tx.last_event()).await, Err(StoreError::Closed { .. })));
}

#[tokio::test]
async fn only_the_newest_events_and_runs_are_kept_and_an_open_run_always() {
    let (_dir, store) = with_shop().await;
    store
        .run("fill", |tx| {
            (0..10).try_for_each(|n| tx.append_event(None, event(&n.to_string())).map(drop))?;
            for n in 0..6 {
                let new = NewRun { stack: stack("shop"), basis: Generation(n), digest: "d".into(), text: "p".into() };
                let run = tx.begin_run(&new, at(1))?;
                if n < 5 {
                    tx.end_run(run, RunEnd::Complete, at(2))?;
                }
            }
            assert_eq!(tx.forget_events(at(-1), 4)?, 6);
            assert_eq!(tx.forget_runs(at(-1), 3)?, 3);
            assert_eq!(tx.forget_runs(at(1000), 3)?, 2, "old ones go whatever their number");
            let left = tx.runs(&stack("shop"), 9)?;
            assert_eq!((left.len(), left[0].ended), (1, None));
            assert_eq!(
                tx.newest_events(None, 9)?.iter().map(|e| e.event.text.as_str()).collect::<Vec<_>>(),
                ["6", "7", "8", "9"]
            );
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn what_jobs_have_done_is_kept_by_template_until_it_is_forgotten() {
    let (_dir, store) = with_shop().await;
    let done = |hash: u8, second: i64| Completion {
        service: "migrate".parse().expect("legal"),
        hash: model::SpecHash::from_digest([hash; 16]),
        replicas: 1,
        at: at(second),
    };
    let kept = store.run("complete", move |tx| {
        tx.complete(&stack("shop"), &done(1, 1))?;
        tx.complete(&stack("shop"), &done(2, 2))?;
        tx.complete(&stack("shop"), &done(1, 3))?;
        let kept = tx.completions(&stack("shop"))?;
        tx.forget_completions(&stack("shop"))?;
        Ok((kept, tx.completions(&stack("shop"))?, tx.completions(&stack("nobody"))?))
    });
    assert_eq!(kept.await.unwrap(), (vec![done(1, 3), done(2, 2)], Vec::new(), Vec::new()));
}
