//! The lists of exceptions beside this file: one entry a line, its reason after `#`.

use crate::source::root;

pub(crate) const LAYERS: &str = include_str!("layers.txt");
pub(crate) const RULES: &str = include_str!("rules.txt");
pub(crate) const SLEEPS: &str = include_str!("sleeps.txt");
pub(crate) const LONG_FILES: &str = include_str!("long_files.txt");

/// The entries, without reasons and empty lines.
pub(crate) fn entries(list: &str) -> Vec<&str> {
    let entries = list.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    entries.filter(|entry| !entry.is_empty()).collect()
}

#[test]
fn listed_files_exist() {
    for list in [RULES, SLEEPS, LONG_FILES] {
        for path in entries(list) {
            assert!(
                root().join(path).is_file(),
                "{path} is on a list of crates/testkit/tests/tidy and is gone: remove it"
            );
        }
    }
}
