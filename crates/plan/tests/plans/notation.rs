//! The short forms of the table tests: one service `x`, what is wanted of it and what is there, in a line each.
//!
//! Wanted: `x2 v2 +1` is two replicas of version 2, one replaced at a time. More words: `stop-first`, `direct`, `quiet`
//! (takes no traffic), `no`/`always`/`on-failure[:max]` (restart), `job`, `asked` (somebody asked just now), `restart`
//! (a restart was asked for just now), `forgotten` (earlier templates are not known), `moved` (another subnet),
//! `routes` (routes change), `edge?` (the edge cannot be read), `needs-db`, `needs-db-ready` (a service `db` that is
//! there), `db?` (it cannot be read), `db-dead` (it is not live), `live-probe` (says after two minutes that one was never live) …
//!
//! There: `1:v1` is slot 1, running version 1, ready, with traffic. After slashes: `new` (not probed yet), `starting`,
//! `unready`, `dead`, `unrouted`, `unknown`, `half`, `exit0`, `exit1`, `failed`, `f3` (three failures before it was
//! started), `ran20` (for so many seconds), `ago5` (ended so many seconds ago).

use crate::stacks;
use crate::world::World;
use expect_test::Expect;
use jiff::SignedDuration;
use mainstay_plan::action::{Action, edge, replica};
use mainstay_plan::desired::Up;
use mainstay_plan::observed::{Exit, Health, Known, Phase, Replica};
use mainstay_plan::{Allocation, Desired, Plan, reconcile};
use model::policy::{Route, RoutePath, RouteTarget};
use model::probe::{Check, Probe};
use model::project::{Condition, Order, Project, RestartPolicy, Role};
use model::stack::Stack;
use model::units::format_duration;
use model::{ReplicaId, Slot, SpecHash};
use std::fmt::Write;
use std::num::NonZeroU32;
use std::time::Duration;
use testkit::project::{self, depends_on, name, with};

/// Plans and compares; the plan has passed the checker.
pub fn check(want: &str, have: &str, expect: Expect) {
    let (want, world) = scene(want, have);
    let plan = reconcile(&want, &world.have, world.now);
    let violations = mainstay_plan::check(&want, &world.have, &plan);
    let mut text = write(&plan, &want, world.now);
    for violation in violations {
        writeln!(text, "VIOLATION {violation}").expect("a string takes everything");
    }
    expect.assert_eq(&text);
}

/// What the two lines say.
pub fn scene(want: &str, have: &str) -> (Desired, World) {
    let words: Vec<&str> = want.split_whitespace().collect();
    let has = |word: &str| words.contains(&word);
    let project = project_of(&words);
    let (stack, allocation) = stacks::settle(&project, &Allocation::default());
    let mut world = World::new();
    lay_ground(&mut world, &project);
    for replica in have.split_whitespace() {
        place(&mut world, &project, replica, &stack);
    }
    if has("db?") {
        let id: ReplicaId = name("db.1");
        world.have.placed.replicas.get_mut(&id).expect("there is a db").phase = Phase::Unknown("no answer".into());
    }
    if has("db-unready") {
        world.have.health.insert(name("db.1"), Health::Unready("refused".into()));
    }
    if has("db-dead") {
        world.have.health.insert(name("db.1"), Health::Dead("refused".into()));
    }
    if has("edge?") {
        world.have.edge = Known::Unknown("no answer".into());
    }
    let mut stack = stack;
    if has("moved") {
        let mut project = project.clone();
        project.networks.values_mut().for_each(|network| network.subnet = Some("10.99.0.0/24".parse().expect("legal")));
        stack = stacks::settle(&project, &allocation).0;
    }
    if has("routes") {
        let to = RouteTarget::Service { service: name("x"), port: 80 };
        let path = RoutePath { prefix: "/".into(), target: to, at: project::NOWHERE };
        stack.routes.push(Route { host: "*".into(), paths: vec![path], at: project::NOWHERE });
    }
    let mut up = if has("forgotten") { stacks::up(stack) } else { stacks::up_after(stack, &earlier(&project)) };
    if has("asked") {
        up.asked_at = world.now;
    }
    if has("restart") {
        up.restart.insert(name("x"), world.now);
    }
    (Desired::Up(up), world)
}

fn project_of(words: &[&str]) -> Project {
    let number = |prefix: char| words.iter().find_map(|word| word.strip_prefix(prefix)?.parse::<u32>().ok());
    let has = |word: &str| words.contains(&word);
    let project = with(project::project(), "x", |x| {
        stacks::version(x, words.iter().find(|word| word.starts_with('v')).expect("a version is wanted"));
        x.replicas = number('x').expect("a number of replicas is wanted");
        x.update.parallelism = NonZeroU32::new(number('+').unwrap_or(1)).expect("at least one");
        x.update.deadline = Duration::from_secs(60);
        x.update.order = if has("stop-first") { Order::StopFirst } else { Order::StartFirst };
        x.direct = has("direct");
        x.ports = if has("quiet") { [].into() } else { [80].into() };
        x.role = if has("job") { Role::Job } else { Role::Service };
        if has("live-probe") {
            let check = Check::Tcp { port: 80 };
            x.probes.live = Some(Probe { timeout: Duration::from_secs(10), ..Probe::with_defaults(check) });
        }
        x.restart = words.iter().find_map(|word| policy(word)).unwrap_or(RestartPolicy::Always);
        let conditions = [
            ("needs-db", Condition::Started),
            ("needs-db-ready", Condition::Healthy),
            ("needs-db-done", Condition::Completed),
        ];
        x.depends_on = conditions.iter().filter(|(word, _)| has(word)).map(|(_, c)| depends_on("db", *c)).collect();
    });
    if words.iter().any(|word| word.starts_with("needs-db")) {
        return with(project, "db", |db| {
            stacks::version(db, if has("db-changed") { "db-v2" } else { "db-v1" });
            db.role = if has("needs-db-done") { Role::Job } else { Role::Service };
        });
    }
    project
}

fn policy(word: &str) -> Option<RestartPolicy> {
    match word.split_once(':').unwrap_or((word, "")) {
        ("no", _) => Some(RestartPolicy::No),
        ("always", _) => Some(RestartPolicy::Always),
        ("on-failure", max) => Some(RestartPolicy::OnFailure { max: max.parse().ok().and_then(NonZeroU32::new) }),
        _ => None,
    }
}

/// The stack as it was before: versions 1 to 3 of `x` are known by their templates.
fn earlier(project: &Project) -> Stack {
    let mut all = project.clone();
    for n in 1..=3 {
        let mut x = stacks::service(&mut all, "x").clone();
        stacks::version(&mut x, &format!("v{n}"));
        all.services.insert(name(&format!("x{n}")), x);
    }
    stacks::settle(&all, &Allocation::default()).0
}

/// Networks and routes are in force, `db` runs.
fn lay_ground(world: &mut World, project: &Project) {
    let mut project = project.clone();
    stacks::service(&mut project, "x").replicas = 0;
    if let Some(db) = project.services.get_mut("db") {
        stacks::version(db, "db-v1");
    }
    let (stack, _) = stacks::settle(&project, &Allocation::default());
    world.converge(&Desired::Up(stacks::up(stack)), &mut |_| 0);
    world.now += SignedDuration::from_hours(1);
}

fn place(world: &mut World, project: &Project, text: &str, stack: &Stack) {
    let mut parts = text.split('/');
    let (slot, version) = parts.next().and_then(|part| part.split_once(':')).expect("slot:version");
    let id = ReplicaId::new(name("x"), slot.parse().ok().and_then(Slot::new).expect("a slot"));
    let states: Vec<&str> = parts.collect();
    let has = |state: &str| states.contains(&state);
    let number = |prefix: &str, default: i64| {
        states.iter().find_map(|s| s.strip_prefix(prefix)?.parse().ok()).unwrap_or(default)
    };
    let (ran, ago) = (number("ran", 600), number("ago", 1));
    let at = world.now - SignedDuration::from_secs(ago);
    let ended = |how| Phase::Exited { since: at - SignedDuration::from_secs(ran), at, how };
    let phase = match () {
        () if has("unknown") => Phase::Unknown("no answer".into()),
        () if has("half") => Phase::Half,
        () if has("exit0") => ended(Exit::Code(0)),
        () if has("exit1") => ended(Exit::Code(1)),
        () if has("failed") => Phase::Failed { at, why: "no such program".into() },
        () => Phase::Running { since: world.now - SignedDuration::from_secs(ran) },
    };
    let health = match () {
        () if has("new") => None,
        () if has("starting") => Some(Health::Starting),
        () if has("unready") => Some(Health::Unready("refused".into())),
        () if has("dead") => Some(Health::Dead("refused".into())),
        () => matches!(phase, Phase::Running { .. }).then_some(Health::Ready),
    };
    let target = &stack.services[&name("x") as &model::ServiceName];
    let subnet = stack.networks.values().next().expect("one network");
    let address = subnet.replica_addresses().nth(id.slot.number() as usize % 150).expect("an address");
    let addresses = if target.direct {
        target.addresses.clone().into_iter().collect()
    } else {
        [(name("default"), address)].into()
    };
    let replica = Replica {
        role: if id.slot.number() >= 1000 { Role::Job } else { target.role },
        hash: hash_of(project, version),
        release: model::ReleaseNumber(1),
        bundle: stack.bundle.clone(),
        addresses,
        failures: u32::try_from(number("f", 0)).expect("a number"),
        stop_signal: 15,
        stop_grace: Duration::from_secs(10),
        phase,
    };
    let takes_traffic = !target.ports.is_empty() && !target.direct && target.role == Role::Service;
    if let Known::Is(routing) = &mut world.have.edge
        && takes_traffic
        && !has("unrouted")
        && id.slot.number() < 1000
    {
        routing.routed.insert(id.clone());
    }
    world.have.health.extend(health.map(|health| (id.clone(), health)));
    world.have.placed.replicas.insert(id, replica);
}

fn hash_of(project: &Project, version: &str) -> SpecHash {
    let mut project = project.clone();
    stacks::version(stacks::service(&mut project, "x"), version);
    stacks::settle(&project, &Allocation::default()).0.services[&name("x") as &model::ServiceName].hash
}

/// One line per step: verb, slot, version or time, reason, steps before.
fn write(plan: &Plan, want: &Desired, now: jiff::Timestamp) -> String {
    let Desired::Up(Up { stack, .. }) = want else { panic!("only what runs is written so") };
    let mut out = String::new();
    for (id, step) in &plan.steps {
        let detail = detail(&step.action, stack);
        let after: Vec<String> = step.after.iter().map(ToString::to_string).collect();
        let after = if after.is_empty() { String::new() } else { format!("  after {}", after.join(" ")) };
        writeln!(out, "{id:<2} {detail}  {}{after}", step.why).expect("a string takes everything");
    }
    for note in &plan.notes {
        let text = note.text.replace(&now.to_string(), "now");
        writeln!(out, "-- {}: {text}", note.subject).expect("a string takes everything");
    }
    if let Some(at) = plan.wake_at {
        let wait = Duration::try_from(at.duration_since(now)).expect("in the future");
        writeln!(out, "-- wakes in {}", format_duration(wait)).expect("a string takes everything");
    }
    out
}

fn detail(action: &Action, stack: &Stack) -> String {
    let short = |id: &ReplicaId| match id.service.as_str() {
        "x" => id.slot.to_string(),
        _ => id.to_string(),
    };
    let version = |start: &replica::Start| match &start.template.runs {
        model::project::Runs::Process { command, .. } => command.last().expect("a version").clone(),
        _ => panic!("tests run processes"),
    };
    match action {
        Action::Replica(replica::Action::Start(start)) => {
            let fails = if start.failures > 0 { format!(" f{}", start.failures) } else { String::new() };
            let stable = stack.services[&start.id.service].addresses.values().next();
            let direct = start.addresses.values().next() == stable;
            format!("start  {} {}{fails}{}", short(&start.id), version(start), if direct { " stable" } else { "" })
        }
        Action::Replica(replica::Action::Stop { id, grace, .. }) => {
            format!("stop   {} {}", short(id), format_duration(*grace))
        }
        Action::Replica(replica::Action::Remove { id }) => format!("remove {}", short(id)),
        Action::Replica(replica::Action::EnsureNetwork { name, .. }) => format!("ensure network {name}"),
        Action::Replica(replica::Action::RemoveNetwork { name }) => format!("remove network {name}"),
        Action::Replica(replica::Action::EnsureVolume { name, .. }) => format!("ensure volume {name}"),
        Action::Replica(replica::Action::RemoveVolume { name }) => format!("remove volume {name}"),
        Action::Probe(wait) => format!("await  {} {}", short(&wait.id), format_duration(wait.deadline)),
        Action::Job(job) => format!("finish {}", short(&job.id)),
        Action::Edge(edge::Change::Open) => "open".into(),
        Action::Edge(edge::Change::Route { id }) => format!("route  {}", short(id)),
        Action::Edge(edge::Change::Drain { id, grace }) => format!("drain  {} {}", short(id), format_duration(*grace)),
        Action::Edge(edge::Change::Settle { .. }) => "settle".into(),
        Action::Object(_) => panic!("no objects here"),
    }
}
