//! The files of the workspace, and Rust code without its comments and strings.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A text file, by its path from the root of the workspace.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and the content of literals blanked: lines and columns stay.
    code: String,
    /// Where the tests at the end of a library file begin, as a line of `code` from 0.
    tests_from: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank(text) } else { String::new() };
        let in_tests = path.contains("/tests/") || path.contains("/benches/");
        let tests_from = if in_tests {
            0
        } else {
            code.lines().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(usize::MAX)
        };
        Self { path: path.to_owned(), text: text.to_owned(), code, tests_from }
    }

    /// The lines of code with their numbers: of the library or of its tests.
    pub(crate) fn code(&self, tests: bool) -> impl Iterator<Item = (usize, &str)> {
        let from = self.tests_from;
        self.code
            .lines()
            .enumerate()
            .filter(move |(i, _)| (*i >= from) == tests)
            .map(|(i, line)| (i + 1, line))
    }

    /// The crate's folder: `crates/clock`, `bins/bench`.
    pub(crate) fn package(&self) -> &str {
        let end = self.path.match_indices('/').nth(1).map_or(self.path.len(), |(at, _)| at);
        &self.path[..end]
    }

    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// A finding at a line.
    pub(crate) fn at(&self, line: usize, what: impl AsRef<str>) -> String {
        format!("{}:{line}: {}", self.path, what.as_ref())
    }

    /// A finding for each line of code that has one of `words` as a whole word or path.
    pub(crate) fn findings(&self, tests: bool, words: &[&str], advice: &str) -> Vec<String> {
        let lines = self.code(tests);
        lines
            .filter_map(|(number, line)| {
                let word = words.iter().find(|word| has_word(line, word))?;
                Some(self.at(number, format!("{word}: {advice}")))
            })
            .collect()
    }
}

/// Whether `word` occurs in `line`, not as a part of a longer name or path.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let starts = !word.starts_with(is_name) || !before.is_some_and(is_name);
        let ends = !word.ends_with(is_name) || !after.is_some_and(is_name);
        starts && ends
    })
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every text file that people wrote.
pub(crate) fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["crates", "bins", "benches", "scripts", ".ci", ".github"] {
        walk(&root().join(folder), &mut files);
    }
    let top = fs::read_dir(root()).into_iter().flatten().flatten().map(|entry| entry.path());
    files.extend(top.filter(|path| path.is_file()));
    files.sort();
    files
        .iter()
        .filter_map(|path| {
            let name = path.strip_prefix(root()).ok()?.to_str()?.to_owned();
            // Not text, or written by a tool.
            let text = fs::read_to_string(path).ok().filter(|_| !name.ends_with("Cargo.lock"))?;
            Some(Source::new(&name, &text))
        })
        .collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != "__pycache__" {
                walk(&path, files);
            }
        } else {
            files.push(path);
        }
    }
}

/// Blanks comments and the content of string and character literals.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut hide = |from: usize, to: usize| {
        out[from..to].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    };
    let mut i = 0;
    while i < bytes.len() {
        let rest = &text[i..];
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(hashes) = raw_string(text, i) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').map_or(rest.len(), |quote| quote + 1);
            rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len())
        } else if rest.starts_with('"') {
            quoted(bytes, i, b'"') - i
        } else if rest.starts_with('\'') && is_char_literal(rest) {
            quoted(bytes, i, b'\'') - i
        } else {
            i += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        hide(i, i + end);
        i += end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The number of `#` of a raw string that begins at `i`.
fn raw_string(text: &str, i: usize) -> Option<usize> {
    let before = text[..i].chars().next_back();
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let rest = text[i..].strip_prefix("br").or_else(|| text[i..].strip_prefix('r'))?;
    let unhashed = rest.trim_start_matches('#');
    unhashed.starts_with('"').then(|| rest.len() - unhashed.len())
}

/// Where the literal that begins at `i` ends.
fn quoted(bytes: &[u8], i: usize, quote: u8) -> usize {
    let mut at = i + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Tells `'a'` from the lifetime `'a`.
fn is_char_literal(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => true,
        (Some(_), Some(second)) => second == '\'',
        _ => false,
    }
}

#[test]
fn comments_and_literals_are_blanked_and_nothing_else() {
    let check = |text: &str, hidden: &str| {
        let at = text.find(hidden).unwrap();
        let code = format!("{}{}{}", &text[..at], " ".repeat(hidden.len()), &text[at + hidden.len()..]);
        assert_eq!(blank(text), code);
    };
    check("a // b", "// b");
    check("a // b\nc", "// b");
    check("a /* /* b */ c */ d", "/* /* b */ c */");
    check("f(\"a\\\"b\", c)", "\"a\\\"b\"");
    check("f(r#\"a\"b\"#, c)", "r#\"a\"b\"#");
    check("b::<'a>('\\'')", "'\\''");
    check("b::<'a, 'b>('\"')", "'\"'");
    let source = Source::new("crates/a/src/b.rs", "fn a() {}\n#[cfg(test)]\nmod tests {}\n");
    assert_eq!((source.code(false).count(), source.code(true).count()), (1, 2));
    assert_eq!(source.package(), "crates/a");
}

#[test]
fn words_are_whole() {
    assert!(has_word("let x = f64::MAX;", "f64") && !has_word("let f64x = 1;", "f64"));
    assert!(has_word("redis::cmd()", "redis::") && has_word("(redis::cmd())", "redis::"));
    assert!(!has_word("my_redis::cmd()", "redis::"));
}
