use std::{fmt, hint::black_box};

use serde::Serialize;

use crate::{
    CaseReport, Effort, Inputs, Outcome, WrongOutcome,
    report::SubjectReport,
    slot::{self, BLOCK},
};

/// What a subject is to a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A pattern of ours, held to the bar.
    Ours,
    /// What the bar is measured by: the fastest of these.
    Rival,
    /// Shown beside.
    Other,
}

/// One of those that are compared.
pub struct Subject<K> {
    pub(crate) name: String,
    role: Role,
    count_allowed: Box<CountAllowed<K>>,
}

/// Asks for each key, and counts how many were allowed.
type CountAllowed<K> = dyn Fn(&[K]) -> usize + Sync;

impl<K> Subject<K> {
    /// Compares `allows`, which decides on one key. It is compiled into a loop of its own.
    pub fn new(name: &str, role: Role, allows: impl Fn(&K) -> bool + Sync + 'static) -> Self {
        let count_allowed =
            move |keys: &[K]| keys.iter().map(|key| usize::from(black_box(allows(black_box(key))))).sum();
        Self { name: name.to_owned(), role, count_allowed: Box::new(count_allowed) }
    }

    pub(crate) fn count_allowed(&self, keys: &[K]) -> usize {
        (self.count_allowed)(keys)
    }
}

impl<K> fmt::Debug for Subject<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Subjects under the same circumstances.
#[derive(Debug)]
pub struct Case<'a, K> {
    /// The circumstances.
    pub name: String,
    /// What is asked.
    pub inputs: &'a Inputs<K>,
    /// What every answer must be.
    pub outcome: Outcome,
    /// Those that are asked.
    pub subjects: Vec<Subject<K>>,
    /// The most that ours may take, as a multiple of the fastest rival's time.
    pub bar: Option<f64>,
}

impl<K: Clone + Sync> Case<'_, K> {
    /// Measures all subjects, in turn within each round, and each round from another one on.
    ///
    /// # Errors
    ///
    /// When a subject did anything but the expected.
    pub fn run(&self, effort: Effort) -> Result<CaseReport, WrongOutcome> {
        for subject in &self.subjects {
            // Each key is known from here on, and its quota used up where it is one token, or two.
            for _ in 0..2 {
                self.inputs.keys().chunks(BLOCK).for_each(|keys| _ = subject.count_allowed(keys));
            }
        }
        let count = self.subjects.len();
        let mut nanos = vec![Vec::with_capacity(effort.rounds); count];
        for round in 0..effort.rounds {
            for turn in 0..count {
                let place = (round + turn) % count;
                nanos[place].push(slot::measure(&self.subjects[place], self.inputs, self.outcome, effort)?);
            }
        }
        let subjects = self.subjects.iter().zip(nanos).map(|(subject, nanos)| SubjectReport {
            name: subject.name.clone(),
            role: subject.role,
            nanos,
        });
        Ok(CaseReport { name: self.name.clone(), bar: self.bar, subjects: subjects.collect() })
    }
}
