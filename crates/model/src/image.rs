//! Image references.

use std::fmt;
use std::str::FromStr;

/// An image reference: `[registry/]repository[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// A text that is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no image reference, write `[registry/]name[:tag][@sha256:digest]`, in lower case before the tag")]
pub struct ImageError {
    /// What was found.
    pub text: String,
}

impl ImageRef {
    /// Registry and path without tag, e.g. `postgres` or `ghcr.io/a/b`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The last part of the repository for an image of the official library, else none.
    ///
    /// `postgres`, `library/postgres` and `docker.io/library/postgres` are the same image.
    pub fn official_name(&self) -> Option<&str> {
        let name = self.repository.strip_prefix("docker.io/").unwrap_or(&self.repository);
        let name = name.strip_prefix("library/").unwrap_or(name);
        (!name.contains('/')).then_some(name)
    }

    /// The tag as written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest as written, with its algorithm.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The number a tag begins with (`15`, `15.4-alpine` → 15), none for `latest` and its like.
    pub fn major_version(&self) -> Option<u32> {
        let tag = self.tag.as_deref()?;
        let digits = tag.find(|c: char| !c.is_ascii_digit()).unwrap_or(tag.len());
        tag[..digits].parse().ok()
    }
}

impl FromStr for ImageRef {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let err = || ImageError { text: text.to_owned() };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon after the last slash begins the tag; one before it is the registry's port.
        let name_at = rest.rfind('/').map_or(0, |at| at + 1);
        let (repository, tag) = match rest[name_at..].split_once(':') {
            Some((name, tag)) => (&rest[..name_at + name.len()], Some(tag)),
            None => (rest, None),
        };
        let part = |p: &str| {
            !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-:".contains(&b))
        };
        let word = |t: &str| {
            !t.is_empty() && t.len() <= 128 && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let hex = |d: &str| d.split_once(':').is_some_and(|(a, h)| word(a) && h.len() >= 32 && word(h));
        if repository.split('/').all(part) && tag.is_none_or(word) && digest.is_none_or(hex) {
            Ok(Self { repository: repository.into(), tag: tag.map(Into::into), digest: digest.map(Into::into) })
        } else {
            Err(err())
        }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let check = |text: &str, repository: &str, tag: Option<&str>, official: Option<&str>| {
            let image: ImageRef = text.parse().expect(text);
            assert_eq!((image.repository(), image.tag(), image.official_name()), (repository, tag, official), "{text}");
            assert_eq!(image.to_string(), text);
        };
        check("postgres", "postgres", None, Some("postgres"));
        check("postgres:15.4-alpine", "postgres", Some("15.4-alpine"), Some("postgres"));
        check("docker.io/library/redis:7", "docker.io/library/redis", Some("7"), Some("redis"));
        check("localhost:5000/a/b:x", "localhost:5000/a/b", Some("x"), None);
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        check(&digest, "nginx", None, Some("nginx"));
        for bad in ["", "Postgres", "a b", "a:", "a//b", "a@sha256", "a:b:c d"] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
        assert_eq!("postgres:15.4".parse::<ImageRef>().expect("legal").major_version(), Some(15));
    }
}
