//! Names of images and registries: what Docker Hub leaves out, what a built image is called. Pure.

use model::image::ImageRef;
use model::{ContentDigest, ProjectName};

/// The registry that is meant when none is written.
pub const HUB: &str = "docker.io";

/// Where the registry's host ends in a repository: Docker Hub's `library` and `user` have neither dot nor port.
fn split(repository: &str) -> (&str, &str) {
    match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => (HUB, repository),
    }
}

/// The registry an image comes from, by the name that credentials have: `docker.io`, `ghcr.io`, `localhost:5000`.
pub fn registry(image: &ImageRef) -> &str {
    canonical_registry(split(image.repository()).0)
}

/// One name for each registry: Docker Hub has many, and addresses carry schemes and paths.
pub fn canonical_registry(name: &str) -> &str {
    let host = name.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or(host);
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => HUB,
        other => other,
    }
}

/// A repository as the Engine lists it: without Docker Hub's name and its `library`.
pub fn familiar(repository: &str) -> &str {
    match split(repository) {
        (host, path) if canonical_registry(host) == HUB => path.strip_prefix("library/").unwrap_or(path),
        _ => repository,
    }
}

/// What the Engine finds exactly this image by: the digest when there is one, else the tag.
pub fn local(image: &ImageRef) -> String {
    match image.digest() {
        Some(digest) => format!("{}@{digest}", image.repository()),
        None => format!("{}:{}", image.repository(), image.tag().unwrap_or("latest")),
    }
}

/// The tag or digest that is asked for.
pub fn version(image: &ImageRef) -> &str {
    image.digest().or(image.tag()).unwrap_or("latest")
}

/// What a built image is called: of equal inputs the same, so that it is found again.
///
/// Shape: `mainstay/shop:` and 24 hexadecimal digits. Not the service: two services of equal inputs share their image.
pub fn built(project: &ProjectName, inputs: ContentDigest) -> String {
    format!("mainstay/{}:{}", component(project.as_str()), &inputs.to_string()[..24])
}

/// The name as a part of a repository. Docker allows single separators between letters and digits only; a name that
/// has others gets a digest, so that no two projects meet in one.
fn component(name: &str) -> String {
    let words: Vec<&str> = name.split(['-', '_']).filter(|word| !word.is_empty()).collect();
    let plain = words.join("-");
    if plain == name || words.join("_") == name {
        return name.to_owned();
    }
    format!("{plain}-{}", &ContentDigest::of(name.as_bytes()).to_string()[..8])
}

/// The digest that its registry knows an image by, of those that the Engine has noted.
pub fn registry_digest(image: &ImageRef, noted: &[String]) -> Option<String> {
    let of_this = |note: &&String| {
        let repository = note.split_once('@').map(|(repository, _)| repository);
        repository.is_some_and(|repository| familiar(repository) == familiar(image.repository()))
    };
    let mut own: Vec<&String> = noted.iter().filter(of_this).collect();
    own.sort();
    let asked = image.digest().and_then(|digest| own.iter().find(|note| note.ends_with(digest)).copied());
    asked.or(own.first().copied()).cloned()
}

/// Whether an image that the Engine lists under these names has this one already.
pub fn is_among(image: &ImageRef, tags: &[String]) -> bool {
    let name = format!("{}:{}", familiar(image.repository()), image.tag().unwrap_or("latest"));
    tags.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> ImageRef {
        text.parse().expect(text)
    }

    #[test]
    fn docker_hub_has_one_name() {
        let check = |text: &str, of: &str, short: &str| {
            let image = image(text);
            assert_eq!((registry(&image), familiar(image.repository())), (of, short), "{text}");
        };
        check("postgres:15", HUB, "postgres");
        check("docker.io/library/postgres", HUB, "postgres");
        check("index.docker.io/bitnami/redis", HUB, "bitnami/redis");
        check("bitnami/redis", HUB, "bitnami/redis");
        check("ghcr.io/a/b:1", "ghcr.io", "ghcr.io/a/b");
        check("localhost/a", "localhost", "localhost/a");
        check("127.0.0.1:5000/a", "127.0.0.1:5000", "127.0.0.1:5000/a");
        assert_eq!(canonical_registry("https://index.docker.io/v1/"), HUB);
    }

    #[test]
    fn an_image_is_found_by_its_digest_or_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(local(&image("nginx")), "nginx:latest");
        assert_eq!(local(&image(&format!("nginx:1@{digest}"))), format!("nginx@{digest}"));
        let noted = [format!("other@{digest}"), format!("nginx@{digest}")];
        let found = registry_digest(&image("docker.io/library/nginx:1"), &noted);
        assert_eq!(found, Some(format!("nginx@{digest}")));
        assert_eq!(registry_digest(&image("apache"), &noted), None);
    }

    #[test]
    fn a_built_image_is_named_by_its_inputs() {
        let check = |name: &str, expected: &str| {
            let inputs = ContentDigest([0xab; 32]);
            let name = built(&name.parse().expect(name), inputs);
            assert_eq!(name, format!("mainstay/{expected}:{}", "ab".repeat(12)));
            name.parse::<ImageRef>().expect("legal");
        };
        check("shop", "shop");
        check("my_shop", "my_shop");
        check("my-shop", "my-shop");
        check("my__shop-", &format!("my-shop-{}", &ContentDigest::of(b"my__shop-").to_string()[..8]));
    }
}
