//! Which files there are, and how long they may be.

use std::fs;

use crate::{
    layers::{folder, metadata},
    lists::{LONG_FILES, entries},
    report,
    source::{Source, root, sources},
};

/// Crates that are no pattern, or no single one.
const OTHERS: [&str; 6] = ["clock", "backends", "filters", "bench", "testkit", "case_studies"];

/// What every pattern crate has, so that who knows one knows all.
const PATTERN_FILES: [&str; 7] = [
    "README.md",
    "src/lib.rs",
    "src/store.rs",
    "src/memory.rs",
    "src/conformance.rs",
    "tests/conformance.rs",
    "tests/it/main.rs",
];

#[test]
fn pattern_crates_have_the_same_files() {
    let mut findings = Vec::new();
    for package in &metadata().packages {
        let own = folder(package);
        if !own.starts_with("crates/") || OTHERS.contains(&package.name.as_str()) {
            continue;
        }
        let missing = PATTERN_FILES.iter().filter(|file| !root().join(&own).join(file).is_file());
        findings.extend(missing.map(|file| format!("{own}/{file}:1: missing: every pattern crate has it")));
        for backend in ["redis", "kafka", "scylla"] {
            let file = format!("src/{backend}.rs");
            if package.features.contains_key(backend) != root().join(&own).join(&file).is_file() {
                findings.push(format!("{own}/{file}:1: the feature {backend} and this file go together"));
            }
        }
    }
    report(&findings);
}

fn too_long(source: &Source) -> Option<String> {
    let (file, lines) = (source.file_name(), source.text.lines().count());
    let limit = match file {
        "lib.rs" => 80,
        "main.rs" if source.path.starts_with("bins/") => 150,
        _ if entries(LONG_FILES).contains(&source.path.as_str()) => usize::MAX,
        _ => 800,
    };
    (lines > limit)
        .then(|| source.at(limit + 1, format!("{lines} lines: at most {limit}; split it by concept")))
}

#[test]
fn files_are_short() {
    let sources = sources();
    let rust: Vec<_> = sources.iter().filter(|source| source.path.ends_with(".rs")).collect();
    let mut findings: Vec<_> = rust.iter().filter_map(|source| too_long(source)).collect();
    let mut lengths: Vec<_> = rust.iter().map(|source| source.text.lines().count()).collect();
    lengths.sort_unstable();
    let p90 = lengths[lengths.len() * 9 / 10];
    if p90 > 400 {
        findings.push(format!(
            "crates:1: one Rust file in ten has {p90} lines or more: at most 400; split the longest"
        ));
    }
    report(&findings);
}

#[test]
fn long_files_are_found() {
    let check = |path: &str, lines: usize| too_long(&Source::new(path, &"//\n".repeat(lines))).is_some();
    assert!(check("crates/cache/src/lib.rs", 81) && !check("crates/cache/src/lib.rs", 80));
    assert!(check("bins/cache/src/main.rs", 151) && !check("crates/cache/tests/it/main.rs", 151));
    assert!(check("crates/cache/src/cache.rs", 801) && !check("crates/cache/src/cache.rs", 800));
}

#[test]
fn modules_are_named_after_their_concept() {
    let modules = sources()
        .iter()
        .filter(|source| source.file_name() == "mod.rs")
        .map(|source| source.at(1, "a module `foo` is foo.rs, beside its folder foo/"))
        .collect::<Vec<_>>();
    report(&modules);
}

#[test]
fn manifests_inherit_from_the_workspace() {
    let mut findings = Vec::new();
    for package in &metadata().packages {
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        for wanted in [
            "[lints]\nworkspace = true",
            "edition.workspace = true",
            "rust-version.workspace = true",
            "license.workspace = true",
        ] {
            if !manifest.contains(wanted) {
                findings.push(format!(
                    "{}/Cargo.toml:1: lacks `{}`",
                    folder(package),
                    wanted.replace('\n', " ")
                ));
            }
        }
        if package.description.as_ref().is_none_or(String::is_empty) {
            findings.push(format!("{}/Cargo.toml:1: lacks a description", folder(package)));
        }
    }
    report(&findings);
}
