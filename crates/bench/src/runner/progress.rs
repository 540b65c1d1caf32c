//! What is shown of a run that is under way.

use std::{
    io::{self, Write},
    time::Duration,
};

use clock::{Clock, PreciseClock, Time};

use crate::{
    Class, Progress,
    format::{grouped, nanos, quantity},
    sampler::Sampler,
};

/// What the run is to reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    pub(super) operations: u64,
    pub(super) duration: Option<Duration>,
}

/// Shows progress once a second.
pub(super) struct Display {
    progress: Progress,
    goal: Goal,
    clock: PreciseClock,
    start: Time,
    shown: Time,
    /// Lines of the block that stands on the terminal.
    height: usize,
}

impl Display {
    pub(super) fn new(progress: Progress, goal: Goal) -> Self {
        let clock = PreciseClock::new();
        let start = clock.now();
        Self { progress, goal, clock, start, shown: start, height: 0 }
    }

    pub(super) fn step(&mut self, sampler: &mut Sampler, classes: &[Class]) {
        const INTERVAL: Duration = Duration::from_secs(1);
        let now = self.clock.now();
        if self.progress == Progress::Quiet || now.since(self.shown) < INTERVAL {
            return;
        }
        self.shown = now;
        let view = View::new(sampler, classes, self.goal, now.since(self.start), &self.clock);
        // A closed standard error must not end the run.
        let _ = match self.progress {
            Progress::Terminal => self.redraw(&view.block()),
            Progress::Lines => writeln!(io::stderr(), "{}", view.line()),
            Progress::Quiet => Ok(()),
        };
    }

    /// Takes the block off the terminal.
    pub(super) fn finish(&mut self) {
        let _ = self.redraw("");
    }

    fn redraw(&mut self, block: &str) -> io::Result<()> {
        if self.height == 0 && block.is_empty() {
            return Ok(());
        }
        let mut out = io::stderr().lock();
        if self.height > 0 {
            // Up to the first line of the old block, and clear from there.
            write!(out, "\x1b[{}A\r\x1b[J", self.height)?;
        }
        self.height = block.lines().count();
        out.write_all(block.as_bytes())?;
        out.flush()
    }
}

/// One look at a run.
struct View {
    elapsed: Duration,
    done: u64,
    share: f64,
    ops_per_s: f64,
    mean_per_s: f64,
    latency: Option<[u64; 3]>,
    classes: Vec<(&'static str, u64)>,
}

impl View {
    fn new(
        sampler: &mut Sampler,
        classes: &[Class],
        goal: Goal,
        elapsed: Duration,
        clock: &PreciseClock,
    ) -> Self {
        let second = sampler.second();
        let done = sampler.totals.operations;
        let share = match goal.duration {
            Some(duration) => elapsed.as_secs_f64() / duration.as_secs_f64().max(f64::MIN_POSITIVE),
            None => (done + sampler.totals.dropped) as f64 / goal.operations.max(1) as f64,
        };
        let seconds = clock.now().since(second.start).as_secs_f64();
        let latency = &second.latency;
        let counts = sampler.total.classes.iter().map(|class| class.as_ref().map_or(0, |class| class.count));
        Self {
            elapsed,
            done,
            share: share.clamp(0.0, 1.0),
            ops_per_s: second.operations as f64 / seconds.max(1e-9),
            mean_per_s: done as f64 / elapsed.as_secs_f64().max(1e-9),
            latency: (!latency.is_empty())
                .then(|| [latency.value_at_quantile(0.5), latency.value_at_quantile(0.99), latency.max()]),
            classes: classes.iter().map(|class| class.name).zip(counts).collect(),
        }
    }

    fn line(&self) -> String {
        format!(
            "{:>6.1} s  {:>5.1} %  {:>14} done  {:>9}/s  {}  {}",
            self.elapsed.as_secs_f64(),
            100.0 * self.share,
            grouped(self.done),
            quantity(self.ops_per_s),
            self.latency_text(),
            self.classes_text(),
        )
    }

    fn block(&self) -> String {
        const WIDTH: usize = 40;
        let filled = (self.share * WIDTH as f64) as usize;
        format!(
            "  [{}{}] {:.1} %  {:.0} s\n  {} done, {}/s now, {}/s on average\n  last second: {}\n  {}\n",
            "#".repeat(filled),
            "-".repeat(WIDTH - filled),
            100.0 * self.share,
            self.elapsed.as_secs_f64(),
            grouped(self.done),
            quantity(self.ops_per_s),
            quantity(self.mean_per_s),
            self.latency_text(),
            self.classes_text(),
        )
    }

    fn latency_text(&self) -> String {
        match self.latency {
            None => "no operation ended".to_owned(),
            Some([p50, p99, max]) => {
                format!("p50 {}, p99 {}, max {}", nanos(p50 as f64), nanos(p99 as f64), nanos(max as f64))
            }
        }
    }

    fn classes_text(&self) -> String {
        let shown: Vec<String> =
            self.classes.iter().map(|(name, count)| format!("{name} {}", grouped(*count))).collect();
        shown.join(", ")
    }
}
