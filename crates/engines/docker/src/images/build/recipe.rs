//! The recipe of a build as text, wherever it is written.

use super::super::error::Error;
use super::context::within;
use runtime::files;
use std::path::{Path, PathBuf};

/// A recipe that has been read.
#[derive(Debug)]
pub struct Recipe {
    /// Its text.
    pub text: Vec<u8>,
    /// Its path within the context; none when it lies elsewhere.
    pub path: Option<String>,
}

impl Recipe {
    /// Reads it. None when it lies in a context that the Engine fetches.
    ///
    /// Errors: it leads out of the bundle, or cannot be read.
    pub fn read(
        bundle: &Path,
        context: Option<&Path>,
        recipe: &model::container::Recipe,
    ) -> Result<Option<Self>, Error> {
        let path = match (recipe, context) {
            (model::container::Recipe::Inline(text), _) => {
                return Ok(Some(Self { text: text.clone().into_bytes(), path: None }));
            }
            (model::container::Recipe::File(_), None) => return Ok(None),
            (model::container::Recipe::File(path), Some(context)) => (context.join(path), context, path),
        };
        let (at, context, written) = path;
        let root = files::canonical(bundle)?;
        let Ok(below) = at.strip_prefix(&root).map(Path::to_owned) else { return Err(Error::outside(at)) };
        let found = found(&root, &below, written)?;
        let text = files::read(&found)?;
        let path = found.strip_prefix(context).ok().and_then(Path::to_str).map(str::to_owned);
        Ok(Some(Self { text, path }))
    }
}

fn found(root: &Path, below: &Path, written: &str) -> Result<PathBuf, Error> {
    match within(root, below) {
        Err(Error::File(error)) if error.is_missing() => Err(Error::Context {
            what: format!("there is no `{written}` in the build's context"),
            cure: "write the path of the recipe, relative to `context`, as `dockerfile`",
        }),
        other => other,
    }
}
