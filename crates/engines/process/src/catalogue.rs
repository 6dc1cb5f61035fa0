//! Well-known images, mapped to the machine's own programs with the image's contract: variables, volumes, commands.
//!
//! An image's entry point is not run; what it would have done is done by the shim (see `shim::spec::Prepare`) or said
//! on the command line. A tag's major version must be that of the program found: data formats differ between them.
//! To add an image, add a row to [`ENTRIES`].

use model::image::ImageRef;
use model::project::Template;
use shim::spec::{Password, PostgresInit, Prepare};
use std::path::{Path, PathBuf};

/// What the machine has of an image's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The folder of its programs.
    pub bin: PathBuf,
    /// Its major version.
    pub major: u32,
}

/// What is run in place of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables of the image.
    pub env: Vec<(String, String)>,
    /// Working directory of the image.
    pub cwd: Option<String>,
    /// The name its user has inside.
    pub user: &'static str,
    /// Done before.
    pub prepare: Option<Prepare>,
    /// Folders that become volumes unless something is mounted there.
    pub volumes: Vec<String>,
    /// Folders in memory that the program needs.
    pub memory: Vec<String>,
    /// The signal that asks it to stop, where the image names one.
    pub stop_signal: Option<i32>,
}

impl Program {
    /// A program that is no image's.
    pub fn plain(argv: Vec<String>) -> Self {
        let (env, volumes, memory) = (Vec::new(), Vec::new(), Vec::new());
        Self { argv, env, cwd: None, user: "app", prepare: None, volumes, memory, stop_signal: None }
    }
}

/// Why an image cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not in the catalogue.
    #[error("the process engine does not know image `{0}`")]
    Unknown(ImageRef),
    /// Its program is not installed.
    #[error("image `{image}` needs {product}, which is not installed")]
    Missing {
        /// The image.
        image: ImageRef,
        /// Its product, e.g. `PostgreSQL`.
        product: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// Only other versions are installed.
    #[error("image `{image}` is {product} {wanted}, this machine has {product} {}", list(found))]
    Version {
        /// The image.
        image: ImageRef,
        /// Its product.
        product: &'static str,
        /// The tag's major version.
        wanted: u32,
        /// Those installed.
        found: Vec<u32>,
    },
    /// A variable that the image needs is missing.
    #[error("image `{image}` needs `{variable}`")]
    Variable {
        /// The image.
        image: ImageRef,
        /// The variable.
        variable: &'static str,
    },
    /// A variable's value is not usable.
    #[error("`{variable}`: {why}")]
    Value {
        /// The variable.
        variable: &'static str,
        /// Why, in words.
        why: String,
    },
}

impl Refusal {
    /// What to do, one imperative sentence.
    pub fn cure(&self) -> String {
        match self {
            Self::Unknown(_) => "Write under `processes:` of mainstay.yaml how the service runs without a container, \
                or use the docker engine"
                .into(),
            Self::Missing { package, .. } => format!("Install the package `{package}`"),
            Self::Version { product, wanted, found, image } => {
                let name = image.official_name().unwrap_or_default();
                format!("Install {product} {wanted}, or write `{name}:{}`", found.last().copied().unwrap_or(*wanted))
            }
            Self::Variable { variable, .. } => format!("Set `{variable}` under `environment:` of the service"),
            Self::Value { variable, .. } => format!("Correct `{variable}`"),
        }
    }
}

fn list(majors: &[u32]) -> String {
    majors.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// An image of the catalogue.
pub struct Entry {
    /// The image's official name.
    pub name: &'static str,
    /// The product's name.
    pub product: &'static str,
    /// Debian's package.
    pub package: &'static str,
    /// The program whose version counts.
    pub program: &'static str,
    /// Folders with a `<major>/bin` each, beside `PATH`.
    pub versioned: &'static [&'static str],
    /// The port it listens on.
    pub port: u16,
    build: fn(&Request<'_>) -> Result<Program, Refusal>,
}

/// All of them.
pub const ENTRIES: [Entry; 2] = [
    Entry {
        name: "postgres",
        product: "PostgreSQL",
        package: "postgresql",
        program: "postgres",
        versioned: &["/usr/lib/postgresql", "/usr/local/lib/postgresql"],
        port: 5432,
        build: postgres,
    },
    Entry {
        name: "redis",
        product: "Redis",
        package: "redis-server",
        program: "redis-server",
        versioned: &[],
        port: 6379,
        build: redis,
    },
];

/// The folders that programs are looked up in.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The entry of an image.
pub fn entry(image: &ImageRef) -> Option<&'static Entry> {
    let name = image.official_name()?;
    ENTRIES.iter().find(|entry| entry.name == name)
}

/// What an image runs as on this machine, where `installed` is what was found of its program.
pub fn resolve(
    image: &ImageRef,
    entrypoint: Option<&[String]>,
    command: Option<&[String]>,
    template: &Template,
    installed: &[Installation],
) -> Result<Program, Refusal> {
    let entry = entry(image).ok_or_else(|| Refusal::Unknown(image.clone()))?;
    let installation = choose(entry, image, installed)?;
    let request = Request { image, command: command.unwrap_or_default(), template, installation };
    let mut program = (entry.build)(&request)?;
    program.env.push(("PATH".into(), format!("{}:{PATH}", installation.bin.display())));
    if let Some(entrypoint) = entrypoint.filter(|entrypoint| !entrypoint.is_empty()) {
        program.argv = entrypoint.iter().chain(request.command).cloned().collect();
        program.prepare = None;
    }
    Ok(program)
}

fn choose<'a>(entry: &Entry, image: &ImageRef, installed: &'a [Installation]) -> Result<&'a Installation, Refusal> {
    let newest = installed.iter().max_by_key(|installation| installation.major);
    let Some(newest) = newest else {
        return Err(Refusal::Missing { image: image.clone(), product: entry.product, package: entry.package });
    };
    let Some(wanted) = image.major_version() else { return Ok(newest) };
    installed.iter().find(|installation| installation.major == wanted).ok_or_else(|| {
        let mut found: Vec<u32> = installed.iter().map(|installation| installation.major).collect();
        found.sort_unstable();
        found.dedup();
        Refusal::Version { image: image.clone(), product: entry.product, wanted, found }
    })
}

struct Request<'a> {
    image: &'a ImageRef,
    command: &'a [String],
    template: &'a Template,
    installation: &'a Installation,
}

impl Request<'_> {
    fn program(&self, name: &str) -> String {
        self.installation.bin.join(name).display().to_string()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.template.environment.get(name).map(|value| value.reveal_text().into_owned()).filter(|v| !v.is_empty())
    }

    /// A variable, or the content of the file that `<name>_FILE` names when it is one of the replica's own.
    fn variable_or_file(&self, name: &'static str, file: &'static str) -> Result<Option<String>, Refusal> {
        let Some(path) = self.variable(file) else { return Ok(self.variable(name)) };
        if self.variable(name).is_some() {
            return Err(Refusal::Value { variable: file, why: format!("`{name}` is set as well") });
        }
        let found = self.template.files.iter().find(|known| known.target == path);
        let text = found.map(|known| known.content.reveal_text().trim_end_matches(['\r', '\n']).to_owned());
        text.map(Some).ok_or_else(|| Refusal::Value {
            variable: file,
            why: format!("`{path}` is no secret or config of the service"),
        })
    }

    /// The arguments for the image's own server, none when the command runs something else.
    fn server_args(&self, program: &str, is_argument: impl Fn(&str) -> bool) -> Option<&[String]> {
        match self.command {
            [] => Some(&[]),
            [first, rest @ ..] if first == program => Some(rest),
            [first, ..] if is_argument(first) => Some(self.command),
            _ => None,
        }
    }
}

fn postgres(request: &Request<'_>) -> Result<Program, Refusal> {
    let user = request.variable_or_file("POSTGRES_USER", "POSTGRES_USER_FILE")?.unwrap_or_else(|| "postgres".into());
    let database = request.variable_or_file("POSTGRES_DB", "POSTGRES_DB_FILE")?.unwrap_or_else(|| user.clone());
    let data = request.variable("PGDATA").unwrap_or_else(|| "/var/lib/postgresql/data".into());
    let host_auth = request.variable("POSTGRES_HOST_AUTH_METHOD").unwrap_or_else(|| "scram-sha-256".into());
    let mut program = Program {
        env: vec![("PGDATA".into(), data.clone()), ("LANG".into(), "C.UTF-8".into())],
        user: "postgres",
        memory: vec!["/var/run/postgresql".into()],
        volumes: vec!["/var/lib/postgresql/data".into()],
        // The image's too: on SIGTERM the server would wait until its last client leaves.
        stop_signal: Some(libc::SIGINT),
        ..Program::plain(request.command.to_vec())
    };
    let Some(args) = request.server_args("postgres", |first| first.starts_with('-')) else { return Ok(program) };
    let password = password(request, &host_auth)?;
    let own = ["-D", &data, "-c", "listen_addresses=*", "-c", "unix_socket_directories=/var/run/postgresql"];
    let own = own.into_iter().map(str::to_owned);
    program.argv = [request.program("postgres")].into_iter().chain(own).chain(args.iter().cloned()).collect();
    program.prepare = Some(Prepare::Postgres(PostgresInit {
        bin: request.installation.bin.clone(),
        major: request.installation.major,
        data: data.into(),
        user,
        database,
        password,
        host_auth,
        initdb_args: words(&request.variable("POSTGRES_INITDB_ARGS").unwrap_or_default()),
        scripts: "/docker-entrypoint-initdb.d".into(),
    }));
    Ok(program)
}

fn password(request: &Request<'_>, host_auth: &str) -> Result<Password, Refusal> {
    let file = request.variable("POSTGRES_PASSWORD_FILE");
    match (request.variable("POSTGRES_PASSWORD"), file) {
        (Some(_), Some(_)) => {
            let why = "`POSTGRES_PASSWORD` is set as well".into();
            Err(Refusal::Value { variable: "POSTGRES_PASSWORD_FILE", why })
        }
        (Some(text), None) => Ok(Password::Text(text)),
        (None, Some(path)) => Ok(Password::File(path.into())),
        (None, None) if host_auth == "trust" => Ok(Password::None),
        (None, None) => Err(Refusal::Variable { image: request.image.clone(), variable: "POSTGRES_PASSWORD" }),
    }
}

fn redis(request: &Request<'_>) -> Result<Program, Refusal> {
    let mut program = Program {
        cwd: Some("/data".into()),
        user: "redis",
        volumes: vec!["/data".into()],
        ..Program::plain(request.command.to_vec())
    };
    let is_argument = |first: &str| first.starts_with('-') || first.ends_with(".conf");
    if let Some(args) = request.server_args("redis-server", is_argument) {
        // A configuration file comes first; what the image has compiled in comes before what the user says.
        let has_file = args.first().is_some_and(|first| !first.starts_with('-'));
        let (file, options) = args.split_at(usize::from(has_file));
        let own = ["--protected-mode", "no"].into_iter().map(str::to_owned);
        program.argv = [request.program("redis-server")].into_iter().chain(file.iter().cloned()).collect();
        program.argv.extend(own.chain(options.iter().cloned()));
    }
    Ok(program)
}

/// Words of a shell line, with quotes; nothing is expanded.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The major version in what `<program> --version` prints.
pub fn major_in(text: &str) -> Option<u32> {
    let is_edge = |c: char| c.is_whitespace() || matches!(c, '=' | 'v' | '(');
    let number = |word: &str| {
        let (digits, rest) = word.split_at(word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len()));
        (!digits.is_empty() && (rest.is_empty() || rest.starts_with('.'))).then(|| digits.parse().ok()).flatten()
    };
    text.split(is_edge).find_map(number)
}

/// The folders of `entry` that have a version in their name, with those versions.
pub fn versioned(entry: &Entry, list: impl Fn(&Path) -> Vec<PathBuf>) -> Vec<Installation> {
    let mut found = Vec::new();
    for base in entry.versioned {
        for dir in list(Path::new(base)) {
            let major = dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            let bin = dir.join("bin");
            if let Some(major) = major
                && list(&bin).contains(&bin.join(entry.program))
            {
                found.push(Installation { bin, major });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
