//! Brings the replicas of one service to what is wanted: start-first or stop-first, a few at a time.
//!
//! Owns the pairing of those who come with those who leave, which is what holds the floor: as long as as many serve as
//! are wanted, a replica that serves leaves only after another one has come for it. Who comes and goes was decided in
//! `buckets`; what one arrival looks like is in `service`.

use super::buckets::Buckets;
use super::seen::Seen;
use super::service::{Coming, Leaving, Service, Window};
use crate::action::replica::Start;
use crate::{Reason, StepId};

/// Plans the steps of one service and records its progress in `service`.
pub(super) fn plan<'a>(service: &mut Service<'_, 'a>, mut buckets: Buckets<'a>) {
    for unknown in &buckets.unknown {
        service.note_unknown(unknown);
    }
    buckets.keep.iter().filter(|seen| !seen.is_dead()).for_each(|seen| service.count_on(seen));
    if service.target.n_wanted() < service.target.replicas as usize {
        service.note_one_only();
    }
    let kept = service.kept_arrivals(&buckets.keep);
    let new = service.new_starts(&buckets);
    service.refill(&mut buckets, kept.len() + new.len());
    if service.is_stop_first() {
        stop_first(service, kept, new, buckets);
    } else {
        start_first(service, kept, new, buckets);
    }
}

fn start_first<'a>(service: &mut Service<'_, 'a>, kept: Vec<Coming<'a>>, new: Vec<Box<Start>>, buckets: Buckets<'a>) {
    let serving = buckets.keep.iter().filter(|seen| service.serves(seen)).count();
    let wanted = service.target.n_wanted();
    let Buckets { keep, leave: mut may_serve, .. } = buckets;
    let is_idle = |(seen, why): &mut (Seen<'a>, Reason)| !service.may_serve(seen, *why == Reason::TooMany);
    let idle: Vec<_> = may_serve.extract_if(.., is_idle).collect();
    let spare = (serving + may_serve.len()).saturating_sub(wanted).min(may_serve.len());
    // Those leave only once others have come for them, so dependents can count on the service throughout.
    may_serve.iter().for_each(|(seen, _)| service.count_on(seen));
    // Room for those who come in nobody else's place.
    let mut room = Vec::new();
    for (seen, why) in idle {
        let gone = service.leave(&seen, why, &[]);
        room.extend(gone.filter(|_| seen.runs()));
    }
    let mut free = may_serve;
    let matched = free.split_off(spare);
    let mut coming = kept;
    let n_before = matched.len().saturating_sub(coming.len() + new.len());
    // Replicas that are on their way and already get traffic are waited for only when somebody leaves for them.
    coming.splice(0..0, service.on_their_way(&keep, n_before));
    let replaced = matched.iter().skip(coming.len()).map(|(_, why)| why.clone());
    let reasons = replaced.chain(std::iter::repeat(Reason::Missing));
    coming.extend(new.into_iter().zip(reasons).map(|(start, why)| Coming::New { start, why }));
    let proven = pair(service, coming, matched, room);
    for (seen, why) in free {
        // The floor does not need them, but the old stays until the new has proven itself.
        let after = proven.filter(|_| why != Reason::TooMany);
        service.leave_last(Leaving { seen, why, after });
    }
}

/// Each of `coming` arrives, and for each of them one of `leaving` goes; at most `parallelism` at once. The step after
/// which the last one serves.
fn pair<'a>(
    service: &mut Service<'_, 'a>,
    coming: Vec<Coming<'a>>,
    leaving: Vec<(Seen<'a>, Reason)>,
    room: Vec<StepId>,
) -> Option<StepId> {
    let at_once = service.target.update.parallelism.get() as usize;
    let pairs = coming.len().min(leaving.len());
    let (mut leaving, mut room) = (leaving.into_iter(), room.into_iter());
    let mut ends: Vec<Window> = Vec::with_capacity(pairs);
    // Whoever runs already waits for nobody's room.
    let needs_room: Vec<bool> = coming[..pairs].iter().map(|coming| matches!(coming, Coming::New { .. })).collect();
    let mut last = None;
    for (index, coming) in coming.into_iter().enumerate() {
        // Those nobody leaves for are no replacement: they wait for room at most.
        let window = match index.checked_sub(at_once) {
            _ if index >= pairs => room.next().map_or(Window::Open, Window::After),
            Some(before) => ends[before],
            None => Window::Open,
        };
        let is_gated = matches!(coming, Coming::New { .. });
        let ready = service.arrive(coming, window);
        last = Some(ready);
        let Some((seen, why)) = leaving.next() else { continue };
        let makes_room = needs_room.get(index + at_once) == Some(&true);
        if service.settles && !makes_room {
            // When routes change with the release, the last of the old stay until the new routes are in force:
            // what still comes in by the old ones is answered.
            service.leave_last(Leaving { seen, why, after: Some(ready) });
            ends.push(Window::Open);
            continue;
        }
        let gone = service.leave(&seen, why, &[ready]);
        ends.push(gone.map_or(Window::Open, if is_gated { Window::Behind } else { Window::After }));
    }
    for (seen, _) in leaving {
        service.note_stays(&seen);
    }
    last
}

fn stop_first<'a>(service: &mut Service<'_, 'a>, kept: Vec<Coming<'a>>, new: Vec<Box<Start>>, buckets: Buckets<'a>) {
    let at_once = service.target.update.parallelism.get() as usize;
    let are_held = new.len() < buckets.missing;
    let mut ends: Vec<StepId> = kept.into_iter().map(|coming| service.arrive(coming, Window::Open)).collect();
    let mut leaving = buckets.leave.into_iter();
    // The address of a direct service is free only once every replica before has gone.
    let n_leave = if service.target.direct { usize::MAX } else { 1 };
    for start in new {
        let mut after = service.change_gate().unwrap_or_default();
        after.extend(ends.len().checked_sub(at_once).map(|index| ends[index]));
        let pair: Vec<_> = leaving.by_ref().take(n_leave).collect();
        if let Some((stays, _)) = pair.iter().find(|(seen, _)| !service.can_leave(seen)) {
            service.note_stays(stays);
            service.count_on(stays);
            continue;
        }
        let why = pair.first().map_or(Reason::Missing, |(_, why)| why.clone());
        let before = after.clone();
        after.extend(pair.into_iter().filter_map(|(seen, why)| service.leave(&seen, why, &before)));
        ends.push(service.start_new(start, why, &after));
    }
    for (seen, why) in leaving {
        if are_held && seen.runs() {
            service.note_stays(&seen);
            service.count_on(&seen);
        } else {
            service.leave_last(Leaving { seen, why, after: None });
        }
    }
}
