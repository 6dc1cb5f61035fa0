//! A script: a project, the engines it runs on, and what is to be seen of each key once it is up.
//!
//! ```text
//! # Lines before the first file: comments, and `on: docker` for a script of one engine.
//! --- compose.yaml
//! services: …                       a line that ends in ` #docker` is for that engine only
//! === before                        done before it goes up
//! @ docker network create $NAME-x   a command on the machine
//! === services.*.hostname           the key that is shown, or several
//! $ web hostname                    a command in a replica of `web`
//! face                              what it must print, to the next command
//! === services.*.cap_add [process] beyond
//!                                   on one engine; `beyond`: that a value beyond the limits is refused
//! ```

use model::policy::EngineKind;

/// A project and what it shows.
pub struct Script {
    pub name: String,
    pub engines: Vec<EngineKind>,
    files: Vec<(String, String)>,
    pub cases: Vec<Case>,
}

/// What shows one key, or several.
#[derive(Default)]
pub struct Case {
    pub keys: Vec<String>,
    engine: Option<EngineKind>,
    /// Whether it shows what a value beyond the limits does.
    pub is_beyond: bool,
    pub steps: Vec<Step>,
}

/// A command, and what it must print.
pub struct Step {
    /// The service in whose replica it runs; on the machine when none.
    pub service: Option<String>,
    pub line: String,
    pub wanted: String,
}

impl Script {
    /// Panics when the text is no script.
    pub fn parse(name: &str, text: &str) -> Self {
        let engines = declare::keys::compose::ENGINES.to_vec();
        let mut script = Self { name: name.to_owned(), engines, files: Vec::new(), cases: Vec::new() };
        for line in text.lines() {
            if let Some(path) = line.strip_prefix("--- ") {
                script.files.push((path.trim().to_owned(), String::new()));
            } else if let Some(head) = line.strip_prefix("=== ") {
                script.cases.push(Case::parse(head));
            } else if let Some(case) = script.cases.last_mut() {
                case.add(line);
            } else if let Some((_, content)) = script.files.last_mut() {
                content.push_str(line);
                content.push('\n');
            } else if let Some(engine) = line.strip_prefix("on: ") {
                script.engines = vec![engine.parse().unwrap()];
            } else {
                assert!(line.is_empty() || line.starts_with('#'), "{name}: `{line}` belongs to nothing");
            }
        }
        script
    }

    /// How much it asks for, roughly.
    pub fn size(&self) -> usize {
        self.files.iter().map(|(_, content)| content.len()).sum()
    }

    /// The files as they are on an engine.
    pub fn files(&self, engine: EngineKind) -> impl Iterator<Item = (&str, String)> {
        let others = declare::keys::compose::ENGINES.map(|one| (one, format!(" #{one}")));
        let is_for = move |line: &&str| !others.iter().any(|(one, mark)| *one != engine && line.ends_with(&**mark));
        self.files.iter().map(move |(path, content)| {
            (&**path, content.lines().filter(is_for.clone()).flat_map(|line| [line, "\n"]).collect())
        })
    }
}

impl Case {
    fn parse(head: &str) -> Self {
        let mut case = Self::default();
        for word in head.split_whitespace() {
            match word.strip_prefix('[').and_then(|word| word.strip_suffix(']')) {
                Some(engine) if !engine.is_empty() => case.engine = Some(engine.parse().unwrap()),
                _ if word == "beyond" => case.is_beyond = true,
                _ => case.keys.push(word.to_owned()),
            }
        }
        case
    }

    fn add(&mut self, line: &str) {
        let step = |service: Option<&str>, line: &str| Step {
            service: service.map(str::to_owned),
            line: line.to_owned(),
            wanted: String::new(),
        };
        if let Some(line) = line.strip_prefix("@ ") {
            self.steps.push(step(None, line));
        } else if let Some(line) = line.strip_prefix("$ ") {
            let (service, line) = line.split_once(' ').unwrap();
            self.steps.push(step(Some(service), line));
        } else if let Some(last) = self.steps.last_mut().filter(|_| !line.is_empty()) {
            let gap = if last.wanted.is_empty() { "" } else { "\n" };
            last.wanted = format!("{}{gap}{line}", last.wanted);
        }
    }

    pub fn is_before(&self) -> bool {
        self.keys == ["before"]
    }

    pub fn is_on(&self, engine: EngineKind) -> bool {
        self.engine.is_none_or(|one| one == engine)
    }
}
