//! Text that stands where a number or a boolean is wanted becomes one: a variable is always text.

use crate::codes;
use crate::findings::{Findings, error};
use crate::syntax::scalar::Meaning;
use crate::syntax::{self, Node, Value};
use std::sync::Arc;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Int,
    Float,
    Flag,
}

/// What is wanted at a path of keys; items of lists are `[]`.
fn kind(path: &[&str]) -> Option<Kind> {
    Some(match path {
        ["services", _, "pre_start", "[]", rest @ ..] if rest != ["per_replica"] => {
            return kind(&[&["services", "hook"], rest].concat());
        }
        ["jobs", _, "triggers", "manual"] => Kind::Flag,
        ["services" | "jobs", _, rest @ ..] => match rest {
            ["cpu_count" | "cpu_period" | "cpu_quota" | "cpu_rt_period" | "cpu_rt_runtime" | "cpu_shares"] => Kind::Int,
            ["oom_score_adj" | "pids_limit" | "scale"] => Kind::Int,
            ["cpu_percent" | "cpus"] => Kind::Float,
            ["init" | "oom_kill_disable" | "privileged" | "read_only" | "stdin_open" | "tty" | "attach"] => Kind::Flag,
            ["build", "no_cache" | "pull" | "privileged"] => Kind::Flag,
            ["env_file", "[]", "required"] => Kind::Flag,
            ["volumes", "[]", "bind", "create_host_path"] => Kind::Flag,
            ["pre_start" | "post_start" | "pre_stop", "[]", "privileged" | "per_replica"] => Kind::Flag,
            ["deploy", "resources", "limits", "pids"] => Kind::Int,
            ["depends_on", _, "required" | "restart"] => Kind::Flag,
            ["deploy", "replicas"] => Kind::Int,
            ["deploy", "update_config" | "rollback_config", "parallelism"] => Kind::Int,
            ["deploy", "update_config" | "rollback_config", "max_failure_ratio"] => Kind::Float,
            ["deploy", "restart_policy", "max_attempts"] => Kind::Int,
            ["deploy", "placement", "max_replicas_per_node"] => Kind::Int,
            ["healthcheck", "retries"] => Kind::Int,
            ["healthcheck", "disable"] => Kind::Flag,
            ["ports", "[]", "target"] => Kind::Int,
            ["ulimits", _] | ["ulimits", _, "hard" | "soft"] => Kind::Int,
            ["volumes", "[]", "read_only"] | ["volumes", "[]", "volume", "nocopy"] => Kind::Flag,
            _ => return None,
        },
        ["networks", _, "external" | "internal" | "attachable" | "enable_ipv4" | "enable_ipv6"] => Kind::Flag,
        ["volumes" | "secrets" | "configs", _, "external"] => Kind::Flag,
        _ => return None,
    })
}

/// Reads the texts of a file that stand for something else.
pub(super) fn apply(file: &mut Node, found: &mut Findings) {
    at(file, &mut Vec::new(), found);
}

fn at(node: &mut Node, path: &mut Vec<Arc<str>>, found: &mut Findings) {
    match &mut node.value {
        Value::Map(map) => {
            for entry in &mut map.entries {
                path.push(entry.key.clone());
                at(&mut entry.value, path, found);
                path.pop();
            }
        }
        Value::List(items) => {
            path.push("[]".into());
            items.iter_mut().for_each(|item| at(item, path, found));
            path.pop();
        }
        Value::Scalar(scalar) if scalar.meaning() == Meaning::Text => {
            let Some(kind) = syntax::ask(path, kind) else { return };
            let span = node.span;
            match read(kind, &scalar.text) {
                Some(text) => *node = Node::plain(text, span).tagged(node.tag),
                None => {
                    let key = path.iter().rfind(|key| &***key != "[]").map_or("", |key| &**key);
                    let wanted = match kind {
                        Kind::Int => "a whole number",
                        Kind::Float => "a number",
                        Kind::Flag => "`true` or `false`",
                    };
                    let message = format!("`{key}` must be {wanted}, this is `{}`", scalar.text);
                    found.push(error(codes::VALUE, message).at(span, "").help(format!("write {wanted}")));
                    found.spoil(span);
                }
            }
        }
        Value::Scalar(_) => {}
    }
}

fn read(kind: Kind, text: &str) -> Option<String> {
    match kind {
        Kind::Int => text.parse::<i64>().ok().map(|number| number.to_string()),
        Kind::Float => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number.to_string()),
        Kind::Flag => match text.to_ascii_lowercase().as_str() {
            "true" | "y" | "yes" | "on" => Some("true".into()),
            "false" | "n" | "no" | "off" => Some("false".into()),
            _ => None,
        },
    }
}
