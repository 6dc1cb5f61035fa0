//! Hostile and broken input: always an answer, never a panic, never much memory.

#![allow(clippy::disallowed_methods, reason = "tests read and update their own files")]

#[path = "support/generate.rs"]
mod generate;
mod support;

use mainstay_declare::declaration::without_places;
use mainstay_declare::survey::survey;
use mainstay_declare::{MemoryFiles, from_canonical, to_canonical};
use mainstay_declare::{layout, provenance};
use model::policy::EngineKind;
use proptest::prelude::*;
use support::Case;

/// The files of each case, and which of them is meant.
fn files() -> Vec<(Vec<(String, String)>, usize)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let mut all = Vec::new();
    for name in [
        "shop",
        "overrides",
        "mistakes",
        "binary",
        "profiles",
        "interpolation",
        "stores",
        "jobs",
        "numbers",
        "docker",
        "docker-builds",
    ] {
        let text = std::fs::read_to_string(format!("{folder}/{name}.txt")).expect("the golden file exists");
        let input = text.split("\n----\n").next().expect("there is a first part");
        let sections = input.split("==> ").skip(1).map(|section| {
            let (path, content) = section.split_once('\n').unwrap_or((section, ""));
            (path.trim().to_owned(), content.to_owned())
        });
        let case: Vec<_> = sections.collect();
        all.extend((0..case.len()).map(|which| (case.clone(), which)));
    }
    all
}

fn code_of(compose: impl AsRef<[u8]>) -> &'static str {
    let case = Case { files: MemoryFiles::new().with("/srv/demo/compose.yaml", compose), ..Case::default() };
    let loaded = case.load();
    assert!(loaded.declared.is_none(), "must be refused");
    loaded.diagnostics.iter().find(|d| d.is_error()).expect("there is an error").code
}

/// The most memory this process ever had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
}

/// How long this thread has computed; on a busy machine that is far less than the time that went by.
fn computed() -> std::time::Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = stat.split(' ').next().and_then(|first| first.parse().ok());
    std::time::Duration::from_nanos(nanoseconds.expect("a number"))
}

/// The codes of the errors of a project of several files, of which the first is meant.
fn errors_of(files: &[(String, String)]) -> Vec<&'static str> {
    let all = files.iter().fold(MemoryFiles::new(), |all, (path, text)| all.with(&format!("/srv/demo/{path}"), text));
    let compose = Some(vec![files[0].0.clone()]);
    let loaded = Case { files: all, compose, ..Case::default() }.load();
    loaded.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code).collect()
}

fn codes_of(files: &[(String, String)]) -> Vec<&'static str> {
    let mut codes = errors_of(files);
    codes.dedup();
    codes
}

#[test]
fn files_that_lead_to_each_other_come_to_an_end() {
    let before = computed();
    let file = |n: usize, text: String| (format!("f{n}.yaml"), text);
    let service = "services: {a: {image: x}}";
    assert_eq!(codes_of(&[file(0, format!("include: [f0.yaml]\n{service}"))]), ["MS0061"]);
    let twice = |n: usize| file(n, format!("include: [f{}.yaml, f{0}.yaml]\n{service}", n + 1));
    let fan: Vec<_> = (0..40).map(twice).chain([file(40, service.into())]).collect();
    assert_eq!(codes_of(&fan), ["MS0003"]);
    let next = |n: usize| file(n, format!("include: [f{}.yaml]\n{service}", n + 1));
    let chain: Vec<_> = (0..300).map(next).chain([file(300, service.into())]).collect();
    assert_eq!(codes_of(&chain), ["MS0003"]);
    assert_eq!(codes_of(&[file(0, "services: {a: {extends: b}, b: {extends: a}}".into())]), ["MS0061"]);
    let link = |n: usize| format!("  s{n}: {{extends: s{}}}\n", n + 1);
    let links: String = (0..5_000).map(link).collect();
    assert!(codes_of(&[file(0, format!("services:\n{links}  s5000: {{image: x}}"))]).contains(&"MS0003"));
    let many: String = (0..5_000).map(|n| format!("  s{n}: {{extends: base}}\n")).collect();
    assert_eq!(codes_of(&[file(0, format!("services:\n  base: {{image: redis}}\n{many}"))]), [""; 0]);
    let base = file(1, "services: {a: {image: '${A:?}', env_file: none}}".into());
    let both = "include: [f1.yaml]\nservices: {b: {extends: {file: f1.yaml, service: a}}}";
    assert_eq!(errors_of(&[file(0, both.into()), base]), ["MS0032", "MS0008"], "each is said once");
    let away = "services: {a: {extends: {file: ../../../../etc/passwd, service: a}}}";
    assert_eq!(codes_of(&[file(0, away.into())]), ["MS0008"]);
    assert!(computed() - before < std::time::Duration::from_secs(10), "{:?}", computed() - before);
}

#[test]
fn bombs_fill_neither_memory_nor_time() {
    let before = computed();
    let anchors: String = (0..200).map(|n| format!("&a{n} [")).collect();
    assert_eq!(code_of(format!("x: {anchors}{}{}", "x, ".repeat(100_000), "]".repeat(200))), "MS0005");
    assert_eq!(code_of(format!("x: [{}]", "1,".repeat(4_100_000))), "MS0003");
    let unknown: String = (0..100_000).map(|n| format!("  service_with_a_long_name_{n}: {{imag: x}}\n")).collect();
    assert_eq!(code_of(format!("services:\n{unknown}")), "MS0010");
    let names = |sign: &str| (0..20_000).map(|n| format!("{sign}{n:060}")).collect::<Vec<_>>();
    let (declared, asked) = (names("a").join(": {image: x}\n  "), names("b").join(", "));
    assert_eq!(code_of(format!("services:\n  {declared}: {{image: x, depends_on: [{asked}]}}")), "MS0060");
    assert!(peak() < 768, "{} MiB", peak());
    let spent = computed() - before;
    assert!(spent.as_secs() < 20, "{spent:?}");
}

#[test]
fn hostile_files_are_refused_with_a_code() {
    assert_eq!(code_of("[".repeat(100_000)), "MS0003");
    assert_eq!(code_of("a: ".repeat(100_000)), "MS0001");
    assert_eq!(code_of(b"services: \xff\xfe"), "MS0002");
    assert_eq!(code_of(b"services:\0"), "MS0002");
    assert_eq!(code_of(b"\xfe\xff\0s"), "MS0002");
    assert_eq!(code_of("services:\n\ta: {}"), "MS0001");
    assert_eq!(code_of("- a"), "MS0015");
    assert_eq!(code_of("services: [a]"), "MS0015");
    assert_eq!(code_of("services: {a: {image: x, ports: ['1-65535:1-65535', '1-65535', '1-9']}}"), "MS0003");
    let long = format!("x-a: &a \"{}\"\nservices: {{a: {{image: x, command: [*a]}}}}", "$X".repeat(1_000_000));
    let case = Case {
        files: MemoryFiles::new().with("/srv/demo/compose.yaml", long),
        process_env: [("X".to_owned(), "x".repeat(100_000))].into(),
        ..Case::default()
    };
    let loaded = case.load();
    assert!(loaded.diagnostics.iter().any(|d| d.code == "MS0034"), "{:?}", loaded.diagnostics);
}

#[test]
fn a_declaration_that_is_not_for_this_daemon_is_refused() {
    let code = |text: &str| from_canonical(text).expect_err("must be refused")[0].code;
    assert_eq!(code(r#"{"mainstay": 9}"#), "MS0090");
    assert_eq!(code(r#"{"mainstay": 1, "project": "a"}"#), "MS0090");
    let compose = r#"{"services": {"a": {"image": "x"}}}"#;
    let of = |engine: &str| {
        let policy = format!(r#"{{"environments": {{"b": {{"engine": "{engine}"}}}}}}"#);
        format!(r#"{{"mainstay": 1, "project": "a", "environment": "b", "compose": {compose}, "policy": {policy}}}"#)
    };
    // As it was before the engine stood at the top.
    for engine in ["process", "docker"] {
        assert_eq!(from_canonical(&of(engine)).expect("legal").engine.map(|e| e.to_string()).as_deref(), Some(engine));
    }
    for engine in ["swarm", "kubernetes", "ecs"] {
        assert_eq!(code(&of(engine)), "MS0090");
        assert_eq!(
            code(&of("process").replace(r#""compose""#, &format!(r#""engine": "{engine}", "compose""#))),
            "MS0090"
        );
    }
}

#[test]
fn a_secret_has_a_limit() {
    let case = Case {
        files: MemoryFiles::new()
            .with("/srv/demo/compose.yaml", "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {file: big}}")
            .with("/srv/demo/big", vec![b'x'; (500 << 10) + 1]),
        ..Case::default()
    };
    let errors: Vec<_> = case.load().diagnostics.into_iter().filter(|d| d.is_error()).map(|d| d.code).collect();
    assert_eq!(errors, ["MS0043"]);
}

#[test]
fn a_chain_of_ten_thousand_services_is_legal() {
    let mut text = String::from("services:\n  s0: {image: x}\n");
    for n in 1..10_000 {
        text.push_str(&format!("  s{n}: {{image: x, depends_on: [s{}]}}\n", n - 1));
    }
    let case = Case { files: MemoryFiles::new().with("/srv/demo/compose.yaml", text), ..Case::default() };
    assert!(case.load().declared.is_some());
}

/// Files made up key by key, with values of every wrong kind, through everything that reads them; `FUZZ_FROM` and
/// `FUZZ_CASES` make up others and more.
#[test]
fn files_that_are_made_up_never_panic_and_every_value_has_its_origin() {
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
    };
    let (from, n) = (number("FUZZ_FROM", 1), number("FUZZ_CASES", 300));
    let before = computed();
    let mut n_whole = 0;
    for seed in from..from + n {
        let made = generate::wild_files(seed, (seed % 5) as usize * 3);
        let engine = if seed % 2 == 0 { EngineKind::Docker } else { EngineKind::Process };
        let mut case = Case { compose: Some(vec!["compose.yaml".into()]), engine: Some(engine), ..Case::default() };
        for (path, text) in &made {
            case.files = case.files.with(&format!("/srv/demo/{path}"), text);
            if path == "over.yaml" {
                case.compose.as_mut().expect("set above").push(path.clone());
            }
        }
        let loaded = case.load();
        assert!(loaded.declared.is_some() || loaded.diagnostics.iter().any(|d| d.is_error()), "seed {seed}");
        if let Some(resolved) = &loaded.resolved {
            let all = provenance::explain(resolved, &loaded.sources, "", true).expect("everything is there");
            assert!(!all.is_empty(), "seed {seed}");
            survey(resolved);
            n_whole += 1;
        }
        for (_, text) in &made {
            if let Ok(laid_out) = layout::usual(model::span::FileId(0), text) {
                assert_eq!(layout::usual(model::span::FileId(0), &laid_out).as_ref(), Ok(&laid_out), "seed {seed}");
            }
        }
    }
    let took = computed() - before;
    assert!(took < std::time::Duration::from_millis(200 * n), "{took:?}");
    // Files that are refused at once would show little.
    assert!(n_whole * 10 > n, "{n_whole} of {n} are whole");
}

/// Cuts, doubles and replaces parts of a text.
fn mutated(text: &[u8], edits: &[(usize, usize, u8, Vec<u8>)]) -> Vec<u8> {
    let mut text = text.to_vec();
    for (at, len, kind, bytes) in edits {
        let start = at % (text.len() + 1);
        let end = (start + len).min(text.len());
        match kind % 4 {
            0 => drop(text.drain(start..end)),
            1 => drop(text.splice(start..end, bytes.iter().copied())),
            2 => {
                let part = text[start..end].to_vec();
                text.splice(start..start, part);
            }
            _ => drop(text.splice(start..start, bytes.iter().copied())),
        }
    }
    text
}

fn edits() -> impl Strategy<Value = Vec<(usize, usize, u8, Vec<u8>)>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            ": ", "- ", "[", "]", "{", "}", "\n", "\"", "'", "$", "${", "&a", "*a", "<<: ", "#", "!reset "
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
        prop::sample::select(vec![
            "null",
            "-1",
            "0",
            "99999999999999999999",
            "1e999",
            "true",
            "0x",
            "010",
            "0x10",
            "1_000",
            "~",
            "9999999h",
            "\u{feff}"
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
    ];
    prop::collection::vec((any::<usize>(), 0..12usize, any::<u8>(), bytes), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutations_of_real_files_never_panic_and_what_loads_travels(
        pick in any::<prop::sample::Index>(), edits in edits(), docker in any::<bool>()
    ) {
        let all = files();
        let (sections, which) = pick.get(&all);
        let mut files = MemoryFiles::new().with("/srv/demo/web/index.html", "x").with("/srv/demo/password.txt", "x");
        for (at, (path, text)) in sections.iter().enumerate() {
            let text = if at == *which { mutated(text.as_bytes(), &edits) } else { text.clone().into_bytes() };
            files = files.with(&format!("/srv/demo/{path}"), text);
        }
        let engine = if docker { EngineKind::Docker } else { EngineKind::Process };
        let files = files.with("/srv/demo/Dockerfile", "FROM scratch").with("/srv/demo/mine/Dockerfile", "FROM scratch");
        let case = Case { files, engine: Some(engine), ..Case::default() };
        let loaded = case.load();
        for d in &loaded.diagnostics {
            for label in &d.labels {
                let (line, _) = loaded.sources.position(label.span);
                prop_assert!(line > 0);
            }
        }
        prop_assert!(loaded.declared.is_some() || loaded.diagnostics.iter().any(|d| d.is_error()));
        if let Some(declared) = &loaded.declared {
            let canonical = to_canonical(declared);
            let project = from_canonical(&canonical).unwrap_or_else(|found| panic!("{found:#?}\n{canonical}"));
            prop_assert_eq!(without_places(project), without_places(declared.project.clone()));
            declared.resolved.to_yaml(true, None);
        }
    }
}
