//! What no text file has, of whatever language.

use crate::{over_sources, source::Source};

/// In parts, so that these lines are not findings themselves.
const FLUSHES: [&str; 2] = [concat!("flush", "all"), concat!("flush", "db")];
const REGISTRIES: [&str; 8] = [
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("files.python", "hosted.org"),
    concat!("repo.maven", ".apache.org"),
    concat!("repo1.maven", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("proxy.golang", ".org"),
];

fn text(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (i, line) in source.text.lines().enumerate() {
        let mut found = |what: &str| findings.push(source.at(i + 1, what));
        let lower = line.to_lowercase();
        if line.ends_with([' ', '\t', '\r']) {
            found("white space at the end of the line");
        }
        if FLUSHES.iter().any(|flush| lower.contains(flush)) {
            found("a server is never flushed: prefix keys by testkit::unique and remove those");
        }
        if REGISTRIES.iter().any(|host| lower.contains(host)) {
            found("names the host of a registry: use its ordinary client");
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        findings.push(source.at(source.text.lines().count(), "no line feed at the end of the file"));
    }
    findings
}

#[test]
fn text_is_clean_and_flushes_no_server() {
    over_sources(text);
    let check = |content: &str| text(&Source::new("scripts/x", content)).len();
    assert_eq!(check("a\nb\n"), 0);
    assert_eq!(check("a \nb"), 2);
    assert_eq!(check(&format!("redis-cli {}\n", FLUSHES[0].to_uppercase())), 1);
    assert_eq!(check(&format!("https://{}/x\n", REGISTRIES[2])), 1);
}
