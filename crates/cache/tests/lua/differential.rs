//! Random steps, each done by a server and by the rule in Rust.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    env,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cache::{
    Ack, Entry, Fill, Filled, Floor, Leased, Refusal, Store, Token, Version, Wish,
    redis::RedisStore,
    slot::{Content, Slot},
};
use testkit::{Failed, SplitMix64};
use tokio::{task::JoinSet, time::Instant};

type Value = Vec<u8>;
type Redis = RedisStore<String, Value>;

const TASKS: u64 = 8;
const KEYS: usize = 4;
/// By so much the keys of a test outlive the time that it makes pass.
const DAY: i64 = 86_400_000;

pub(crate) async fn run(url: &str) -> Result<(), Failed> {
    let number = |name, or| env::var(name).map_or(or, |number| number.parse().expect(name));
    let (steps, seed) = (number("LUA_STEPS", 8_000), number("LUA_SEED", 1));
    let prefix = testkit::unique("differential");
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (url, prefix) = (url.to_owned(), prefix.clone());
        tasks.spawn(async move { Run::new(&url, prefix, task, seed).await.go(steps / TASKS).await });
    }
    let mut counts = [0; COUNTED.len()];
    while let Some(run) = tasks.join_next().await {
        counts.iter_mut().zip(run?).for_each(|(sum, count)| *sum += count);
    }
    // A test in which something never happens shows nothing of it.
    for (what, count) in COUNTED.iter().zip(counts) {
        assert!(count > steps / 1_000, "{what}: {count} times in {steps} steps");
    }
    Ok(())
}

const COUNTED: [&str; 10] =
    ["a hit", "a stale hit", "a miss", "granted", "held", "filled", "stored", "revoked", "older", "a tie"];

/// Some keys at one time.
struct Run {
    redis: Redis,
    raw: backends::Redis,
    prefix: String,
    now: Arc<AtomicU64>,
    started: Instant,
    random: SplitMix64,
    keys: Vec<Subject>,
    /// Durations that were used, so that their ends are met.
    used: Vec<u64>,
    counts: [u64; COUNTED.len()],
}

struct Subject {
    name: String,
    slot: Slot<Value>,
    tokens: Vec<Token>,
    seen: Vec<u64>,
    floor_until: u64,
    log: Vec<String>,
}

impl Run {
    async fn new(url: &str, prefix: String, task: u64, seed: u64) -> Self {
        let mut random = SplitMix64(seed.wrapping_mul(1_000_003) + task);
        let start = match task % 4 {
            0 => 1 + random.below(1_000),
            1 => (1 << 51) - random.below(1_000_000_000),
            _ => 1_795_000_000_000 + random.below(10_000_000_000),
        };
        let now = Arc::new(AtomicU64::new(start));
        let config = backends::Config::parse(url).unwrap();
        let time = Arc::clone(&now);
        let redis = RedisStore::<String, Value>::builder()
            .prefix(&prefix)
            .time(move || time.load(Ordering::Relaxed))
            .build(backends::Redis::connect(&config).await.unwrap());
        let raw = backends::Redis::connect(&config).await.unwrap();
        let braces = ["", "{}", "}{", "{a}", "\r\n\0é"];
        let keys = (0..KEYS)
            .map(|key| Subject {
                name: format!("{}{task}:{key}", random.of(&braces)),
                slot: Slot::default(),
                tokens: Vec::new(),
                seen: Vec::new(),
                floor_until: 0,
                log: Vec::new(),
            })
            .collect();
        let started = Instant::now();
        Self { redis, raw, prefix, now, started, random, keys, used: vec![1], counts: Default::default() }
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    async fn go(mut self, steps: u64) -> [u64; COUNTED.len()] {
        let mut place = 0;
        for _ in 0..steps {
            // Several steps on one key at one time are what shows where things end.
            if self.random.below(2) == 0 {
                place = usize::try_from(self.random.below(KEYS as u64)).unwrap();
            }
            if self.random.below(3) == 0 {
                self.pass(place);
            }
            self.step(place).await;
            match self.random.below(8) {
                0 => self.check_all().await,
                1..3 => self.check_life(place).await,
                _ => self.check(place).await,
            }
        }
        self.counts
    }

    fn pass(&mut self, place: usize) {
        let (now, slot) = (self.now(), &self.keys[place].slot);
        // To where something of the key ends, or just before.
        let expires_at = slot.get(now).map_or(0, |content| content.expires_at);
        let ends = [expires_at, slot.ends_at(), self.keys[place].floor_until];
        let ends = ends.map(|end| end.saturating_sub(now));
        let end = self.random.of(&ends);
        let used = self.random.of(&self.used);
        let by = match self.random.below(10) {
            8 if end < 200_000 => end,
            9 if end < 200_000 => end.saturating_sub(1),
            0..3 => self.random.below(3),
            3 => used,
            4 => used.saturating_sub(1),
            5 => self.random.below(10_000),
            6 => self.random.below(used.saturating_add(2).min(100_000)),
            _ => self.random.below(100),
        };
        // Not past where sums of times are exact.
        if self.now() + by < (1 << 52) {
            self.now.fetch_add(by, Ordering::Relaxed);
        }
    }

    fn duration(&mut self) -> u64 {
        let ms = match self.random.below(16) {
            0 => 0,
            1..4 => 1 + self.random.below(4),
            4..9 => self.random.below(1_000),
            9..14 => self.random.below(100_000),
            14 => self.random.below(DAY.cast_unsigned() * 40),
            _ => 1 << (40 + self.random.below(11)),
        };
        if ms < 1 << 30 {
            self.used.push(ms);
            let oldest = self.used.len().saturating_sub(8);
            self.used.drain(..oldest);
        }
        ms
    }

    fn version(&mut self) -> Version {
        let number = match self.random.below(8) {
            0 => 0,
            1 => Version::MAX.get() - self.random.below(3),
            _ => 1 + self.random.below(6),
        };
        Version::new(number).unwrap()
    }

    fn fill(&mut self) -> (Fill<Value>, Content<Value>) {
        let (value, version) = match self.random.below(8) {
            0 => (None, Version::ABSENT),
            1 => (None, self.version()),
            _ => {
                let bytes = self.random.bits().to_le_bytes();
                let length = usize::try_from(self.random.below(9)).unwrap();
                (Some(bytes[..length].to_vec()), self.version())
            }
        };
        let (a, b) = (self.duration(), self.duration());
        let (fresh, keep, load) = (a.min(b), a.max(b), self.random.below(5_000));
        let content = Content {
            value: value.clone(),
            version,
            fresh_until: self.now() + fresh,
            expires_at: self.now() + keep,
            load_ms: u32::try_from(load).unwrap(),
        };
        let ms = Duration::from_millis;
        (Fill { value, version, fresh: ms(fresh), keep: ms(keep), load_time: ms(load) }, content)
    }

    /// Mostly the latest.
    fn token(&mut self, place: usize) -> Option<Token> {
        let back = self.random.of(&[1, 1, 1, 1, 1, 2, 3]);
        let tokens = &self.keys[place].tokens;
        tokens.len().checked_sub(back).map(|at| tokens[at])
    }

    async fn step(&mut self, place: usize) {
        let now = self.now();
        let key = self.keys[place].name.clone();
        match self.random.below(32) {
            0..11 => self.lease(place).await,
            11..22 => {
                let Some(token) = self.token(place) else { return };
                let (fill, content) = self.fill();
                let subject = &mut self.keys[place];
                subject.log.push(format!("{now} fill {token:?} {content:?}"));
                let expected = subject.slot.fill(now, token, content);
                self.counts[match expected {
                    Filled::Stored => 6,
                    Filled::Refused(Refusal::Revoked) => 7,
                    Filled::Refused(Refusal::Older) => 8,
                    Filled::Refused(Refusal::Tie) => 9,
                }] += 1;
                let filled = self.redis.fill(&key, token, fill).await.unwrap();
                assert_eq!(filled, expected, "{:#?}", self.keys[place].log);
            }
            22..24 => {
                let Some(token) = self.token(place) else { return };
                self.keys[place].log.push(format!("{now} release {token:?}"));
                self.keys[place].slot.release(token);
                self.redis.release(&key, token).await.unwrap();
            }
            24..30 => {
                let (version, keep) = (self.version(), self.duration());
                let floor =
                    if self.random.below(2) == 0 { Floor::at(version) } else { Floor::below(version) };
                let subject = &mut self.keys[place];
                subject.log.push(format!("{now} invalidate {floor:?} {keep}"));
                subject.slot.invalidate(now, floor, keep);
                subject.floor_until = now + keep;
                let keep = Duration::from_millis(keep);
                self.redis.invalidate(&key, floor, keep, Ack::None).await.unwrap();
            }
            30 => {
                let (fill, content) = self.fill();
                let subject = &mut self.keys[place];
                subject.log.push(format!("{now} put {content:?}"));
                subject.slot.put(content);
                self.redis.put(&key, fill).await.unwrap();
            }
            _ => {
                self.keys[place].log.clear();
                self.keys[place].slot = Slot::default();
                self.redis.remove(&key).await.unwrap();
            }
        }
        let slot = &self.keys[place].slot;
        if let Some(content) = slot.get(now) {
            let fresh_until = content.fresh_until;
            let seen = &mut self.keys[place].seen;
            if seen.last() != Some(&fresh_until) {
                seen.push(fresh_until);
            }
        }
    }

    async fn lease(&mut self, place: usize) {
        let (now, ms) = (self.now(), self.duration());
        let token = match self.random.below(4) {
            // Next to each other where doubles are not exact.
            0 => u64::MAX - self.random.below(1_000),
            _ => self.random.bits(),
        };
        let token = Token(NonZeroU64::new(token).unwrap_or(NonZeroU64::MIN));
        let latest = self.keys[place].seen.last().copied();
        let seen = match self.random.below(8) {
            0 => None,
            1 => Some(self.random.bits()),
            2 if !self.keys[place].seen.is_empty() => {
                let seen = self.keys[place].seen.clone();
                Some(self.random.of(&seen))
            }
            _ => latest,
        };
        let subject = &mut self.keys[place];
        subject.log.push(format!("{now} lease {token:?} {ms} {seen:?}"));
        let expected = match subject.slot.lease(now, token, ms, seen) {
            Leased::Granted => Leased::Granted,
            Leased::Held { for_ms } => Leased::Held { for_ms },
            Leased::Filled(content) => Leased::Filled(entry(content, now)),
        };
        match expected {
            Leased::Granted => {
                subject.tokens.push(token);
                self.counts[3] += 1;
            }
            Leased::Held { .. } => self.counts[4] += 1,
            Leased::Filled(_) => self.counts[5] += 1,
        }
        let wish = Wish { token, ttl: Duration::from_millis(ms), seen };
        let leased = self.redis.lease(&self.keys[place].name.clone(), wish).await.unwrap();
        assert_eq!(leased, expected, "{:#?}", self.keys[place].log);
    }

    /// What is served.
    async fn check(&mut self, place: usize) {
        let now = self.now();
        let subject = &self.keys[place];
        let expected = subject.slot.get(now).map(|content| entry(content, now));
        self.counts[match &expected {
            Some(entry) if entry.fresh_ms > 0 => 0,
            Some(_) => 1,
            None => 2,
        }] += 1;
        let got = self.redis.get(&subject.name).await.unwrap();
        assert_eq!(got, expected, "at {now}: {:#?}", subject.log);
    }

    async fn check_all(&self) {
        let now = self.now();
        let names: Vec<_> = self.keys.iter().map(|subject| subject.name.clone()).collect();
        let got = self.redis.get_many(&names).await;
        assert_eq!(got.len(), names.len());
        for (subject, got) in self.keys.iter().zip(got) {
            let expected = subject.slot.get(now).map(|content| entry(content, now));
            assert_eq!(got.unwrap(), expected, "at {now}: {:#?}", subject.log);
        }
    }

    /// How long the server is going to keep the key.
    async fn check_life(&self, place: usize) {
        let subject = &self.keys[place];
        let mut pttl = redis::cmd("PTTL");
        pttl.arg(format!("{}:{}", self.prefix, subject.name));
        let life: i64 = pttl.query_async(&mut self.raw.connection().unwrap()).await.unwrap();
        assert_ne!(life, -1, "it never ends: {:#?}", subject.log);
        let due = i64::try_from(subject.slot.ends_at()).unwrap() - i64::try_from(self.now()).unwrap();
        if due > 0 {
            let passed = i64::try_from(self.started.elapsed().as_millis()).unwrap() + 2;
            assert!(life - DAY >= due - passed, "kept for {life} - {DAY}, not {due}: {:#?}", subject.log);
        }
    }
}

fn entry(content: &Content<Value>, now: u64) -> Entry<Value> {
    let signed = |time: u64| i64::try_from(time).unwrap();
    Entry {
        value: content.value.clone(),
        version: content.version,
        fresh_ms: signed(content.fresh_until) - signed(now),
        expires_ms: content.expires_at - now,
        fresh_until: content.fresh_until,
        load_ms: content.load_ms,
    }
}
