//! Ten mistakes that people make, and what is said of them: `docs/diagnostics.md` shows exactly this.

use crate::harness::Project;
use std::fmt::Write as _;
use std::path::Path;

/// What somebody meant, and the files.
const MISTAKES: &[(&str, &[(&str, &str)])] = &[
    (
        "A key with a typing error",
        &[("compose.yaml", "services:\n  web:\n    image: nginx:1\n    enviroment:\n      LOG_LEVEL: info\n")],
    ),
    (
        "A list whose bracket is never closed",
        &[("compose.yaml", "services:\n  web:\n    image: nginx:1\n    ports: [\"8080:80\"\n    restart: always\n")],
    ),
    (
        "A dependency that nobody declares",
        &[(
            "compose.yaml",
            "services:\n  api:\n    image: acme/api:1\n    depends_on: [databse]\n  database:\n    image: postgres:15\n",
        )],
    ),
    (
        "Secrets under another name than they are declared with",
        &[(
            "compose.yaml",
            "services:\n  db:\n    image: mongo:7\n    secrets: [mongodb-root]\nsecrets:\n  app-root: { file: ./root.txt }\n",
        )],
    ),
    (
        "Services that wait for each other",
        &[(
            "compose.yaml",
            "services:\n  api:\n    image: acme/api:1\n    depends_on: [worker]\n  worker:\n    image: acme/worker:1\n    depends_on: [api]\n",
        )],
    ),
    (
        "A port that two services publish",
        &[(
            "compose.yaml",
            "services:\n  web:\n    image: nginx:1\n    ports: [\"8080:80\"]\n  admin:\n    image: acme/admin:1\n    ports: [\"8080:3000\"]\n",
        )],
    ),
    (
        "A variable that must be set",
        &[(
            "compose.yaml",
            "services:\n  api:\n    image: acme/api:${TAG:?the version to run}\n    environment:\n      DATABASE_URL: ${DATABASE_URL:?}\n",
        )],
    ),
    (
        "The same limit twice, with different values",
        &[(
            "compose.yaml",
            "services:\n  api:\n    image: acme/api:1\n    mem_limit: 512m\n    deploy:\n      resources:\n        limits: { memory: 1g }\n",
        )],
    ),
    (
        "A key that this engine refuses",
        &[("compose.yaml", "services:\n  agent:\n    image: acme/agent:1\n    privileged: true\n")],
    ),
    (
        "A route that leads nowhere, in mainstay.yaml",
        &[
            ("compose.yaml", "services:\n  web:\n    image: nginx:1\n    expose: [\"80\"]\n"),
            (
                "mainstay.yaml",
                "routes:\n  - host: shop.example\n    paths: { /: \"wbe:80\" }\nprobes:\n  web: { ready: { http: /, interval: 5 } }\n",
            ),
        ],
    ),
];

fn page() -> String {
    let mut out = "# What is said of mistakes\n\nEvery problem of both files is shown in one run, in the order of the files, each once: the code and what is \
                   wrong, the place with the value, the other half of a conflict, and the cure. `mainstay explain CODE` tells more about a \
                   code, `--json` and `--sarif` say the same to programs. Advice of what works but will hurt stands among them.\n"
        .to_owned();
    for (title, files) in MISTAKES {
        let ended = Project::new(files).run(&["validate"]).code(2);
        write!(out, "\n## {title}\n\n```console\n$ mainstay validate\n{}\n```\n", ended.err.trim_end())
            .expect("text takes text");
    }
    out
}

#[test]
fn the_documentation_shows_what_is_said_of_mistakes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/diagnostics.md");
    let wanted = page();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &wanted).expect("writable");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == wanted, "docs/diagnostics.md shows something else: run with UPDATE_EXPECT=1\n{wanted}");
}
