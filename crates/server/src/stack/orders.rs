//! What an actor does with each order.
//!
//! An order is looked at as a whole before anything of it counts: it changes a copy of the course, which takes the
//! place of the old one once it is written down.

use super::actor::{Actor, Ordered};
use super::course::Course;
use super::durable::News;
use super::handle::Order;
use super::record::{Kind, Running, Wanted};
use super::settle::settle;
use super::{images, one_off, takeover};
use crate::api::ApiError;
use crate::api::plan::{NoteView, PlanRequest, PlanView};
use crate::api::release::{Accepted, DownRequest, ReleaseRequest, RestartRequest, ScaleRequest};
use crate::api::status::{HealthDocument, StackStatus, StackSummary};
use crate::view;
use model::policy::EngineKind;
use model::project::Role;
use model::stack::Stack;
use model::{BundleId, ReleaseNumber, ReplicaId, ServiceName, VolumeName};
use plan::action::replica::Start;
use plan::observed::Phase;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::NewRelease;

impl Actor {
    /// Carries an order out as far as an answer needs it. Whoever asked and has gone gets no answer.
    pub(super) async fn order(&mut self, order: Order) {
        match order {
            Order::Look => self.look().await,
            Order::Plan(request, answer) => drop(answer.send(self.plan(request).await)),
            Order::Release(request, actor, answer) => drop(answer.send(self.release(request, actor).await)),
            Order::Down(request, actor, answer) => drop(answer.send(self.down(request, actor).await)),
            Order::Restart(request, actor, answer) => drop(answer.send(self.restart(request, actor).await)),
            Order::Scale(request, actor, answer) => drop(answer.send(self.scale(request, actor).await)),
            Order::Status(answer) => drop(answer.send(self.status().await)),
            Order::Health(answer) => drop(answer.send(self.health(view::health::document).await)),
            Order::Ready(answer) => drop(answer.send(self.health(view::health::readiness).await)),
            Order::Needs(answer) => drop(answer.send(Ok(self.needs()))),
            Order::Pick(target, answer) => drop(answer.send(self.pick(&target))),
            Order::OneOff(service, answer) => drop(answer.send(self.one_off(&service).await)),
        }
    }

    /// What a release of this bundle would do.
    pub async fn plan(&self, request: PlanRequest) -> Result<PlanView, ApiError> {
        let bundle = bundle(&request.bundle)?;
        let (next, stack) = self.release_of(&bundle, &request.images, self.next_release().await?).await?;
        let desired = next.desired().ok_or_else(|| self.is_down())?;
        let plan = self.plan_for(&desired).await?;
        let mut view = PlanView { images: request.images, ..self.view(&plan, &bundle, &stack) };
        view.notes.extend(self.shortcomings(&stack).await);
        match &request.adopt {
            Some(other) => {
                view.notes.extend(takeover::notes(&**self.world.engines.of(&self.id), other, &stack).await?);
            }
            None => {
                view.notes.extend(self.beside().await?);
                view.notes.extend(takeover::left_behind(&**self.world.engines.of(&self.id), &stack, &plan)?);
            }
        }
        Ok(view)
    }

    fn view(&self, plan: &plan::Plan, bundle: &BundleId, stack: &Stack) -> PlanView {
        PlanView {
            stack: self.id.to_string(),
            bundle: bundle.to_string(),
            images: BTreeMap::new(),
            basis: plan.basis.0,
            digest: plan::text::digest(plan),
            changes: !plan.is_empty(),
            steps: view::plan::steps(plan),
            notes: view::plan::notes(plan),
            services: view::plan::changes(self.course.wanted.as_deref(), stack),
        }
    }

    /// The course with a release of this bundle wanted. Scaling by hand ends with it.
    async fn release_of(
        &self,
        bundle: &BundleId,
        images: &BTreeMap<String, String>,
        release: ReleaseNumber,
    ) -> Result<(Course, Arc<Stack>), ApiError> {
        let mut next = self.course.clone();
        next.record.engine = Some(self.choose_engine(bundle).await?);
        let images = images::pin(&self.world, &self.id, bundle, images).await?;
        let running = Running { release, bundle: bundle.clone(), images };
        next.record.scale = BTreeMap::new();
        let (stack, allocation) = settle(&self.world, &self.id, &running, next.record.given()).await?;
        next.record.allocation = allocation;
        next.record.wanted = Wanted::Up(running);
        next.record.asked_at = self.world.clock.now();
        next.wanted = Some(stack.clone());
        Ok((next, stack))
    }

    /// The engine that a bundle names. What lies on another one has to go first: volumes do not move by themselves.
    async fn choose_engine(&self, bundle: &BundleId) -> Result<EngineKind, ApiError> {
        let project = super::settle::project(&self.world, &self.id, bundle).await?;
        let engine = self.world.engine_for(&project)?;
        self.world.refuse_unusable(&**engine).await?;
        let (wanted, now) = (engine.kind(), self.world.engines.of(&self.id).clone());
        if now.kind() == wanted {
            return Ok(wanted);
        }
        let placed = now.observe(&self.id).await.map_err(|error| crate::failed(&error))?;
        if placed.replicas.is_empty() && placed.networks.is_empty() {
            self.world.engines.put(&self.id, wanted);
            return Ok(wanted);
        }
        let message = format!("`{}` runs on the engine `{}`, and the files name `{wanted}`", self.id, now.kind());
        Err(ApiError::new(409, "MS0246", message).help(format!(
            "take it down first with `mainstay down`, which keeps its volumes on `{0}`, or go on with `--engine {0}`",
            now.kind()
        )))
    }

    /// That another tool runs the project.
    async fn beside(&self) -> Result<Option<NoteView>, ApiError> {
        let running = takeover::running(&self.world, &self.id).await?;
        let running: Vec<String> = running.into_iter().map(|stray| format!("`{}`", stray.name)).collect();
        let text = format!("`docker compose` runs this project: {}; `--adopt` takes it over", running.join(", "));
        Ok((!running.is_empty()).then(|| NoteView { subject: "stack".into(), text }))
    }

    async fn next_release(&self) -> Result<ReleaseNumber, ApiError> {
        self.world.next_release(&self.id).await
    }

    async fn shortcomings(&self, stack: &Stack) -> Vec<NoteView> {
        let mut notes = Vec::new();
        if let Some(clash) = self.world.hub.clash(stack) {
            let text = format!("{clash}; {}", clash.cure());
            notes.push(crate::api::plan::NoteView { subject: "listeners".into(), text });
        }
        for (name, target) in stack.services.iter().filter(|(_, target)| target.has_replicas()) {
            if target.role == Role::Service && target.addresses.is_empty() && !target.template.networks.is_empty() {
                let text = "no port of it is known, so calls to its name go to its replicas past any release; \
                    install nftables, or write `expose` for it";
                notes.push(NoteView { subject: name.to_string(), text: text.into() });
            }
            for short in self.world.engines.of(&self.id).check(&target.template).await {
                notes.push(NoteView { subject: name.to_string(), text: format!("{}; {}", short.what, short.cure) });
            }
        }
        notes
    }

    /// What the engine cannot run is refused before anything is touched, all of it at once.
    async fn refuse_what_cannot_run(&self, stack: &Stack) -> Result<(), ApiError> {
        if let Some(clash) = self.world.hub.clash(stack) {
            return Err(ApiError::new(409, "MS0245", clash.to_string()).help(clash.cure()));
        }
        let (mut lines, mut cures) = (Vec::new(), Vec::new());
        if let Some((name, _)) = stack.services.iter().find(|(_, target)| target.spreads_connections())
            && !self.world.leads_any_port().await
        {
            lines.push(format!("`{name}`: its connections are to be spread, and this machine cannot do so"));
            cures.push("install nftables, or write `balance: requests` for it".to_owned());
        }
        for (name, target) in stack.services.iter().filter(|(_, target)| target.has_replicas()) {
            for short in
                self.world.engines.of(&self.id).check(&target.template).await.into_iter().filter(|short| short.fatal)
            {
                lines.push(format!("`{name}`: {}", short.what));
                cures.push(short.cure);
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        cures.dedup();
        Err(ApiError::new(422, "MS0212", lines.join("\n")).help(cures.join("; ")))
    }

    /// Runs a bundle.
    pub async fn release(&mut self, request: ReleaseRequest, actor: String) -> Result<Accepted, ApiError> {
        if !request.replace {
            self.free_for("a release")?;
        }
        let bundle = bundle(&request.bundle)?;
        let release = self.next_release().await?;
        let world = self.world.clone();
        let _choosing = world.choosing.lock().await;
        let (next, stack) = self.release_of(&bundle, &request.images, release).await?;
        self.refuse_what_cannot_run(&stack).await?;
        match &request.adopt {
            Some(other) => takeover::offer(&**self.world.engines.of(&self.id), other, &stack).await?,
            None => takeover::refuse_beside(&self.world, &stack).await?,
        }
        if let (Some(expected), Some(desired)) = (&request.expect_plan, next.desired()) {
            let plan = self.plan_for(&desired).await?;
            if plan::text::digest(&plan) != *expected {
                let message = "the stack has changed since the plan was made, so it would not do exactly that any more";
                return Err(ApiError::new(409, "MS0213", message).help("run `mainstay plan` again"));
            }
        }
        let new = NewRelease {
            config_hash: bundle.to_string(),
            bundle,
            actor: actor.clone(),
            message: request.message.clone(),
            created_at: self.world.clock.now(),
            images: request.images,
            again: request.again.map(ReleaseNumber),
        };
        let why = request.message.map(|message| format!(": {message}")).unwrap_or_default();
        let ordered = Ordered {
            kind: Kind::Release(release),
            news: vec![News::Begun(release, new)],
            text: format!("release {release} begins{why}"),
            expect: request.expect_plan,
            actor: actor.clone(),
        };
        let accepted = self.begin(next, ordered).await?;
        let cause = Some(format!("run {}", accepted.run));
        let text = format!("release {release} begins{why}");
        self.world.tell(&self.id, &format!("release {release}"), "release.started", &actor, cause, text);
        Ok(accepted)
    }

    async fn down(&mut self, request: DownRequest, actor: String) -> Result<Accepted, ApiError> {
        let wrong = |error: model::name::NameError| ApiError::new(400, "MS0202", error.to_string());
        let names = request.volumes.iter().map(|name| name.parse::<VolumeName>().map_err(wrong));
        let volumes = names.collect::<Result<BTreeSet<_>, _>>()?;
        let gone = if volumes.is_empty() {
            String::new()
        } else {
            format!(", volumes {} go with it", request.volumes.join(", "))
        };
        let mut next = self.course.clone();
        next.record.wanted = Wanted::Down(volumes);
        self.begin(next, Ordered::new(Kind::Down, actor, format!("down begins{gone}"))).await
    }

    async fn restart(&mut self, request: RestartRequest, actor: String) -> Result<Accepted, ApiError> {
        self.free_for("a restart")?;
        let stack = self.up()?;
        let names = if request.services.is_empty() {
            let services = stack.services.iter().filter(|(_, target)| target.role == model::project::Role::Service);
            services.map(|(name, _)| name.clone()).collect()
        } else {
            request.services.iter().map(|name| known(&stack, name)).collect::<Result<Vec<_>, _>>()?
        };
        let shown: Vec<_> = names.iter().map(ToString::to_string).collect();
        let text = format!("restart of {} begins", shown.join(", "));
        let now = self.world.clock.now();
        let mut next = self.course.clone();
        next.record.restart.extend(names.into_iter().map(|name| (name, now)));
        next.record.asked_at = now;
        self.begin(next, Ordered::new(Kind::Restart, actor, text)).await
    }

    async fn scale(&mut self, request: ScaleRequest, actor: String) -> Result<Accepted, ApiError> {
        self.free_for("scaling")?;
        let stack = self.up()?;
        let mut next = self.course.clone();
        for (name, count) in &request.replicas {
            let name = known(&stack, name)?;
            if stack.services.get(&name).is_some_and(|target| target.direct) && *count > 1 {
                let message = format!("`{name}` is a data store with one stable replica, it cannot run {count} times");
                return Err(ApiError::new(422, "MS0214", message)
                    .help(format!("leave `{name}` at 1, or write `direct: false` for it")));
            }
            next.record.scale.insert(name, *count);
        }
        let running = next.record.release().cloned().ok_or_else(|| self.is_down())?;
        let world = self.world.clone();
        let _choosing = world.choosing.lock().await;
        let (stack, allocation) = settle(&self.world, &self.id, &running, next.record.given()).await?;
        next.record.allocation = allocation;
        next.wanted = Some(stack);
        let shown: Vec<_> = request.replicas.iter().map(|(name, count)| format!("{name}={count}")).collect();
        self.begin(next, Ordered::new(Kind::Scale, actor, format!("scale {} begins", shown.join(" ")))).await
    }

    /// A release, a restart and scaling hold the stack; a repair makes way.
    fn free_for(&self, what: &str) -> Result<(), ApiError> {
        match &self.course.record.open {
            Some(open) if open.kind != Kind::Repair && self.active.is_some() => {
                let message = format!(
                    "{what} has to wait: {} by {} is under way since {}",
                    open.kind.name(),
                    open.actor,
                    open.since
                );
                Err(ApiError::new(409, "MS0215", message)
                    .help("wait until it has ended (`mainstay events -f`), or put a release in its place with `mainstay up --replace`"))
            }
            _ => Ok(()),
        }
    }

    fn up(&self) -> Result<Arc<Stack>, ApiError> {
        match (&self.course.record.wanted, &self.unreadable) {
            (Wanted::Up(_), Some(why)) => Err(refusal(&self.id.to_string(), &why.message)),
            (Wanted::Up(_), None) => self.course.wanted.clone().ok_or_else(|| self.is_down()),
            (Wanted::Down(_) | Wanted::Nothing, _) => Err(self.is_down()),
        }
    }

    pub(super) fn is_down(&self) -> ApiError {
        ApiError::new(409, super::IS_DOWN, format!("`{}` is not up", self.id)).help("start it with `mainstay up`")
    }

    /// From what is seen now; nobody waits for a run or for the edge here.
    async fn status(&self) -> Result<StackStatus, ApiError> {
        let unseen = |error: super::world::SeeError| ApiError::new(500, "MS0217", crate::chain(&error));
        let wanted = self.course.wanted.as_deref();
        let have = self.world.observe(&self.id, wanted).await.map_err(unseen)?;
        let usage = self.world.engines.of(&self.id).usage(&self.id).await.map_err(|error| crate::failed(&error))?;
        let services = wanted.map(|stack| view::status::services(stack, &have, &usage)).unwrap_or_default();
        let desired = self.course.desired();
        let plan = desired.map(|desired| plan::reconcile(&desired, &have, self.world.clock.now()));
        let mut notes = plan.map(|plan| view::plan::notes(&plan)).unwrap_or_default();
        notes.extend(self.unreadable.as_ref().map(|why| NoteView {
            subject: "stack".into(),
            text: refusal(&self.id.to_string(), &why.message).message,
        }));
        Ok(StackStatus {
            summary: self.summary(&services),
            run: self.active.as_ref().and(self.course.record.open.as_ref()).map(|open| open.run),
            urls: wanted.map(|stack| self.world.urls(stack)).unwrap_or_default(),
            services,
            notes,
        })
    }

    fn summary(&self, services: &[crate::api::status::ServiceStatus]) -> StackSummary {
        let up = matches!(self.course.record.wanted, Wanted::Up(_));
        let good = services.iter().all(|service| view::health::is_good(&service.state));
        let open = self.active.as_ref().and(self.course.record.open.as_ref());
        let health = match (open, up, good && self.unreadable.is_none()) {
            (Some(open), _, _) if open.kind != Kind::Repair => "releasing",
            (_, false, _) => "down",
            (_, true, true) => "ok",
            (_, true, false) => "degraded",
        };
        let counted = || services.iter().filter(|service| service.role == "service");
        StackSummary {
            project: self.id.project.to_string(),
            environment: self.id.environment.to_string(),
            wanted: if up { "up" } else { "down" }.into(),
            health: health.into(),
            release: self.course.record.release().map(|running| running.release.0),
            ready: counted().map(|service| service.ready).sum(),
            replicas: counted().map(|service| service.replicas).sum(),
        }
    }

    async fn health(
        &self,
        make: impl Fn(&Stack, &plan::Observed, Option<jiff::Timestamp>, jiff::Timestamp) -> HealthDocument,
    ) -> Result<HealthDocument, ApiError> {
        let unseen = |error: super::world::SeeError| ApiError::new(500, "MS0217", crate::chain(&error));
        let stack = self.up()?;
        let have = self.world.observe(&self.id, Some(&stack)).await.map_err(unseen)?;
        Ok(make(&stack, &have, self.course.record.up_since, self.world.clock.now()))
    }

    /// The bundles that what is wanted, and what it may go back to, run from.
    fn needs(&self) -> BTreeSet<BundleId> {
        let record = &self.course.record;
        let good = record.good.as_ref().map(|good| &good.running);
        record.release().into_iter().chain(good).map(|running| running.bundle.clone()).collect()
    }

    fn pick(&self, target: &str) -> Result<ReplicaId, ApiError> {
        let running = self.have.placed.replicas.iter().filter(|(_, seen)| matches!(seen.phase, Phase::Running { .. }));
        let mut mine = running.filter(|(id, _)| id.to_string() == target || id.service.as_str() == target);
        let missing = || {
            ApiError::new(404, "MS0218", format!("`{target}` is no running replica or service of `{}`", self.id))
                .help("look at `mainstay status` for what runs")
        };
        mine.next().map(|(id, _)| id.clone()).ok_or_else(missing)
    }

    async fn one_off(&mut self, service: &str) -> Result<Start, ApiError> {
        let stack = self.up()?;
        let name = known(&stack, service)?;
        self.see().await.map_err(|error| ApiError::new(500, "MS0217", error))?;
        // What the planner would start as a fresh replica, in a slot of its own.
        let target = &stack.services[&name];
        let slot = one_off::slot(&name, &self.have);
        let addresses = one_off::addresses(&stack, target, &self.have).map_err(|network| {
            ApiError::new(409, "MS0219", format!("network `{network}` has no free address left"))
                .help("stop replicas, or name a larger subnet for it")
        })?;
        Ok(Start {
            id: ReplicaId::new(name, slot),
            role: model::project::Role::Job,
            template: target.template.clone(),
            hash: target.hash,
            release: stack.release,
            bundle: stack.bundle.clone(),
            uid_base: stack.uid_base,
            addresses,
            failures: 0,
        })
    }
}

impl Ordered {
    fn new(kind: Kind, actor: String, text: String) -> Self {
        Self { kind, actor, news: Vec::new(), text, expect: None }
    }
}

/// The answer to orders for a stack that cannot be read.
pub(super) fn refusal(id: &str, why: &str) -> ApiError {
    let message = format!("`{id}` cannot be read, and is left as it runs: {why}");
    let help = "put the backup of what is damaged back; see `mainstay explain MS0227` for the other ways on";
    ApiError::new(409, "MS0227", message).help(help)
}

fn bundle(text: &str) -> Result<BundleId, ApiError> {
    text.parse().map_err(|error: model::id::IdError| ApiError::new(400, "MS0206", error.to_string()))
}

fn known(stack: &Stack, name: &str) -> Result<ServiceName, ApiError> {
    let found = name.parse::<ServiceName>().ok().filter(|name| stack.services.contains_key(name));
    let names: Vec<_> = stack.services.keys().map(|name| format!("`{name}`")).collect();
    found.ok_or_else(|| {
        ApiError::new(404, "MS0218", format!("`{name}` is no service of `{}`", stack.id))
            .help(format!("name one of {}", names.join(", ")))
    })
}
