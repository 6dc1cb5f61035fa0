//! Static files, by a table of requests.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;

use mainstay_edge::control::Target;

use crate::rig::{Answer, Edge, request, route_table, send};

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file");
}

async fn site() -> (Edge, SocketAddr, tempfile::TempDir) {
    let temp = tempfile::tempdir().expect("a temp dir");
    let dir = temp.path().join("site");
    write(&dir, "index.html", "<h1>home</h1>");
    write(&dir, "app.3f9a1c2b.js", "hashed()");
    write(&dir, "app.js", "plain()");
    write(&dir, "docs/index.html", "docs");
    write(&dir, "empty/x.txt", "0123456789");
    write(&dir, ".env", "SECRET=1");
    write(&dir, ".well-known/acme", "token");
    write(&dir, "none.txt", "");
    write(temp.path(), "outside.txt", "outside");
    std::os::unix::fs::symlink("../outside.txt", dir.join("link.txt")).expect("a link");
    std::os::unix::fs::symlink("/etc", dir.join("etc")).expect("a link");
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("pipe.txt"), rustix::fs::Mode::from_raw_mode(0o644))
        .expect("a pipe");
    let mut edge = Edge::start().await;
    let address = edge.listen().await;
    edge.client.add_dir("web", std::fs::File::open(&dir).expect("a folder").as_fd()).await.expect("taken");
    let target = |spa| Target::Static { dir: "web".into(), spa, service: "web".into() };
    let table = route_table(address, vec![("/", target(true), false), ("/plain", target(false), true)], vec![]);
    edge.apply(table).await;
    (edge, address, temp)
}

async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    let mut request = request(method, path, "");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    send(address, request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_find_files_and_nothing_else() {
    let (_edge, address, _temp) = site().await;
    let html = [("accept", "text/html")];
    let json = [("accept", "application/json")];
    let any = [("accept", "*/*")];
    for (path, headers, status, body) in [
        ("/", &html, 200, "<h1>home</h1>"),
        ("/app.js", &json, 200, "plain()"),
        ("/docs/", &html, 200, "docs"),
        ("/docs", &html, 308, ""),
        ("/plain/docs", &html, 308, ""),
        ("/.well-known/acme", &json, 200, "token"),
        ("/none.txt", &json, 200, ""),
        ("/some/page", &html, 200, "<h1>home</h1>"),
        ("/some/page/", &html, 200, "<h1>home</h1>"),
        ("/some/page", &json, 404, "not found"),
        ("/missing.js", &any, 404, "not found"),
        ("/some/page", &any, 200, "<h1>home</h1>"),
        ("/users/jane.doe", &html, 200, "<h1>home</h1>"),
        ("/plain/some/page", &html, 404, "not found"),
        ("/plain/app.js", &json, 200, "plain()"),
        ("/plain", &html, 200, "<h1>home</h1>"),
        ("/empty/", &json, 404, "not found"),
        ("/empty", &json, 404, "not found"),
        ("/.env", &json, 404, "not found"),
        ("/link.txt", &json, 404, "not found"),
        ("/etc/hostname", &json, 404, "not found"),
        ("/pipe.txt", &json, 404, "not found"),
        ("/../outside.txt", &json, 404, "not found"),
        ("/docs/../../outside.txt", &json, 404, "not found"),
        ("/%2e%2e/outside.txt", &json, 404, "not found"),
        ("/%2e%2e%2foutside.txt", &json, 404, "not found"),
        ("/..%5coutside.txt", &json, 404, "not found"),
        ("/app.js%00", &json, 400, "malformed"),
        ("/%zz", &json, 400, "malformed"),
    ] {
        let answer = ask(address, "GET", path, headers).await;
        assert_eq!(answer.status, status, "{path} {headers:?}: {}", answer.body);
        let is_body = if status < 400 { answer.body == body } else { answer.body.contains(body) };
        assert!(is_body, "{path} {headers:?}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_say_what_they_are_and_how_long_they_hold() {
    let (_edge, address, _temp) = site().await;
    let page = ask(address, "GET", "/", &[]).await;
    assert_eq!((page.header("content-type"), page.header("cache-control")), ("text/html; charset=utf-8", "no-cache"));
    let hashed = ask(address, "GET", "/app.3f9a1c2b.js", &[]).await;
    assert_eq!(hashed.header("cache-control"), "public, max-age=31536000, immutable");
    assert!(hashed.header("content-type").contains("javascript"), "{hashed:?}");
    let head = ask(address, "HEAD", "/app.js", &[]).await;
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, "7", ""));
    let redirect = ask(address, "GET", "/plain/docs?q=1", &[]).await;
    assert_eq!(redirect.header("location"), "/plain/docs/?q=1");
    assert_eq!(ask(address, "GET", "//docs", &[]).await.header("location"), "/docs/");
    let post = ask(address, "POST", "/app.js", &[]).await;
    assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_sent_only_what_it_lacks() {
    let (_edge, address, temp) = site().await;
    let whole = ask(address, "GET", "/empty/x.txt", &[]).await;
    let etag = whole.header("etag").to_owned();
    let unchanged = ask(address, "GET", "/empty/x.txt", &[("if-none-match", &etag)]).await;
    assert_eq!((unchanged.status, unchanged.body.as_str(), unchanged.header("etag")), (304, "", etag.as_str()));
    let since = whole.header("last-modified").to_owned();
    assert_eq!(ask(address, "GET", "/empty/x.txt", &[("if-modified-since", &since)]).await.status, 304);
    let part = ask(address, "GET", "/empty/x.txt", &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, part.body.as_str(), part.header("content-range")), (206, "234", "bytes 2-4/10"));
    let beyond = ask(address, "GET", "/empty/x.txt", &[("range", "bytes=10-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */10"));
    let stale = ask(address, "GET", "/empty/x.txt", &[("range", "bytes=2-4"), ("if-range", "\"old\"")]).await;
    assert_eq!((stale.status, stale.body.len()), (200, 10));
    // The same size and time of modification, as unpacked bundles may have them, but other content.
    let file = temp.path().join("site/empty/x.txt");
    let modified = std::fs::metadata(&file).and_then(|metadata| metadata.modified()).expect("a time");
    let other = temp.path().join("site/other");
    std::fs::write(&other, "9876543210").expect("written");
    let reset = std::fs::File::options().write(true).open(&other).and_then(|file| file.set_modified(modified));
    reset.and_then(|()| std::fs::rename(&other, &file)).expect("replaced");
    let changed = ask(address, "GET", "/empty/x.txt", &[("if-none-match", &etag)]).await;
    assert_eq!((changed.status, changed.body.as_str()), (200, "9876543210"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_file_of_the_next_release_is_known_by_its_tag() {
    let (_edge, address, temp) = site().await;
    let before = ask(address, "GET", "/app.js", &[]).await;
    // A release gives the stored file another name.
    std::fs::hard_link(temp.path().join("site/app.js"), temp.path().join("site/next.js")).expect("a link");
    let after = ask(address, "GET", "/next.js", &[("if-none-match", before.header("etag"))]).await;
    assert_eq!(after.status, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_arrives_whole() {
    let (_edge, address, temp) = site().await;
    let large: String = (0..400_000).map(|number| format!("{number:09}\n")).collect();
    std::fs::write(temp.path().join("site/large.txt"), &large).expect("written");
    assert!(ask(address, "GET", "/large.txt", &[]).await.body == large);
}
