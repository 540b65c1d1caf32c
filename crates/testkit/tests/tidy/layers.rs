//! Arrows only downwards, and drivers only where they were asked for.

use std::{env, process::Command};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, TargetKind};

use crate::{
    lists::{LAYERS, entries},
    report,
    source::root,
};

const DRIVERS: [&str; 3] = ["redis", "rdkafka", "scylla"];

/// The place of a member; arrows go from higher to lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Base,
    Filters,
    Pattern,
    CaseStudies,
    Binary,
}

fn layer(folder: &str) -> Layer {
    match folder {
        "crates/clock" | "crates/backends" => Layer::Base,
        "crates/filters" => Layer::Filters,
        "crates/case_studies" => Layer::CaseStudies,
        _ if folder.starts_with("bins/") => Layer::Binary,
        _ => Layer::Pattern,
    }
}

/// Without resolving dependencies, so that nothing needs to be downloaded.
pub(crate) fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata reads the manifests")
}

/// `crates/clock`
pub(crate) fn folder(package: &Package) -> String {
    let folder = package.manifest_path.parent().expect("a manifest has a folder");
    let names: Vec<_> = folder.components().rev().take(2).map(|name| name.as_str()).collect();
    format!("{}/{}", names[1], names[0])
}

fn wrong_arrow(from: (&str, &str), to: (&str, &str), kind: DependencyKind) -> Option<String> {
    let ((name, folder), (to_name, to_folder)) = (from, to);
    let advice = "arrows go from binaries to case studies to patterns to filters to backends and clock";
    let is_binary = folder.starts_with("bins/");
    let allowed = match to_name {
        "testkit" => kind == DependencyKind::Development,
        "bench" => is_binary,
        _ if name == "testkit" => false,
        _ => layer(to_folder) < layer(folder),
    };
    let excepted = entries(LAYERS).contains(&format!("{name} -> {to_name}").as_str());
    (!allowed && !excepted).then(|| format!("{folder}/Cargo.toml:1: depends on {to_name}: {advice}"))
}

#[test]
fn arrows_go_downwards() {
    let metadata = metadata();
    let members: Vec<_> =
        metadata.packages.iter().map(|package| (package.name.as_str(), folder(package))).collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let own = folder(package);
        for dependency in &package.dependencies {
            if let Some((name, to)) = members.iter().find(|(name, _)| *name == dependency.name) {
                findings.extend(wrong_arrow((&package.name, &own), (name, to), dependency.kind));
            }
        }
    }
    report(&findings);
}

#[test]
fn wrong_arrows_are_found() {
    let check = |from, to, kind| wrong_arrow(from, to, kind).is_some();
    let normal = DependencyKind::Normal;
    let (clock, cache) = (("clock", "crates/clock"), ("cache", "crates/cache"));
    let (bench, testkit) = (("bench", "crates/bench"), ("testkit", "crates/testkit"));
    let binary = ("cache-bin", "bins/cache");
    assert!(!check(cache, clock, normal) && !check(binary, cache, normal) && !check(binary, bench, normal));
    assert!(check(clock, cache, normal) && check(cache, ("saga", "crates/saga"), normal));
    assert!(check(cache, bench, DependencyKind::Development) && check(cache, binary, normal));
    assert!(!check(cache, testkit, DependencyKind::Development) && check(cache, testkit, normal));
    assert!(check(testkit, clock, normal));
}

#[test]
fn library_features_are_off_by_default_and_drivers_optional() {
    let mut findings = Vec::new();
    for package in &metadata().packages {
        let folder = folder(package);
        let is_binary = folder.starts_with("bins/");
        if !is_binary && package.features.get("default").is_some_and(|features| !features.is_empty()) {
            findings.push(format!("{folder}/Cargo.toml:1: default features: a library has `default = []`"));
        }
        for dependency in &package.dependencies {
            let is_normal = dependency.kind == DependencyKind::Normal;
            if is_normal && DRIVERS.contains(&dependency.name.as_str()) && !dependency.optional {
                let name = &dependency.name;
                findings.push(format!("{folder}/Cargo.toml:1: {name}: a driver is `optional = true`, behind the feature of its name"));
            }
            if dependency.name == "anyhow" && !is_binary {
                findings.push(format!("{folder}/Cargo.toml:1: anyhow: a library has typed errors"));
            }
        }
    }
    report(&findings);
}

#[test]
fn heavy_drivers_are_not_built_by_default() {
    let tree = |arguments: &[&str]| {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["tree", "-e", "normal", "--prefix", "none", "--offline"])
            .args(arguments)
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let has = |tree: &str, name: &str| tree.lines().any(|line| line.starts_with(&format!("{name} v")));
    let whole = tree(&["--workspace"]);
    assert!(has(&whole, "clock") && has(&whole, "backends"), "this is not the tree: {whole}");
    for driver in ["rdkafka", "scylla"] {
        assert!(
            !has(&whole, driver),
            "{driver} is built by default: no member enables it by a normal dependency"
        );
    }
    let metadata = metadata();
    let binaries = metadata.packages.iter().filter(|package| folder(package).starts_with("bins/"));
    let mut arguments = vec!["--workspace"];
    arguments.extend(binaries.flat_map(|binary| ["--exclude", binary.name.as_str()]));
    let libraries = tree(&arguments);
    assert!(!has(&libraries, "redis"), "redis is built by default without the binaries: only they enable it");
}

#[test]
fn binaries_have_no_documentation_page() {
    let mut findings = Vec::new();
    for package in &metadata().packages {
        for target in &package.targets {
            if target.kind.contains(&TargetKind::Bin) && target.doc {
                let (folder, name) = (folder(package), &target.name);
                findings.push(format!("{folder}/Cargo.toml:1: {name}: a [[bin]] has `doc = false`, as its page would overwrite the library's"));
            }
        }
    }
    report(&findings);
}
