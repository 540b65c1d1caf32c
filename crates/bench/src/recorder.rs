use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};

/// Latencies in nanoseconds, from 1 ns to an hour, to three significant digits, in 264 KB.
pub(crate) fn histogram() -> Histogram<u64> {
    const HOUR: u64 = 3_600_000_000_000;
    Histogram::new_with_bounds(1, HOUR, 3).unwrap_or_else(|error| unreachable!("constant bounds: {error}"))
}

/// One finished operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) class: u8,
    pub(crate) timing: Option<Timing>,
}

/// Nanoseconds of one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// From its start to its end.
    pub(crate) service: u64,
    /// From when it was due to its end; in a closed loop nothing is due.
    pub(crate) response: Option<u64>,
}

/// Where workers leave their records: a few shards, so that memory does not grow with workers and
/// locks are hardly ever contended.
#[derive(Debug)]
pub(crate) struct Recorder {
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug)]
struct Shard {
    /// Since the start.
    totals: Totals,
    /// Since they were last taken.
    records: Records,
}

/// Records by class of outcome.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) classes: Vec<Option<Box<ClassRecord>>>,
}

/// What is cheap enough to be read a hundred times a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) operations: u64,
    /// Operations among them that were timed.
    pub(crate) timed: u64,
    pub(crate) service_nanos: u64,
    pub(crate) response_nanos: u64,
    /// Operations that started when they were due.
    pub(crate) on_schedule: u64,
    /// Operations that were not started because they were due too long ago.
    pub(crate) dropped: u64,
}

/// One class of outcomes.
#[derive(Clone, Debug)]
pub(crate) struct ClassRecord {
    pub(crate) count: u64,
    pub(crate) service: Histogram<u64>,
    /// Allocated in an open loop only.
    pub(crate) response: Option<Histogram<u64>>,
    pub(crate) messages: Vec<Box<str>>,
}

/// How many messages of a class are kept.
const MESSAGES: usize = 3;

impl Recorder {
    pub(crate) fn new(shards: usize, classes: usize) -> Self {
        let shard = || Mutex::new(Shard { totals: Totals::default(), records: Records::new(classes) });
        Self { shards: (0..shards).map(|_| shard()).collect() }
    }

    /// Adds a worker's records.
    pub(crate) fn add(&self, worker: usize, records: &[Record]) {
        let mut shard = self.shard(worker);
        let Shard { totals, records: sum } = &mut *shard;
        for record in records {
            totals.add(*record);
            sum.add(*record);
        }
    }

    pub(crate) fn add_on_schedule(&self, worker: usize) {
        self.shard(worker).totals.on_schedule += 1;
    }

    pub(crate) fn add_dropped(&self, worker: usize) {
        self.shard(worker).totals.dropped += 1;
    }

    pub(crate) fn add_message(&self, worker: usize, class: u8, message: Box<str>) {
        let mut shard = self.shard(worker);
        let messages = &mut shard.records.class(class).messages;
        if messages.len() < MESSAGES && !messages.contains(&message) {
            messages.push(message);
        }
    }

    /// The totals since the start.
    pub(crate) fn totals(&self) -> Totals {
        self.shards.iter().fold(Totals::default(), |sum, shard| sum.plus(shard.lock().totals))
    }

    /// Moves the records of all shards to `into`; `spare` is empty, and is so again.
    pub(crate) fn take(&self, spare: &mut Records, into: &mut Records) {
        for shard in &self.shards {
            std::mem::swap(&mut shard.lock().records, spare);
            into.merge(spare);
            spare.clear();
        }
    }

    /// Whether there are records that were not taken.
    pub(crate) fn any_left(&self) -> bool {
        self.shards.iter().any(|shard| shard.lock().records.count() > 0)
    }

    fn shard(&self, worker: usize) -> MutexGuard<'_, Shard> {
        self.shards[worker % self.shards.len()].lock()
    }
}

impl Records {
    pub(crate) fn new(classes: usize) -> Self {
        Self { classes: vec![None; classes] }
    }

    fn class(&mut self, class: u8) -> &mut ClassRecord {
        self.classes[usize::from(class)].get_or_insert_with(|| {
            Box::new(ClassRecord { count: 0, service: histogram(), response: None, messages: Vec::new() })
        })
    }

    fn add(&mut self, Record { class, timing }: Record) {
        let record = self.class(class);
        record.count += 1;
        let Some(Timing { service, response }) = timing else { return };
        record.service.saturating_record(service);
        if let Some(response) = response {
            record.response.get_or_insert_with(histogram).saturating_record(response);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            match (mine, theirs) {
                (_, None) => {}
                (mine @ None, theirs) => mine.clone_from(theirs),
                (Some(mine), Some(theirs)) => mine.merge(theirs),
            }
        }
    }

    /// Empties it, but keeps the memory of the histograms.
    pub(crate) fn clear(&mut self) {
        for record in self.classes.iter_mut().flatten() {
            if record.count > 0 {
                record.service.reset();
                if let Some(response) = &mut record.response {
                    response.reset();
                }
            }
            record.count = 0;
            record.messages.clear();
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.classes.iter().flatten().map(|record| record.count).sum()
    }

    /// All classes in one histogram.
    pub(crate) fn service(&self) -> Histogram<u64> {
        self.sum(|record| Some(&record.service))
    }

    /// All classes in one histogram; `None` in a closed loop.
    pub(crate) fn response(&self) -> Option<Histogram<u64>> {
        let any = self.classes.iter().flatten().any(|record| record.response.is_some());
        any.then(|| self.sum(|record| record.response.as_ref()))
    }

    fn sum(&self, of: impl Fn(&ClassRecord) -> Option<&Histogram<u64>>) -> Histogram<u64> {
        let mut sum = histogram();
        for part in
            self.classes.iter().flatten().filter(|record| record.count > 0).filter_map(|record| of(record))
        {
            add(&mut sum, part);
        }
        sum
    }
}

impl ClassRecord {
    fn merge(&mut self, other: &Self) {
        if other.count > 0 {
            add(&mut self.service, &other.service);
            match (&mut self.response, &other.response) {
                (Some(mine), Some(theirs)) => add(mine, theirs),
                (mine @ None, theirs) => mine.clone_from(theirs),
                (Some(_), None) => {}
            }
        }
        self.count += other.count;
        let room = MESSAGES - self.messages.len();
        self.messages.extend(other.messages.iter().take(room).cloned());
    }
}

impl Totals {
    const fn add(&mut self, Record { timing, .. }: Record) {
        self.operations += 1;
        let Some(Timing { service, response }) = timing else { return };
        self.timed += 1;
        self.service_nanos += service;
        if let Some(response) = response {
            self.response_nanos += response;
        }
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            operations: self.operations + other.operations,
            timed: self.timed + other.timed,
            service_nanos: self.service_nanos + other.service_nanos,
            response_nanos: self.response_nanos + other.response_nanos,
            on_schedule: self.on_schedule + other.on_schedule,
            dropped: self.dropped + other.dropped,
        }
    }
}

/// Adds `more` to `sum`.
pub(crate) fn add(sum: &mut Histogram<u64>, more: &Histogram<u64>) {
    sum.add(more).unwrap_or_else(|error| unreachable!("all histograms have the same bounds: {error}"));
}
