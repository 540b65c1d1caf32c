//! The published schema describes what is written, neither more nor less.

use std::collections::BTreeSet;

use bench::{
    Amount, BoxError, Class, ClassKind, Config, Invariant, Machine, Outcome, Pacing, Progress, Report, Rng,
    RunFacts, SCHEMA_VERSION, Workload, calibrate, run,
};
use clock::PreciseClock;
use serde_json::Value;

use crate::samples::{closed, empty, full, huge, no_numbers, zero_latencies};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../report.schema.json")).unwrap()
}

/// What is wrong with `report`, if anything.
fn faults(report: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    validator.iter_errors(report).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schema_is_a_schema() {
    jsonschema::draft202012::meta::validate(&schema()).unwrap();
}

#[test]
fn reports_are_valid_and_survive_a_round_trip() {
    for report in [full(), closed(), empty(), huge(), zero_latencies()] {
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(faults(&value), [] as [String; 0]);
        let text = serde_json::to_string_pretty(&report).unwrap();
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(read, report);
        assert_eq!(serde_json::to_string_pretty(&read).unwrap(), text);
    }
}

#[test]
fn reports_of_runs_are_valid_however_little_was_run() {
    for (requests, sample_every) in [(0, 1), (1, 1), (1, 1_000), (1_000, 64)] {
        let config = Config {
            pacing: Pacing::Closed,
            amount: Amount::Requests(requests),
            warmup: None,
            concurrency: 2,
            seed: 1,
            sample_every,
            digest: true,
            progress: Progress::Quiet,
            clock: PreciseClock::new(),
        };
        let run = run(Nothing, &config).unwrap();
        let mut report = Report::new("nothing", "1.0.0", Nothing.classes(), &config, &run, Machine::this());
        report.harness = calibrate::calibrate(&config).unwrap().with_run(&config, &run);
        report.judge(&["p99<5ms".parse().unwrap()]);
        assert_eq!(faults(&serde_json::to_value(&report).unwrap()), [] as [String; 0]);
    }
}

/// Neither a field without a description nor a description without a field.
#[test]
fn the_schema_and_a_full_report_have_the_same_fields() {
    let schema = schema();
    let mut described = BTreeSet::new();
    fields_of_schema(&schema, &schema, "", &mut described);
    let mut written = BTreeSet::new();
    fields_of_value(&serde_json::to_value(full()).unwrap(), "", &mut written);
    assert_eq!(described, written);
    assert!(described.contains("/classes/*/response/spectrum/*/ns"), "{described:?}");
}

#[test]
fn every_field_is_required_and_explained_and_no_other_is_allowed() {
    fn check(schema: &Value, place: &str) {
        if let Some(properties) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], false, "{place}");
            let required: BTreeSet<&str> =
                schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert_eq!(required, properties.keys().map(String::as_str).collect(), "{place}");
            for (name, property) in properties {
                let explained = property["description"].is_string() || property["$ref"].is_string();
                assert!(explained, "{place}/{name}");
                let has_unit =
                    |unit: &str| property["description"].as_str().is_some_and(|text| text.contains(unit));
                for (ending, unit) in
                    [("_bytes", "in bytes"), ("elapsed_s", "in seconds"), ("mean_ns", "in nanoseconds")]
                {
                    assert!(!name.ends_with(ending) || has_unit(unit), "{place}/{name}");
                }
            }
        }
    }
    let schema = schema();
    check(&schema, "");
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        check(definition, name);
    }
}

#[test]
fn whatever_is_wrong_is_found() {
    let changes: [(&str, Value); 9] = [
        ("/schema", 2.into()),
        ("/summary/ops_per_s", Value::Null),
        ("/summary/error_rate", 1.5.into()),
        ("/summary/operations", (-1).into()),
        ("/summary/input_digest", "no digest".into()),
        ("/classes/0/kind", "other".into()),
        ("/service/percentiles/0/ns", 0.5.into()),
        ("/verdict/exit_code", 7.into()),
        ("/config/seed", 1.into()),
    ];
    for (place, wrong) in changes {
        let mut report = serde_json::to_value(full()).unwrap();
        *report.pointer_mut(place).unwrap() = wrong;
        let faults = faults(&report);
        assert!(faults.iter().any(|fault| fault.starts_with(place)), "{place}: {faults:?}");
    }
    let mut report = serde_json::to_value(full()).unwrap();
    report["summary"]["latency"] = 1.into();
    assert_eq!(faults(&report).len(), 1);
}

/// A reader sees from the version alone that it does not know a form.
#[test]
fn the_version_is_that_of_the_code_and_can_be_read_from_any_form() {
    assert_eq!(schema()["properties"]["schema"]["const"], SCHEMA_VERSION);
    assert_eq!(schema()["$id"], format!("urn:bench:report:{SCHEMA_VERSION}"));
    for other in [0, SCHEMA_VERSION + 1] {
        let mut report = serde_json::to_value(full()).unwrap();
        report["schema"] = other.into();
        let faults = faults(&report);
        assert!(faults[0].starts_with("/schema: "), "{faults:?}");
        let read: Report = serde_json::from_value(report).unwrap();
        assert_eq!(read.schema, other);
    }
}

/// JSON has no word for it; what is written instead is neither valid nor read back as a number.
#[test]
fn a_figure_that_is_no_number_does_not_pass_for_one() {
    let value = serde_json::to_value(no_numbers()).unwrap();
    let faults = faults(&value);
    for place in ["/summary/ops_per_s", "/ceilings/0/ops_per_s", "/service/mean_ns", "/harness/noop_ns"] {
        assert!(faults.iter().any(|fault| fault.starts_with(place)), "{place}: {faults:?}");
    }
    serde_json::from_value::<Report>(value).unwrap_err();
}

fn fields_of_schema(root: &Value, schema: &Value, place: &str, fields: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        fields_of_schema(root, target, place, fields);
    }
    for option in schema["anyOf"].as_array().into_iter().flatten() {
        fields_of_schema(root, option, place, fields);
    }
    if schema["items"].is_object() {
        fields_of_schema(root, &schema["items"], &format!("{place}/*"), fields);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{place}/{name}");
        fields.insert(place.clone());
        fields_of_schema(root, property, &place, fields);
    }
}

fn fields_of_value(value: &Value, place: &str, fields: &mut BTreeSet<String>) {
    match value {
        // The names of flags are the binary's own.
        Value::Object(_) if place == "/config" => {}
        Value::Object(members) => {
            for (name, member) in members {
                let place = format!("{place}/{name}");
                fields.insert(place.clone());
                fields_of_value(member, &place, fields);
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| fields_of_value(item, &format!("{place}/*"), fields));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

struct Nothing;

impl Workload for Nothing {
    type Worker = ();
    type Input = ();
    type Output = ();

    fn classes(&self) -> &'static [Class] {
        &[Class { name: "done", kind: ClassKind::Success }, Class { name: "never", kind: ClassKind::Error }]
    }

    async fn worker(&self, _id: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn input(&self, _index: u64, _rng: &mut Rng) {}

    async fn op(&self, (): &mut (), (): &()) {}

    fn settle(&self, (): &mut (), (): (), (): ()) -> Outcome {
        Outcome::Class(0)
    }

    fn verify(&self, _run: &RunFacts) -> Vec<Invariant> {
        Vec::new()
    }
}
