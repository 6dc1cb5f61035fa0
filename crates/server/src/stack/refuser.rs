//! In the place of an actor whose record cannot be read: every order is refused with the reason.
//!
//! Nothing is planned for such a stack, and nothing of it is touched: what runs and is routed stays as it is.

use super::handle::Order;
use super::orders::refusal;
use crate::api::plan::NoteView;
use crate::api::status::{StackStatus, StackSummary};
use model::StackId;
use runtime::CancellationToken;
use tokio::sync::mpsc;

/// Refuses until `stop`; `why` says what cannot be read.
pub async fn refuse(id: StackId, why: String, mut orders: mpsc::Receiver<Order>, stop: CancellationToken) {
    let error = refusal(&id.to_string(), &why);
    while let Some(Some(order)) = stop.run_until_cancelled(orders.recv()).await {
        // Whoever asked and has gone gets no answer.
        match order {
            Order::Look => {}
            Order::Status(answer) => drop(answer.send(Ok(status(&id, &error.message)))),
            Order::Plan(_, answer) => drop(answer.send(Err(error.clone()))),
            Order::Release(_, _, answer) => drop(answer.send(Err(error.clone()))),
            Order::Down(_, _, answer) => drop(answer.send(Err(error.clone()))),
            Order::Restart(_, _, answer) => drop(answer.send(Err(error.clone()))),
            Order::Scale(_, _, answer) => drop(answer.send(Err(error.clone()))),
            Order::Health(answer) => drop(answer.send(Err(error.clone()))),
            Order::Ready(answer) => drop(answer.send(Err(error.clone()))),
            Order::Needs(answer) => drop(answer.send(Err(error.clone()))),
            Order::Pick(_, answer) => drop(answer.send(Err(error.clone()))),
            Order::OneOff(_, answer) => drop(answer.send(Err(error.clone()))),
        }
    }
}

fn status(id: &StackId, text: &str) -> StackStatus {
    StackStatus {
        summary: StackSummary {
            project: id.project.to_string(),
            environment: id.environment.to_string(),
            wanted: "up".into(),
            health: "degraded".into(),
            release: None,
            ready: 0,
            replicas: 0,
        },
        run: None,
        urls: Vec::new(),
        services: Vec::new(),
        notes: vec![NoteView { subject: "stack".into(), text: text.into() }],
    }
}
