//! Suites as a runner sees them: this program runs itself as a small suite and reads what it prints.

use std::{
    env,
    process::{Command, ExitCode},
    sync::mpsc::sync_channel,
    time::Duration,
};

use testkit::{Backend, Failed, Scratch, Setup, Suite};

/// Set in the child: which suite it is.
const SUITE: &str = "TESTKIT_SUITE";

fn main() -> ExitCode {
    match env::var(SUITE).as_deref() {
        Ok("bad") => bad(&["panics", "errs"], Duration::from_secs(60)),
        Ok("hanging") => bad(&["hangs"], Duration::from_millis(50)),
        Ok(_) => good(),
        Err(_) => Suite::new(CHECKS.to_vec(), |check| check.0)
            .on(Backend::Memory, Setup::compiled(|check: &Check, _| (check.1)()))
            .main(),
    }
}

/// Two cases: one that runs everywhere, and one that memory cannot pass.
fn good() -> ExitCode {
    let gate = |case: &&str| if *case == "survives" { Err("durable") } else { Ok(()) };
    Suite::new(vec!["counts", "survives"], |case| case)
        .on(Backend::Memory, Setup::compiled(|_, _| Ok(())).gated_by(gate))
        .on(Backend::Redis, Setup::compiled(|_, url| expect("redis://explicit:1", url)))
        .on(
            Backend::Valkey,
            Setup::compiled(|_, program| expect("/bin/own", program)).at(Ok("/bin/own".into())),
        )
        .on(Backend::Kafka, Setup::not_compiled("kafka"))
        .main()
}

/// Cases that fail.
fn bad(cases: &[&'static str], deadline: Duration) -> ExitCode {
    let run = |case: &&str, _: &str| match *case {
        "panics" => panic!("told to"),
        "hangs" => {
            let (_hold, forever) = sync_channel::<()>(0);
            Ok(forever.recv()?)
        }
        _ => Err("no good".into()),
    };
    Suite::new(cases.to_vec(), |case| case)
        .on(Backend::Memory, Setup::compiled(run))
        .deadline(deadline)
        .main()
}

fn expect(wanted: &str, got: &str) -> Result<(), Failed> {
    if got == wanted { Ok(()) } else { Err(format!("got {got}, not {wanted}").into()) }
}

#[derive(Clone, Copy)]
struct Check(&'static str, fn() -> Result<(), Failed>);

const CHECKS: &[Check] = &[
    Check("a_missing_server_is_ignored_with_the_reason", || {
        let run = Run::of("good", &[], &[])?;
        run.exits(0)?;
        run.prints("[memory] counts ... ok")?;
        run.prints("[redis] counts ... ignored (not running: scripts/backends up redis)")?;
        run.prints("[kafka] counts ... ignored (not compiled in: --features kafka)")?;
        run.prints("3 passed; 0 failed; 5 ignored")?;
        run.prints("redis 0 of 2 cases: not running: scripts/backends up redis")
    }),
    Check("a_required_server_that_is_missing_is_a_failure", || {
        let run = Run::of("good", &[], &[("REQUIRE_BACKENDS", "memory,redis")])?;
        run.exits(101)?;
        run.prints("[redis] counts ... FAILED")?;
        run.prints("required by REQUIRE_BACKENDS, but not running: scripts/backends up redis")?;
        run.prints("[kafka] counts ... ignored")?;
        run.prints("3 passed; 2 failed; 3 ignored")
    }),
    Check("a_required_backend_that_is_not_compiled_in_is_a_failure", || {
        let run = Run::of("good", &[], &[("REQUIRE_BACKENDS", "kafka")])?;
        run.exits(101)?;
        run.prints("required by REQUIRE_BACKENDS, but not compiled in: --features kafka")
    }),
    Check("an_unknown_required_name_is_an_error_that_names_the_known", || {
        let run = Run::of("good", &[], &[("REQUIRE_BACKENDS", "redis,postgres")])?;
        run.exits(2)?;
        run.prints("error: REQUIRE_BACKENDS: unknown backend \"postgres\": known are memory, redis, valkey")
    }),
    Check("a_gated_case_is_ignored_even_where_required_and_summed_up", || {
        let run = Run::of("good", &["[memory]"], &[("REQUIRE_BACKENDS", "memory")])?;
        run.exits(0)?;
        run.prints("[memory] survives ... ignored (needs durable)")?;
        run.prints("memory 1 of 2 cases, gated: survives (needs durable)")
    }),
    Check("an_explicit_url_is_what_the_case_gets", || {
        let run = Run::of("good", &["[redis]"], &[("REDIS_TEST_URL", "redis://explicit:1")])?;
        run.exits(0)?;
        run.prints("2 passed; 0 failed; 0 ignored")?;
        // Whoever names a server wants it used: were it not there, that would be no reason to ignore.
        let run = Run::of("good", &["[redis]"], &[("REDIS_TEST_URL", "redis://other:1")])?;
        run.exits(101)?;
        run.prints("got redis://other:1, not redis://explicit:1")
    }),
    Check("listing_runners_are_told_what_is_ignored", || {
        let run = Run::of("good", &["--list", "--ignored"], &[])?;
        run.exits(0)?;
        let lists = |name| run.prints(name);
        ["[redis] counts: test", "[kafka] survives: test", "[memory] survives: test"]
            .into_iter()
            .try_for_each(lists)?;
        if run.output.contains("[memory] counts") {
            return Err(format!("lists what would run: {}", run.output).into());
        }
        let run = Run::of("good", &["--include-ignored"], &[])?;
        run.exits(101)?;
        run.prints("3 passed; 4 failed; 1 ignored")
    }),
    Check("a_panic_an_error_and_a_hang_are_failures", || {
        let run = Run::of("bad", &[], &[])?;
        run.exits(101)?;
        run.prints("test panicked: told to")?;
        run.prints("no good")?;
        run.prints("0 passed; 2 failed")?;
        let run = Run::of("hanging", &[], &[])?;
        run.exits(101)?;
        run.prints("no result within 50ms")
    }),
];

/// A finished child.
struct Run {
    code: Option<i32>,
    /// Both streams, runs of spaces as one.
    output: String,
}

impl Run {
    /// Where nothing has been started, and with no variables but these.
    fn of(suite: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Self, Failed> {
        let home = Scratch::new()?;
        let mut command = Command::new(env::current_exe()?);
        for backend in Backend::ALL {
            command.env_remove(backend.url_variable());
        }
        command.env_remove("REQUIRE_BACKENDS").env("BACKENDS_HOME", home.path()).env(SUITE, suite);
        let done = command.args(arguments).envs(variables.iter().copied()).output()?;
        let text =
            [done.stdout, done.stderr].map(|stream| String::from_utf8_lossy(&stream).into_owned()).concat();
        Ok(Self {
            code: done.status.code(),
            output: text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "),
        })
    }

    fn exits(&self, code: i32) -> Result<(), Failed> {
        if self.code == Some(code) {
            Ok(())
        } else {
            Err(format!("exit {:?}: {}", self.code, self.output).into())
        }
    }

    fn prints(&self, text: &str) -> Result<(), Failed> {
        if self.output.contains(text) {
            Ok(())
        } else {
            Err(format!("no {text:?} in: {}", self.output).into())
        }
    }
}
