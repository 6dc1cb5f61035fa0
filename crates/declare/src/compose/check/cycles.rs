//! Services that wait for each other.

use super::section;
use crate::codes;
use crate::findings::{Findings, error};
use crate::syntax::Entry;
use model::span::Span;
use std::collections::HashMap;

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Open,
    Done,
}

/// Finds cycles without recursion: chains of thousands of services are legal.
pub(super) fn check(services: &[Entry], found: &mut Findings) {
    let needs = |at: usize| services[at].value.as_map().map_or(&[][..], |map| section(map, "depends_on")).iter();
    let index: HashMap<&str, usize> = services.iter().zip(0..).map(|(entry, at)| (&*entry.key, at)).collect();
    let mut marks: Vec<Option<Mark>> = vec![None; services.len()];
    for start in 0..services.len() {
        if marks[start].is_some() {
            continue;
        }
        let mut path: Vec<(&str, Option<Span>)> = vec![(&*services[start].key, None)];
        let mut stack = vec![(start, needs(start))];
        marks[start] = Some(Mark::Open);
        while let Some((at, edges)) = stack.last_mut() {
            let Some(edge) = edges.next() else {
                marks[*at] = Some(Mark::Done);
                stack.pop();
                path.pop();
                continue;
            };
            let Some(&to) = index.get(&*edge.key) else { continue };
            match marks[to] {
                Some(Mark::Done) => {}
                Some(Mark::Open) => cycle(&path, &services[to].key, edge.key_span, found),
                None => {
                    marks[to] = Some(Mark::Open);
                    path.push((&*services[to].key, Some(edge.key_span)));
                    stack.push((to, needs(to)));
                }
            }
        }
    }
}

fn cycle(path: &[(&str, Option<Span>)], back_to: &str, at: Span, found: &mut Findings) {
    let from = path.iter().position(|(name, _)| *name == back_to).expect("an open service is on the path");
    let names: Vec<&str> = path[from..].iter().map(|(name, _)| *name).chain([back_to]).collect();
    let message = format!("services wait for each other: {}", names.join(" → "));
    let mut diagnostic = error(codes::CYCLE, message).at(at, format!("back to `{back_to}`"));
    for (name, span) in &path[from + 1..] {
        if let Some(span) = span {
            diagnostic = diagnostic.at(*span, format!("waits for `{name}`"));
        }
    }
    found.push(diagnostic.help("remove one of these dependencies"));
}
