//! From a request's path to a file's name.
//!
//! Owns decoding and what is refused before the file system is asked, the content type, and how long a name may be
//! cached. It never touches the file system.

use http::HeaderValue;

use crate::http::Problem;

/// A file that a request asks for, by its name below the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    file: String,
}

/// What a request's path asks for.
///
/// Errors: a path that no file can have (a NUL, an escape that is none, bytes that are no UTF-8) is malformed; one that
/// names hidden files or climbs is simply not there.
pub(crate) fn wanted(path: &str) -> Result<Wanted, Problem> {
    let decoded = decode(path).ok_or(Problem::BadPath)?;
    if decoded.contains('\0') {
        return Err(Problem::BadPath);
    }
    let mut file = String::with_capacity(decoded.len() + 10);
    for segment in decoded.split('/').filter(|segment| !segment.is_empty()) {
        if segment.starts_with('.') && segment != ".well-known" {
            return Err(Problem::NoFile);
        }
        if !file.is_empty() {
            file.push('/');
        }
        file.push_str(segment);
    }
    if decoded.ends_with('/') || file.is_empty() {
        if !file.is_empty() {
            file.push('/');
        }
        file.push_str("index.html");
    }
    Ok(Wanted { file })
}

impl Wanted {
    /// The page that a single-page application begins with.
    pub(crate) fn index() -> Self {
        Self { file: "index.html".to_owned() }
    }

    /// The name below the directory.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Whether the last segment names a file type.
    pub(crate) fn has_extension(&self) -> bool {
        // A name that `index.html` was added to is a directory's, without an extension of its own.
        let name = self.file.strip_suffix("/index.html").unwrap_or(&self.file);
        name.rsplit('/').next().is_some_and(|last| last.contains('.'))
    }

    /// How long the answer may be kept without asking again.
    pub(crate) fn cache_control(&self) -> &'static str {
        if has_content_hash(&self.file) { "public, max-age=31536000, immutable" } else { "no-cache" }
    }

    /// The `Content-Type`.
    pub(crate) fn content_type(&self) -> HeaderValue {
        let guess = mime_guess::from_path(&self.file).first_raw().unwrap_or("application/octet-stream");
        let is_text = guess.starts_with("text/")
            || matches!(guess, "application/javascript" | "application/json" | "application/xml" | "image/svg+xml");
        if !is_text {
            return HeaderValue::from_static(guess);
        }
        HeaderValue::from_str(&format!("{guess}; charset=utf-8")).unwrap_or(HeaderValue::from_static(guess))
    }
}

fn decode(path: &str) -> Option<String> {
    if !path.contains('%') {
        return Some(path.to_owned());
    }
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

/// Whether a bundler put a hash of the content into the name, so that the name never gets other content.
///
/// A false yes shows users an old file for a year, a false no costs a question: in doubt no.
fn has_content_hash(file: &str) -> bool {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    if matches!(extension, "html" | "htm") {
        return false;
    }
    // `app.3f9a1c2b.js`, `main.3f9a1c2b.chunk.js`, `app-3f9a1c2b.js`
    if stem.split(['.', '-', '_']).skip(1).any(is_hex_hash) {
        return true;
    }
    // Vite: `assets/index-BxK3a9_2.js`, eight characters of base64url.
    let in_assets = folder == "assets" || folder.ends_with("/assets");
    let tail = stem.len().checked_sub(9).and_then(|at| stem.get(at..));
    in_assets && tail.and_then(|tail| tail.strip_prefix('-')).is_some_and(is_base64_hash)
}

fn is_hex_hash(part: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    // Digits only is a date or a version, letters only may be a word.
    part.len() >= 8
        && part.bytes().all(is_hex)
        && part.bytes().any(|byte| byte.is_ascii_digit())
        && part.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn is_base64_hash(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && part.bytes().any(|byte| byte.is_ascii_digit())
        && part.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(path: &str, want: Result<&str, Problem>) {
        let have = wanted(path);
        assert_eq!(have.as_ref().map(Wanted::file).map_err(|problem| *problem), want, "{path}");
    }

    #[test]
    fn paths_name_files() {
        check("/", Ok("index.html"));
        check("/a.js", Ok("a.js"));
        check("/docs/", Ok("docs/index.html"));
        check("/docs", Ok("docs"));
        check("//a///b", Ok("a/b"));
        check("/a%20b.txt", Ok("a b.txt"));
        check("/.well-known/acme", Ok(".well-known/acme"));
        check("/caf%C3%A9", Ok("caf\u{e9}"));
    }

    #[test]
    fn hidden_files_and_climbing_are_not_there() {
        for path in
            ["/..", "/../x", "/a/../../x", "/%2e%2e/x", "/%2E%2e%2fx", "/.env", "/a/.git/config", "/.", "/..%2f..%2fx"]
        {
            check(path, Err(Problem::NoFile));
        }
        for path in ["/%00", "/a%00.js", "/%", "/%4", "/%zz", "/%ff"] {
            check(path, Err(Problem::BadPath));
        }
    }

    #[test]
    fn only_names_with_a_hash_are_kept_for_ever() {
        let is_kept = |file: &str| has_content_hash(file);
        for file in ["app.3f9a1c2b.js", "js/main.3f9a1c2b.chunk.js", "app-3f9a1c2bd0e1.css", "assets/index-BxK3a9_2.js"]
        {
            assert!(is_kept(file), "{file}");
        }
        for file in [
            "app.js",
            "index.html",
            "index.3f9a1c2b.html",
            "report.20240101.pdf",
            "x.deadbeef.js",
            "3f9a1c2b.js",
            "assets/app-Download.js",
            "index-BxK3a9_2.js",
            "jquery-3.7.1.min.js",
            "assets/app-download1.js",
        ] {
            assert!(!is_kept(file), "{file}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leads_out_or_to_hidden_files(path in "(/|[a-c.]|%2e|%2f|%2E|%00|%c3%a9|%){0,24}") {
            if let Ok(found) = wanted(&format!("/{path}")) {
                prop_assert!(!found.file().starts_with('/'));
                for segment in found.file().split('/') {
                    prop_assert!(!segment.is_empty() && !segment.starts_with('.'), "{}", found.file());
                }
            }
        }

        #[test]
        fn no_path_panics(path in any::<String>()) {
            let _ = wanted(&path);
            let _ = crate::routes::plain(&path);
        }
    }
}
