use std::{collections::HashSet, fmt, io::Write, process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Completion, Failed, FormatSetting, Trial};

use crate::{Backend, wait};

/// Every case of a suite, for every backend, as trials named `[backend] case`.
///
/// A trial whose backend is not compiled in or not running is listed as ignored, with the reason, and
/// fails when `REQUIRE_BACKENDS` names that backend. A trial whose case the backend cannot pass by its
/// capability is listed as ignored either way, and named again at the end. So nothing that did not
/// run looks as if it passed. Filters are those of the standard harness: `-- '[redis]'`.
///
/// This is the whole of a pattern's `tests/conformance.rs`, with `harness = false` in its manifest:
///
/// ```no_run
/// # mod conformance {
/// #     // Stands for the public module of a pattern crate, whose `run` takes its store and is async.
/// #     pub struct Case { pub name: &'static str, pub needs: fn(&Capability) -> Result<(), &'static str>, pub run: fn(&str) }
/// #     pub struct Capability { pub durable: bool }
/// #     pub const MEMORY: Capability = Capability { durable: false };
/// #     pub fn cases() -> Vec<Case> { vec![
/// #         Case { name: "counts", needs: |_| Ok(()), run: |_| () },
/// #         Case { name: "survives_a_restart", needs: |c| if c.durable { Ok(()) } else { Err("durable") }, run: |_| () },
/// #     ] }
/// # }
/// use std::process::ExitCode;
///
/// use conformance::Case;
/// use testkit::{Backend, Setup, Suite};
///
/// fn main() -> ExitCode {
///     Suite::new(conformance::cases(), |case| case.name)
///         .on(Backend::Memory, memory())
///         .on(Backend::Redis, redis())
///         .on(Backend::RedisCluster, redis())
///         .main()
/// }
///
/// fn memory() -> Setup<Case> {
///     Setup::compiled(|case: &Case, _url| {
///         (case.run)("a fresh store"); // block_on((case.run)(Arc::new(Memory::new())))
///         Ok(())
///     })
///     .gated_by(|case| (case.needs)(&conformance::MEMORY))
/// }
///
/// #[cfg(feature = "redis")]
/// fn redis() -> Setup<Case> {
///     Setup::compiled(|case: &Case, url| {
///         (case.run)(url); // block_on(async { (case.run)(Arc::new(connect(url).await?)).await; Ok(()) })
///         Ok(())
///     })
/// }
///
/// #[cfg(not(feature = "redis"))]
/// fn redis() -> Setup<Case> {
///     Setup::not_compiled("redis")
/// }
/// ```
pub struct Suite<C> {
    cases: Arc<Vec<C>>,
    name: fn(&C) -> &'static str,
    rows: Vec<Row<C>>,
    deadline: Duration,
}

/// The trials of one backend.
struct Row<C> {
    backend: Backend,
    setup: Setup<C>,
    cases: Arc<Vec<C>>,
    name: fn(&C) -> &'static str,
}

/// How the cases of a [`Suite`] run on one backend, or why they cannot.
pub struct Setup<C> {
    target: Target,
    gate: Box<Gate<C>>,
    run: Arc<Run<C>>,
}

type Gate<C> = dyn Fn(&C) -> Result<(), &'static str>;
type Run<C> = dyn Fn(&C, &str) -> Result<(), Failed> + Send + Sync;

enum Target {
    /// The server of the backend, where there is one.
    Shared,
    /// A URL or a program that the test file found, or the reason why not.
    Found(Result<String, String>),
}

impl<C: 'static> Setup<C> {
    /// The backend is not compiled into this test, since `feature` is off.
    #[must_use]
    pub fn not_compiled(feature: &str) -> Self {
        Self::compiled(|_, _| Err("not compiled in".into()))
            .at(Err(format!("not compiled in: --features {feature}")))
    }

    /// `run` gets a case and the URL of the server, on a thread of its own. A panic is a failure, as
    /// is an `Err`; a runtime, if it needs one, is for `run` to start.
    pub fn compiled(run: impl Fn(&C, &str) -> Result<(), Failed> + Send + Sync + 'static) -> Self {
        Self { target: Target::Shared, gate: Box::new(|_| Ok(())), run: Arc::new(run) }
    }

    /// Lists a case as ignored where `gate` names a capability that it needs and the backend lacks.
    #[must_use]
    pub fn gated_by(mut self, gate: impl Fn(&C) -> Result<(), &'static str> + 'static) -> Self {
        self.gate = Box::new(gate);
        self
    }

    /// Runs on what `found` says instead of on the server of [`Backend::locate`]: for tests that start
    /// servers of their own from a program that may be missing. What is not compiled in stays so.
    #[must_use]
    pub fn at(mut self, found: Result<String, String>) -> Self {
        if matches!(self.target, Target::Shared) {
            self.target = Target::Found(found);
        }
        self
    }
}

impl<C: Send + Sync + 'static> Suite<C> {
    /// A suite of `cases`, each with a name of its own in snake case.
    ///
    /// # Panics
    ///
    /// When two cases have the same name.
    pub fn new(cases: Vec<C>, name: fn(&C) -> &'static str) -> Self {
        let mut names = HashSet::new();
        for case in &cases {
            assert!(names.insert(name(case)), "two cases are named {}", name(case));
        }
        Self { cases: Arc::new(cases), name, rows: Vec::new(), deadline: Duration::from_secs(60) }
    }

    /// Adds the trials of every case on `backend`.
    #[must_use]
    pub fn on(mut self, backend: Backend, setup: Setup<C>) -> Self {
        self.rows.push(Row { backend, setup, cases: Arc::clone(&self.cases), name: self.name });
        self
    }

    /// Adds the trials of another suite, for cases that only some backends have.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self
    }

    /// Lets a trial take this long; 60 s unless said. One that takes longer fails instead of hanging.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs the trials as the arguments of the process say; the body of `main`.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let arguments = Arguments::from_args();
        let required = match Backend::required() {
            Ok(required) => required,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "error: {error}");
                return ExitCode::from(2);
            }
        };
        let (trials, summary) = self.trials(&arguments, &required);
        let conclusion = libtest_mimic::run(&arguments, trials);
        if !arguments.list && arguments.format != Some(FormatSetting::Json) {
            let _ = std::io::stdout().write_all(summary.as_bytes());
        }
        conclusion.exit_code()
    }

    fn trials(self, arguments: &Arguments, required: &[Backend]) -> (Vec<Trial>, String) {
        let (mut trials, mut summary) = (Vec::new(), String::new());
        for Row { backend, setup, cases, name } in self.rows {
            let target = match setup.target {
                Target::Shared => backend.locate(),
                Target::Found(found) => found,
            };
            let mut gated = Vec::new();
            for (i, case) in cases.iter().enumerate() {
                let name = name(case);
                let plan = match (&target, (setup.gate)(case)) {
                    (_, Err(need)) => {
                        gated.push(format!("{name} (needs {need})"));
                        Plan::Gated(need)
                    }
                    (Ok(target), Ok(())) => {
                        let (cases, run, target) =
                            (Arc::clone(&cases), Arc::clone(&setup.run), target.clone());
                        Plan::Run(Box::new(move || run(&cases[i], &target)))
                    }
                    (Err(reason), Ok(())) => {
                        Plan::Missing { reason: reason.clone(), required: required.contains(&backend) }
                    }
                };
                trials.push(plan.trial(backend, name, arguments, self.deadline));
            }
            let total = cases.len();
            let ran = total - gated.len();
            summary += &match &target {
                Err(reason) => format!("{backend:<15}0 of {total} cases: {reason}\n"),
                Ok(_) if gated.is_empty() => format!("{backend:<15}{total} of {total} cases\n"),
                Ok(_) => format!("{backend:<15}{ran} of {total} cases, gated: {}\n", gated.join(", ")),
            };
        }
        (trials, format!("cases that each backend can run here:\n{summary}\n"))
    }
}

/// What becomes of one case on one backend.
enum Plan {
    Run(Box<dyn FnOnce() -> Result<(), Failed> + Send>),
    Gated(&'static str),
    Missing { reason: String, required: bool },
}

impl Plan {
    fn trial(self, backend: Backend, name: &str, arguments: &Arguments, deadline: Duration) -> Trial {
        let asked_for = arguments.ignored || arguments.include_ignored;
        // The flag is for runners that list before they run. Without it the harness shows the reason.
        let ignored = match &self {
            Self::Run(_) => false,
            Self::Gated(_) => true,
            Self::Missing { required, .. } => !required,
        };
        let flag = ignored && (arguments.list || arguments.ignored);
        let thread = format!("[{backend}] {name}");
        let outcome = move || match self {
            Self::Run(run) => wait::within(deadline, &thread, run).map(|()| Completion::Completed),
            Self::Gated(need) => Ok(Completion::ignored_with(format!("needs {need}"))),
            Self::Missing { reason, required: true } => {
                Err(format!("required by REQUIRE_BACKENDS, but {reason}").into())
            }
            Self::Missing { reason, .. } if asked_for => Err(reason.into()),
            Self::Missing { reason, .. } => Ok(Completion::ignored_with(reason)),
        };
        Trial::ignorable_test(name, outcome).with_kind(backend.name()).with_ignored_flag(flag)
    }
}

impl<C> fmt::Debug for Suite<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backends: Vec<_> = self.rows.iter().map(|row| row.backend).collect();
        f.debug_struct("Suite").field("cases", &self.cases.len()).field("backends", &backends).finish()
    }
}

impl<C> fmt::Debug for Setup<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Shared => f.write_str("Setup(shared server)"),
            Target::Found(found) => f.debug_tuple("Setup").field(found).finish(),
        }
    }
}
