//! The first start of a PostgreSQL data folder, with the contract of the `postgres` image.
//!
//! A cluster is made beside its place and moved there once it is whole, so that being killed at any moment leaves
//! either nothing that counts or everything:
//!
//! ```text
//! PGDATA/.mainstay-init/data      being made; thrown away and made anew as long as `complete` is missing
//! PGDATA/.mainstay-init/complete  written and synced after the last script: from now on only moved
//! PGDATA/PG_VERSION               moved last: a cluster is finished exactly when this exists
//! ```
//! A finished cluster is never touched. Everything runs as the service's user inside its sandbox.

use crate::failure::{At, Failure};
use shim::spec::{Password, PostgresInit};
use shim::status::Step;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const STEP: Step = Step::Prepare;
/// Private to the replica; the temporary server listens nowhere else.
const SOCKETS: &str = "/tmp";

/// Makes the cluster if there is none.
pub(crate) fn prepare(init: &PostgresInit, env: &[(String, String)]) -> Result<(), Failure> {
    let stage = init.data.join(".mainstay-init");
    let data = || init.data.display().to_string();
    if stage.join("complete").exists() {
        return finish(&stage, &init.data).at(STEP, data);
    }
    match fs::read_to_string(init.data.join("PG_VERSION")) {
        Ok(version) => return check_version(init, version.trim()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::new(STEP, format!("{}: {error}", data()))),
    }
    refuse_foreign(&init.data)?;
    begin(&stage, &init.data).at(STEP, data)?;
    let work = Work { init, env, data: stage.join("data"), password: password(init)? };
    work.initdb()?;
    work.fill()?;
    complete(&stage).at(STEP, data)?;
    finish(&stage, &init.data).at(STEP, data)
}

fn check_version(init: &PostgresInit, version: &str) -> Result<(), Failure> {
    if version == init.major.to_string() {
        return Ok(());
    }
    let text = format!(
        "{} was made by PostgreSQL {version}, but this is {}: install PostgreSQL {version}, or dump and restore",
        init.data.display(),
        init.major,
    );
    Err(Failure::new(STEP, text))
}

/// Only an empty folder may become a cluster.
fn refuse_foreign(data: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(data).at(STEP, || data.display().to_string())? {
        let name = entry.at(STEP, || data.display().to_string())?.file_name();
        if name != "lost+found" && name != ".mainstay-init" {
            let text = format!("{} is neither empty nor a PostgreSQL cluster: it holds {name:?}", data.display());
            return Err(Failure::new(STEP, text));
        }
    }
    Ok(())
}

fn begin(stage: &Path, data: &Path) -> io::Result<()> {
    match fs::remove_dir_all(stage) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::set_permissions(data, fs::Permissions::from_mode(0o700))?;
    fs::create_dir(stage)
}

fn complete(stage: &Path) -> io::Result<()> {
    rustix::fs::syncfs(File::open(stage)?)?;
    File::create(stage.join("complete"))?.sync_all()?;
    File::open(stage)?.sync_all()
}

/// Moves what is left to be moved. May be interrupted and begun again any number of times.
fn finish(stage: &Path, data: &Path) -> io::Result<()> {
    let made = stage.join("data");
    if made.exists() {
        for entry in fs::read_dir(&made)? {
            let name = entry?.file_name();
            if name != "PG_VERSION" {
                fs::rename(made.join(&name), data.join(&name))?;
            }
        }
        File::open(data)?.sync_all()?;
        match fs::rename(made.join("PG_VERSION"), data.join("PG_VERSION")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => File::open(data)?.sync_all()?,
        }
    }
    fs::remove_dir_all(stage)
}

fn password(init: &PostgresInit) -> Result<Option<String>, Failure> {
    match &init.password {
        Password::Text(text) => Ok(Some(text.clone())),
        Password::None => Ok(None),
        Password::File(path) => {
            let text = fs::read_to_string(path).at(STEP, || format!("POSTGRES_PASSWORD_FILE {}", path.display()))?;
            Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
        }
    }
}

struct Work<'a> {
    init: &'a PostgresInit,
    env: &'a [(String, String)],
    data: PathBuf,
    password: Option<String>,
}

impl Work<'_> {
    fn initdb(&self) -> Result<(), Failure> {
        let file = PathBuf::from("/tmp/.mainstay-password");
        let mut command = self.command(self.init.bin.join("initdb"));
        command.arg(format!("--username={}", self.init.user)).arg("-D").arg(&self.data);
        if let Some(password) = &self.password {
            write_private(&file, password).at(STEP, || file.display().to_string())?;
            command.arg(format!("--pwfile={}", file.display()));
        }
        command.args(&self.init.initdb_args);
        let result = succeed(&mut command);
        if self.password.is_some() {
            fs::remove_file(&file).at(STEP, || file.display().to_string())?;
        }
        result?;
        let hba = self.data.join("pg_hba.conf");
        let line = format!("\nhost all all all {}\n", self.init.host_auth);
        File::options()
            .append(true)
            .open(&hba)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .at(STEP, || hba.display().to_string())
    }

    /// Makes the database and runs the scripts, on a server that nobody else reaches.
    fn fill(&self) -> Result<(), Failure> {
        let options = format!("-c listen_addresses='' -c unix_socket_directories='{SOCKETS}' -p 5432");
        let mut start = self.pg_ctl();
        succeed(start.args(["-o", &options, "-w", "start"]))?;
        let filled = self.database().and_then(|()| self.scripts());
        let mut stop = self.pg_ctl();
        let stopped = succeed(stop.args(["-m", "fast", "-w", "stop"]));
        filled.and(stopped)
    }

    fn pg_ctl(&self) -> Command {
        let mut command = self.command(self.init.bin.join("pg_ctl"));
        command.arg("-D").arg(&self.data);
        command
    }

    fn database(&self) -> Result<(), Failure> {
        if self.init.database == "postgres" {
            return Ok(());
        }
        let mut psql = self.psql("postgres");
        // psql quotes the name itself.
        psql.arg(format!("--set=db={}", self.init.database)).stdin(Stdio::piped());
        let mut child = psql.spawn().at(STEP, || "psql".into())?;
        let mut input = child.stdin.take().expect("stdin is piped");
        input.write_all(b"CREATE DATABASE :\"db\" ;\n").at(STEP, || "psql".into())?;
        drop(input);
        let status = child.wait().at(STEP, || "psql".into())?;
        judge("psql", status)
    }

    fn scripts(&self) -> Result<(), Failure> {
        let mut paths: Vec<PathBuf> = match fs::read_dir(&self.init.scripts) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Failure::new(STEP, format!("{}: {error}", self.init.scripts.display()))),
        };
        paths.sort();
        paths.iter().try_for_each(|path| self.script(path))
    }

    fn script(&self, path: &Path) -> Result<(), Failure> {
        println!("mainstay: running {}", path.display());
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("sql") => {
                let mut psql = self.psql(&self.init.database);
                succeed(psql.arg("-f").arg(path))
            }
            Some("sh") => {
                let mode = fs::metadata(path).at(STEP, || path.display().to_string())?.permissions().mode();
                // The image sources a script that is not executable; its own shell gives the same result.
                let mut command = match mode & 0o111 {
                    0 => self.command("/bin/bash".into()),
                    _ => self.command(path.to_owned()),
                };
                if mode & 0o111 == 0 {
                    command.arg(path);
                }
                succeed(&mut command)
            }
            _ => {
                println!("mainstay: {} is neither .sql nor .sh, left out", path.display());
                Ok(())
            }
        }
    }

    fn psql(&self, database: &str) -> Command {
        let own = self.init.bin.join("psql");
        let mut command = self.command(if own.exists() { own } else { "psql".into() });
        command.args(["--set=ON_ERROR_STOP=1", "--no-psqlrc", "--no-password", "--username"]);
        command.arg(&self.init.user).arg("--dbname").arg(database);
        command
    }

    fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.env("PGHOST", SOCKETS).env("PGPORT", "5432").env("PGDATA", &self.data).stdin(Stdio::null());
        command.env("POSTGRES_USER", &self.init.user).env("POSTGRES_DB", &self.init.database);
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password);
        }
        command
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")
}

fn succeed(command: &mut Command) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().at(STEP, || program.clone())?;
    judge(&program, status)
}

fn judge(program: &str, status: std::process::ExitStatus) -> Result<(), Failure> {
    match status.success() {
        true => Ok(()),
        false => Err(Failure::new(STEP, format!("{program} ended with {status}; what it said is in the log"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole cluster of which `moved` are in their place already.
    fn check(moved: &[&str]) {
        let data = std::env::temp_dir().join(format!("mainstay-pg-{}-{}", std::process::id(), moved.len()));
        let stage = data.join(".mainstay-init");
        fs::create_dir_all(stage.join("data")).expect("makes a folder");
        fs::write(stage.join("complete"), "").expect("writes");
        for name in ["base", "global", "PG_VERSION"] {
            let place = if moved.contains(&name) { data.join(name) } else { stage.join("data").join(name) };
            fs::write(place, name).expect("writes");
        }
        finish(&stage, &data).expect("is finished");
        let mut names: Vec<_> = fs::read_dir(&data).expect("lists").map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["PG_VERSION", "base", "global"], "{moved:?}");
        fs::remove_dir_all(&data).expect("cleans up");
    }

    #[test]
    fn a_move_cut_short_anywhere_is_finished() {
        check(&[]);
        check(&["base"]);
        check(&["base", "global"]);
        check(&["base", "global", "PG_VERSION"]);
    }
}
