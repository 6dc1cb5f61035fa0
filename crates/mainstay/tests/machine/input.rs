//! Wrong files and a machine that does not fit them: refused before anything is touched.

use crate::hut::{Hut, Web};
use std::net::TcpListener;

/// Checks that the files are refused at their place, by each command that reads them.
#[track_caller]
fn check_refused(edit: impl Fn(&str) -> String, parts: &[&str]) {
    let hut = Hut::new();
    hut.declare(&Web::version("1"));
    let text = std::fs::read_to_string(hut.project().join("compose.yaml")).unwrap();
    hut.write("compose.yaml", &edit(&text));
    for words in [["validate"], ["plan"], ["up"]] {
        let mut ended = hut.run(&words).code(2).says("compose.yaml:");
        for part in parts {
            ended = ended.says(part);
        }
    }
    assert!(!hut.state().join("state.db").exists(), "no daemon was started for it");
}

#[test]
fn a_cycle_of_dependencies_is_refused() {
    check_refused(
        |text| {
            text.replace("    expose:", "    depends_on: [db]\n    expose:")
                .replace("services:\n", "services:\n  db:\n    image: redis:7\n    depends_on: [web]\n")
        },
        &["db", "web"],
    );
}

#[test]
fn a_variable_that_must_be_set_is_asked_for() {
    check_refused(
        |text| text.replace("environment: {", "environment: { WORD: \"${HUT_WORD:?say the word}\","),
        &["HUT_WORD", "say the word"],
    );
}

#[test]
fn malformed_yaml_is_shown_at_its_place() {
    check_refused(|text| text.replace("services:\n", "services:\n  - [\n"), &[]);
}

#[test]
fn a_taken_port_is_named_with_its_holder_and_nothing_starts() {
    let hut = Hut::new();
    let holder = TcpListener::bind(("127.0.0.1", hut.published())).unwrap();
    hut.declare(&Web::version("1"));
    let port = hut.published().to_string();
    let own = std::process::id().to_string();
    hut.run(&["up"]).code(1).says(&port).says(&own);
    assert_eq!(hut.replicas(), Vec::<i32>::new());
    drop(holder);
    hut.run(&["up"]).code(0);
    assert_eq!(hut.get().unwrap(), "version 1");
}

#[test]
fn a_release_onto_a_taken_port_leaves_the_one_before_it_serving() {
    let hut = Hut::up(&Web::version("1"));
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let replicas = hut.replicas();
    hut.declare(&Web::version("2"));
    let text = std::fs::read_to_string(hut.project().join("compose.yaml")).unwrap();
    let own = format!("127.0.0.1:{}:3000", hut.published());
    hut.write("compose.yaml", &text.replace(&own, &format!("127.0.0.1:{port}:3000")));
    hut.run(&["up"]).code(1).says(&port.to_string());
    assert_eq!(hut.get().unwrap(), "version 1");
    assert_eq!(hut.replicas(), replicas);
}

#[test]
fn an_image_that_nothing_can_run_is_refused_with_a_cure() {
    let hut = Hut::up(&Web::version("1"));
    let replicas = hut.replicas();
    let text = std::fs::read_to_string(hut.project().join("compose.yaml")).unwrap();
    let more = "services:\n  odd:\n    image: example.org/odd:3\n";
    hut.write("compose.yaml", &text.replace("services:\n", more));
    let ended = hut.run(&["up"]).says("example.org/odd:3").says("processes:");
    assert!([1, 2, 4].contains(&ended.code), "{ended:?}");
    assert_eq!(hut.replicas(), replicas);
    assert_eq!(hut.json(&["releases"]).as_array().unwrap().len(), 1);
    assert_eq!(hut.get().unwrap(), "version 1");
}
