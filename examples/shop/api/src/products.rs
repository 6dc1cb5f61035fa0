//! Products: a list from the database, one through the cache.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use redis::Cmd;
use serde::Serialize;
use tokio_postgres::Row;

use crate::app::App;
use crate::error::ApiError;

const COLUMNS: &str = "id, name, description, price_cents, icon";

/// A product as callers see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Product {
    id: i32,
    name: String,
    description: String,
    price_cents: i32,
    icon: String,
}

impl From<&Row> for Product {
    fn from(row: &Row) -> Self {
        Self { id: row.get(0), name: row.get(1), description: row.get(2), price_cents: row.get(3), icon: row.get(4) }
    }
}

/// `GET /api/products`
pub async fn list(State(app): State<Arc<App>>) -> Result<impl IntoResponse, ApiError> {
    let database = app.pool.get().await?;
    let statement = database.prepare_cached(&format!("SELECT {COLUMNS} FROM products ORDER BY id")).await?;
    let rows = database.query(&statement, &[]).await?;
    let products: Vec<Product> = rows.iter().map(Product::from).collect();
    Ok(Json(serde_json::json!({ "products": products })))
}

/// `GET /api/products/{id}`: from the cache while it has the product, else from the database and into the cache.
/// The header `X-Cache` says which: `hit`, `miss`, or `bypass` when the cache cannot be asked.
pub async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id: i32 = id.parse().map_err(|_| ApiError::Invalid(format!("`{id}` is not a product's id: write a number")))?;
    let key = format!("shop:product:{id}");
    let cached = app.redis.query::<Option<String>>(&Cmd::get(&key)).await;
    if let Ok(Some(text)) = cached {
        app.metrics.cache_hits.inc();
        return Ok(answer(text, "hit"));
    }
    app.metrics.cache_misses.inc();
    let product = read(&app, id).await?;
    let text = serde_json::to_string(&product).expect("a product has only texts and numbers");
    let seconds = app.cache_for.as_secs();
    let is_kept = match cached {
        Ok(_) if seconds > 0 => app.redis.query::<()>(&Cmd::set_ex(&key, &text, seconds)).await.map(|()| "miss"),
        Ok(_) => Ok("miss"),
        Err(failure) => Err(failure),
    };
    let how = is_kept.unwrap_or_else(|failure| {
        tracing::warn!(error = %failure, product = id, "answered without the cache");
        "bypass"
    });
    Ok(answer(text, how))
}

async fn read(app: &App, id: i32) -> Result<Product, ApiError> {
    let database = app.pool.get().await?;
    let statement = database.prepare_cached(&format!("SELECT {COLUMNS} FROM products WHERE id = $1")).await?;
    let row = database.query_opt(&statement, &[&id]).await?;
    row.as_ref().map(Product::from).ok_or_else(|| ApiError::NotFound(format!("there is no product {id}")))
}

fn answer(text: String, how: &'static str) -> Response {
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("x-cache", HeaderValue::from_static(how));
    response
}
