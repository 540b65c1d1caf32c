use clock::{Clock, PreciseClock, Time};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    process::cpu_seconds,
    recorder::{Recorder, Records, Totals, add, histogram},
};

/// What happened in one interval of the run, for plots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// End of the interval: seconds from the start of the measured phase.
    pub at_s: f64,
    /// Operations finished in it, a second.
    pub ops_per_s: f64,
    /// Operations of each class, in the order of the report's classes.
    pub counts: Vec<u64>,
    /// Median, 99th percentile and maximum: nanoseconds of response time in an open loop, of service
    /// time in a closed one.
    pub p50_ns: u64,
    /// See `p50_ns`.
    pub p99_ns: u64,
    /// See `p50_ns`.
    pub max_ns: u64,
}

/// Sums over many short intervals, for comparing two runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Length of each interval, in seconds.
    pub seconds: Vec<f64>,
    /// Operations finished in each.
    pub operations: Vec<u64>,
    /// Mean latency of each, in nanoseconds; zero where none was timed.
    pub mean_ns: Vec<f64>,
    /// Processor time of this process in each, in seconds: where neighbours take the processor away,
    /// operations by processor time vary far less than operations by time.
    pub cpu_s: Vec<f64>,
}

impl Series {
    /// Above this many intervals, neighbours are merged: a report has a bounded size.
    const MOST: usize = 2_048;

    fn push(&mut self, seconds: f64, operations: u64, mean_ns: f64, cpu_s: f64) {
        self.seconds.push(seconds);
        self.operations.push(operations);
        self.mean_ns.push(mean_ns);
        self.cpu_s.push(cpu_s);
        if self.seconds.len() >= Self::MOST {
            self.merge_neighbours();
        }
    }

    fn merge_neighbours(&mut self) {
        let merged = Self {
            seconds: self.seconds.chunks(2).map(|pair| pair.iter().sum()).collect(),
            cpu_s: self.cpu_s.chunks(2).map(|pair| pair.iter().sum()).collect(),
            operations: self.operations.chunks(2).map(|pair| pair.iter().sum()).collect(),
            mean_ns: (self.mean_ns.chunks(2).zip(self.operations.chunks(2)))
                .map(|(means, counts)| {
                    let sum: f64 = means.iter().zip(counts).map(|(mean, count)| mean * *count as f64).sum();
                    sum / (counts.iter().sum::<u64>() as f64).max(1.0)
                })
                .collect(),
        };
        *self = merged;
    }
}

/// Takes the records out of a [`Recorder`] at intervals, and adds them up.
#[derive(Debug)]
pub(crate) struct Sampler {
    clock: PreciseClock,
    start: Time,
    /// Everything since the start.
    pub(crate) total: Records,
    pub(crate) timeline: Vec<Sample>,
    pub(crate) series: Series,
    interval: Records,
    spare: Records,
    interval_start: Time,
    step_start: Time,
    /// When the last step ended.
    pub(crate) totals: Totals,
    second: Second,
    /// When the last step ended.
    cpu_seconds: f64,
}

/// What the display shows: the last second or so.
#[derive(Debug)]
pub(crate) struct Second {
    pub(crate) operations: u64,
    pub(crate) start: Time,
    pub(crate) latency: Histogram<u64>,
}

impl Sampler {
    pub(crate) fn new(clock: PreciseClock, classes: usize) -> Self {
        let start = clock.now();
        Self {
            clock,
            start,
            total: Records::new(classes),
            timeline: Vec::new(),
            series: Series::default(),
            interval: Records::new(classes),
            spare: Records::new(classes),
            interval_start: start,
            step_start: start,
            totals: Totals::default(),
            second: Second { operations: 0, start, latency: histogram() },
            cpu_seconds: cpu_seconds(),
        }
    }

    /// Ends a step of the series, and an interval of the timeline when it is time.
    pub(crate) fn step(&mut self, recorder: &Recorder) {
        let now = self.clock.now();
        self.end_step(now, recorder.totals());
        if now.since(self.interval_start).as_secs_f64() >= self.interval_seconds(now) {
            self.end_interval(now, recorder);
        }
    }

    /// Takes the last records.
    pub(crate) fn finish(&mut self, recorder: &Recorder) {
        let now = self.clock.now();
        self.end_step(now, recorder.totals());
        // A moment after the last interval in which nothing ended is not a pause.
        if self.timeline.is_empty() || recorder.any_left() {
            self.end_interval(now, recorder);
        }
    }

    /// What happened since this was last asked for.
    pub(crate) fn second(&mut self) -> Second {
        let next = Second { operations: 0, start: self.clock.now(), latency: histogram() };
        std::mem::replace(&mut self.second, next)
    }

    /// Tenths of a second at first, then seconds, then longer, so that a timeline stays short.
    fn interval_seconds(&self, now: Time) -> f64 {
        let elapsed = now.since(self.start).as_secs_f64();
        if elapsed < 10.0 { 0.1 } else { 10_f64.powf((elapsed / 1_000.0).max(1.0).log10().floor()) }
    }

    fn end_step(&mut self, now: Time, totals: Totals) {
        let before = std::mem::replace(&mut self.totals, totals);
        let seconds = now.since(self.step_start).as_secs_f64();
        self.step_start = now;
        let timed = totals.timed - before.timed;
        let nanos = match totals.response_nanos - before.response_nanos {
            0 => totals.service_nanos - before.service_nanos,
            response => response,
        };
        let mean = if timed == 0 { 0.0 } else { nanos as f64 / timed as f64 };
        if seconds > 0.0 {
            let cpu = cpu_seconds();
            self.series.push(seconds, totals.operations - before.operations, mean, cpu - self.cpu_seconds);
            self.cpu_seconds = cpu;
        }
    }

    fn end_interval(&mut self, now: Time, recorder: &Recorder) {
        recorder.take(&mut self.spare, &mut self.interval);
        let operations = self.interval.count();
        let latency = self.interval.response().unwrap_or_else(|| self.interval.service());
        let seconds = now.since(self.interval_start).as_secs_f64();
        self.timeline.push(Sample {
            at_s: now.since(self.start).as_secs_f64(),
            ops_per_s: if seconds > 0.0 { operations as f64 / seconds } else { 0.0 },
            counts: self.interval.classes.iter().map(|class| class.as_ref().map_or(0, |c| c.count)).collect(),
            p50_ns: latency.value_at_quantile(0.5),
            p99_ns: latency.value_at_quantile(0.99),
            max_ns: latency.max(),
        });
        self.second.operations += operations;
        add(&mut self.second.latency, &latency);
        self.total.merge(&self.interval);
        self.interval.clear();
        self.interval_start = now;
    }
}
