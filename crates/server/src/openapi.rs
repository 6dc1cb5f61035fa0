//! The OpenAPI document, made from the table of routes.
//!
//! Owns nothing but the form; the operations stand in [`crate::api::routes`], the schemas beside their types.

use crate::api::error::ApiError;
use crate::api::routes::{ROUTES, Route};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The document, OpenAPI 3.1.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<ApiError>();
    let mut paths = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.to_ascii_lowercase()] = operation(route, &mut generator, &json!(error));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Mainstay",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The API of the Mainstay daemon, spoken over its unix socket.",
        },
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator, error: &Value) -> Value {
    let mut content = Map::new();
    let schema = route.response.1.map(|schema| json!(schema(generator)));
    content.insert(route.response.0.into(), json!({ "schema": schema.unwrap_or_else(|| json!({})) }));
    let mut responses = Map::new();
    responses.insert(route.status.to_string(), json!({ "description": route.summary, "content": content }));
    responses.insert(
        "default".into(),
        json!({ "description": "refused or failed", "content": { "application/json": { "schema": error } } }),
    );
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": responses,
    });
    if let Some(request) = route.request {
        let schema = request(generator);
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = route.query.iter().map(|(name, meaning)| {
        json!({ "name": name, "in": "query", "description": meaning, "schema": { "type": "string" } })
    });
    in_path.chain(in_query).collect()
}

/// `GET /v1/stacks/{project}/…/logs` → `getStacksLogs`: unique because paths are.
fn operation_id(route: &Route) -> String {
    let mut id = route.method.to_ascii_lowercase();
    for part in route.path.trim_end_matches(".json").split('/').filter(|part| !part.is_empty() && *part != "v1") {
        let (part, by) = match part.strip_prefix('{') {
            Some(name) if route.path.ends_with(part) => (name.trim_end_matches('}'), "By"),
            Some(_) => continue,
            None => (part, ""),
        };
        id.push_str(by);
        id.extend(part.chars().take(1).flat_map(char::to_uppercase));
        id.push_str(&part[1..]);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_documented_once_and_every_reference_resolves() {
        let document = document();
        let ids: BTreeSet<String> = ROUTES.iter().map(operation_id).collect();
        assert_eq!(ids.len(), ROUTES.len(), "operation ids are unique: {ids:?}");
        for route in ROUTES {
            assert!(document["paths"][route.path][route.method.to_ascii_lowercase()].is_object(), "{}", route.path);
        }
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = &part[..part.find('"').expect("a reference is a string")];
            assert!(document.pointer(pointer).is_some(), "{pointer} is defined");
        }
    }
}
