//! A script on an engine: a daemon of its own, the project up, and every command asked.

use super::proof::Proofs;
use super::script::{Case, Script, Step};
use crate::hut::{Ended, Hut};
use crate::yard::Yard;
use model::policy::EngineKind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::docker::{BASE, Ground};

/// How long something may take to be seen.
const SEEN: Duration = Duration::from_secs(10);

enum Place {
    Hut(Hut),
    Yard(Yard),
}

/// Where a project is, and what belongs to it.
struct Scene {
    // In this order it goes: what the project was on goes last.
    place: Place,
    /// The project's name.
    name: String,
    ground: Ground,
}

/// What a script shows on an engine.
pub fn run(script: &Script, engine: EngineKind) -> Proofs {
    let scene = Scene::new(script, engine);
    let mut proofs = Proofs::default();
    let (before, after): (Vec<&Case>, Vec<&Case>) =
        script.cases.iter().filter(|case| case.is_on(engine)).partition(|case| case.is_before());
    for step in before.iter().flat_map(|case| &case.steps) {
        let ended = scene.ask(step);
        assert_eq!(ended.code, 0, "{}: {ended:?}", step.line);
    }
    let begun = Instant::now();
    let up = scene.hut().run(&["up"]);
    println!("{} on {engine} is up after {:?}", script.name, begun.elapsed());
    if up.code != 0 {
        return Proofs::failed(format!("{} does not go up on {engine}:\n{}{}", script.name, up.out, up.err));
    }
    for case in after {
        match scene.holds(case) {
            Ok(()) => proofs.show(engine, case),
            Err(what) => proofs.fail(format!("{} on {engine}: {what}", case.keys.join(" "))),
        }
    }
    println!("{} on {engine} was seen after {:?}", script.name, begun.elapsed());
    proofs
}

impl Scene {
    fn new(script: &Script, engine: EngineKind) -> Self {
        let (place, name) = match engine {
            EngineKind::Docker => {
                let yard = Yard::new();
                let name = yard.name().to_owned();
                (Place::Yard(yard), name)
            }
            _ => {
                let hut = Hut::new();
                let name = format!("keys{:03x}", hut.tag());
                (Place::Hut(hut), name)
            }
        };
        let scene = Self { place, name, ground: Ground::new() };
        let variables: Vec<String> =
            scene.variables().iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        scene.hut().write(".env", &variables.concat());
        for (path, content) in script.files(engine) {
            let folder = Path::new(path).parent().unwrap();
            std::fs::create_dir_all(scene.hut().project().join(folder)).unwrap();
            scene.hut().write(path, &content);
        }
        scene
    }

    fn hut(&self) -> &Hut {
        match &self.place {
            Place::Hut(hut) => hut,
            Place::Yard(yard) => yard,
        }
    }

    /// What files and commands may name.
    fn variables(&self) -> [(&'static str, String); 8] {
        let hut = self.hut();
        // Beside the addresses of huts, which are those from 10.160 to 10.175.
        let mut more: Vec<u8> = hut.net().split('.').map(|number| number.parse().unwrap()).collect();
        more[1] += 16;
        [
            ("MORE", more.iter().map(u8::to_string).collect::<Vec<_>>().join(".")),
            ("NAME", self.name.clone()),
            ("STACK", format!("{}-development", self.name)),
            ("NET", hut.net()),
            ("PORT", hut.published().to_string()),
            ("FOLDER", hut.project().display().to_string()),
            ("LABEL", self.ground.label()),
            ("BASE", BASE.to_owned()),
        ]
    }

    fn ask(&self, step: &Step) -> Ended {
        let shell;
        let mut command = if let Some(service) = &step.service {
            shell = vec!["exec", service, "--", "sh", "-c", &step.line];
            self.hut().command(&shell)
        } else {
            shell = vec!["-c", &step.line];
            let mut command = self.hut().command_of(Path::new("bash"), &shell);
            self.know(&mut command);
            command
        };
        Hut::ended(command.stdin(Stdio::null()).spawn().unwrap(), &shell)
    }

    /// The variables, and the program by its name.
    fn know(&self, command: &mut Command) {
        let own = Path::new(env!("CARGO_BIN_EXE_mainstay")).parent().unwrap();
        let path = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(own.to_owned()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(path).unwrap()).envs(self.variables());
        command.env("DOCKER_HOST", testkit::docker::url());
    }

    /// Whether every command prints what it must, at once or soon.
    fn holds(&self, case: &Case) -> Result<(), String> {
        assert!(!case.steps.is_empty(), "{:?} asks nothing", case.keys);
        case.steps.iter().try_for_each(|step| {
            let begun = Instant::now();
            loop {
                let ended = self.ask(step);
                if ended.out.trim() == step.wanted {
                    return Ok(());
                }
                if begun.elapsed() > SEEN {
                    return Err(format!("`{}`\n  wanted: {:?}\n  found: {ended:?}", step.line, step.wanted));
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        })
    }
}
