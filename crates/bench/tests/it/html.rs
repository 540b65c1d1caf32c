//! The page is well formed, needs nothing beside itself, and says what happened.

use bench::{Invariant, Report, html::render};

use crate::samples::{closed, empty, full, huge, no_numbers, zero_latencies};

fn all() -> [(&'static str, Report); 6] {
    [
        ("full", full()),
        ("closed", closed()),
        ("empty", empty()),
        ("huge", huge()),
        ("zero", zero_latencies()),
        ("no numbers", no_numbers()),
    ]
}

#[test]
fn every_page_is_well_formed() {
    for (name, report) in all() {
        if let Err(error) = check_tags(&render(&report)) {
            panic!("{name}: {error}");
        }
    }
}

#[test]
fn every_page_is_small_and_shows_numbers_only() {
    for (name, report) in all() {
        let page = render(&report);
        assert!(page.len() < 300_000, "{name}: {} bytes", page.len());
        let word = page
            .split(|c: char| !c.is_alphanumeric())
            .find(|word| matches!(*word, "NaN" | "inf" | "infinity"));
        assert_eq!(word, None, "{name}");
    }
}

#[test]
fn a_page_loads_nothing() {
    for (name, mut report) in all() {
        report.config.clear();
        let page = render(&report).to_lowercase();
        for outside in ["http:", "https:", "src=", "@import", "url(", "//cdn", "<iframe", "<object", "<base"]
        {
            assert!(!page.contains(outside), "{name}: {outside}");
        }
        assert_eq!(page.matches("href=").count(), page.matches("href=\"data:,\"").count(), "{name}");
        assert!(page.contains("content-security-policy\" content=\"default-src 'none';"), "{name}");
    }
}

#[test]
fn every_point_lies_in_its_plot() {
    for (name, report) in all() {
        let page = render(&report);
        for plot in page.split("<svg class=\"lines\"").skip(1) {
            let plot = &plot[..plot.find("</svg>").unwrap()];
            let height: f64 = attribute(plot, "height").parse().unwrap();
            for data in plot.split(" d=\"").skip(1) {
                let data = &data[..data.find('"').unwrap()];
                let across: Vec<f64> =
                    coordinates(data).iter().filter(|(way, _)| *way == 'x').map(|(_, x)| *x).collect();
                assert!(data.ends_with('z') || across.is_sorted(), "{name}: {data}");
                for (command, x_or_y) in coordinates(data) {
                    let most = if command == 'y' { height } else { 1_000.0 };
                    assert!((0.0..=most).contains(&x_or_y), "{name}: {command} {x_or_y}");
                }
            }
        }
        for x in page.split("x=\"").skip(1).filter_map(|rest| rest.split_once("%\"")?.0.parse::<f64>().ok()) {
            assert!((0.0..=100.0).contains(&x), "{name}: {x} %");
        }
    }
}

#[test]
fn text_of_a_report_stays_text() {
    let hostile = "</script><script>alert(1)</script><img src=x onerror='alert(1)'>\"&amp;--></style>";
    let mut report = full();
    for text in [
        &mut report.benchmark,
        &mut report.version,
        &mut report.machine.os,
        &mut report.classes[0].name,
        &mut report.ceilings[0].name,
        &mut report.facts[0].name,
        &mut report.invariants[0].name,
        &mut report.thresholds[0].text,
        &mut report.verdict.text,
    ] {
        *text = hostile.to_owned();
    }
    report.classes[2].messages[0] = hostile.to_owned();
    report.facts[0].value = hostile.to_owned();
    report.invariants[0].detail = hostile.to_owned();
    report.machine.cpu = Some(hostile.to_owned());
    report.summary.input_digest = Some(hostile.to_owned());
    report.config.insert(hostile.to_owned(), hostile.to_owned());
    let page = render(&report);
    check_tags(&page).unwrap();
    assert_eq!(page.matches("<script>").count(), 1);
    assert_eq!(page.matches("<img").count(), 0);
    assert!(page.matches("&lt;script&gt;alert(1)").count() >= 14);
}

#[test]
fn an_open_loop_shows_response_and_service_time_and_the_stall() {
    let page = text_of(&full());
    for said in [
        "threshold crossed: p99<5ms does not hold",
        "ran 9,000 operations in 10.0 s, offered at 1.00 k a second in an open loop to 4 workers: 900 operations a second",
        "response time counts from when an operation was due, service time from its start",
        "Only 80.10 % of the planned operations started within 10 ms",
        "400 dropped, 600 never started",
        "nothing ended for at least 1.00 s",
        "for at least 1.00 s from 5.00 s",
        "no answer within 1 s",
        "held no key exceeds its quota 64 keys",
        "response, all",
        "service, all",
        "0.25 of it",
        "900 ms",
        "5.50 %",
        "client used 12.50 % of 2 processors",
        "Reading the clock takes 12.0 ns",
    ] {
        assert!(page.to_lowercase().contains(&said.to_lowercase()), "{said:?} is not in {page}");
    }
}

#[test]
fn a_closed_loop_says_that_it_knows_service_time_only() {
    let page = text_of(&closed());
    // With the key figures, with the plot and with the table.
    assert_eq!(page.to_lowercase().matches("closed loop: service time only").count(), 3, "{page}");
    assert!(page.contains("with 4 workers in a closed loop"), "{page}");
    let figures = &page[..page.find("Words used here").unwrap()];
    assert!(!figures.to_lowercase().contains("response"), "{figures}");
}

#[test]
fn a_broken_invariant_comes_before_any_figure() {
    let mut report = full();
    report.invariants.push(Invariant {
        name: "sums agree".to_owned(),
        held: false,
        detail: "3 and 4".to_owned(),
    });
    let page = text_of(&report);
    let (warning, figure) = (page.find("An invariant broke").unwrap(), page.find("Throughput").unwrap());
    assert!(warning < figure);
    assert!(page.contains("1 of 2"));
    assert!(page.contains("broken sums agree 3 and 4"), "{page}");
}

#[test]
fn a_run_that_did_nothing_says_so() {
    let page = text_of(&empty());
    for said in [
        "no operation came to its end",
        "The run was cut short",
        "No operation was timed",
        "too short for a timeline",
    ] {
        assert!(page.contains(said), "{said:?} is not in {page}");
    }
}

#[test]
fn only_a_part_being_timed_is_said() {
    let mut report = closed();
    report.summary.operations = 576_000;
    assert!(text_of(&report).contains("9,000 of 576,000 operations were timed"));
}

/// What the body shows, without tags and with single spaces.
fn text_of(report: &Report) -> String {
    let page = render(report);
    let body = &page[page.find("<main>").unwrap()..page.find("<script>").unwrap()];
    let mut text = String::new();
    for piece in body.split('<').skip(1) {
        let (tag, behind) = piece.split_once('>').unwrap();
        let within_line =
            ["strong", "/strong", "span", "/span"].iter().any(|name| tag.split(' ').next() == Some(name));
        text.push_str(if within_line { "" } else { " " });
        text.push_str(behind);
    }
    let text = text.replace('\u{a0}', " ").replace("&lt;", "<").replace("&gt;", ">").replace("&#8217;", "'");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every tag is closed in its turn, every attribute is quoted and stands once, and no text holds a bare `<`, `>`
/// or `&`.
fn check_tags(page: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    while let Some(start) = rest.find('<') {
        check_text(&rest[..start])?;
        let end =
            tag_end(&rest[start..]).ok_or_else(|| format!("unclosed tag: {:.80}", &rest[start..]))? + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let opened = open.pop();
            if opened != Some(name) {
                return Err(format!("</{name}> closes {opened:?}"));
            }
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        check_attributes(tag[name.len()..].trim_end_matches('/'))?;
        if matches!(name, "style" | "script") {
            let (_, behind) = rest.split_once(&format!("</{name}>")).ok_or("unclosed raw text")?;
            rest = behind;
        } else if !tag.ends_with('/') && !matches!(name, "meta" | "link") {
            open.push(name);
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("never closed: {open:?}")) }
}

fn tag_end(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == '>' && !quoted).then_some(at)
    })
}

fn check_text(text: &str) -> Result<(), String> {
    let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#"];
    let bare =
        text.match_indices('&').find(|(at, _)| !known.iter().any(|entity| text[*at..].starts_with(entity)));
    if text.contains('>') || bare.is_some() { Err(format!("bare character in {text:?}")) } else { Ok(()) }
}

fn check_attributes(text: &str) -> Result<(), String> {
    let mut names = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once("=\"").ok_or_else(|| format!("unquoted: {rest:?}"))?;
        let (value, behind) = behind.split_once('"').ok_or_else(|| format!("unended: {rest:?}"))?;
        check_text(value)?;
        if value.contains('<')
            || names.contains(&name)
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        {
            return Err(format!("attribute {name:?} in {text:?}"));
        }
        names.push(name);
        rest = behind.trim_start();
    }
    Ok(())
}

fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let (_, behind) = tag.split_once(&format!(" {name}=\"")).unwrap();
    behind.split_once('"').unwrap().0
}

/// The numbers of a path, each with whether it goes across (`x`) or down (`y`).
fn coordinates(path: &str) -> Vec<(char, f64)> {
    let mut found = Vec::new();
    let starts = path.char_indices().filter(|(_, c)| c.is_ascii_alphabetic()).map(|(at, _)| at);
    let starts: Vec<usize> = starts.chain([path.len()]).collect();
    for command in starts.windows(2).map(|pair| &path[pair[0]..pair[1]]) {
        let directions = match &command[..1] {
            "H" => "x",
            "V" => "y",
            _ => "xy",
        };
        let numbers = command[1..].split_whitespace().map(|number| number.parse::<f64>().unwrap());
        found.extend(directions.chars().zip(numbers));
    }
    found
}
