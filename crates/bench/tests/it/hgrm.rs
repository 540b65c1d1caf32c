//! `write_hgrm` against golden files of the Java class.

use std::fs;
use std::path::{Path, PathBuf};

use bench::hgrm::write_hgrm;
use hdrhistogram::Histogram;
use testkit::SplitMix64;

#[test]
fn text_equals_that_of_the_java_class() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hgrm");
    let differing = differing(&folder.join("cases.txt"), &folder.join("golden"));
    assert!(differing.is_empty(), "other text than the Java class: {differing:?}");
}

#[test]
fn no_case_lacks_a_golden_file_and_no_file_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hgrm");
    let mut expected: Vec<_> =
        cases(&folder.join("cases.txt")).into_iter().map(|case| format!("{}.hgrm", case.name)).collect();
    let mut found: Vec<_> = fs::read_dir(folder.join("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_scale_that_is_not_positive_is_an_error() {
    let histogram = Histogram::new(3).unwrap();
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = write_hgrm(&mut Vec::new(), &histogram, scale).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{scale}");
    }
}

/// Counts at which the Java class throws: the levels reach 100 % before the values do.
#[test]
fn counts_beyond_double_precision_end() {
    let mut histogram = Histogram::new(3).unwrap();
    for (value, count) in [(10, u64::MAX / 4), (20, 1), (30, 1)] {
        histogram.record_n(value, count).unwrap();
    }
    let mut text = Vec::new();
    write_hgrm(&mut text, &histogram, 1.0).unwrap();
    assert!(String::from_utf8(text).unwrap().contains("      30.000 1.000000000000 4611686018427387905\n"));
}

/// Names of the cases whose text is not that of the file of the same name in `golden`.
fn differing(case_file: &Path, golden: &Path) -> Vec<String> {
    let is_different = |case: &Case| {
        let mut text = Vec::new();
        write_hgrm(&mut text, &case.histogram, case.unit_scale).unwrap();
        let file: PathBuf = golden.join(format!("{}.hgrm", case.name));
        text != fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    cases(case_file).into_iter().filter(is_different).map(|case| case.name).collect()
}

struct Case {
    name: String,
    unit_scale: f64,
    histogram: Histogram<u64>,
}

/// Reads a case file; its head describes the operations.
fn cases(path: &Path) -> Vec<Case> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, low, high, digits, scale, operations @ ..] = words.as_slice() else {
                panic!("too few words: {line}");
            };
            let mut histogram =
                Histogram::new_with_bounds(number(low), number(high), digits.parse().unwrap()).unwrap();
            for operation in operations {
                record(&mut histogram, operation);
            }
            Case { name: (*name).to_owned(), unit_scale: scale.parse().unwrap(), histogram }
        })
        .collect()
}

fn record(histogram: &mut Histogram<u64>, operation: &str) {
    let words: Vec<&str> = operation.split(['=', ',', '*']).collect();
    let numbers: Vec<u64> = words[1..].iter().map(|word| number(word)).collect();
    match (words[0], numbers.as_slice()) {
        ("at", &[value, count]) => histogram.saturating_record_n(value, count),
        ("uniform", &[seed, count, bound]) => {
            let mut random = SplitMix64(seed);
            (0..count).for_each(|_| histogram.saturating_record(random.bits() % bound));
        }
        ("lognormal", &[seed, count]) => {
            let mut random = SplitMix64(seed);
            (0..count).for_each(|_| histogram.saturating_record(lognormal(random.bits())));
        }
        ("edges", &[highest]) => (0..62)
            .flat_map(|k| (1_u64 << k) - 1..=(1 << k) + 1)
            .filter(|value| *value <= highest)
            .for_each(|value| histogram.saturating_record(value)),
        _ => panic!("unknown operation: {operation}"),
    }
}

/// A binomial number of octaves, and a uniform place within the octave.
fn lognormal(random: u64) -> u64 {
    let octave = (random & 0xffff_ffff).count_ones();
    (1 << octave) + (random >> 32) % (1 << octave)
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|error| panic!("{word}: {error}"))
}
