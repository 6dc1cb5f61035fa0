//! Orders: placed once per key, listed, moved forward by the worker.
//!
//! An order is durable in the database before its job goes to the queue. Where that push fails, [`crate::queue`]
//! makes up for it later; so the answer 201 never depends on Redis.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_postgres::Row;

use crate::app::App;
use crate::error::ApiError;
use crate::queue;

const COLUMNS: &str = "id, product, quantity, key, state, total_cents, created_at, updated_at";
/// The life of an order. It only ever moves to the right, so that a job done twice changes nothing.
const STATES: &[&str] = &["placed", "packing", "shipped"];
const LONGEST_KEY: usize = 64;
const MOST_AT_ONCE: i32 = 100;

#[derive(Serialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Order {
    id: i64,
    product: i32,
    quantity: i32,
    key: String,
    state: String,
    total_cents: i64,
    created_at: String,
    updated_at: String,
}

impl From<&Row> for Order {
    fn from(row: &Row) -> Self {
        Self {
            id: row.get(0),
            product: row.get(1),
            quantity: row.get(2),
            key: row.get(3),
            state: row.get(4),
            total_cents: row.get(5),
            created_at: row.get::<_, Timestamp>(6).to_string(),
            updated_at: row.get::<_, Timestamp>(7).to_string(),
        }
    }
}

/// The body of `POST /api/orders`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    product: i32,
    quantity: i32,
    key: String,
}

impl Wanted {
    fn check(&self) -> Result<(), ApiError> {
        if !(1..=MOST_AT_ONCE).contains(&self.quantity) {
            let quantity = self.quantity;
            return Err(ApiError::Invalid(format!("quantity is {quantity}: write a number from 1 to {MOST_AT_ONCE}")));
        }
        if !(1..=LONGEST_KEY).contains(&self.key.len()) || !self.key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiError::Invalid(format!("key must be 1 to {LONGEST_KEY} visible ASCII characters")));
        }
        Ok(())
    }
}

/// `POST /api/orders`: 201 with the new order; 200 with the old one when its key was used for the same order before;
/// 409 when it was used for another.
pub async fn place(
    State(app): State<Arc<App>>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(wanted) = body.map_err(|rejection| ApiError::Invalid(rejection.body_text()))?;
    wanted.check()?;
    let Some(order) = insert(&app, &wanted).await? else { return repeat(&app, &wanted).await };
    app.metrics.orders.inc();
    queue::push_or_leave(&app, order.id).await;
    Ok((StatusCode::CREATED, Json(order)).into_response())
}

/// The new order, or none if its key is taken or its product unknown.
async fn insert(app: &App, wanted: &Wanted) -> Result<Option<Order>, ApiError> {
    let database = app.pool.get().await?;
    let text = format!(
        "INSERT INTO orders (product, quantity, key, state, total_cents)
         SELECT id, $2, $3, 'placed', price_cents::bigint * $2::integer FROM products WHERE id = $1
         ON CONFLICT (key) DO NOTHING RETURNING {COLUMNS}"
    );
    let statement = database.prepare_cached(&text).await?;
    let row = database.query_opt(&statement, &[&wanted.product, &wanted.quantity, &wanted.key]).await?;
    Ok(row.as_ref().map(Order::from))
}

/// The answer to an order that was not inserted.
async fn repeat(app: &App, wanted: &Wanted) -> Result<Response, ApiError> {
    let database = app.pool.get().await?;
    let statement = database.prepare_cached(&format!("SELECT {COLUMNS} FROM orders WHERE key = $1")).await?;
    let row = database.query_opt(&statement, &[&wanted.key]).await?;
    match row.as_ref().map(Order::from) {
        None => Err(ApiError::NotFound(format!("there is no product {}", wanted.product))),
        Some(order) if order.product == wanted.product && order.quantity == wanted.quantity => {
            Ok(([("idempotent-replay", "true")], Json(order)).into_response())
        }
        Some(order) => {
            Err(ApiError::Conflict(format!("the key `{}` belongs to order {}, which is another", order.key, order.id)))
        }
    }
}

/// The query of `GET /api/orders`.
#[derive(Deserialize)]
pub struct Page {
    limit: Option<i64>,
    before: Option<i64>,
}

/// `GET /api/orders?limit=50&before=ID`: the newest first.
pub async fn list(
    State(app): State<Arc<App>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Query(page) = page.map_err(|rejection| ApiError::Invalid(rejection.body_text()))?;
    let limit = page.limit.unwrap_or(50).clamp(1, 500);
    let database = app.pool.get().await?;
    let text = format!("SELECT {COLUMNS} FROM orders WHERE id < $1 ORDER BY id DESC LIMIT $2");
    let statement = database.prepare_cached(&text).await?;
    let rows = database.query(&statement, &[&page.before.unwrap_or(i64::MAX), &limit]).await?;
    let orders: Vec<Order> = rows.iter().map(Order::from).collect();
    Ok(Json(json!({ "orders": orders })))
}

/// `GET /api/orders/{id}`
pub async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<impl IntoResponse, ApiError> {
    find(&app, order_id(&id)?).await.map(Json)
}

async fn find(app: &App, id: i64) -> Result<Order, ApiError> {
    let database = app.pool.get().await?;
    let statement = database.prepare_cached(&format!("SELECT {COLUMNS} FROM orders WHERE id = $1")).await?;
    let row = database.query_opt(&statement, &[&id]).await?;
    row.as_ref().map(Order::from).ok_or_else(|| ApiError::NotFound(format!("there is no order {id}")))
}

fn order_id(text: &str) -> Result<i64, ApiError> {
    text.parse().map_err(|_| ApiError::Invalid(format!("`{text}` is not an order's id: write a number")))
}

/// The body of `PUT /api/orders/{id}/state`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewState {
    state: String,
}

/// `PUT /api/orders/{id}/state`: moves the order forward. A state it has already reached changes nothing and is
/// answered with the order as it is.
pub async fn change_state(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Result<Json<NewState>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Json(NewState { state }) = body.map_err(|rejection| ApiError::Invalid(rejection.body_text()))?;
    let id = order_id(&id)?;
    if !STATES.contains(&state.as_str()) {
        return Err(ApiError::Invalid(format!("`{state}` is not a state: write one of {}", STATES.join(", "))));
    }
    let text = format!(
        "UPDATE orders SET state = $2, updated_at = now()
         WHERE id = $1 AND array_position($3::text[], state) < array_position($3::text[], $2) RETURNING {COLUMNS}"
    );
    let database = app.pool.get().await?;
    let statement = database.prepare_cached(&text).await?;
    let row = database.query_opt(&statement, &[&id, &state, &STATES]).await?;
    drop(database);
    match row {
        Some(row) => Ok(Json(Order::from(&row))),
        None => find(&app, id).await.map(Json),
    }
}
