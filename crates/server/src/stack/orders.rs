//! What an actor does with each order.

use super::actor::Actor;
use super::handle::Order;
use super::one_off;
use super::record::{Kind, Running, Wanted};
use crate::api::ApiError;
use crate::api::plan::PlanView;
use crate::api::release::{Accepted, DownRequest, ReleaseRequest, RestartRequest, ScaleRequest};
use crate::api::status::{HealthDocument, StackStatus, StackSummary};
use crate::view;
use model::stack::Stack;
use model::{BundleId, ReleaseNumber, ReplicaId, ServiceName, VolumeName};
use plan::action::replica::Start;
use plan::desired::{Desired, Up};
use plan::observed::Phase;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Actor {
    /// Carries an order out as far as an answer needs it. Whoever asked and has gone gets no answer.
    pub(super) async fn order(&mut self, order: Order) {
        match order {
            Order::Look => self.look().await,
            Order::Plan(bundle, answer) => drop(answer.send(self.plan(bundle).await)),
            Order::Release(request, actor, answer) => drop(answer.send(self.release(request, actor).await)),
            Order::Down(request, actor, answer) => drop(answer.send(self.down(request, actor).await)),
            Order::Restart(request, actor, answer) => drop(answer.send(self.restart(request, actor).await)),
            Order::Scale(request, actor, answer) => drop(answer.send(self.scale(request, actor).await)),
            Order::Status(answer) => drop(answer.send(self.status().await)),
            Order::Health(answer) => drop(answer.send(self.health(view::health::document).await)),
            Order::Ready(answer) => drop(answer.send(self.health(view::health::readiness).await)),
            Order::Pick(target, answer) => drop(answer.send(self.pick(&target))),
            Order::OneOff(service, answer) => drop(answer.send(self.one_off(&service).await)),
        }
    }

    async fn plan(&mut self, bundle: BundleId) -> Result<PlanView, ApiError> {
        let (stack, desired) = self.desired_of(&bundle, self.next_release().await?).await?;
        let (plan, _) = self.plan_for(&desired).await?;
        let mut view = self.view(&plan, &bundle, &stack);
        view.notes.extend(self.shortcomings(&stack).await);
        Ok(view)
    }

    fn view(&self, plan: &plan::Plan, bundle: &BundleId, stack: &Stack) -> PlanView {
        PlanView {
            stack: self.id.to_string(),
            bundle: bundle.to_string(),
            basis: plan.basis.0,
            digest: plan::text::digest(plan),
            changes: !plan.is_empty(),
            steps: view::plan::steps(plan),
            notes: view::plan::notes(plan),
            services: view::plan::changes(self.wanted.as_deref(), stack),
        }
    }

    /// What a release of this bundle would want. Scaling by hand ends with it.
    async fn desired_of(
        &mut self,
        bundle: &BundleId,
        release: ReleaseNumber,
    ) -> Result<(Arc<Stack>, Desired), ApiError> {
        let scale = std::mem::take(&mut self.record.scale);
        let allocation = self.record.allocation.clone();
        let running = Running { release, bundle: bundle.clone() };
        let settled = self.settle(&running).await;
        // Nothing is given out before somebody orders it.
        self.record.scale = scale;
        self.record.allocation = allocation;
        let stack = settled?;
        let now = self.world.clock.now();
        let up = Up {
            stack: Stack::clone(&stack),
            asked_at: now,
            restart: self.record.restart.clone(),
            former: self.former(),
        };
        Ok((stack, Desired::Up(up)))
    }

    async fn next_release(&self) -> Result<ReleaseNumber, ApiError> {
        self.world.next_release(&self.id).await
    }

    async fn shortcomings(&self, stack: &Stack) -> Vec<crate::api::plan::NoteView> {
        let mut notes = Vec::new();
        if let Some(clash) = self.world.hub.clash(stack) {
            let text = format!("{clash}; {}", clash.cure());
            notes.push(crate::api::plan::NoteView { subject: "listeners".into(), text });
        }
        for (name, target) in stack.services.iter().filter(|(_, target)| target.has_replicas()) {
            for short in self.world.engine.check(&target.template).await {
                notes.push(crate::api::plan::NoteView {
                    subject: name.to_string(),
                    text: format!("{}; {}", short.what, short.cure),
                });
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
        for (name, target) in stack.services.iter().filter(|(_, target)| target.has_replicas()) {
            for short in self.world.engine.check(&target.template).await.into_iter().filter(|short| short.fatal) {
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

    async fn release(&mut self, request: ReleaseRequest, actor: String) -> Result<Accepted, ApiError> {
        if !request.replace {
            self.free_for("a release")?;
        }
        let bundle = request
            .bundle
            .parse()
            .map_err(|error: model::id::IdError| ApiError::new(400, "MS0206", error.to_string()))?;
        let release = self.next_release().await?;
        let (stack, desired) = self.desired_of(&bundle, release).await?;
        self.refuse_what_cannot_run(&stack).await?;
        if let Some(expected) = &request.expect_plan {
            let (plan, _) = self.plan_for(&desired).await?;
            if plan::text::digest(&plan) != *expected {
                let message = "the stack has changed since the plan was made, so it would not do exactly that any more";
                return Err(ApiError::new(409, "MS0213", message).help("run `mainstay plan` again"));
            }
        }
        self.supersede().await;
        let release = self.world.begin_release(&self.id, &bundle, &actor, request.message.as_deref()).await?;
        self.record.scale = BTreeMap::new();
        let running = Running { release, bundle };
        self.wanted = Some(self.settle(&running).await?);
        self.record.wanted = Wanted::Up(running);
        self.record.asked_at = self.world.clock.now();
        self.begin(Kind::Release(release), actor).await
    }

    async fn down(&mut self, request: DownRequest, actor: String) -> Result<Accepted, ApiError> {
        let wrong = |error: model::name::NameError| ApiError::new(400, "MS0202", error.to_string());
        let volumes =
            request.volumes.iter().map(|name| name.parse::<VolumeName>().map_err(wrong)).collect::<Result<_, _>>()?;
        self.supersede().await;
        self.record.wanted = Wanted::Down(volumes);
        self.begin(Kind::Down, actor).await
    }

    async fn restart(&mut self, request: RestartRequest, actor: String) -> Result<Accepted, ApiError> {
        self.free_for("a restart")?;
        let stack = self.up()?;
        let names = if request.services.is_empty() {
            stack
                .services
                .iter()
                .filter(|(_, target)| target.role == model::project::Role::Service)
                .map(|(name, _)| name.clone())
                .collect()
        } else {
            request.services.iter().map(|name| known(&stack, name)).collect::<Result<Vec<_>, _>>()?
        };
        self.supersede().await;
        let now = self.world.clock.now();
        self.record.restart.extend(names.into_iter().map(|name| (name, now)));
        self.record.asked_at = now;
        self.begin(Kind::Restart, actor).await
    }

    async fn scale(&mut self, request: ScaleRequest, actor: String) -> Result<Accepted, ApiError> {
        self.free_for("scaling")?;
        let stack = self.up()?;
        for (name, count) in &request.replicas {
            let name = known(&stack, name)?;
            if stack.services.get(&name).is_some_and(|target| target.direct) && *count > 1 {
                let message = format!("`{name}` is a data store with one stable replica, it cannot run {count} times");
                return Err(ApiError::new(422, "MS0214", message)
                    .help(format!("leave `{name}` at 1, or write `direct: false` for it")));
            }
            self.record.scale.insert(name, *count);
        }
        self.supersede().await;
        let running = self.record.release().cloned().ok_or_else(|| self.is_down())?;
        self.wanted = Some(self.settle(&running).await?);
        self.begin(Kind::Scale, actor).await
    }

    /// A release, a restart and scaling hold the stack; a repair makes way.
    fn free_for(&self, what: &str) -> Result<(), ApiError> {
        match &self.active {
            Some(active) if active.open.kind != Kind::Repair => {
                let open = &active.open;
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
        match self.record.wanted {
            Wanted::Up(_) => self.wanted.clone().ok_or_else(|| self.is_down()),
            Wanted::Down(_) => Err(self.is_down()),
        }
    }

    fn is_down(&self) -> ApiError {
        ApiError::new(409, super::IS_DOWN, format!("`{}` is not up", self.id)).help("start it with `mainstay up`")
    }

    async fn status(&mut self) -> Result<StackStatus, ApiError> {
        self.see().await.map_err(|error| ApiError::new(500, "MS0217", error))?;
        let usage = self.world.engine.usage(&self.id).await.map_err(|error| crate::failed(&error))?;
        let plan = plan::reconcile(&self.desired(), &self.have, self.world.clock.now());
        let services =
            self.wanted.as_ref().map(|stack| view::status::services(stack, &self.have, &usage)).unwrap_or_default();
        Ok(StackStatus {
            summary: self.summary(&services),
            run: self.active.as_ref().map(|active| active.open.run),
            urls: self.wanted.as_ref().map(|stack| self.world.urls(stack)).unwrap_or_default(),
            services,
            notes: view::plan::notes(&plan),
        })
    }

    fn summary(&self, services: &[crate::api::status::ServiceStatus]) -> StackSummary {
        let up = matches!(self.record.wanted, Wanted::Up(_));
        let good = services.iter().all(|service| view::health::is_good(&service.state));
        let health = match (&self.active, up, good) {
            (Some(active), _, _) if active.open.kind != Kind::Repair => "releasing",
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
            release: self.record.release().map(|running| running.release.0),
            ready: counted().map(|service| service.ready).sum(),
            replicas: counted().map(|service| service.replicas).sum(),
        }
    }

    async fn health(
        &mut self,
        make: impl Fn(&Stack, &plan::Observed, Option<jiff::Timestamp>, jiff::Timestamp) -> HealthDocument,
    ) -> Result<HealthDocument, ApiError> {
        let stack = self.up()?;
        self.see().await.map_err(|error| ApiError::new(500, "MS0217", error))?;
        Ok(make(&stack, &self.have, self.record.up_since, self.world.clock.now()))
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

fn known(stack: &Stack, name: &str) -> Result<ServiceName, ApiError> {
    let found = name.parse::<ServiceName>().ok().filter(|name| stack.services.contains_key(name));
    let names: Vec<_> = stack.services.keys().map(|name| format!("`{name}`")).collect();
    found.ok_or_else(|| {
        ApiError::new(404, "MS0218", format!("`{name}` is no service of `{}`", stack.id))
            .help(format!("name one of {}", names.join(", ")))
    })
}
