//! The invariants of the workspace that a compiler or a linter does not see. ARCHITECTURE.md names them.
//!
//! Each check is a function from text to findings, so that it is tested on text that breaks its rule.
//! What is excepted stands in the lists beside this file, each with its reason.

mod layers;
mod layout;
mod lists;
mod purity;
mod source;
mod text;

use source::{Source, sources};

/// Fails with all `findings`, each `file:line: what is wrong: what to do`.
fn report(findings: &[String]) {
    assert!(findings.is_empty(), "\n  {}\n", findings.join("\n  "));
}

/// Runs a check over every file.
fn over_sources(check: impl Fn(&Source) -> Vec<String>) {
    let sources = sources();
    assert!(sources.len() > 20, "the files of the workspace were not found");
    report(&sources.iter().flat_map(check).collect::<Vec<_>>());
}
