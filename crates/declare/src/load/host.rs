//! The machine an environment lives on, asked for before anything else: `status` and `logs` need it too, and they must
//! work where the rest of the files does not.
//!
//! Owns reading `environments.<name>.host` alone. What else is wrong with the files is not looked at.

use super::{Input, Loader, without_texts};
use crate::assemble::read::Reader;
use crate::codes;
use crate::interpolate::Interpolation;
use crate::policy;
use crate::syntax::{Map, Node};
use model::RemoteHost;
use model::diagnostic::Diagnostic;
use model::span::{Sources, Spanned};
use std::collections::BTreeMap;

/// What mainstay.yaml says of machines.
#[derive(Default)]
pub struct Hosts {
    /// That of the environment; none when it lives where the command runs.
    pub chosen: Option<Spanned<RemoteHost>>,
    /// Those of all environments that say so without variables.
    pub declared: BTreeMap<String, RemoteHost>,
    /// Whether any environment names one, as far as the file can be read.
    pub names_any: bool,
    /// Why it could not be told.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that were read.
    pub sources: Sources,
}

/// Reads where the environments of a project live.
pub fn hosts(input: &Input<'_>) -> Hosts {
    let mut loader = Loader::new(input);
    let mut found = Hosts::default();
    if let Some(policy) = loader.policy_tree(input) {
        found.declared = declared(&policy);
        let all = environments(&policy).map_or(&[][..], |map| &map.entries);
        found.names_any = all.iter().any(|entry| host_of(&entry.value).is_some());
        // Without any host no mistake about environments matters here: whoever needs the environment says so.
        found.chosen = if found.names_any { loader.host(input, policy) } else { None };
    }
    let sources = without_texts(&loader.sources, &loader.private, &loader.open);
    Hosts { diagnostics: loader.found.into_sorted(), sources, ..found }
}

impl Loader<'_> {
    fn host(&mut self, input: &Input<'_>, mut policy: Node) -> Option<Spanned<RemoteHost>> {
        let environment = self.environment(input, &policy)?;
        let variables = policy::choose(&mut policy, environment.as_str());
        let mut node = environments(&policy)?.get(environment.as_str()).and_then(host_of)?.clone();
        if node.as_scalar().is_some_and(|scalar| scalar.text.contains('$')) {
            self.variables_of(variables, environment.as_str(), input.env_files.as_deref());
            let mut interpolation = Interpolation::new(&self.variables);
            interpolation.apply(&mut node, &self.sources, &mut self.found);
            interpolation.finish(&mut self.found);
        }
        let host = Reader { found: &mut self.found }.parse(codes::VALUE, &node, "host")?;
        Some(Spanned::new(host, node.span))
    }
}

fn environments(policy: &Node) -> Option<&Map> {
    policy.as_map()?.get("environments")?.as_map()
}

fn host_of(environment: &Node) -> Option<&Node> {
    environment.as_map()?.get("host")
}

fn declared(policy: &Node) -> BTreeMap<String, RemoteHost> {
    let entries = environments(policy).map_or(&[][..], |map| &map.entries);
    let host = |entry: &crate::syntax::Entry| host_of(&entry.value)?.as_scalar()?.text.trim().parse().ok();
    entries.iter().filter_map(|entry| Some((entry.key.to_string(), host(entry)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryFiles;
    use std::collections::BTreeSet;

    fn read(policy: &str, environment: Option<&str>) -> Hosts {
        let files = MemoryFiles::new().with("/p/mainstay.yaml", policy).with("/p/.env", "WHERE=box\n");
        hosts(&Input {
            files: &files,
            project_dir: "/p",
            compose: None,
            policy: None,
            environment: environment.map(str::to_owned),
            profiles: BTreeSet::new(),
            process_env: BTreeMap::new(),
            env_files: None,
            keeps_layers: false,
            engine: None,
            default_engine: model::policy::EngineKind::Process,
        })
    }

    #[track_caller]
    fn check(policy: &str, environment: Option<&str>, want: Option<&str>) {
        let found = read(policy, environment);
        let messages: Vec<&str> = found.diagnostics.iter().map(|diagnostic| &*diagnostic.message).collect();
        assert_eq!(messages, Vec::<&str>::new());
        assert_eq!(found.chosen.map(|host| host.value.to_string()).as_deref(), want);
    }

    const POLICY: &str = "environments:
  development: {}
  staging: { host: ssh://deploy@staging.example }
  production: { host: \"ssh://${WHERE}.example:2222\" }
services: { of: [ nonsense ] }
";

    #[test]
    fn the_host_is_that_of_the_environment_whatever_else_is_wrong() {
        check(POLICY, None, None);
        check(POLICY, Some("staging"), Some("ssh://deploy@staging.example"));
        check(POLICY, Some("production"), Some("ssh://box.example:2222"));
        check("environments: { a: {}, b: {} }", None, None);
        check("", Some("x"), None);
        let declared = read(POLICY, None).declared;
        assert_eq!(declared.keys().collect::<Vec<_>>(), ["staging"]);
    }

    #[test]
    fn a_host_that_cannot_be_told_is_an_error() {
        let errors = |policy: &str, environment| read(policy, environment).diagnostics.iter().any(Diagnostic::is_error);
        assert!(errors(POLICY, Some("prod")));
        assert!(errors("environments: { a: { host: \"${NOWHERE:?missing}\" } }", Some("a")));
        assert!(errors("environments: { a: { host: box } }", Some("a")));
        assert!(errors("environments: { a: { host: } }", Some("a")));
        assert!(errors("environments: [\n", Some("a")));
    }
}
