//! What may stand where in Rust code.

use crate::{
    lists::{RULES, SLEEPS, entries},
    over_sources,
    source::{Source, has_word},
};

/// Words of a driver crate, and the file or folder that may have them.
const DRIVERS: [(&str, &str); 3] = [("redis::", "redis"), ("rdkafka::", "kafka"), ("scylla::", "scylla")];

/// Libraries that a service builds on: not the runner, nor what tests share.
fn is_library(source: &Source) -> bool {
    let package = source.package();
    package.starts_with("crates/") && !["crates/bench", "crates/testkit"].contains(&package)
}

fn drivers(source: &Source) -> Vec<String> {
    let inside = source.path.strip_prefix(source.package()).unwrap_or_default();
    if source.package() == "crates/backends" || !inside.starts_with("/src/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (word, backend) in DRIVERS {
        let own = [format!("/{backend}.rs"), format!("/{backend}/")];
        if own.iter().any(|own| inside.contains(own.as_str())) {
            continue;
        }
        for (number, line) in source.code(false).chain(source.code(true)) {
            // `crate::redis::` is the module of that name.
            let outside =
                line.replace("crate::", "crate__").replace("self::", "self__").replace("super::", "super__");
            let used = has_word(&outside.replace(&format!("__{word}"), "__"), word);
            let imported = has_word(&outside, &format!("use {};", word.trim_end_matches(':')));
            if used || imported {
                findings.push(source.at(number, format!("{word} a driver is named in src/{backend}.rs and crates/backends alone (a module of ours: crate::{word})")));
            }
        }
    }
    findings
}

#[test]
fn drivers_are_named_by_their_backend_alone() {
    over_sources(drivers);
    let check = |path: &str, text: &str| !drivers(&Source::new(path, text)).is_empty();
    assert!(check("crates/cache/src/store.rs", "fn f(c: redis::Client) {}"));
    assert!(check("crates/cache/src/store.rs", "use rdkafka::ClientConfig;"));
    assert!(check("crates/cache/src/redis.rs", "use scylla::client::Session;"));
    assert!(!check("crates/cache/src/redis.rs", "use redis::Client;"));
    assert!(!check("crates/cache/src/redis/script.rs", "use redis::Client;"));
    assert!(!check("crates/cache/src/lib.rs", "pub use crate::redis::RedisStore; // redis::"));
}

fn rules(source: &Source) -> Vec<String> {
    let is_rule = entries(RULES).contains(&source.path.as_str()) || source.path.contains("/src/algorithm/");
    if !is_rule || !source.path.ends_with(".rs") {
        return Vec::new();
    }
    let mut findings = source.findings(
        false,
        &[
            "Clock",
            "Instant",
            "SystemTime",
            "rand::",
            "fastrand",
            "async",
            "std::fs",
            "std::net",
            "std::io",
            "thread",
        ],
        "a rule is a pure function of state, time and input: take the value as a parameter",
    );
    findings.extend(source.findings(
        false,
        &["f32", "f64"],
        "a rule counts in integers, as its Lua mirror does",
    ));
    findings
}

#[test]
fn rules_are_pure() {
    over_sources(rules);
    let check = |text: &str| !rules(&Source::new("crates/cache/src/algorithm/lru.rs", text)).is_empty();
    assert!(check("fn f(now: Instant) {}") && check("const X: f64 = 1.0;") && check("async fn f() {}"));
    assert!(!check("fn f(now: Time) {} // an Instant\n#[cfg(test)]\nmod tests { const X: f64 = 1.0; }"));
    assert!(rules(&Source::new("crates/cache/src/cache.rs", "async fn f() {}")).is_empty());
}

fn quiet(source: &Source) -> Vec<String> {
    if !is_library(source) || !source.path.contains("/src/") {
        return Vec::new();
    }
    let print = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];
    let runtime = ["Runtime::new", "new_multi_thread", "new_current_thread", "tokio::main"];
    let environment = ["std::env", "env::var", "env::var_os", "env::args"];
    [
        source.findings(false, &print, "a library never prints: return it, or use the feature `tracing`"),
        source.findings(false, &runtime, "a library never starts a runtime: it runs on its caller's"),
        source.findings(false, &environment, "a library never reads the environment: take a parameter"),
    ]
    .concat()
}

#[test]
fn libraries_do_not_print_start_runtimes_or_read_the_environment() {
    over_sources(quiet);
    let check = |text: &str| !quiet(&Source::new("crates/cache/src/cache.rs", text)).is_empty();
    assert!(check("fn f() { println!(); }") && check("use std::env;") && check("let r = Runtime::new();"));
    assert!(!check(
        "/// println!()\nconst V: &str = env!(\"CARGO_PKG_VERSION\");\n#[cfg(test)]\nfn f() { println!() }"
    ));
    assert!(quiet(&Source::new("bins/cache/src/main.rs", "fn f() { println!(); }")).is_empty());
}

fn waits(source: &Source) -> Vec<String> {
    let ignored =
        source.findings(true, &["#[ignore"], "a test runs, or its trial says why not (testkit::Suite)");
    if entries(SLEEPS).contains(&source.path.as_str()) {
        return ignored;
    }
    let advice = "wait for a condition with testkit::eventually, or move a ManualClock";
    let words = ["sleep(", "sleep_until(", "sleep_ms(", "park_timeout("];
    let mut findings = source.findings(true, &words, advice);
    if source.package() == "crates/testkit" {
        findings.extend(source.findings(false, &words, advice));
    }
    [ignored, findings].concat()
}

#[test]
fn no_test_sleeps_or_is_ignored() {
    over_sources(waits);
    let check = |path: &str, text: &str| !waits(&Source::new(path, text)).is_empty();
    assert!(check("crates/cache/tests/it/main.rs", "fn f() { thread::sleep(SECOND); }"));
    assert!(check(
        "crates/cache/src/cache.rs",
        "#[cfg(test)]\nmod tests { async fn f() { sleep(d).await } }"
    ));
    assert!(check("crates/cache/tests/it/main.rs", "#[test]\n#[ignore]\nfn f() {}"));
    assert!(!check("crates/cache/src/cache.rs", "async fn refresh() { tokio::time::sleep(d).await }"));
    assert!(!check("crates/testkit/src/wait.rs", "fn f() { thread::sleep(SECOND); }"));
}

fn unsafe_code(source: &Source) -> Vec<String> {
    let lines: Vec<_> = source.text.lines().collect();
    let mut findings = Vec::new();
    for (number, line) in source.code(false).chain(source.code(true)) {
        if ["allow(unsafe_code", "warn(unsafe_code"].iter().any(|allowed| line.contains(allowed)) {
            findings.push(source.at(number, "unsafe code is `#[expect(unsafe_code, reason = \"..\")]`"));
        }
        if !["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|word| has_word(line, word))
        {
            continue;
        }
        if !source.text.contains("expect(unsafe_code, reason") {
            findings.push(source.at(number, "unsafe without `#[expect(unsafe_code, reason = \"..\")]`"));
        }
        let above = &lines[number.saturating_sub(6)..number];
        if !above.iter().any(|line| line.contains("SAFETY:")) {
            findings.push(source.at(number, "unsafe without a comment `// SAFETY: ..` above it"));
        }
    }
    findings
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    over_sources(unsafe_code);
    let check = |text: &str| unsafe_code(&Source::new("crates/cache/src/cache.rs", text)).len();
    assert_eq!(check("fn f() { unsafe { g() } }"), 2);
    let good = "#![expect(unsafe_code, reason = \"speed\")]\n// SAFETY: nobody else has it.\nunsafe { g() }";
    assert_eq!(check(good), 0);
    assert_eq!(check("#[allow(unsafe_code)]\nfn f() {}"), 1);
}
