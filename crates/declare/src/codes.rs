//! The table of codes `MS0001`–`MS0199`: what the user's files can get wrong.
//!
//! A code is never reused and never changes its meaning; `docs/errors/<code>.md` says cause, check and cure.

/// One entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `MSnnnn`.
    pub number: &'static str,
    /// What it is about, in a few words.
    pub title: &'static str,
}

macro_rules! codes {
    ($($name:ident = $number:literal, $title:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: Code = Code { number: $number, title: $title };
        )*
        /// All codes of this crate, in order.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    YAML = "MS0001", "not valid YAML";
    ENCODING = "MS0002", "not UTF-8 text";
    TOO_LARGE = "MS0003", "too large or nested too deeply";
    DUPLICATE_KEY = "MS0004", "a key is written twice";
    ALIAS = "MS0005", "an alias or merge that cannot be followed";
    DOCUMENTS = "MS0006", "more than one YAML document";
    KEY_FORM = "MS0007", "a key that is no text";
    FILE = "MS0008", "a file that cannot be read";
    TAG = "MS0009", "an unknown YAML tag";
    UNKNOWN_KEY = "MS0010", "a key nobody knows";
    NOT_YET = "MS0011", "a key that is not supported yet";
    REFUSED = "MS0012", "a key that is refused";
    IGNORED = "MS0013", "a key without effect";
    EMULATED = "MS0014", "a key that works differently";
    TYPE = "MS0015", "a value of the wrong type";
    VALUE = "MS0016", "a value that is not legal";
    NAME = "MS0017", "a name that is not legal";
    MISSING = "MS0018", "something required is missing";
    CONFLICT = "MS0019", "two settings that contradict each other";
    INTERPOLATION = "MS0030", "a `$` expression that cannot be read";
    UNDEFINED = "MS0031", "a variable that is not set";
    REQUIRED = "MS0032", "a required variable that is not set";
    DOTENV = "MS0033", "a line of an environment file that cannot be read";
    EXPANSION = "MS0034", "variables that expand to too much text";
    PORT = "MS0040", "a port that cannot be read";
    MOUNT = "MS0041", "a volume that cannot be read";
    ESCAPE = "MS0042", "a path that leaves the project";
    CONTENT_SIZE = "MS0043", "a secret or config that is too large";
    WORDS = "MS0044", "a command line that cannot be split";
    CONTENT_SOURCE = "MS0045", "a secret or config without content";
    HEALTHCHECK = "MS0046", "a health check that cannot be read";
    USER = "MS0047", "a user that is no number";
    NO_SUCH_PATH = "MS0048", "a mounted path that does not exist";
    FLOATING = "MS0050", "an image without a fixed version";
    UNPROBED = "MS0051", "traffic without a health check";
    EXPOSED = "MS0052", "a data store that the network can reach";
    PLAIN_SECRET = "MS0053", "a secret that stands in a file";
    NOT_RESTARTED = "MS0054", "a service that is not started again";
    REFERENCE = "MS0060", "a name that refers to nothing";
    CYCLE = "MS0061", "things that lead back to themselves";
    PORT_TWICE = "MS0062", "a port that is published twice";
    INACTIVE = "MS0063", "a dependency whose profile is not active";
    NEVER_HEALTHY = "MS0064", "a dependency that can never be satisfied";
    STATIC = "MS0065", "a setting without meaning for static files";
    ROUTE_TWICE = "MS0066", "a route that is declared twice";
    NO_SERVICES = "MS0067", "nothing to run";
    TWO_FILES = "MS0070", "two files of which one counts";
    TARGET_TWICE = "MS0071", "two things at one place";
    NO_VOLUME = "MS0072", "a data store without a volume";
    ROUTE = "MS0080", "a route that cannot be read";
    PROCESS = "MS0081", "a process recipe that cannot be used";
    ENVIRONMENT = "MS0082", "an environment that is not declared";
    PROBE = "MS0083", "a probe that cannot be read";
    PROJECT_NAME = "MS0084", "a project name that cannot be used";
    DECLARATION = "MS0090", "a bundle's declaration that cannot be read";
}

/// Codes of what works and will hurt: advice, which is worth its place in `validate` and in the way elsewhere.
pub const ADVICE: &[Code] = &[FLOATING, UNPROBED, EXPOSED, PLAIN_SECRET, NOT_RESTARTED];

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test looks at the pages that people read")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_one_page_and_every_page_one_code() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        let codes: BTreeSet<String> = ALL.iter().map(|code| code.number.to_owned()).collect();
        assert_eq!(codes.len(), ALL.len(), "a code is used twice");
        for code in ALL {
            let path = format!("{folder}/{}.md", code.number);
            let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
            let title = format!("# {}: {}\n", code.number, code.title);
            assert!(page.starts_with(&title), "{path} must begin with {title:?}");
            for part in ["**Cause.**", "**Check.**", "**Cure.**"] {
                assert!(page.contains(part), "{path} lacks {part}");
            }
        }
        for entry in std::fs::read_dir(folder).expect("docs/errors exists") {
            let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
            let Some(number) = name.strip_suffix(".md") else { continue };
            // Those after it are the command line's and the daemon's.
            if number <= "MS0090" {
                assert!(codes.contains(number), "{name} explains a code that does not exist");
            }
        }
    }
}
